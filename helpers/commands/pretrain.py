"""Train mini_vgg on natural images and write its weights, its classifier head and its class names.

The images are `tiny_imagenet.npz` (arrays x_train, y_train, x_val, y_val, class_names) or a folder with one folder of
pictures for each class. Training stops and goes on again: after every epoch a checkpoint is written, and the same
command continues from it. With `--epochs` lowered it comes to its end sooner.

It is Keras without a word of TensorFlow: KERAS_BACKEND=jax or torch runs it on their devices.
"""

import argparse
import json
import queue
import threading
import time
from pathlib import Path

import numpy as np

from helpers import files
from helpers.images import luminance

LARGEST_EPSILON = (
    5.0  # the L2 length of a perturbation, for pixels from 0 to 1: twice this turns a picture into another
)
PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}


def add_arguments(parser):
    """Declare the options of `python -m helpers pretrain`."""
    add = parser.add_argument
    add("--data", type=Path, help="a .npz file or a folder of class folders (default: tiny_imagenet.npz)")
    add(
        "--adversarial",
        type=_epsilon,
        metavar="EPSILON",
        help="fine-tune a trained network on perturbed images: L2 length at 64 px, for pixels from 0 to 1, e.g. 0.5",
    )
    add("--attack-steps", type=_positive, default=1, help="gradient steps in each perturbation (default: %(default)s)")
    add("--start", type=Path, help="weights to fine-tune with --adversarial (default: those of mini_vgg)")
    add(
        "--card",
        type=Path,
        nargs="+",
        metavar="WEIGHTS",
        help="train nothing: print the model card's figures of these networks, draw their pictures into --output",
    )
    add("--fine-tuning", action="store_true", help="with --card: fine-tune each on CIFAR-10 too, 18 times")
    add("--output", type=Path, default=files.DATA / "weights", help="folder for the weights (default: data/weights)")
    add("--checkpoint", type=Path, default=files.CACHE / "pretrain.npz", help="default: data/cache/pretrain.npz")
    add("--restart", action="store_true", help="begin anew although there is a checkpoint")
    add("--epochs", type=_positive, default=30, help="passes over the training images (default: %(default)s)")
    add("--stop-after", type=_positive, metavar="EPOCH", help="stop after it; the schedule stays that of --epochs")
    add("--sizes", type=_sizes, default="40:0.6,48:0.85,56:1", metavar="PX:END,...",
        help="side of the crops, and the part of training at which each ends (default: %(default)s)")  # fmt: skip
    add("--side", type=int, default=64, help="pixels a side, for pictures of a folder (default: %(default)s)")
    add("--held-out", type=float, default=0.08, help="part of a folder kept for validation (default: %(default)s)")
    add("--channels", type=_integers, default="16,48,96,192,256", help="filters of the blocks (default: %(default)s)")
    add("--convolutions", type=_integers, default="2,2,2,2,2", help="convolutions in each block (default: %(default)s)")
    add("--pooling", choices=["average", "max"], default="average", help="between the blocks (default: %(default)s)")
    add("--batch", type=_positive, default=128, help="images a step (default: %(default)s)")
    add("--rate", type=float, default=0.1, help="highest learning rate (default: %(default)s)")
    add("--warm-up", type=float, default=0.2, help="part of training in which the rate rises (default: %(default)s)")
    add("--clip", type=float, help="greatest norm of a step's whole gradient (default: no limit)")
    add("--decay", type=float, default=5e-3, help="weight decay, times the learning rate a step (default: %(default)s)")
    add("--smoothing", type=float, default=0.1, help="label smoothing, 0 to 1 (default: %(default)s)")
    add("--smallest-crop", type=float, default=0.35, help="least part of the area in a crop (default: %(default)s)")
    add("--average", type=float, default=0.998, help="momentum of the averaged weights (default: %(default)s)")
    add("--precision", default="float32", choices=["float32", "mixed_bfloat16", "mixed_float16"],
        help="mixed_bfloat16 is faster where the hardware has it (default: %(default)s)")  # fmt: skip
    add("--evaluate-every", type=_positive, default=2, metavar="EPOCHS", help="default: %(default)s; always the last")
    add("--seed", type=int, default=0, help="of weights, order and augmentation (default: %(default)s)")


