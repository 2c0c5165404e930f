"""What the pages say is there, is there: links, commands, files, checksums."""

import re
import subprocess
import sys
import tomllib

import pytest
from packaging.specifiers import SpecifierSet

from helpers import backbones, commands
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


def test_no_command_loads_tensorflow_before_it_runs():
    code = (
        "import sys; from helpers import commands; commands.main(['prefetch', '--list']); "
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
