"""A training that was interrupted goes on: its weights, its optimiser's state and its history, in one file."""

import json

import numpy as np

from helpers import files


class CheckpointError(ValueError):
    """A file that cannot be read as a checkpoint of this network; the message says what to do."""


def save(path, model, state):
    """Write a compiled model's weights, its optimiser's variables and `state`, whole or not at all.

    Args:
        path: `....npz`.
        model: a compiled `keras.Model`.
        state: a dict of what JSON can hold: how far the training is, and what was measured.
    """
    arrays = {f"{i:04d}": np.asarray(variable) for i, variable in enumerate(_variables(model))}
    with files.whole_file(path) as partial, open(partial, "wb") as file:
        np.savez(file, state=json.dumps(state), **arrays)


def load(path, model):
    """Put what `save` wrote to `path` into `model` and return the state; None if there is no such file.

    Raises:
        CheckpointError: if the file is damaged, or is of another network or optimiser. The model is as it was.
    """
    if not path.is_file():
        return None
    remedy = "Name another --checkpoint, or begin anew with --restart."
    try:
        found = files.load_arrays(path)
        state = json.loads(str(found.pop("state")))
        arrays = [found[name] for name in sorted(found)]
    except (*files.ARCHIVE_ERRORS, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({error}). {remedy}") from error
    variables = _variables(model)
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise CheckpointError(f"{path} is of another network or optimiser than this one. {remedy}")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return state


def _variables(model):
    model.optimizer.build(model.trainable_variables)
    return model.variables + model.optimizer.variables
