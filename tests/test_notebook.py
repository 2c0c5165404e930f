import subprocess
import sys
import textwrap

import pytest

from helpers import notebook, training


def in_own_process(code):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_setup_says_one_line_and_logs_nothing():
    done = in_own_process(
        """
        from helpers.notebook import setup
        setup(seed=3)
        import tensorflow as tf
        print(tf.config.threading.get_intra_op_parallelism_threads(), tf.random.uniform(()).numpy())
        setup(seed=3)
        print(tf.random.uniform(()).numpy())
        """
    )
    assert done.stderr == ""
    said, first, again, second = done.stdout.splitlines()
    assert said == again and "TensorFlow" in said and "seed 3" in said
    threads, first = first.split()
    assert int(threads) == notebook.usable_cores()
    assert first == second


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "7", None, True])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match="whole number"):
        notebook.setup(seed=seed)


@pytest.mark.parametrize("threads", [0, -2, 1.5])
def test_a_number_of_threads_that_is_none_is_refused(threads):
    with pytest.raises(ValueError, match="threads"):
        notebook.setup(threads=threads)


def test_what_goes_wrong_inside_silence_is_heard(capfd):
    with pytest.raises(RuntimeError), notebook._silent_stderr():
        print("the reason", file=sys.__stderr__, flush=True)
        raise RuntimeError
    assert "the reason" in capfd.readouterr().err


def test_show_source_is_the_source():
    shown = notebook.show_source(training.batches).data
    assert shown.startswith("def batches(") and "Yield" not in shown and "yield images[chosen]" in shown
    assert "Yield" in notebook.show_source(training.batches, docstring=True).data
    compile(notebook.show_source(training.OneCycle).data, "shown", "exec")
    compile(notebook.show_source(training).data, "shown", "exec")
