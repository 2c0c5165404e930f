"""Run notebooks top to bottom in a fresh kernel, normalise them and check what is stored.

Without names, all of `notebooks/`. A notebook is written back only if every cell ran; with --check nothing is run and
nothing is written: what is stored is checked.
"""

import ast
import linecache
import re
import symtable
import sys
import time
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

from helpers.files import PROJECT, whole_file

NOTEBOOKS = PROJECT / "notebooks"
LARGEST = 6_000_000  # bytes of a notebook
LOGGED = r"\b\w*Warning:|^WARNING\b|^[IWEF]\d{4} \d\d:|^\d{4}-\d\d-\d\d \S+: [IWEF] "  # Python, absl, TensorFlow
KEPT = {"tags", "jupyter", "slideshow"}  # of a cell's metadata


def add_arguments(parser):
    """Add the options."""
    parser.add_argument("names", nargs="*", help="notebooks by name or number, such as 01_mnist_cnn or 01")
    parser.add_argument("--check", action="store_true", help="check what is stored, run nothing")
    parser.add_argument("--timeout", type=int, default=600, help="seconds that one cell may take (default: 600)")


def run(arguments):
    """Execute and check each notebook; return 1 if one of them has a problem."""
    failed = False
    for path in find(arguments.names):
        started = time.perf_counter()
        notebook = read(path)
        if not arguments.check:
            execute(notebook, arguments.timeout)
            normalise(notebook)
        found = problems(notebook)
        if not arguments.check and not found:
            write(notebook, path)
        for problem in found:
            print(f"{path.name}: {problem}", file=sys.stderr)
        failed |= bool(found)
        took = "" if arguments.check else f" in {time.perf_counter() - started:.0f} s{_peak()}"
        print(f"{path.name}: {'not written' if found and not arguments.check else 'checked'}{took}")
    return int(failed)


def _peak():
    """Return the peak memory of the largest kernel so far, in words, in GB (10^9 bytes); nothing on Windows."""
    try:
        import resource
    except ImportError:
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    return f", at most {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9:.1f} GB"


def find(names=()):
    """Return the paths of the notebooks whose file names start with one of `names`; all of them if there is none.

    Raises:
        SystemExit: if a name fits no notebook.
    """
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not names:
        return paths
    chosen = []
    for name in names:
        fitting = [path for path in paths if path.name.startswith(Path(name).name.removesuffix(".ipynb"))]
        if not fitting:
            raise SystemExit(f"No notebook is called {name!r}. There are {', '.join(path.stem for path in paths)}.")
        chosen += fitting
    return chosen


def read(path):
    """Return a notebook as an nbformat node, version 4."""
    import nbformat

    return nbformat.read(path, as_version=4)


def write(notebook, path):
    """Write a notebook, whole or not at all."""
    import nbformat

    with whole_file(path) as partial:
        nbformat.write(notebook, partial)


def execute(notebook, timeout):
    """Run all cells in a fresh kernel of this very Python, in the notebooks' folder; a cell that raises ends it."""
    from nbclient import NotebookClient

    place = {"metadata": {"path": NOTEBOOKS}}
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=place, coalesce_streams=True).execute()


def definitions(number, *names):
    """Run the cells of a notebook that define `names`, and the cells that they need; return what they define.

    Those are the call of `setup`, imports, and whatever else the chosen cells use, each in its last version before its
    use. They run in this process, in the notebooks' folder; a cell runs whole, so keep definitions apart from training.

    Args:
        number: the beginning of the notebook's file name, such as "02".
        names: functions, classes or values that it defines.

    Returns:
        A namespace: `definitions("02", "modern_network").modern_network(16)`.

    Raises:
        KeyError: if no cell defines one of the names.
    """
    (path,) = find([number])
    code = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    sources = [re.sub(r"(?m)^(\s*)[%!].*", r"\1pass", source) for source in code]  # without IPython's own lines
    wanted, found, chosen = set(names), set(), []
    for index, source in reversed(list(enumerate(sources))):
        defined, used = names_of(source)
        if defined & wanted or "setup(" in source:
            chosen.insert(0, index)
            wanted, found = wanted - defined | used, found | defined
    if missing := set(names) - found:
        raise KeyError(f"No cell of {path.name} defines {', '.join(sorted(missing))}.")
    space = {"__name__": path.stem}
    with chdir(NOTEBOOKS):
        for index in chosen:
            name = f"<cell {index} of {path.name}>"
            lines = sources[index].splitlines(keepends=True)
            linecache.cache[name] = len(sources[index]), None, lines, name  # for tracebacks, and TensorFlow's AutoGraph
            exec(compile(sources[index], name, "exec"), space)
    return SimpleNamespace(**space)


def names_of(source):
    """Return the global names that a cell defines, and those that it needs from earlier cells, two sets."""
    defined, used = set(), set()
    for statement in ast.parse(source).body:
        tables = [symtable.symtable(ast.unparse(statement), "cell", "exec")]
        for table in tables:  # which grows: functions, and functions in them
            tables += table.get_children()
            for symbol in table.get_symbols():
                if symbol.is_referenced() and (table is tables[0] or symbol.is_global()):
                    used |= {symbol.get_name()} - defined - {getattr(statement, "name", None)}
        symbols = tables[0].get_symbols()
        defined |= {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}
    return defined, used


def normalise(notebook):
    """Leave in a notebook what a reader sees, so that two runs differ only where results do."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in KEPT}
        for output in cell.get("outputs", []):
            if "metadata" in output:  # the alternative text of an image stays
                alts = {kind: data["alt"] for kind, data in output.metadata.items() if "alt" in data}
                output.metadata = {kind: {"alt": alt} for kind, alt in alts.items()}
            if "data" in output:  # a widget without its kernel: what it says in HTML stays
                output.data.pop("application/vnd.jupyter.widget-view+json", None)


def problems(notebook):
    """Return what is wrong with a notebook's stored outputs: a list of sentences, empty if nothing is.

    Counts run from 1 to n; no output is an error, was written to standard error, names a path of some machine, or is
    a warning; at least one cell is compared by the tests; the whole is at most 6 MB.
    """
    import nbformat

    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    found = []
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("its cells were not run from top to bottom in a fresh kernel")
    for number, cell in enumerate(code, 1):
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"cell {number} stores an error: {output.ename}")
            if output.output_type == "stream" and output.name == "stderr":
                found.append(f"cell {number} wrote to standard error: {output.text[:80]!r}")
            for text in _texts(output):
                if match := re.search(r"/(home|root|work|tmp|usr|opt|Users)/[\w.-]+|[A-Z]:\\\\\w+|site-packages", text):
                    found.append(f"cell {number} stores a path of one machine: {match.group()!r}")
                if re.search(LOGGED, text, re.MULTILINE):
                    found.append(f"cell {number} stores a warning or a log line")
    if not compared(notebook):
        found.append("no cell of it is compared by the tests")
    size = len(nbformat.writes(notebook).encode())
    if size > LARGEST:
        found.append(f"it has {size / 1e6:.1f} MB; at most {LARGEST / 1e6:.0f} MB are allowed")
    return found


def compared(notebook):
    """Return the code cells with an output that strict nbval compares."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.outputs and "nbval-ignore-output" not in cell.metadata.get("tags", [])
    ]


def _texts(output):
    if output.output_type == "stream":
        yield output.text
    for kind, data in output.get("data", {}).items():
        if kind.startswith("text/") and "base64," not in data:
            yield data
