"""Pretrained networks whose layers describe a picture: VGG19, VGG16, InceptionV3, MobileNetV2, and our own mini_vgg.

`load_backbone("vgg19")` gives a `Backbone`; `feature_extractor(backbone, layers)` gives the part of it that a style
transfer or a dream needs. Weights come from this machine wherever they can: see `load_backbone`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers import files
from helpers.check import did_you_mean

BUNDLED = files.DATA / "weights"  # where mini_vgg lies


class BackboneError(ValueError):
    """A network, weight file, layer or picture that cannot be used; the message says what was given and what to do."""


@dataclass(frozen=True)
class Backbone:
    """A pretrained network without its classifier.

    Attributes:
        name: `vgg19`, `vgg16`, `inception_v3`, `mobilenet_v2`, `mini_vgg` or `mini_vgg_robust`.
        model: a `keras.Model` from preprocessed pictures, `(batch, height, width, 3)`, to its last features; any size
            from `smallest_side` up; not trainable until `model.trainable = True`.
        preprocess: turns RGB pictures, 0–255, `(height, width, 3)` or `(batch, height, width, 3)`, into what the
            network wants, float32 of the same shape. Works on NumPy arrays and on tensors, inside a compiled function
            too; can be differentiated; never writes into its input.
        style_layers, content_layers, dream_layers: good first choices of layers, as tuples of names; four for dreams.
        source: where the weights came from, in words, for people to read.
        smallest_side: least height and width in pixels.
    """

    name: str
    model: Any
    preprocess: Callable
    style_layers: tuple
    content_layers: tuple
    dream_layers: tuple
    source: str
    smallest_side: int = 32


@dataclass(frozen=True)
class Classifier:
    """A network with its classifier, for reading out what it sees.

    Attributes:
        name, source: as in `Backbone`.
        model: a `keras.Model` from preprocessed pictures to logits, `(batch, classes)`.
        preprocess: as in `Backbone`.
        class_names: the classes, in the order of the logits.
        smallest_side: as in `Backbone`.
    """

    name: str
    model: Any
    preprocess: Callable
    class_names: tuple
    source: str
    smallest_side: int = 32

    def top(self, image, count=5):
        """Return the `count` most probable classes of one picture, `[(class name, probability 0–1), ...]`, best first.

        Args:
            image: RGB, `(height, width, 3)`, 0–255.
            count: how many.
        """
        from keras import ops

        batch = ops.convert_to_tensor(self.preprocess(np.asarray(image)))[None]
        probabilities = ops.convert_to_numpy(ops.softmax(self.model(batch, training=False)))[0]
        best = np.argsort(-probabilities)[:count]
        return [(self.class_names[index], float(probabilities[index])) for index in best]


# What networks want ------------------------------------------------------------------------------------------------


def _as_pictures(images):
    """Return `images` as a float32 array or tensor, after a look at its shape; NumPy stays NumPy."""
    if isinstance(images, list | tuple):
        images = np.asarray(images)
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) not in (3, 4) or shape[-1] != 3:
        raise BackboneError(
            f"Pictures of shape {shape} were given. Expected RGB, (height, width, 3) or (batch, height, width, 3): "
            "drop the alpha channel, or repeat a grey picture three times."
        )
    if isinstance(images, np.ndarray):
        return images.astype(np.float32)
    from keras import ops

    return ops.cast(ops.convert_to_tensor(images), "float32")


def _vgg_preprocess(images):
    """Return BGR minus the means of ImageNet, 103.939, 116.779 and 123.68: what VGG was trained with."""
    images = _as_pictures(images)
    means = np.array([103.939, 116.779, 123.68], np.float32)
    if isinstance(images, np.ndarray):
        return images[..., ::-1] - means
    from keras import ops

    return ops.flip(images, axis=-1) - means


def _unit_preprocess(images):
    """Return values from -1 to 1, x / 127.5 - 1: what InceptionV3 and MobileNetV2 were trained with."""
    return _as_pictures(images) / 127.5 - 1.0


def _mini_preprocess(images):
    """Return centred and scaled values: see `helpers.mini_vgg.preprocess`."""
    from helpers import mini_vgg

    return mini_vgg.preprocess(_as_pictures(images))


@dataclass(frozen=True)
class _Recipe:
    """What is known of a network before it is loaded; `file`, `size` and `md5` are those of Keras' own download.

    Keras publishes an MD5 for each file, but none for those of MobileNetV2: `md5` is then empty.
    """

    preprocess: Callable
    style_layers: tuple
    content_layers: tuple
    dream_layers: tuple
    constructor: str = ""
    file: str = ""
    size: str = ""
    md5: str = ""
    smallest_side: int = 32

    @property
    def address(self):
        """Where Keras fetches the file from."""
        folder = self.file.partition("_weights")[0]
        return f"https://storage.googleapis.com/tensorflow/keras-applications/{folder}/{self.file}"


_VGG_STYLE = tuple(f"block{block}_conv1" for block in range(1, 6))
_SUFFIX = "_weights_tf_dim_ordering_tf_kernels_notop.h5"

RECIPES = {
    "vgg19": _Recipe(
        _vgg_preprocess, _VGG_STYLE, ("block4_conv2",),
        ("block3_conv4", "block4_conv2", "block4_conv4", "block5_conv2"),
        "VGG19", "vgg19" + _SUFFIX, "80.1 MB", "253f8cb515780f3b799900260a226db6",
    ),
    "vgg16": _Recipe(
        _vgg_preprocess, _VGG_STYLE, ("block4_conv2",),
        ("block3_conv3", "block4_conv2", "block4_conv3", "block5_conv2"),
        "VGG16", "vgg16" + _SUFFIX, "58.9 MB", "6d6bbae143d832006294945121d1f1fc",
    ),
    "inception_v3": _Recipe(
        _unit_preprocess, ("mixed0", "mixed1", "mixed2", "mixed4", "mixed7"), ("mixed4",),
        ("mixed4", "mixed5", "mixed6", "mixed7"),
        "InceptionV3", "inception_v3" + _SUFFIX, "87.9 MB", "bcbd6486424b2319ff4ef7d526e38f63", 75,
    ),
    "mobilenet_v2": _Recipe(  # of width 1.0, for 224 px; its style layers are the first and those before each halving
        _unit_preprocess,
        ("Conv1_relu", "block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu"),
        ("block_6_expand_relu",),
        ("block_6_expand_relu", "block_9_expand_relu", "block_11_expand_relu", "block_13_expand_relu"),
        "MobileNetV2", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", "9.4 MB",
    ),
    "mini_vgg": _Recipe(
        _mini_preprocess, _VGG_STYLE, ("block4_conv2",),
        ("block3_conv1", "block3_conv2", "block4_conv1", "block4_conv2"),
    ),
    "mini_vgg_robust": _Recipe(
        _mini_preprocess, _VGG_STYLE, ("block4_conv2",),
        ("block3_conv2", "block4_conv1", "block4_conv2", "block5_conv1"),
    ),
}  # fmt: skip
NAMES = (*RECIPES, "auto")
OURS = ("mini_vgg", "mini_vgg_robust")  # their weights come with the course
FOR_PICTURES = "mini_vgg_robust"  # what "auto" takes where the preferred network is not on this machine


# Loading -----------------------------------------------------------------------------------------------------------


def load_backbone(name="auto", weights="imagenet", prefer="vgg19"):
    """Return a pretrained network without its classifier.

    Weights of Keras' networks are looked for as `<name>.weights.h5` or under Keras' own file name: in `$ATELIER_DATA`,
    in `data/cache/`, in Keras' cache, and are downloaded to `data/cache/` otherwise, but for those of `mobilenet_v2`,
    of which no checksum is published. Those of `mini_vgg` and `mini_vgg_robust` come with the project.

    Args:
        name: `vgg19`, `vgg16`, `inception_v3`, `mobilenet_v2`, `mini_vgg`, `mini_vgg_robust`, or `auto`: `prefer` if
            its weights are on this machine, else `mini_vgg_robust`; it never downloads.
        weights: "imagenet" for pretrained weights, None for random ones (tests, timings), or the path of a file.
        prefer: what `auto` prefers.

    Returns:
        A `Backbone`.

    Raises:
        BackboneError: for an unknown name; if the weights are not there and cannot be fetched; if the file is cut
            short, of another format, or of another network.
    """
    name = known(name, NAMES, "network")
    if name == "auto":
        name = known(prefer, tuple(RECIPES), "network")
        if weights == "imagenet" and name not in OURS and _on_this_machine(name) is None:
            _say_once(f"{name}: no weights on this machine; using {FOR_PICTURES}, which comes with the course.")
            name = FOR_PICTURES
    recipe = RECIPES[name]
    model, source = (_load_mini if name in OURS else _load_keras)(name, weights)
    model.trainable = False
    return Backbone(
        name, model, recipe.preprocess, recipe.style_layers, recipe.content_layers, recipe.dream_layers,
        source, recipe.smallest_side,
    )  # fmt: skip


def load_classifier(name="mini_vgg", weights="imagenet"):
    """Return `mini_vgg` or `mini_vgg_robust` with the classifier it was trained with and the names of its classes.

    Args:
        name: "mini_vgg" or "mini_vgg_robust", the networks whose classifier comes with the course.
        weights: "imagenet" for the trained ones, or the path of a file that `python -m helpers pretrain` wrote.

    Returns:
        A `Classifier`.

    Raises:
        BackboneError: for another name; if a file is missing or damaged.
    """
    if name not in OURS:
        raise BackboneError(f"{name!r} has no classifier here; choose {' or '.join(map(repr, OURS))}.")
    model, source = _read_mini(name, weights)
    return Classifier(name, model, RECIPES[name].preprocess, tuple(model.facts["class_names"]), source)


def feature_extractor(backbone, layers, margin=0):
    """Return the part of a network that computes some of its layers, and no more of it than they need.

    A convolution pads its input with zeros, a dark frame around the image; a style transfer then paints scallops along
    the edges. With a `margin`, the image is continued by its own reflection, and the features of the margin are cut
    away.

    Args:
        backbone: of `load_backbone`.
        layers: names of layers: one, several, or a dictionary whose keys they are.
        margin: pixels by which the image is continued at each edge, less than its sides; 16 is one cell of a VGG's last
            block.

    Returns:
        A `keras.Model` from preprocessed pictures, `(batch, height, width, 3)`, to `{name: features}`, each
        `(batch, height', width', channels)` float32.

    Raises:
        BackboneError: if there is no such layer, or none was named.
    """
    import keras

    names = [layers] if isinstance(layers, str) else list(layers)
    if not names:
        raise BackboneError(f"No layer was named. Choose from {_listed(layer_names(backbone))}.")
    valid = layer_names(backbone)
    names = [known(name, valid, f"layer of {backbone.name}") for name in names]
    outputs = {name: backbone.model.get_layer(name).output for name in names}
    network = keras.Model(backbone.model.input, outputs, name=f"{backbone.name}_features")
    return _with_margin(network, margin) if margin else network


def _with_margin(network, margin):
    """Return `network` on images that are continued by their reflection, the features of the margin cut away."""
    import keras

    side = 512  # from which the stride of each layer is read
    shapes = network.compute_output_shape((1, side, side, 3))
    images = keras.Input((None, None, 3))
    border = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    features = network(keras.layers.Lambda(lambda values: keras.ops.pad(values, border, mode="reflect"))(images))
    cropped = {
        name: keras.layers.Cropping2D(round(margin * shapes[name][1] / side))(value) for name, value in features.items()
    }
    return keras.Model(images, cropped, name=network.name)


def layer_names(backbone):
    """Return the names of the layers of a `Backbone` that compute something, from the picture inwards."""
    return tuple(layer.name for layer in backbone.model.layers[1:])


def _load_keras(name, weights):
    """Return a network of `keras.applications` without top, and where its weights came from."""
    import keras

    from helpers.mini_vgg import plain_precision

    recipe = RECIPES[name]
    constructor = getattr(keras.applications, recipe.constructor)
    with plain_precision():
        if weights is None:
            return constructor(include_top=False, weights=None), "random weights"
        if weights == "imagenet":
            path, source = _on_this_machine(name) or _fetched(name)
        else:
            path, source = Path(weights), f"file {Path(weights).name}"
        _check_hdf5(path, name)
        try:
            return constructor(include_top=False, weights=str(path)), source
        except Exception as error:  # Keras raises ValueError, KeyError, OSError and others, all for the same reason
            reason = str(error).strip().partition("\n")[0][:300]
            raise BackboneError(
                f"{path} does not hold the weights of {name} without its top; Keras says: {reason} "
                f"Expected {recipe.file} ({recipe.size}) or what `model.save_weights` wrote for such a network."
            ) from error


def _check_hdf5(path, name):
    """Raise `BackboneError` if the file is missing, cut short, or not HDF5."""
    import h5py

    recipe = RECIPES[name]
    if not path.is_file():
        raise BackboneError(f"{path}: no such file. Give the path of a weight file of {name}, or weights='imagenet'.")
    try:
        with h5py.File(path, "r") as file:
            legacy = "layer_names" in file.attrs
    except OSError as error:
        expected = f"; {recipe.file} has {recipe.size}" if recipe.file else ""
        raise BackboneError(
            f"{path} ({path.stat().st_size / 1e6:.1f} MB) cannot be read: it was cut short, or it is not an HDF5 file"
            f"{expected}. Delete it and fetch it again."
        ) from error
    if legacy and path.name.endswith(".weights.h5") and recipe.file:
        raise BackboneError(f"{path} is in the older format of Keras' own downloads: rename it to {recipe.file}.")


def _on_this_machine(name):
    """Return path and source of a network's weights, or None if there are none here."""
    recipe = RECIPES[name]
    path = files.find_local(f"{name}.weights.h5", recipe.file)
    if path is not None:
        return path, f"local file {path.name}"
    path = files.keras_home() / "models" / recipe.file
    return (path, f"Keras' cache, {path.name}") if path.is_file() else None


