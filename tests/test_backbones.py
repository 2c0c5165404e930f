"""Loading networks, what they want as input, and every way in which it can fail. No test touches the network."""

import inspect
import re
import shutil
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import backbones, files, mini_vgg
from helpers.backbones import Backbone, BackboneError, feature_extractor, layer_names, load_backbone, load_classifier

VGG19_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
APPLICATIONS = {
    "vgg19": keras.applications.vgg19,
    "vgg16": keras.applications.vgg16,
    "inception_v3": keras.applications.inception_v3,
    "mobilenet_v2": keras.applications.mobilenet_v2,
}
MOBILENET_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


@pytest.fixture(autouse=True)
def empty_machine(tmp_path, monkeypatch):
    """A machine with no weights of Keras on it, on which a download fails the test."""
    monkeypatch.setenv("ATELIER_DATA", str(tmp_path / "shared"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(files, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(backbones, "_said", set())

    def no_download(*_, **__):
        pytest.fail("a download was started")

    monkeypatch.setattr(files, "download", no_download)
    monkeypatch.setattr(keras.utils, "get_file", no_download)
    return tmp_path


@pytest.fixture(scope="module")
def random_vgg19():
    """Random weights, small enough that the features of a 32 px picture stay finite."""
    return keras.applications.VGG19(include_top=False, weights=None)


@pytest.fixture(scope="module")
def vgg19_file(random_vgg19, tmp_path_factory):
    """Those weights as `model.save_weights` writes them."""
    path = tmp_path_factory.mktemp("weights") / "vgg19.weights.h5"
    random_vgg19.save_weights(path)
    return path


@pytest.fixture(scope="module", params=backbones.OURS)
def bundled(request):
    return load_backbone(request.param)


def put(file, folder, name=None):
    """Link a weight file into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or file.name)
    try:
        path.hardlink_to(file)
    except OSError:
        shutil.copy(file, path)
    return path


def pictures(*shape, dtype=np.float32):
    return np.random.default_rng(0).uniform(0, 255, shape).astype(dtype)


# Preprocessing


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("shape", [(7, 5, 3), (2, 6, 9, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float64])
def test_preprocess_is_that_of_keras(name, shape, dtype):
    images = pictures(*shape, dtype=dtype)
    wanted = APPLICATIONS[name].preprocess_input(images.astype(np.float32))
    given = images.copy()
    found = backbones.RECIPES[name].preprocess(given)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_array_equal(given, images)


@pytest.mark.parametrize("name", backbones.RECIPES)
def test_preprocess_inside_a_compiled_function_with_its_gradient(name):
    preprocess = backbones.RECIPES[name].preprocess
    images = pictures(1, 4, 5, 3)
    variable = tf.Variable(images)

    @tf.function
    def both():
        with tf.GradientTape() as tape:
            prepared = preprocess(variable)
            total = tf.reduce_sum(prepared * tf.constant(weights))
        return prepared, tape.gradient(total, variable)

    weights = pictures(1, 4, 5, 3)
    prepared, gradient = both()
    np.testing.assert_allclose(prepared, preprocess(images), atol=1e-4)
    # linear, so its gradient is what it does to differences
    step = preprocess(images + 1) - preprocess(images)
    expected = weights[..., ::-1] if "vgg1" in name else weights * step
    np.testing.assert_allclose(gradient, expected, rtol=2e-3)
    np.testing.assert_array_equal(variable, images)


def test_preprocess_works_on_symbolic_inputs(bundled):
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, bundled.model(bundled.preprocess(inputs)))
    images = pictures(1, 32, 32, 3)
    np.testing.assert_allclose(model(images), bundled.model(bundled.preprocess(images)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", backbones.RECIPES)
def test_preprocess_of_mini_vgg_and_the_others_keeps_read_only_arrays(name):
    images = pictures(3, 4, 3)
    images.flags.writeable = False
    backbones.RECIPES[name].preprocess(images)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (8, 8, 1), (1, 1, 8, 8, 3)])
def test_preprocess_names_a_wrong_shape(shape):
    with pytest.raises(BackboneError, match=r"RGB, \(height, width, 3\)"):
        backbones.RECIPES["mini_vgg"].preprocess(np.zeros(shape, np.float32))


# Where weights come from


@pytest.mark.parametrize("name", backbones.RECIPES)
def test_the_layers_of_a_recipe_exist(name):
    backbone = load_backbone(name, weights=None)
    assert len(backbone.style_layers) == 5 and len(backbone.content_layers) == 1
    assert len(backbone.dream_layers) == 4  # notebook 05 has a coefficient for each
    names = layer_names(backbone)
    for layers in (backbone.style_layers, backbone.dream_layers):
        assert [names.index(layer) for layer in layers] == sorted({names.index(layer) for layer in layers})


def test_random_weights():
    backbone = load_backbone("vgg19", weights=None)
    assert isinstance(backbone, Backbone) and backbone.source == "random weights"
    assert backbone.name == "vgg19" and not backbone.model.trainable
    for layer in (*backbone.style_layers, *backbone.content_layers, *backbone.dream_layers):
        backbone.model.get_layer(layer)


@pytest.mark.parametrize("folder", ["shared", "cache"])
def test_a_local_file_is_found(folder, vgg19_file, random_vgg19, empty_machine):
    put(vgg19_file, empty_machine / folder)
    backbone = load_backbone("vgg19")
    assert backbone.source == "local file vgg19.weights.h5"
    for found, wanted in zip(backbone.model.get_weights(), random_vgg19.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_shared_folder_comes_before_the_cache(vgg19_file, empty_machine):
    put(vgg19_file, empty_machine / "shared")
    (empty_machine / "cache").mkdir()
    (empty_machine / "cache" / "vgg19.weights.h5").write_bytes(b"broken")
    load_backbone("vgg19")


def test_keras_own_file_name_and_format(random_vgg19, empty_machine):
    (empty_machine / "shared").mkdir()
    random_vgg19.save_weights(empty_machine / "shared" / "w.weights.h5")  # a check that the folder can be written
    path = empty_machine / "shared" / VGG19_FILE
    write_older_format(random_vgg19, path)
    backbone = load_backbone("auto", prefer="vgg19")
    assert backbone.source == f"local file {VGG19_FILE}"
    np.testing.assert_array_equal(backbone.model.get_weights()[4], random_vgg19.get_weights()[4])
    path.rename(empty_machine / "shared" / "vgg19.weights.h5")
    with pytest.raises(BackboneError, match=f"older format.*rename it to {VGG19_FILE}"):
        load_backbone("vgg19")


def write_older_format(model, path):
    """Write weights as Keras' downloads hold them: a group for each layer, named in attributes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.0.0"
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


def test_keras_cache_is_used(random_vgg19, empty_machine):
    (empty_machine / "keras" / "models").mkdir(parents=True)
    write_older_format(random_vgg19, empty_machine / "keras" / "models" / VGG19_FILE)
    assert load_backbone("vgg19").source == f"Keras' cache, {VGG19_FILE}"


def test_a_path_is_a_file(vgg19_file):
    assert load_backbone("vgg19", weights=vgg19_file).source == "file vgg19.weights.h5"


def test_inception_layers_exist():
    backbone = load_backbone("inception_v3", weights=None)
    extractor = feature_extractor(backbone, backbone.dream_layers)
    features = extractor(backbone.preprocess(pictures(1, 80, 75, 3)))
    assert set(features) == set(backbone.dream_layers)


@pytest.fixture(scope="module")
def random_mobilenet():
    return keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))


def test_mobilenet_layers_halve_the_picture_one_by_one():
    backbone = load_backbone("mobilenet_v2", weights=None)
    assert backbone.smallest_side == 32 and not backbone.model.trainable
    layers = {*backbone.style_layers, *backbone.content_layers, *backbone.dream_layers}
    features = feature_extractor(backbone, layers)(backbone.preprocess(pictures(1, 64, 96, 3)))
    found = [features[name].shape[1:] for name in backbone.style_layers]
    assert found == [(32, 48, 32), (32, 48, 96), (16, 24, 144), (8, 12, 192), (4, 6, 576)]
    smallest = backbone.model(backbone.preprocess(pictures(1, 32, 32, 3)))
    assert smallest.shape == (1, 1, 1, 1280) and np.isfinite(smallest).all()


def test_mobilenet_reads_the_file_that_keras_keeps(random_mobilenet, empty_machine):
    (empty_machine / "keras" / "models").mkdir(parents=True)
    write_older_format(random_mobilenet, empty_machine / "keras" / "models" / MOBILENET_FILE)
    backbone = load_backbone("auto", prefer="mobilenet_v2")
    assert backbone.source == f"Keras' cache, {MOBILENET_FILE}"
    for found, wanted in zip(backbone.model.get_weights(), random_mobilenet.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_has_no_checksum_is_not_downloaded():  # the fixture fails the test if it is
    with pytest.raises(BackboneError, match=f"no checksum.*MobileNetV2.include_top=False.*{MOBILENET_FILE}.*9.4 MB"):
        load_backbone("mobilenet_v2")


def test_the_recipes_are_those_of_this_keras():
    """Keras' own source names the file and the MD5 that a recipe has."""
    for name, module in APPLICATIONS.items():
        source = inspect.getsource(sys.modules[getattr(module, backbones.RECIPES[name].constructor).__module__])
        recipe = backbones.RECIPES[name]
        folder, _, file = recipe.address.rpartition("/")
        assert (f"{folder}/" if name == "mobilenet_v2" else recipe.address) in re.sub(r'"\s+"', "", source)
        assert file == recipe.file and (recipe.md5 in source if recipe.md5 else "file_hash" not in source)


def test_a_long_list_of_layers_names_those_to_choose_from():
    backbone = load_backbone("mobilenet_v2", weights=None)
    with pytest.raises(BackboneError, match="did you mean 'block_6_expand_relu'.*block_1_expand_relu, .* any of"):
        feature_extractor(backbone, ["block_6_expand_rel"])


# auto


@pytest.mark.parametrize("prefer", ["vgg19", "inception_v3"])
def test_auto_takes_the_robust_network_without_a_download_and_says_so_once(prefer, capsys):
    for _ in range(2):
        assert load_backbone("auto", prefer=prefer).name == "mini_vgg_robust"
    assert capsys.readouterr().out.splitlines() == [
        f"{prefer}: no weights on this machine; using mini_vgg_robust, which comes with the course."
    ]


def test_auto_takes_what_is_preferred_and_here(vgg19_file, empty_machine, capsys):
    put(vgg19_file, empty_machine / "cache")
    assert load_backbone().name == "vgg19"
    assert capsys.readouterr().out == ""


# Failures


def test_missing_weights_say_what_to_do(monkeypatch, empty_machine):
    def offline(url, path, digest):
        raise files.DownloadError(f"{url}: no answer in 4 s")

    monkeypatch.setattr(files, "download", offline)
    with pytest.raises(BackboneError) as caught:
        load_backbone("vgg19")
    message = str(caught.value)
    for part in (VGG19_FILE, "80.1 MB", "https://storage.googleapis.com/", "https://keras.io/", "mini_vgg"):
        assert part in message
    assert str(empty_machine / "shared") in message and str(empty_machine / "cache") in message


def test_a_download_goes_to_the_cache_and_is_used(monkeypatch, random_vgg19, empty_machine):
    def fetch(url, path, digest):
        assert url.endswith(f"vgg19/{VGG19_FILE}") and len(digest) == 32
        path.parent.mkdir(parents=True)
        write_older_format(random_vgg19, path)

    monkeypatch.setattr(files, "download", fetch)
    assert load_backbone("vgg19").source == f"download, {VGG19_FILE}"
    assert (empty_machine / "cache" / VGG19_FILE).is_file()


def test_a_file_cut_short(vgg19_file, empty_machine):
    path = empty_machine / "shared" / "vgg19.weights.h5"
    path.parent.mkdir()
    path.write_bytes(vgg19_file.read_bytes()[: 1 << 20])
    with pytest.raises(BackboneError, match="cut short.*80.1 MB"):
        load_backbone("vgg19")
    with pytest.raises(BackboneError, match="cut short"):
        load_backbone("auto")


def test_a_file_of_another_network(vgg19_file, empty_machine):
    path = put(vgg19_file, empty_machine / "shared", "vgg16.weights.h5")
    with pytest.raises(BackboneError, match="does not hold the weights of vgg16"):
        load_backbone("vgg16")
    with pytest.raises(BackboneError, match="does not hold weights of mini_vgg"):
        load_backbone("mini_vgg", weights=path)


def test_a_file_with_wrong_shapes(vgg19_file, empty_machine):
    path = empty_machine / "wrong.weights.h5"
    shutil.copy(vgg19_file, path)
    with h5py.File(path, "r+") as file:
        kernels = []
        file.visititems(lambda name, item: kernels.append(name) if getattr(item, "ndim", 0) == 4 else None)
        del file[kernels[0]]
        file[kernels[0]] = np.zeros((3, 3, 3, 5), np.float32)
    with pytest.raises(BackboneError, match="does not hold the weights of vgg19"):
        load_backbone("vgg19", weights=path)


def test_no_such_file(empty_machine):
    with pytest.raises(BackboneError, match="no such file"):
        load_backbone("vgg19", weights=empty_machine / "nothing.weights.h5")


def test_unknown_names_give_the_closest():
    with pytest.raises(BackboneError, match="'vgg18' is not a network .did you mean 'vgg1.'.*mobilenet_v2, mini_vgg"):
        load_backbone("vgg18")
    with pytest.raises(BackboneError, match="not a network"):
        load_backbone("auto", prefer="resnet")


def test_unknown_layers_give_the_closest(bundled):
    with pytest.raises(BackboneError, match="did you mean 'block4_conv1'.*block1_conv1, block1_conv2"):
        feature_extractor(bundled, ["block4conv1"])
    with pytest.raises(BackboneError, match="No layer was named"):
        feature_extractor(bundled, [])


# mini_vgg


def test_our_networks_are_small_and_float32(bundled):
    assert (backbones.BUNDLED / f"{bundled.name}.weights.h5").stat().st_size <= 4 * 2**20
    assert all(weight.dtype == "float32" for weight in bundled.model.weights)


def test_mini_vgg_has_the_layers_of_vgg(bundled):
    convolutions = [layer.name for layer in bundled.model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert convolutions == mini_vgg.layer_names() and convolutions[-1] == "block5_conv2"
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in bundled.model.layers)
    for layer in (*bundled.style_layers, *bundled.content_layers, *bundled.dream_layers):
        bundled.model.get_layer(layer)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (61, 128)])
