"""What is run, not imported: `python -m helpers COMMAND`, one module for each command.

A command's module has `add_arguments(parser)` and `run(arguments)`; `run` returns the exit status (None is success).
The module's docstring is the command's help.
"""

import argparse
import importlib
import pkgutil


def main(arguments=None):
    """Run the command that `arguments` (default: `sys.argv[1:]`) names and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers", description="The commands of CNN Atelier.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        summary = module.__doc__.partition("\n")[0]
        command = commands.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    return parsed.run(parsed)
