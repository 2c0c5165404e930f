"""The first cell of every notebook: seeds, quiet logs, threads; and the display of a helper's own source."""

import ast
import inspect
import os
import platform
import sys
import tempfile
import textwrap
from contextlib import contextmanager

from helpers.check import checked, optional, whole

THREADS_BETWEEN_OPERATIONS = 2  # one trains while the other prepares the next batch


@checked(seed=whole(0, 2**32 - 1), threads=optional(whole(1)))
def setup(seed=0, threads=None):
    """Make a notebook repeatable, quiet and fast, and print one line that says what it runs on.

    Call it before anything else imports TensorFlow. Its settings are the fastest that `python -m helpers benchmark
    mnist` measures: oneDNN's kernels on, one thread per core.

    Args:
        seed: from 0 to 2**32 - 1; seeds Python, NumPy and TensorFlow.
        threads: threads that share one operation; None means one per core that this process can use.
    """
    cores = usable_cores()
    tensorflow = import_tensorflow(threads or cores)
    import keras

    keras.utils.set_random_seed(seed)
    onednn = "on" if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1" else "off"
    gpus = len(tensorflow.config.list_physical_devices("GPU"))
    hardware = f"{cores} CPU core{'s' * (cores != 1)}" + (f" and {gpus} GPU{'s' * (gpus != 1)}" if gpus else "")
    versions = f"Python {platform.python_version()}, TensorFlow {tensorflow.__version__}, Keras {keras.__version__}"
    print(f"{versions} on {hardware}; oneDNN {onednn}; seed {seed}")


def usable_cores():
    """Return how many CPU cores this process can use: in a container, fewer than the machine has."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def import_tensorflow(threads=None):
    """Import TensorFlow and start it with `threads` threads per operation, without a log line; return the module."""
    with _silent_stderr():
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")
        try:
            if threads is not None:
                tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
                tensorflow.config.threading.set_inter_op_parallelism_threads(THREADS_BETWEEN_OPERATIONS)
        except RuntimeError:  # it runs already, as when this cell is run again: the threads stay as they are
            pass
        tensorflow.constant(0)  # starts the runtime, which logs what it finds
    return tensorflow


@contextmanager
def _silent_stderr():
    """Hold back the process' standard error, from C++ too; pass it on if the block raises."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(saved, log.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def show_source(thing):
    """Return the source of a function, class or module, highlighted, without the docstrings, which `help` shows."""
    from IPython.display import Code

    source = textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            text = node.body[0]
            end = text.end_lineno + (
                lines[text.end_lineno : text.end_lineno + 1] == [""]
            )  # with the blank line after it
            if len(node.body) > 1:  # a body that is a docstring alone has to stay
                lines[text.lineno - 1 : end] = [None] * (end - text.lineno + 1)
    return Code("\n".join(line for line in lines if line is not None), language="python")
