"""Networks with VGG's layer names and random weights, small enough for hundreds of tests."""

from types import SimpleNamespace

import keras


def tiny_vgg(*widths):
    """Return a stand-in for a `Backbone`: one block of two convolutions and a pooling for each of `widths`."""
    keras.utils.set_random_seed(0)
    values = inputs = keras.Input((None, None, 3))
    for block, width in enumerate(widths, start=1):
        for number in (1, 2):
            name = f"block{block}_conv{number}"
            values = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(values)
        values = keras.layers.MaxPooling2D(name=f"block{block}_pool")(values)
    return SimpleNamespace(
        name="tiny",
        source="random weights",
        model=keras.Model(inputs, values),
        preprocess=lambda image: image - 120.0,
        style_layers=tuple(f"block{block}_conv1" for block in range(1, len(widths) + 1)),
        content_layers=("block2_conv2",),
        dream_layers=("block2_conv1",),
        smallest_side=16,
    )
