"""Faults that the tests must notice: `python tests/mutants.py` puts each into a copy of the course and runs some tests.

A fault is killed if a test fails, and has survived if all pass. It takes a few minutes; the tests themselves leave it
out. `--only NAME` tries one fault, `--list` prints them all. It needs a system that can fork.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
HERE = PROJECT / "tests"
LONGEST = 240  # seconds that the tests of one fault may take; a fault that makes them hang is killed


class Mutant(NamedTuple):
    """A fault.

    Attributes:
        name: of the fault.
        module: path of the file in `helpers/`.
        text: what stands there, exactly once.
        replacement: what is put in its place.
        tests: the file of `tests/` that should notice it.
        word: that its tests' names should hold, as for pytest's `-k`; all of its tests are run without one.
    """

    name: str
    module: str
    text: str
    replacement: str
    tests: str
    word: str = ""


# fmt: off
MUTANTS = [
    Mutant("no flip", "augmentation.py", "(0.5 if flip else 0.0)", "0.0", "test_augmentation.py", "window_is_one"),
    Mutant("flip all", "augmentation.py", "(0.5 if flip else 0.0)", "1.0", "test_augmentation.py", "window_is_one"),
    Mutant("a fixed crop", "augmentation.py",
           "tf.random.uniform([count], -shift, size - side + shift + 1, tf.int32)", "tf.fill([count], size - side)",
           "test_augmentation.py", "window_is_one"),
    Mutant("no shift", "augmentation.py", "side or images.shape[1], shift))", "side or images.shape[1]))",
           "test_augmentation.py", "flipped"),
    Mutant("no contrast", "augmentation.py", "random_contrast(random_brightness(images))", "random_brightness(images)",
           "test_augmentation.py", "standardising"),
    Mutant("one contrast for a batch", "augmentation.py", "[tf.shape(images)[0], 1, 1, 1]", "[1, 1, 1, 1]",
           "test_augmentation.py", "contrast_scales"),
    Mutant("inputs too small", "augmentation.py", "- 121.0) / 64.0", "- 121.0) / 255.0",
           "test_augmentation.py", "test_scaled"),
    Mutant("the corner for the centre", "augmentation.py",
           "(images.shape[1] - side) // 2, (images.shape[2] - side) // 2", "0, 0", "test_augmentation.py", "centre_is"),
    Mutant("no shear", "training.py", "-size * tf.sin(angle) + amount(shear)", "-size * tf.sin(angle)",
           "test_training.py", "shears"),
    Mutant("no scaling", "training.py", "1 + amount(scale)", "tf.ones([count])", "test_training.py", "scales_from"),
    Mutant("no rotation", "training.py", "amount(rotation * np.pi / 180)", "tf.zeros([count])",
           "test_training.py", "turns_by"),
    Mutant("shuffle(2)", "training.py", ".shuffle(len(images), seed=seed)", ".shuffle(2, seed=seed)",
           "test_training.py", "drawn_from_all"),
    Mutant("the same order in every epoch", "training.py", "order = random.permutation(len(images))",
           "order = np.arange(len(images))", "test_training.py", "every_image_once_per"),
    Mutant("no mirrored look", "training.py", "images[:, :, ::-1]", "images", "test_training.py", "mirrored"),
    Mutant("predictions with dropout", "training.py", "model(images, training=False)", "model(images, training=True)",
           "test_training.py", "predict_is"),
    Mutant("no warm-up", "training.py", "rising = 0.04 + 0.96 * done / self.warmup", "rising = 1.0 + 0 * done",
           "test_training.py", "one_cycle_rises"),
    Mutant("images left at 0-255", "training.py", "images.astype(np.float32) / 255", "images.astype(np.float32)",
           "test_training.py", "as_input"),
    Mutant("residual branch of zeros", "networks.py", "([x, convolution(x, features)])",
           "([x, convolution(0 * x, features)])", "test_networks.py", "a_block_adds"),
    Mutant("no skip connection", "networks.py", "([x, convolution(x, features)])",
           "([0 * x, convolution(x, features)])", "test_networks.py", "a_block_adds"),
    Mutant("dropout 0 for digits", "networks.py", "layers.Dropout(dropout)(x)", "layers.Dropout(0.0)(x)",
           "test_networks.py", "dropout"),
    Mutant("fewer neighbours", "networks.py", "<= self.radius", "< self.radius", "test_networks.py", "response"),
    Mutant("no augmentation in fine-tuning", "fine_tuning.py", "augment = mirrored_and_shifted", "augment = None",
           "test_fine_tuning.py", "trained_on"),
    Mutant("no shift in fine-tuning", "fine_tuning.py", "shift=images.shape[1] // 8", "shift=0",
           "test_fine_tuning.py", "trained_on"),
    Mutant("dropout 0 in fine-tuning", "fine_tuning.py", "layers.Dropout(dropout)(mean)", "layers.Dropout(0.0)(mean)",
           "test_fine_tuning.py", "dropout"),
    Mutant("momentum 0 in fine-tuning", "fine_tuning.py", "super().__init__(learning_rate, momentum, nesterov=nesterov",
           "super().__init__(learning_rate, 0.0, nesterov=False", "test_fine_tuning.py", "by_hand"),
    Mutant("no clipping", "fine_tuning.py", "factor * shortened(grad, self.clip_norm)", "factor * grad",
           "test_fine_tuning.py", "shortened"),
    Mutant("a head from random numbers", "fine_tuning.py", "[np.zeros_like(weight) for", "[weight for",
           "test_fine_tuning.py", "begins_at_zero"),
    Mutant("every layer unfrozen", "fine_tuning.py", "layer.trainable = place >= first and",
           "layer.trainable = True and", "test_fine_tuning.py", "opens_the_end"),
    Mutant("momentum 0", "recipes.py", "momentum=0.9, nesterov=True", "momentum=0.0, nesterov=False",
           "test_recipes.py", "clipping"),
    Mutant("no label smoothing", "recipes.py", "label_smoothing=smoothing", "label_smoothing=0.0",
           "test_recipes.py", "smoothed"),
    Mutant("no weight decay", "recipes.py", "weight_decay=decay", "weight_decay=None",
           "test_recipes.py", "weight_decay"),
    Mutant("jet for heat", "figures.py", 'cmap="inferno"', 'cmap="jet"', "test_figures.py", "lighter"),
    Mutant("jet for feature maps", "figures.py", 'title, "magma"', 'title, "jet"', "test_figures.py", "lighter"),
    Mutant("jet for confusion", "figures.py", 'shares, cmap="magma"', 'shares, cmap="jet"',
           "test_figures.py", "lighter"),
    Mutant("mistakes in black", "figures.py", "else WRONG for label", 'else "black" for label',
           "test_figures.py", "another_colour"),
    Mutant("a film without its hold", "animation.py", "each + 1000 * self.hold", "each",
           "test_animation.py", "holds_the_last"),
    Mutant("a palette for each frame", "animation.py", "quantize(palette=palette,", "quantize(COLOURS,",
           "test_animation.py", "flicker"),
    Mutant("luminance of a third each", "images.py", "[0.299, 0.587, 0.114]", "[1 / 3, 1 / 3, 1 / 3]",
           "test_images.py", "luminance_of_red"),
    Mutant("brightness match → identity", "images.py",
           "reference + (luminance(image) - luminance(reference))[..., None]", "image",
           "test_images.py", "by_luminance"),
    Mutant("colours match by their mean alone", "images.py", "@ transform.T", "",
           "test_images.py", "by_histogram"),
    Mutant("no smoothing on resizing", "images.py", "resize(shape[::-1], Image.Resampling.LANCZOS)",
           "resize(shape[::-1], Image.Resampling.NEAREST)",
           "test_images.py", "resize_keeps"),
    Mutant("gradients that are not averaged", "grad_cam.py", "tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)",
           "gradient[:, :1, :1]", "test_grad_cam.py", "a_map_weighs"),
    Mutant("what speaks against a class", "grad_cam.py", "tf.nn.relu(", "tf.abs(", "test_grad_cam.py", "by_hand"),
    Mutant("deviation 58.4 → 255", "mini_vgg.py", "DEVIATION = 58.4", "DEVIATION = 255.0", "test_golden.py"),
    Mutant("means in BGR", "mini_vgg.py", "(123.675, 116.28, 103.53)", "(103.53, 116.28, 123.675)", "test_golden.py"),
    Mutant('init="style" returns the content', "style_transfer.py",
           "return load_image(styles[0], shape=content.shape[:2])", "return content",
           "test_style_transfer.py", "test_inits"),
    Mutant("recolored → mean only", "style_transfer.py", 'return match_color(content, styles[0], "histogram")',
           "return np.clip(content - content.mean((0, 1)) + styles[0].mean((0, 1)), 0, 255)",
           "test_style_transfer.py", "test_inits"),
    Mutant("style without matched brightness", "style_transfer.py",
           "np.clip((image - image.mean()) / spread * reference.std() + reference.mean(), 0, 255)", "image",
           "test_style_transfer.py", "what_the_network_sees"),
    Mutant("a scale starts from the last image", "style_transfer.py", 'if losses["total"] < least:', "if True:",
           "test_style_transfer.py", "enlarged_best"),
    Mutant("the style's weight unused", "style_transfer.py", 'losses["style"] = weights["style"] * sum(',
           'losses["style"] = sum(', "test_style_transfer.py", "total_is"),
    Mutant("one style of two", "style_transfer.py", "mixed[name] += share * gram_matrix(features[name]) / positions",
           "mixed[name] = gram_matrix(features[name]) / positions", "test_style_transfer.py", "mixed_target"),
    Mutant("the last image for the best", "run.py", "(total is None or total < self.least)", "True",
           "test_run.py", "best_of_the_last"),
    Mutant("a Gram matrix of one position", "losses.py", "tf.reshape(features, (batch, height * width, channels))",
           "tf.reshape(features, (batch, height * width, channels))[:, :1]", "test_losses.py"),
    Mutant("variation across alone", "losses.py", "tf.square(across) + tf.square(down)", "tf.square(across)",
           "test_losses.py"),
    Mutant("Adam's decay", "optimizers.py", "learning_rate * decay ** ((step - 1) // decay_every)", "learning_rate",
           "test_optimizers.py", "stairs"),
    Mutant("Adam without its correction", "optimizers.py", "square / (1 - beta_2**step)", "square",
           "test_optimizers.py", "adam_against"),
    Mutant("the same jitter in every frame", "deepdream.py", "seed=seed + index", "seed=seed",
           "test_deepdream.py", "jitter_of_its_own"),
    Mutant("no jitter", "deepdream.py", "random.integers(-jitter, jitter, 2, endpoint=True)", "np.array([0, 0])",
           "test_deepdream.py", "every_pixel or same_seed"),
    Mutant("the gradient is not rolled back", "deepdream.py", "np.roll(gradient, -roll, (0, 1))", "gradient",
           "test_deepdream.py", "every_pixel"),
    Mutant("octaves without their detail", "deepdream.py", "(enlarged + sharp - blurred)", "enlarged",
           "test_deepdream.py", "detail or changes_nothing"),
    Mutant("a gradient that is not normalised", "deepdream.py", "if normalize:", "if False:",
           "test_deepdream.py", "a_step_by_hand or normalised"),
    Mutant("a guide's positions", "deepdream.py", "min(1024, rows.shape[0])", "rows.shape[0]",
           "test_deepdream.py", "a_guide"),
    Mutant("the first channel always", "deepdream.py", '_linear"], values, axis=-1', '_linear"], 0, axis=-1',
           "test_deepdream.py", "a_channel"),
    Mutant("tiles without a fade", "tiles.py", "np.clip(2 * distances / max(1, shared) - 0.5, 0, 1)",
           "np.ones_like(distances)", "test_tiles.py"),
]
# fmt: on


def tree(folder, mutant=None):
    """Make a copy of the course in `folder`, with a fault in it; what no fault touches is linked.

    Raises:
        ValueError: if the fault's text does not stand in its module exactly once.
    """
    for name in ("data", "notebooks", "README.md", "TEACHING.md", "requirements.txt", "pyproject.toml", "conftest.py"):
        (folder / name).symlink_to(PROJECT / name)
    for name in ("helpers", "tests"):
        shutil.copytree(PROJECT / name, folder / name)
    if mutant is not None:
        path = folder / "helpers" / mutant.module
        text = path.read_text(encoding="utf-8")
        if text.count(mutant.text) != 1:
            raise ValueError(f"{mutant.text!r} stands in helpers/{mutant.module} {text.count(mutant.text)} times")
        path.write_text(text.replace(mutant.text, mutant.replacement), encoding="utf-8")
    return folder


def start(folder, tests, word):
    """Run the tests of a file whose names hold `word` in a fork, which has TensorFlow in memory; return its id."""
    child = os.fork()
    if child:
        return child
    os.setsid()  # so that what it starts ends with it
    os.chdir(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path or ".").resolve() not in (PROJECT, HERE))]
    os.environ["PYTHONPATH"] = str(folder)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 3
    try:
        import pytest

        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header"]
        code = pytest.main([*options, f"tests/{tests}", *(["-k", word] if word else [])])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code))


def verdict(status, folder):
    """Return what became of a fault, and the line that says so."""
    lines = (folder / "log.txt").read_text(errors="replace").splitlines()
    said = next((line for line in lines if line.startswith(("FAILED", "ERROR"))), lines[-1] if lines else "")
    if os.WIFSIGNALED(status):
        return "killed", f"its tests were ended after {LONGEST} s"
    return {0: "SURVIVED", 1: "killed"}.get(os.WEXITSTATUS(status), "ERROR"), said[:150]


def check(mutants, jobs):
    """Try each fault, `jobs` at a time; return {name: verdict}."""
    found, running = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        waiting = list(mutants)
        while waiting or running:
            while waiting and len(running) < jobs:
                mutant = waiting.pop(0)
                folder = Path(tempfile.mkdtemp(dir=scratch))
                try:
                    tree(folder, mutant if mutant.text else None)
                except ValueError as error:
                    found[mutant.name] = "ERROR"
                    print(f"ERROR    {mutant.name}: {error}")
                    continue
                running[start(folder, mutant.tests, mutant.word)] = mutant, folder, time.monotonic()
            time.sleep(0.1)
            for child, (mutant, folder, began) in list(running.items()):
                if time.monotonic() - began > LONGEST:
                    os.killpg(child, signal.SIGKILL)
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    del running[child]
                    result, said = verdict(status, folder)
                    result = "passed" if not mutant.text and result == "SURVIVED" else result
                    found[mutant.name] = result
                    took = time.monotonic() - began
                    print(f"{result:<8} {mutant.name} ({took:.0f} s): {said}", flush=True)
                    shutil.rmtree(folder)
    return found


def main():
    """Try the faults, and say how many are killed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", metavar="NAME", nargs="+", help="the faults to try; all without it")
    parser.add_argument("--jobs", type=int, default=2, help="faults that are tried at a time (default: 2)")
    parser.add_argument("--list", action="store_true", help="print the faults, try none")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if mutant.name in (options.only or [mutant.name])]
    if not chosen:
        parser.error(f"no fault has such a name: {options.only}; --list prints them")
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name}: helpers/{mutant.module}, {mutant.tests}")
        return 0
    began = time.monotonic()
    os.environ |= {"MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    os.environ |= dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1")
    import keras  # noqa: F401 - in memory before the first fork; nothing of it may run, as threads do not survive one
    import scipy.ndimage  # noqa: F401
    import sklearn.metrics  # noqa: F401

    words = {}
    for one in chosen:
        words.setdefault(one.tests, []).append(one.word)
    sound = [
        Mutant(f"no fault in {tests}", "", "", "", tests, " or ".join(some) if all(some) else "")
        for tests, some in words.items()
    ]
    found = check(sound + chosen, options.jobs)
    broken = [one.name for one in sound if found.pop(one.name) != "passed"]
    killed = sum(one == "killed" for one in found.values())
    print(f"{killed} of {len(found)} faults are killed, in {time.monotonic() - began:.0f} s")
    for name in broken:
        print(f"{name}, and yet it fails: its kills mean nothing.")
    return int(killed < len(found) or bool(broken))


if __name__ == "__main__":
    sys.exit(main())
