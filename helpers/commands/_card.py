"""The figures and the sheet of the model card: how well each network tells classes apart, what it paints and dreams.

Every network gets the same images, attacks, starts and seeds.
"""

import numpy as np

CLASSES = (
    "goldfish", "monarch", "lighthouse", "sports car", "pizza", "teapot", "school bus", "bell pepper", "king penguin",
    "golden retriever",
)  # fmt: skip
PORTRAITS = [(layer, channel) for layer in ("block3_conv2", "block4_conv2", "block5_conv1") for channel in range(4)]
DREAMS = (("flower", "block4_conv1"), ("china", "block4_conv2"))
TRANSFERS = (("china", "woodcut_waves"), ("china", "night_swirls"), ("flower", "stained_glass"))
ATTACK, ATTACK_STEPS = 0.5, 10
PER_CLASS, SEEDS = (10, 50, 250), (0, 1, 2)


def run(arguments):
    """Print a row of figures for each of `arguments.card` and write the sheet; return 0."""
    from helpers.commands import pretrain
    from helpers.images import save_image

    networks = [pretrain.load_start(path) for path in arguments.card]
    data = pretrain.load_data(arguments.data, arguments.side, arguments.held_out, arguments.seed)
    judge = networks[0]
    rows = []
    for path, network in zip(arguments.card, networks, strict=True):
        picture, dreams = sheet(path)
        rows.append(picture)
        named = sum(index in top(judge, dream, 5) for index, dream in dreams.items())
        figures = telling_apart(network, data["x_val"], data["y_val"])
        figures["class dreams that the first network names in its top 5"] = f"{named} of {len(dreams)}"
        if arguments.fine_tuning:
            figures |= fine_tuned(path)
        for name, value in figures.items():
            print(f"{path.name}: {name}: {value}", flush=True)
    save_image(arguments.output / "networks.jpg", np.concatenate(rows), quality=88)
    return 0


def telling_apart(network, images, labels):
    """Return top-1 and top-5 on clean images, and top-1 under the attack."""
    from helpers.commands import pretrain
    from helpers.commands._adversarial import accuracy_under_attack

    top1, top5 = pretrain.accuracy(network, images, labels)
    attacked = accuracy_under_attack(network, images, labels, ATTACK, ATTACK_STEPS)
    return {"top-1": f"{top1:.2%}", "top-5": f"{top5:.2%}", f"top-1 under attack of {ATTACK}": f"{attacked:.2%}"}


def fine_tuned(path):
    """Return the mean accuracy on CIFAR-10's test images after fine-tuning on few images of each class."""
    from helpers import datasets
    from helpers.commands._fine_tuning_recipe import _train

    data, figures = datasets.load_cifar10(), {}
    for per_class in PER_CLASS:
        for method in ("frozen", "fine-tuned"):
            found = [_train(data, seed, per_class, method, str(path))["test_accuracy"] for seed in SEEDS]
            figures[f"CIFAR-10, {per_class} a class, {method}"] = (
                f"{np.mean(found):.2%} (" + ", ".join(f"{value:.2%}" for value in found) + ")"
            )
    return figures


def top(network, image, count):
    """Return the numbers of the `count` most probable classes of an image, `(height, width, 3)`, 0–255."""
    from helpers import mini_vgg

    logits = np.asarray(network(mini_vgg.preprocess(np.asarray(image, np.float32))[None], training=False))[0]
    return np.argsort(-logits)[:count]


def sheet(path):
    """Return the pictures of one network in one image of 1,536 pixels' width, and its class dreams, {class: image}."""
    from helpers.backbones import load_backbone, load_classifier
    from helpers.deepdream import ChannelObjective, ClassObjective, DeepDream, LayerObjective
    from helpers.images import fitted, resize, sample_image
    from helpers.style_transfer import StyleTransfer

    classifier, backbone = load_classifier(weights=path), load_backbone("mini_vgg", weights=path)

    def portrait(network, objective, side=128, steps=(60, 60)):
        settings = {"octaves": 2, "octave_scale": 2.0, "steps": list(steps), "jitter": 8, "smoothing": 0.5}
        start = 127.5 + 12 * blurred_noise(side)
        return DeepDream(network, objective).dream(start, step_size=2.0, progress=False, **settings).image

    portraits = [portrait(backbone, ChannelObjective(layer, channel)) for layer, channel in PORTRAITS]
    names = [next(name for name in classifier.class_names if word in name.lower()) for word in CLASSES]
    dreams = {classifier.class_names.index(name): portrait(classifier, ClassObjective(name)) for name in names}

    def photograph(name, side=307):
        image = sample_image(name)
        return resize(image, fitted(image.shape, side)).clip(0, 255)

    large = [DeepDream(backbone, LayerObjective([layer])).dream(photograph(name), progress=False).image
             for name, layer in DREAMS]  # fmt: skip
    large += [
        StyleTransfer(backbone).stylize(photograph(name), sample_image(style), steps=[40, 60], scales=2, progress=False)
        .image
        for name, style in TRANSFERS
    ]  # fmt: skip
    width = 128 * len(portraits)
    classes = np.concatenate(list(dreams.values()), axis=1)
    classes = resize(classes, (round(128 * width / classes.shape[1]), width))
    lowest = min(image.shape[0] for image in large)
    large = np.concatenate([image[:lowest] for image in large], axis=1)
    large = np.pad(large, ((0, 0), (0, width - large.shape[1]), (0, 0)), mode="edge")
    return np.concatenate([np.concatenate(portraits, axis=1), classes, large]), dreams


def blurred_noise(side, width=4.0, seed=0):
    """Return noise without fine grain, `(side, side, 3)`, of mean 0 and deviation 1: where a portrait starts."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((side, side, 3)), (width, width, 0))
    return (noise / noise.std()).astype(np.float32)
