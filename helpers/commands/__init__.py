"""What is run, not imported: `python -m helpers COMMAND`, one module for each command.

A command's module has `add_arguments(parser)` and `run(arguments)`; `run` returns the exit status (None is success).
The module's docstring is the command's help. Modules whose names begin with an underscore are parts of a command.
"""

import argparse
import importlib
import pkgutil


def main(arguments=None):
    """Run the command that `arguments` (default: `sys.argv[1:]`) names and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers", description="The commands of CNN Atelier.")
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    add_commands(parser, {name: importlib.import_module(f"{__name__}.{name}") for name in names}, "COMMAND")
    parsed = parser.parse_args(arguments)
    return parsed.run(parsed)


def add_commands(parser, modules, metavar):
    """Give `parser` one sub-command for each of `modules`, a dict from its name to its module."""
    commands = parser.add_subparsers(required=True, metavar=metavar)
    for name, module in modules.items():
        summary = module.__doc__.partition("\n")[0]
        command = commands.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.set_defaults(run=module.run)  # before add_arguments, where a command with sub-commands overrides it
        module.add_arguments(command)