def _fetched(name):
    """Download a network's weights to `data/cache/`; return path and source."""
    recipe = RECIPES[name]
    if not recipe.md5:
        raise BackboneError(
            f"The weights of {name} are not on this machine, and Keras publishes no checksum of them, without which "
            "this course downloads nothing. Keras itself does: run "
            f"keras.applications.{recipe.constructor}(include_top=False) once, and {recipe.file} ({recipe.size}) is "
            "found in Keras' cache. Or use load_backbone('mini_vgg')."
        )
    path = files.CACHE / recipe.file
    try:
        files.download(recipe.address, path, recipe.md5)
    except files.DownloadError as error:
        folders = " or ".join(str(folder) for folder in files.search_folders())
        raise BackboneError(
            f"The weights of {name} are not on this machine and could not be fetched ({error}). "
            f"Get {recipe.file} ({recipe.size}) from {recipe.address}, the address that "
            f"https://keras.io/api/applications/ uses, and put it into {folders}. "
            "Or use load_backbone('mini_vgg'), which comes with the course."
        ) from error
    return path, f"download, {path.name}"


def _load_mini(name, weights):
    """Return mini_vgg without its classifier, and where its weights came from."""
    from helpers import mini_vgg

    if weights is None:
        with mini_vgg.plain_precision():
            return mini_vgg.plain_network(), "random weights"
    import keras

    classifier, source = _read_mini(name, weights)
    last = mini_vgg.layer_names(classifier.facts["convolutions"])[-1]
    return keras.Model(classifier.input, classifier.get_layer(last).output, name=name), source