def test_any_size_from_32_pixels(bundled, size):
    features = feature_extractor(bundled, bundled.style_layers)(bundled.preprocess(pictures(1, *size, 3)))
    for block, name in enumerate(bundled.style_layers):
        assert features[name].shape[1:3] == (size[0] >> block, size[1] >> block)
        assert np.isfinite(features[name]).all()


def test_a_margin_hides_the_zeros_that_convolutions_pad_with(bundled):
    flat = bundled.preprocess(np.full((1, 48, 64, 3), 200, np.float32))
    layers = ["block2_conv1", "block4_conv2"]
    framed, margin = (feature_extractor(bundled, layers, margin)(flat) for margin in (0, 16))
    assert all(framed[name].shape == margin[name].shape for name in layers)
    spread = {name: np.std(values, axis=(1, 2)).mean() for name, values in margin.items()}
    assert spread["block2_conv1"] < 1e-3  # it sees less than 16 pixels to each side
    for name in layers:
        assert spread[name] < np.std(framed[name], axis=(1, 2)).mean() / 3
    images = bundled.preprocess(pictures(1, 96, 96, 3))
    inside, cropped = (feature_extractor(bundled, "block3_conv1", margin)(images) for margin in (0, 16))
    np.testing.assert_allclose(cropped["block3_conv1"][:, 8:-8, 8:-8], inside["block3_conv1"][:, 8:-8, 8:-8], atol=1e-3)


