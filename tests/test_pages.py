"""What the pages say is there, is there: links, commands, files, checksums."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from helpers import backbones, commands, records
from helpers.commands import execute, prefetch
from helpers.files import PROJECT

PAGES = [PROJECT / name for name in ("README.md", "TEACHING.md", "data/README.md", "data/MINI_VGG.md")]


def text(name):
    return (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page, capsys):
    for name in set(re.findall(r"python -m helpers ([a-z]+)", page.read_text(encoding="utf-8"))):
        with pytest.raises(SystemExit) as ended:
            commands.main([name, "--help"])
        assert ended.value.code == 0, name


def test_the_readme_opens_the_course_in_one_line_with_a_browser_and_one_without():
    setup = text("README.md").partition("## Open the course")[2].partition("\n## ")[0]
    lines = re.findall(r"```bash\n(.*?)\n```", setup, re.DOTALL)
    assert len(lines) == 2 and all(line.startswith("python3 -m venv .venv && ") for line in lines)
    assert lines[0].endswith("jupyter lab notebooks") and lines[1].endswith("jupyter execute notebooks/*.ipynb")
    tested = text("README.md").partition("<!-- test command -->")[2].partition("<!-- end -->")[0]
    assert re.fullmatch(r"\n```bash\npython3 [^\n]+ -m pytest\n```\n", tested)


def test_every_notebook_is_on_the_pages():
    for path in execute.find():
        assert f"](notebooks/{path.name})" in text("README.md")
        assert f"\n| {path.name[:2]} |" in text("TEACHING.md")


def test_the_data_page_has_every_file_and_checksum():
    page = text("data/README.md")
    for name, (url, digest, _) in prefetch.wanted().items():
        assert digest in page and (f"`{url.rpartition('/')[2]}`" in page or f"`{name}…`" in page)
    assert all(recipe.file in page for recipe in backbones.RECIPES.values() if recipe.file and not recipe.md5)


def test_prefetch_says_how_much_it_fetches():
    total = sum(float(size.removesuffix(" MB")) for _, _, size in prefetch.wanted().values())
    assert f"That is {total:.0f} MB" in text("TEACHING.md")


def test_binder_installs_the_same_on_a_python_that_the_course_allows():
    assert "-r ../requirements.txt" in text(".binder/requirements.txt").splitlines()
    allowed = SpecifierSet(tomllib.loads(text("pyproject.toml"))["project"]["requires-python"])
    assert text(".binder/runtime.txt").strip().removeprefix("python-") in allowed


def numbers(value):
    """Return every number inside a recorded run."""
    if isinstance(value, dict | list):
        return [one for part in (value.values() if isinstance(value, dict) else value) for one in numbers(part)]
    return [value] if isinstance(value, float | int) else []


@pytest.fixture(scope="module")
def outputs():
    """The texts that the notebooks store: {notebook: text}."""
    return {
        path.name: "\n".join(
            text for cell in execute.read(path).cells for output in cell.get("outputs", []) for text in texts(output)
        )
        for path in execute.find()
    }


def texts(output):
    """Return what an output says, pictures left out."""
    said = [output.text] if "text" in output else []
    return said + [text for kind, text in output.get("data", {}).items() if "base64" not in text and "text/" in kind]


RECORDED = [number for path in records.RUNS.glob("*.json") for number in numbers(json.loads(path.read_text()))]


@pytest.mark.parametrize("page", ["README.md", "TEACHING.md", *(path.name for path in execute.find())])
def test_a_percentage_was_measured(page, outputs):
    """It is in an output, as a percentage or a share, or in a recorded run; or the page says that it is published."""
    if page in outputs:
        prose = "\n".join(cell.source for cell in execute.read(execute.find([page])[0]).cells if "outputs" not in cell)
    else:
        prose = text(page)
    said = outputs[page] if page in outputs else "\n".join(outputs.values())
    for percentage in re.findall(r"(?<!published )\b(\d+\.\d+) ?%", prose):
        decimals = len(percentage.partition(".")[2])
        share = f"{float(percentage) / 100:.{decimals + 2}f}"
        in_output = re.search(rf"(?<![\d.])({re.escape(percentage)}|{re.escape(share)})(?!\d)", said)
        assert in_output or percentage in {f"{100 * number:.{decimals}f}" for number in RECORDED}, percentage


def test_the_oldest_releases_are_those_that_requirements_allow():
    wanted = [line for line in text("requirements.txt").splitlines() if line[0].isalpha()]
    oldest = {
        one.name: Version(next(bound.version for bound in one.specifier if bound.operator == ">="))
        for one in map(Requirement, wanted)
    }
    pinned = [line.split("==") for line in text("constraints-oldest.txt").splitlines() if not line.startswith("#")]
    assert {name: Version(version) for name, version in pinned} == oldest


def test_no_helper_or_command_loads_tensorflow_before_it_runs():
    code = (
        "import sys, helpers.notebook; from helpers import commands; commands.main(['prefetch', '--list']); "
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
