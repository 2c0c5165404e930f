import subprocess
import sys
import textwrap

import pytest

from helpers import check, notebook, run


def in_own_process(code):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_setup_prints_one_line_repeats_itself_and_logs_nothing():
    done = in_own_process(
        """
        import sys
        from helpers.notebook import setup
        assert 'tensorflow' not in sys.modules, "helpers load no TensorFlow by themselves"
        setup(seed=3)
        import random, numpy as np, tensorflow as tf
        def numbers(): return tf.random.uniform(()).numpy(), np.random.rand(), random.random()
        print(tf.config.threading.get_intra_op_parallelism_threads(), *numbers())
        setup(seed=3)
        print(*numbers())
        """
    )
    assert done.stderr == ""
    first_line, first, second_line, second = done.stdout.splitlines()
    threads, _, numbers = first.partition(" ")
    assert first_line == second_line and "TensorFlow" in first_line and "seed 3" in first_line
    assert int(threads) == notebook.usable_cores() and numbers == second


@pytest.mark.parametrize(
    "setting", [{"seed": -1}, {"seed": 2**32}, {"seed": 1.5}, {"seed": "7"}, {"seed": True}, {"threads": 0}]
)
def test_a_bad_setting_is_refused(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is .*whole number"):
        notebook.setup(**setting)


def test_a_failing_import_is_heard(capfd):
    with pytest.raises(RuntimeError), notebook._silent_stderr():
        print("the reason", file=sys.__stderr__, flush=True)
        raise RuntimeError
    print("as before", file=sys.__stderr__, flush=True)
    assert capfd.readouterr().err == "the reason\nas before\n"


def test_show_source_is_the_source_without_docstrings():
    assert notebook.show_source(check.at_least).data == "def at_least(low):\n    return number(low)"
    for thing in (run.Record, run):
        shown = notebook.show_source(thing).data
        assert '"""' not in shown and "self.began" in shown and "\n\n\n\n" not in shown
        compile(shown, "shown", "exec")
    assert "def usable_cores" in notebook.show_source(notebook.usable_cores).data