def _positive(text):
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def _epsilon(text):
    number = float(text)
    if not 0 < number <= LARGEST_EPSILON:  # also refuses NaN
        raise argparse.ArgumentTypeError(
            f"{text}: expected the L2 length of a perturbation of pixels from 0 to 1, above 0 and at most "
            f"{LARGEST_EPSILON:g}; divide a length in grey levels by 255"
        )
    return number


def _integers(text):
    return tuple(int(part) for part in text.split(","))


def _sizes(text):
    """Turn "40:0.6,56:1" into [(40, 0.6), (56, 1.0)]."""
    pairs = [part.split(":") for part in text.split(",")]
    sizes = [(int(side), float(end)) for side, end in pairs]
    if sizes[-1][1] != 1 or sorted(end for _, end in sizes) != [end for _, end in sizes] or min(sizes)[0] < 32:
        raise argparse.ArgumentTypeError(f"{text}: expected sides from 32 px, with rising ends, the last of them 1")
    return sizes


def run(arguments):
    """Train, or go on training, and export. Returns 0, or 1 if images or checkpoint cannot be used."""
    try:
        if arguments.card:
            from helpers.commands import _card

            return _card.run(arguments)
        data = load_data(arguments.data, arguments.side, arguments.held_out, arguments.seed)
        training = (AdversarialTraining if arguments.adversarial else Training)(data, arguments)
        if training.resume():
            print(f"going on after epoch {training.epoch} of {arguments.epochs} ({arguments.checkpoint})")
    except PretrainError as error:
        print(error)
        return 1
    last = min(arguments.epochs, arguments.stop_after or arguments.epochs)
    while training.epoch < last:
        line = training.train_epoch() + training.watch()
        training.save()
        if training.epoch % arguments.evaluate_every == 0 and training.epoch != last:
            line += training.export()
        print(line, flush=True)
        if training.collapsed:
            print("The accuracy under the strong attack fell: training on weak ones has collapsed. Stopped.")
            break
    print(f"{arguments.output}:{training.export()}")
    return 0


class PretrainError(ValueError):
    """Images or a checkpoint that cannot be used; the message says what was given, what was expected, what to do."""


# Images ------------------------------------------------------------------------------------------------------------


def load_data(path=None, side=64, held_out=0.08, seed=0):
    """Return the images to train on and those held out.

    Args:
        path: a `.npz` file with x_train, y_train, x_val, y_val and class_names, or a folder of class folders; by
            default `tiny_imagenet.npz`, wherever data are looked for.
        side: pixels a side to which the pictures of a folder are brought (shorter side scaled, centre cut out).
        held_out: part of each class that is kept for validation, for a folder.
        seed: of the choice of what is held out.

    Returns:
        A dictionary: `x_train`, `x_val` uint8 `(count, height, width, 3)`; `y_train`, `y_val` int64; `class_names`.

    Raises:
        PretrainError: if there is nothing at `path`, or not what is expected.
    """
    path = Path(path) if path else files.find_local("tiny_imagenet.npz")
    if path is None:
        folders = " or ".join(str(folder) for folder in files.search_folders())
        raise PretrainError(f"No tiny_imagenet.npz in {folders}. Put it there, or give a folder by --data.")
    if path.is_dir():
        return _read_folder(path, side, held_out, seed)
    if not path.is_file():
        raise PretrainError(f"{path}: no such file or folder. Expected a .npz file or a folder of class folders.")
    wanted = ("x_train", "y_train", "x_val", "y_val", "class_names")
    try:
        data = files.load_arrays(path, wanted)
    except files.ArraysError as error:
        raise PretrainError(f"{path}: expected a .npz with {', '.join(wanted)}; reading it gave: {error}") from error
    data["class_names"] = [str(name) for name in data["class_names"]]
    for part in ("train", "val"):
        images, labels = data[f"x_{part}"], data[f"y_{part}"]
        if len(images) != len(labels) or labels.min() < 0 or labels.max() >= len(data["class_names"]):
            raise PretrainError(
                f"{path}: y_{part} has {len(labels)} labels from {labels.min()} to {labels.max()}; expected one for "
                f"each of the {len(images)} images, from 0 to {len(data['class_names']) - 1}."
            )
    return data