def _read_mini(name, weights):
    """Return the classifier of one of ours with weights from the project or from a path, and where they came from."""
    from helpers import mini_vgg

    if weights == "imagenet":
        path = BUNDLED / f"{name}.weights.h5"
        source = f"{path.name}, which comes with the course"
    else:
        path, source = Path(weights), f"file {Path(weights).name}"
    _check_hdf5(path, name)
    try:
        with mini_vgg.plain_precision():
            return mini_vgg.load(path), source
    except (KeyError, ValueError, OSError) as error:
        raise BackboneError(
            f"{path} does not hold weights of {name}: {error}. Expected what `python -m helpers pretrain` writes."
        ) from error


# Words -------------------------------------------------------------------------------------------------------------


def known(name, valid, kind):
    """Return `name` if it is one of `valid`, else raise with the closest and the list."""
    if name in valid:
        return name
    raise BackboneError(f"{name!r} is not a {kind}{did_you_mean(name, valid)}. Choose from {_listed(valid)}.")


def _listed(names, most=40):
    """Return names with commas; of a long list, those that people choose from."""
    names = list(names)
    if len(names) > most:
        named = [name for name in names if re.fullmatch(r"mixed\d+|block_\d+_expand_relu", name)]
        return f"{', '.join(named)}, or any of the {len(names)} in layer_names(backbone)"
    return ", ".join(names)


_said = set()


def _say_once(line):
    """Print a line the first time it is to be said."""
    if line not in _said:
        _said.add(line)
        print(line)