def test_the_extractor_ends_at_the_last_layer_it_needs(bundled):
    extractor = feature_extractor(bundled, {"block1_conv2": 1.0, "block2_conv1": 0.5})
    assert "block2_conv2" not in [layer.name for layer in extractor.layers]
    assert list(extractor.output_shape if isinstance(extractor.output_shape, dict) else extractor.output) == [
        "block1_conv2",
        "block2_conv1",
    ]
    assert list(feature_extractor(bundled, "block1_conv1").output) == ["block1_conv1"]


def test_classifier_and_backbone_share_their_features(bundled):
    classifier = load_classifier(bundled.name)
    images = bundled.preprocess(pictures(2, 64, 64, 3))
    features = np.mean(bundled.model(images), axis=(1, 2))
    kernel, bias = classifier.model.get_layer("predictions").get_weights()
    np.testing.assert_allclose(classifier.model(images), features @ kernel + bias, rtol=1e-3, atol=1e-3)
    assert len(classifier.class_names) == len(bias)
    best = classifier.top(pictures(64, 64, 3), count=3)
    assert len(best) == 3 and best[0][1] >= best[1][1] >= best[2][1] > 0


def test_only_our_networks_have_a_classifier():
    with pytest.raises(BackboneError, match="mini_vgg_robust"):
        load_classifier("vgg19")


def test_damaged_mini_vgg(empty_machine):
    path = empty_machine / "mini_vgg.weights.h5"
    path.write_bytes((backbones.BUNDLED / mini_vgg.WEIGHTS).read_bytes()[:1000])
    with pytest.raises(BackboneError, match="cut short"):
        load_classifier(weights=path)
    shutil.copy(backbones.BUNDLED / mini_vgg.WEIGHTS, path)
    with pytest.raises(BackboneError, match="mini_vgg.json"):  # the facts are not beside it
        load_classifier(weights=path)
