"""Measure this project against the plain recipe, side by side in one run, as a ratio."""

import importlib
import pkgutil

from helpers import commands


def add_arguments(parser):
    """Add one sub-command for each module `_NAME_benchmark` beside this one."""
    found = sorted(m.name for m in pkgutil.iter_modules(commands.__path__) if m.name.endswith("_benchmark"))
    modules = {name[1 : -len("_benchmark")]: importlib.import_module(f"helpers.commands.{name}") for name in found}
    commands.add_commands(parser, modules, "NAME")


def run(arguments):
    """Never called: a benchmark's name is required, and its own `run` takes this one's place."""
