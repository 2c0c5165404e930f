"""A measurement in a process of its own: TensorFlow reads its settings once, and traces and keeps what it has done."""

import importlib
import json
import os
import subprocess
import sys


def in_own_process(function, environment=None, **arguments):
    """Call a function of a module in a fresh process; return what it returns.

    Args:
        function: one that `helpers` has at the top of a module; what it takes and returns is what JSON can hold.
        environment: variables of that process, a dict, besides those of this one.

    Raises:
        SystemExit: if the process fails; the message is the last line of its error.
    """
    command = [sys.executable, "-m", __name__, function.__module__, function.__name__, json.dumps(arguments)]
    variables = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"} | (environment or {})
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
        raise SystemExit(f"The measurement stopped: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _call(module, name, arguments):
    return getattr(importlib.import_module(module), name)(**json.loads(arguments))


if __name__ == "__main__":
    print(json.dumps(_call(*sys.argv[1:])))
