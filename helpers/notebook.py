"""The first cell of every notebook: seeds, quiet logs, threads; and the display of a helper's own source."""

import ast
import inspect
import os
import platform
import sys
import tempfile
import textwrap
from contextlib import contextmanager

THREADS_BETWEEN_OPERATIONS = 2  # one trains while the other prepares the next batch


def setup(seed=0, threads=None):
    """Make a notebook repeatable, quiet and fast, and print one line that says what it runs on.

    Call it before TensorFlow is imported by anything else. The settings are the fastest of those that
    `python -m helpers benchmark mnist` tries: oneDNN's kernels on, one thread per core.

    Args:
        seed: whole number from 0 to 2**32 - 1; seeds Python, NumPy and TensorFlow.
        threads: threads that share one operation; None means one per core that this process may use.

    Raises:
        ValueError: if `seed` or `threads` is out of range.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r} cannot seed a random generator. Give a whole number from 0 to {2**32 - 1}.")
    cores = usable_cores()
    if threads is None:
        threads = cores
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(
            f"threads={threads!r} is no number of threads. Give a whole number from 1, or None for {cores}."
        )
    tensorflow = import_tensorflow(threads)
    import keras

    keras.utils.set_random_seed(seed)
    onednn = "on" if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1" else "off"
    gpus = len(tensorflow.config.list_physical_devices("GPU"))
    hardware = f"{cores} CPU core{'s' * (cores != 1)}" + (f" and {gpus} GPU{'s' * (gpus != 1)}" if gpus else "")
    versions = f"Python {platform.python_version()}, TensorFlow {tensorflow.__version__}, Keras {keras.__version__}"
    print(f"{versions} on {hardware}; oneDNN {onednn}; seed {seed}")


def usable_cores():
    """Return how many CPU cores this process may use: in a container, fewer than the machine has."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def import_tensorflow(threads=None):
    """Import TensorFlow and start it with `threads` threads per operation, without a log line; return the module."""
    with _silent_stderr():
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")
        if threads is not None:
            try:
                tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
                tensorflow.config.threading.set_inter_op_parallelism_threads(THREADS_BETWEEN_OPERATIONS)
            except (
                RuntimeError
            ):  # it runs already, as when this cell is run a second time: the threads are what they are
                pass
        tensorflow.constant(0)  # starts the runtime, which logs what it finds
    return tensorflow


@contextmanager
def _silent_stderr():
    """Keep what is written to the process' standard error, from C++ too; pass it on if the block raises."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 2)
            try:
                yield
            except BaseException:
                os.dup2(saved, 2)
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace"))
                raise
            finally:
                os.dup2(saved, 2)
    finally:
        os.close(saved)


def show_source(thing, docstring=False):
    """Display the source of a helper, highlighted, as it is: what students read is what runs.

    Args:
        thing: a function, class or module of `helpers`.
        docstring: False leaves out its docstrings, which `help(thing)` shows.

    Returns:
        An `IPython.display.Code`, which a notebook shows when it is the last line of a cell.
    """
    from IPython.display import Code

    source = textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))
    return Code(source if docstring else _without_docstrings(source), language="python")


def _without_docstrings(source):
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) or ast.get_docstring(node) is None:
            continue
        if len(body) > 1 or isinstance(node, ast.Module):  # a body that is a docstring alone has to stay
            for number in range(body[0].lineno - 1, body[0].end_lineno):
                lines[number] = None
            if len(body) > 1 and body[0].end_lineno < len(lines) and lines[body[0].end_lineno] == "":
                lines[body[0].end_lineno] = None
    return "\n".join(line for line in lines if line is not None)