def _read_folder(folder, side, held_out, seed):
    """Read the pictures of every class folder, each class split by the same seeded rule."""
    from PIL import Image, ImageOps

    classes = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if len(classes) < 2:
        raise PretrainError(f"{folder}: expected a folder with two or more folders of pictures, found {len(classes)}.")
    generator = np.random.default_rng(seed)
    parts = {"train": ([], []), "val": ([], [])}
    for label, child in enumerate(classes):
        paths = sorted(file for file in child.rglob("*") if file.suffix.lower() in PICTURES)
        if len(paths) < 2:
            kinds = ", ".join(sorted(PICTURES))
            raise PretrainError(f"{child}: expected two or more pictures ({kinds}), found {len(paths)}.")
        kept = max(1, round(held_out * len(paths)))
        for position, index in enumerate(generator.permutation(len(paths))):
            try:
                with Image.open(paths[index]) as picture:
                    picture = ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.BICUBIC)
            except OSError as error:
                raise PretrainError(f"{paths[index]}: cannot be read as a picture ({error}). Remove it.") from error
            images, labels = parts["val" if position < kept else "train"]
            images.append(np.asarray(picture))
            labels.append(label)
    data = {"class_names": [child.name for child in classes]}
    for part, (images, labels) in parts.items():
        data[f"x_{part}"], data[f"y_{part}"] = np.stack(images), np.array(labels, np.int64)
    return data


def random_crops(images, size, generator, smallest=0.35):
    """Return a random part of each image, brought to `size`, half of them mirrored, with their light and colour varied.

    Args:
        images: uint8, `(batch, height, width, 3)`.
        size: pixels a side of what is returned.
        generator: a NumPy random generator.
        smallest: least part of the area in a crop; the aspect ratio is between 3:4 and 4:3 (Szegedy et al.,
            arXiv:1409.4842).

    Returns:
        float32, `(batch, size, size, 3)`, 0–255.
    """
    from PIL import Image

    count, height, width, _ = images.shape
    area = generator.uniform(smallest, 1, count)
    ratio = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3), count) / 2)
    across = np.minimum(np.sqrt(area) * ratio, 1) * width
    down = np.minimum(np.sqrt(area) / ratio, 1) * height
    left, top = generator.random(count) * (width - across), generator.random(count) * (height - down)
    crops = np.empty((count, size, size, 3), np.float32)
    for index, box in enumerate(np.stack([left, top, left + across, top + down], axis=1).tolist()):
        crops[index] = Image.fromarray(images[index]).resize((size, size), Image.Resampling.BILINEAR, box=box)
    mirrored = generator.random(count) < 0.5
    crops[mirrored] = crops[mirrored, :, ::-1]
    return vary_color(crops, generator)


def vary_color(images, generator, strength=0.3):
    """Return float images, 0–255, with brightness, contrast and saturation each multiplied by 1 ± `strength`."""
    factors = generator.uniform(1 - strength, 1 + strength, (3, len(images), 1, 1, 1))
    brightness, contrast, saturation = factors.astype(np.float32)
    gray = luminance(images)
    level = gray.mean(axis=(1, 2))[:, None, None, None]
    # saturation pulls towards each pixel's grey, contrast towards the picture's grey; both and brightness in one pass
    varied = images * (saturation * contrast * brightness)
    varied += gray[..., None] * ((1 - saturation) * contrast * brightness) + level * ((1 - contrast) * brightness)
    return np.clip(varied, 0, 255, out=varied)


