"""One `fit` for one processor, many GPUs of one machine, or many machines."""

import json
import os

import tensorflow as tf

VARIABLE = "TF_CONFIG"


class Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """`MultiWorkerMirroredStrategy`, repaired for `fit` of Keras 3.

    `fit` asks the strategy for the mean over all workers of a batch, which is a tuple, and of metrics, which have no
    axis to be averaged along. The strategy can do neither, and `fit` ends in an error (keras-team/keras, issue 20585,
    open since 2024). Taking each tensor of the structure by itself is all that is missing.
    """

    def reduce(self, reduce_op, value, axis=None):
        """Return the sum or mean over all workers of each tensor in `value`, whatever its nesting."""

        def one(tensor):
            rank = getattr(tensor, "shape", tf.TensorShape([])).rank
            return super(Workers, self).reduce(reduce_op, tensor, axis=axis if rank else None)

        return tf.nest.map_structure(one, value)


def strategy():
    """Return the `tf.distribute.Strategy` for what this process finds: build and compile a model in its `scope()`.

    - `TF_CONFIG` is set, as described in TensorFlow's guide to distributed training: one worker of many. Every worker
      runs the same program; each trains on its share of every batch. Call this first, before TensorFlow computes.
    - Two or more GPUs, or CPU devices that were made by `tf.config.set_logical_device_configuration`: each gets its
      share of every batch (`MirroredStrategy`).
    - One GPU or one CPU: TensorFlow's default, which changes nothing.

    The server that TensorFlow starts for one worker of many listens on every address of the machine, whatever
    `TF_CONFIG` names, and trusts whoever connects: set it only in a network whose machines are all yours. In the other
    cases nothing listens.

    In all cases a batch is the batch of all together, so that the learning rate keeps its meaning. Batch normalisation
    takes its mean and variance over each device's own share.

    Raises:
        ValueError: if `TF_CONFIG` is there but does not name this worker among its workers.
        RuntimeError: if `TF_CONFIG` is there and TensorFlow computes already.
    """
    if os.environ.get(VARIABLE, "").strip():
        _check(os.environ[VARIABLE])
        try:
            return Workers()
        except RuntimeError as error:
            raise RuntimeError(f"strategy() of one worker of many comes first, before setup() ({error}).") from error
    gpus, processors = (tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU"))
    devices = gpus or processors
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def _check(text):
    example = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        fits = task["type"] == "worker" and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ValueError(f"{VARIABLE}={text!r} names no worker of a cluster. Expected is JSON like {example}.")
