import keras
import numpy as np
import pytest

from helpers import checkpoints


def network(units=3, momentum=0.9):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units), keras.layers.BatchNormalization()])
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5, staircase=True)
    model.compile(keras.optimizers.SGD(rate, momentum=momentum), "mse", jit_compile=False)
    return model


def trained(model, steps, units=3):
    model.fit(np.ones((steps, 2)), np.ones((steps, units)), batch_size=1, verbose=0, shuffle=False)
    return model


def test_a_training_that_goes_on_ends_where_an_uninterrupted_one_does(tmp_path):
    keras.utils.set_random_seed(0)
    model = network()
    begun = model.get_weights()
    whole = trained(trained(model, 3), 4)

    first = network()
    first.set_weights(begun)
    checkpoints.save(tmp_path / "run.npz", trained(first, 3), {"generation": 3, "history": [0.5]})
    second = network()
    assert checkpoints.load(tmp_path / "run.npz", second) == {"generation": 3, "history": [0.5]}
    assert int(second.optimizer.iterations) == 3
    trained(second, 4)
    for one, other in zip(whole.get_weights(), second.get_weights(), strict=True):
        assert np.allclose(one, other, atol=1e-6)


def test_no_file_is_no_state(tmp_path):
    assert checkpoints.load(tmp_path / "none.npz", network()) is None


@pytest.mark.parametrize("other", [{"units": 4}, {"momentum": 0.0}])
def test_a_checkpoint_of_another_network_is_refused_and_changes_nothing(tmp_path, other):
    checkpoints.save(tmp_path / "run.npz", network(**other), {})
    model = network()
    before = model.get_weights()
    with pytest.raises(checkpoints.CheckpointError, match="another network or optimiser.*--restart"):
        checkpoints.load(tmp_path / "run.npz", model)
    assert all(np.array_equal(one, two) for one, two in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_damaged_checkpoint_is_refused(tmp_path, keep):
    path = tmp_path / "run.npz"
    checkpoints.save(path, network(), {})
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(checkpoints.CheckpointError, match="run.npz cannot be read.*--restart"):
        checkpoints.load(path, network())


def test_a_checkpoint_whose_method_of_compression_is_unknown_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    checkpoints.save(path, network(), {})
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"PK\x01\x02") + 10] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(checkpoints.CheckpointError, match="run.npz cannot be read.*--restart"):
        checkpoints.load(path, network())


def test_a_state_that_cannot_be_written_leaves_the_last_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    checkpoints.save(path, network(), {"generation": 1})
    with pytest.raises(TypeError):
        checkpoints.save(path, network(), {"generation": object()})
    assert checkpoints.load(path, network()) == {"generation": 1} and len(list(tmp_path.iterdir())) == 1