def ahead(iterator, depth=4):
    """Yield what `iterator` yields, made by a thread that runs up to `depth` items ahead."""
    line, end = queue.Queue(depth), object()
    stopped = threading.Event()

    def put(item):
        while not stopped.is_set():
            try:
                return line.put(item, timeout=0.2)
            except queue.Full:
                continue

    def work():
        try:
            for item in iterator:
                put(item)
                if stopped.is_set():
                    return
            put(end)
        except BaseException as error:  # raised again by the reader
            put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while (item := line.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()


# Training ----------------------------------------------------------------------------------------------------------


def learning_rate(progress, peak, warm_up=0.2):
    """Return the one-cycle rate (Smith, arXiv:1708.07120) at `progress`, 0 to 1: a line up, half a cosine down."""
    if progress < warm_up:
        return peak * (0.04 + 0.96 * progress / warm_up)
    return peak * (0.002 + 0.998 * 0.5 * (1 + np.cos(np.pi * (progress - warm_up) / (1 - warm_up))))


class Training:
    """A training run: the network, its optimiser, and how far it has come."""

    weights = "mini_vgg.weights.h5"  # the name of the file that is written
    collapsed = False

    def __init__(self, data, arguments):
        """Build the network for `data` (of `load_data`) with the options of the command."""
        import keras

        self.data, self.arguments, self.epoch, self.history = data, arguments, 0, []
        keras.utils.set_random_seed(arguments.seed)
        keras.config.set_dtype_policy(arguments.precision)
        self.network = self._network()
        self.optimizer = keras.optimizers.SGD(
            arguments.rate, momentum=0.9, nesterov=True, weight_decay=arguments.decay, global_clipnorm=arguments.clip,
            use_ema=True, ema_momentum=arguments.average,
        )  # fmt: skip
        self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        self.network.compile(
            optimizer=self.optimizer,
            loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=arguments.smoothing),
            jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",  # XLA is slower on a CPU
        )
        self.optimizer.build(self.network.trainable_variables)
        keras.config.set_dtype_policy("float32")

    def _network(self):
        from helpers import mini_vgg

        arguments = self.arguments
        return mini_vgg.training_network(
            len(self.data["class_names"]), arguments.channels, arguments.convolutions, arguments.pooling
        )

    def watch(self):
        """Return a word on how the epoch went, for a run that has something to watch."""
        return ""

    @property
    def steps(self):
        """Steps in an epoch."""
        return max(1, len(self.data["x_train"]) // self.arguments.batch)

    def batches(self):
        """Yield the epoch's `(images, one-hot labels)`; order and augmentation depend on seed and epoch alone."""
        generator = np.random.default_rng([self.arguments.seed, self.epoch])
        order = generator.permutation(len(self.data["x_train"]))
        size = next(side for side, end in self.arguments.sizes if self.epoch < end * self.arguments.epochs - 1e-6)
        labels = np.eye(len(self.data["class_names"]), dtype=np.float32)
        for step in range(self.steps):
            chosen = order[step * self.arguments.batch : (step + 1) * self.arguments.batch]
            images = random_crops(self.data["x_train"][chosen], size, generator, self.arguments.smallest_crop)
            yield images, labels[self.data["y_train"][chosen]]

    def perturbed(self, images, labels, step):
        """Return what the network is trained on in place of `images`: the images themselves."""
        return images

    def train_epoch(self):
        """Train for an epoch and return a line that says how it went."""
        from tqdm import tqdm

        from helpers import mini_vgg

        started, losses = time.perf_counter(), []
        total = self.steps * self.arguments.epochs
        bar = tqdm(ahead(self.batches()), total=self.steps, desc=f"epoch {self.epoch + 1}", mininterval=2, leave=False)
        for step, (images, labels) in enumerate(bar):
            progress = (self.epoch * self.steps + step) / total
            self.optimizer.learning_rate.assign(learning_rate(progress, self.arguments.rate, self.arguments.warm_up))
            images = mini_vgg.preprocess(self.perturbed(images, labels, step))
            losses.append(float(self.network.train_on_batch(images, labels)))
            self.network.reset_metrics()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{np.mean(losses[-100:]):.3f}", px=images.shape[1])
        if not np.isfinite(losses[-1]):
            raise FloatingPointError(f"The loss is {losses[-1]} in epoch {self.epoch + 1}: lower --rate.")
        self.epoch += 1
        seconds = time.perf_counter() - started
        self.history.append(
            {"epoch": self.epoch, "loss": float(np.mean(losses)), "seconds": seconds, "pixels": images.shape[1]}
        )
        count = f"epoch {self.epoch}/{self.arguments.epochs}"
        return f"{count}  {images.shape[1]} px  {seconds:.0f} s  loss {np.mean(losses):.4f}"

    def save(self):
        """Write the checkpoint: every variable of network and optimiser, the epoch and the history."""
        arrays = {f"network/{i}": v for i, v in enumerate(self._values(self.network.variables))}
        arrays |= {f"optimizer/{i}": v for i, v in enumerate(self._values(self.optimizer.variables))}
        state = {"epoch": self.epoch, "history": self.history, "shape": self._shape()}
        with files.whole_file(self.arguments.checkpoint) as path:
            with open(path, "wb") as file:
                np.savez(file, state=json.dumps(state), **arrays)

    def resume(self):
        """Go back to the checkpoint, if there is one and it fits; return whether there was."""
        if self.arguments.restart or not self.arguments.checkpoint.is_file():
            return False
        path, remedy = self.arguments.checkpoint, "name another --checkpoint, or begin anew with --restart."
        try:
            arrays = files.load_arrays(path)
            state = json.loads(str(arrays["state"]))
        except (*files.ARCHIVE_ERRORS, KeyError) as error:
            raise PretrainError(f"{path} cannot be read as a checkpoint ({error}): {remedy}") from error
        if state["shape"] != self._shape():
            raise PretrainError(f"{path} is of a network {state['shape']}, this one is {self._shape()}: {remedy}")
        for owner, variables in (("network", self.network.variables), ("optimizer", self.optimizer.variables)):
            for index, variable in enumerate(variables):
                variable.assign(arrays[f"{owner}/{index}"])
        self.epoch, self.history = state["epoch"], state["history"]
        return True

    def _shape(self):
        """What must agree between a checkpoint and the network that it is for."""
        arguments = self.arguments
        return {
            "channels": list(arguments.channels),
            "convolutions": list(arguments.convolutions),
            "pooling": arguments.pooling,
            "classes": len(self.data["class_names"]),
            "adversarial": arguments.adversarial,
        }

    @staticmethod
    def _values(variables):
        from keras import ops

        return [ops.convert_to_numpy(variable) for variable in variables]

    def averaged(self):
        """Return the plain classifier with the averaged weights, its statistics measured over 1,000 training images."""
        from helpers import mini_vgg

        variables = self.network.variables
        before = self._values(variables)
        try:
            self.optimizer.finalize_variable_values(self.network.trainable_variables)
            some = np.random.default_rng(self.arguments.seed).permutation(len(self.data["x_train"]))[:1000]
            images = mini_vgg.preprocess(self.data["x_train"][some])
            plain = self._plain(images)
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
        mini_vgg.balance(plain, images)
        return plain

    def _plain(self, images):
        from helpers import mini_vgg

        mini_vgg.measure_statistics(self.network, images)
        return mini_vgg.fold(self.network, self.arguments.pooling)

    def export(self):
        """Write the averaged network; return, in words, how good what was written is on the held-out images."""
        from helpers import mini_vgg

        path, arguments = self.arguments.output / self.weights, self.arguments
        facts = {name: getattr(arguments, name) for name in ("channels", "convolutions", "pooling", "seed")}
        if arguments.adversarial:
            facts |= {"adversarial": arguments.adversarial, "attack_steps": arguments.attack_steps}
        facts |= {"epochs": self.epoch, "planned_epochs": arguments.epochs, "class_names": self.data["class_names"]}
        classifier = self.averaged()
        mini_vgg.save(classifier, path, facts)
        top1, top5 = accuracy(mini_vgg.load(path), self.data["x_val"], self.data["y_val"])
        mini_vgg.save(classifier, path, facts | {"held_out": len(self.data["x_val"]), "top1": top1, "top5": top5})
        self.history[-1].update(top1=top1, top5=top5)
        return f"  held out: top-1 {top1:.2%}, top-5 {top5:.2%}"


class AdversarialTraining(Training):
    """Fine-tuning of a trained network, in its plain form, on perturbations that confuse it; see `_adversarial`."""

    weights = "mini_vgg_robust.weights.h5"

    def __init__(self, data, arguments):
        """Load the network to fine-tune; its classes must be those of `data`."""
        from helpers.commands import _adversarial

        super().__init__(data, arguments)
        self.gradient = _adversarial.loss_gradient(self.network)

    def _network(self):
        network, wanted = load_start(self.arguments.start), self.data["class_names"]
        if network.facts["class_names"] != wanted:
            raise PretrainError(
                f"The network to start from was trained on {len(network.facts['class_names'])} classes that are not "
                f"the {len(wanted)} of the images: give --start weights that were trained on the classes of --data."
            )
        for name in ("channels", "convolutions", "pooling"):
            setattr(self.arguments, name, network.facts[name])
        return network

    def perturbed(self, images, labels, step):
        """Return `images` with perturbations of length ε; they depend on seed, epoch, step and network alone."""
        from helpers.commands import _adversarial

        generator = np.random.default_rng([self.arguments.seed, self.epoch, step, 1])
        epsilon = _adversarial.at_side(self.arguments.adversarial, images.shape[1])
        return _adversarial.attack(
            self.gradient, images, labels.argmax(axis=1), epsilon, self.arguments.attack_steps, generator
        )

    def watch(self):
        """Attack the same training images strongly; say how many are recognised, and note when their number falls."""
        from helpers.commands import _adversarial

        images, labels = (self.data[name][: _adversarial.WATCHED] for name in ("x_train", "y_train"))
        survived = _adversarial.accuracy_under_attack(
            self.network, images, labels, self.arguments.adversarial, _adversarial.WATCH_STEPS, gradient=self.gradient
        )
        self.history[-1]["watched"] = survived
        best = max(entry["watched"] for entry in self.history if "watched" in entry)
        self.collapsed = survived < best - _adversarial.LARGEST_FALL
        return f"  under attack: {survived:.1%} of {len(images)} training images"

    def _plain(self, images):
        from helpers import mini_vgg

        arguments = self.arguments
        with mini_vgg.plain_precision():
            network = mini_vgg.plain_network(arguments.channels, arguments.convolutions, arguments.pooling)
            plain = mini_vgg.with_classifier(network, len(self.data["class_names"]))
        plain.set_weights(self.network.get_weights())
        return plain


def load_start(path=None):
    """Return the classifier in `path`, by default that of mini_vgg, with all of its weights trainable."""
    from helpers.backbones import BackboneError, load_classifier

    try:
        network = load_classifier(weights=path or "imagenet").model
    except BackboneError as error:
        raise PretrainError(str(error)) from error
    network.trainable = True
    return network


def accuracy(classifier, images, labels, batch=250):
    """Return top-1 and top-5 accuracy, 0 to 1, of a `mini_vgg` classifier on all of `images` (uint8, RGB), in order."""
    from keras import ops

    from helpers import mini_vgg

    hits = np.zeros(2)
    for start in range(0, len(images), batch):
        logits = classifier(mini_vgg.preprocess(images[start : start + batch]), training=False)
        best = np.argsort(-ops.convert_to_numpy(logits), axis=1)[:, :5]
        right = best == np.asarray(labels[start : start + batch])[:, None]
        hits += right[:, 0].sum(), right.any(axis=1).sum()
    return tuple((hits / len(images)).tolist())
