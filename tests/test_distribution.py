import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from helpers import distribution, files, training

pytestmark = pytest.mark.slow

# One program for all: a network and a batch of 40 that know nothing of how many devices there are. The batch is all
# of the images, so that their order makes no difference; the classes differ in colour, so that there is much to learn.
PROGRAM = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
processors = int(sys.argv[1])
if processors > 1:
    devices = [tf.config.LogicalDeviceConfiguration()] * processors
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
from helpers import training
strategy = training.strategy()
import json, keras, numpy as np
from helpers import augmentation, networks
keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
labels = np.arange(40) % 10
colours = random.integers(0, 206, (10, 1, 1, 3))
images = (colours[labels] + random.integers(0, 50, (40, 32, 32, 3))).astype(np.uint8)
with strategy.scope():
    model = getattr(networks, sys.argv[2])(int(sys.argv[3]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(float(sys.argv[4]), momentum=0.9), loss, metrics=["accuracy"], jit_compile=False)
prepare = augmentation.centre if sys.argv[2].startswith("classic") else augmentation.scaled
pipeline = training.image_pipeline(images, labels, 40, seed=0, augment=prepare)
history = model.fit(pipeline, epochs=8, verbose=0, shuffle=False).history
weights = [np.asarray(weight).ravel()[:50].tolist() for weight in model.trainable_weights]
print(json.dumps({"replicas": strategy.num_replicas_in_sync, "history": history, "weights": weights}))
"""


def start(processors=1, network="classic_cifar10_cnn", width=16, rate=0.1, cluster=None):
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    environment |= {"PYTHONPATH": str(files.PROJECT), "CUDA_VISIBLE_DEVICES": "", "TF_ENABLE_ONEDNN_OPTS": "0"}
    if cluster is not None:
        environment["TF_CONFIG"] = json.dumps(cluster)
    command = [sys.executable, "-c", PROGRAM, str(processors), network, str(width), str(rate)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process):
    try:
        said, wrong = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 0, wrong[-3000:]
    return json.loads(said.splitlines()[-1])


@pytest.fixture(scope="module")
def alone_trained():
    return result(start())


def cluster_of_two():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in (one, two)]
    return [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in (0, 1)]


def assert_same_weights(one, other):
    for first, second in zip(one["weights"], other["weights"], strict=True):
        assert np.allclose(first, second, atol=1e-4)


def test_two_devices_train_as_one_does(alone_trained):
    two = result(start(processors=2))
    assert (alone_trained["replicas"], two["replicas"]) == (1, 2)
    assert two["history"]["loss"] == pytest.approx(alone_trained["history"]["loss"], abs=1e-4)
    assert two["history"]["loss"][-1] < two["history"]["loss"][0] - 0.1, "there was something to learn"
    assert_same_weights(alone_trained, two)


def test_two_workers_agree_with_each_other_and_with_one(alone_trained):
    workers = [start(cluster=config) for config in cluster_of_two()]
    first, second = (result(worker) for worker in workers)
    assert first["replicas"] == second["replicas"] == 2
    assert first["weights"] == second["weights"]
    assert first["history"]["loss"] == pytest.approx(alone_trained["history"]["loss"], abs=1e-4)
    assert_same_weights(alone_trained, first)


def test_two_workers_train_the_modern_network_and_agree():
    workers = [start(network="modern_cifar10_cnn", width=4, rate=0.01, cluster=config) for config in cluster_of_two()]
    first, second = (result(worker) for worker in workers)
    assert first["weights"] == second["weights"] and first["history"] == second["history"]


def test_one_processor_needs_no_strategy(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if len(tf.config.list_logical_devices("GPU")) < 2:
        assert training.strategy() is tf.distribute.get_strategy()


def test_many_gpus_are_mirrored(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    made = []
    device = type("Device", (), {"name": "GPU"})
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [device] * 3 if kind == "GPU" else [device])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", made.append)
    distribution.strategy()
    assert made == [["GPU"] * 3]


@pytest.mark.parametrize(
    "config",
    ["{", "[]", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
     '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}'],
)  # fmt: skip
def test_a_cluster_that_does_not_name_this_worker_is_explained(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match="TF_CONFIG=.*names no worker of a cluster.*index"):
        training.strategy()


def test_too_late_a_call_is_explained(monkeypatch):
    tf.constant(0)
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster_of_two()[0]))
    with pytest.raises(RuntimeError, match="before setup"):
        training.strategy()
