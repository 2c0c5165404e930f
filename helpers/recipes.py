"""How the course's classifiers are trained: loss, optimiser and rate of each recipe.

What they see is in `helpers.augmentation`, what they are in `helpers.networks`.
"""

import keras

from helpers.training import OneCycle


def compile_digits(model, peak, steps):
    """Compile the modern network for digits: Adam (Kingma and Ba, 2015), one cycle; labels are integers.

    Args:
        model: a `keras.Model` from images to logits.
        peak: highest learning rate, above 0.
        steps: number of steps in all.
    """
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(OneCycle(peak, steps)), loss, metrics=["accuracy"], jit_compile=False)


def compile_classic(model):
    """Compile `model` as McClure's *Cookbook* does (2017, chapter 8); labels are integers.

    Gradient descent without momentum; the rate is 0.1 · 0.9 ** floor(generation / 250).
    """
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=250, decay_rate=0.9, staircase=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"], jit_compile=False)


def compile_modern(model, peak, steps, decay=5e-3, smoothing=0.1, clip=None):
    """Compile `model` for one cycle of `steps` steps; the labels are one-hot.

    Stochastic gradient descent with Nesterov's momentum of 0.9; weight decay (Loshchilov and Hutter, 2019) on kernels
    alone, since a smaller scale or shift of a normalisation makes nothing simpler; label smoothing (Szegedy et al.,
    2016), which asks for a probability of `1 - smoothing` and shares the rest out among all classes.

    Args:
        model: a `keras.Model` from images to logits.
        peak: highest learning rate, above 0.
        steps: number of steps in all.
        decay: share of a kernel that a step takes off it, times the learning rate.
        smoothing: 0 to below 1.
        clip: largest norm of all gradients together; longer ones are shortened to it (Pascanu et al., 2013). None: any.
    """
    optimizer = keras.optimizers.SGD(
        OneCycle(peak, steps), momentum=0.9, nesterov=True, weight_decay=decay, global_clipnorm=clip
    )
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
