"""What the documentation says is what the results and the project say."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml

from isthmus.cli import COMMANDS, app

ROOT = Path(__file__).parent.parent
# Of google/xquad: https://github.com/google-deepmind/xquad
XQUAD = {"ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(page):
    """A page as it is named in the outcome of tests."""
    return str(page.relative_to(ROOT))


def test_tables_are_those_of_the_result_files():
    command = [sys.executable, "-m", "benchmarks", "tables", "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert found.returncode == 0, found.stdout + found.stderr


@cache
def anchors(page):
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip()) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    broken = []
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            target = page.parent / link if link else page
            found = target.exists() and (not anchor or target.suffix != ".md" or anchor in anchors(target.resolve()))
            broken += [] if found else [f"{link}#{anchor}"]
    assert not broken


def test_every_page_is_in_the_menu_of_the_site():
    menu = str(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")]
    assert [page for page in pages if f"'{page}'" not in menu] == [], "add them under nav in mkdocs.yml"


def test_the_readme_and_the_pages_stay_short():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 110
    prose = 0
    for page in set(PAGES) - {ROOT / "CONTRIBUTING.md"}:
        text = page.read_text(encoding="utf-8")
        for what in (r"<!-- (?:table|recipe):.*?<!-- /", r"^( *)```.*?^\1```$", r"^ *\|[^\n]*$"):
            text = re.sub(what, "", text, flags=re.MULTILINE | re.DOTALL)
        prose += sum(any(map(str.isalnum, word)) for word in text.split())
    assert prose <= 22_000, "words outside of code and tables"


def commands(text):
    """Command lines of isthmus in the blocks of code of a page, without comments and what comes after a pipe."""
    for block in re.findall(r"^ *```\w*(?: [^\n]*)?\n(.*?)^ *```$", text, flags=re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n *", "", block).splitlines():
            found = re.search(r"(?:^ *|\$ |&& |/bin/|\| |-m )isthmus (\w+)( [^#|&]*)?", line)
            if found and found[1] in COMMANDS:
                yield found[1], shlex.split(found[2] or "")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_have_the_options_that_pages_give_them(page):
    group = typer.main.get_command(app)
    for command, arguments in commands(page.read_text(encoding="utf-8")):
        parameters = group.get_command(typer.Context(group), command).params
        known = {flag for one in parameters for flag in (*one.opts, *one.secondary_opts)} | {"--help"}
        given = {argument.split("=")[0] for argument in arguments if re.match(r"--?[a-z]", argument)}
        assert given <= known, command


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_xquad_is_asked_in_languages_that_it_has(page):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for command in re.findall(r"^.*--collection xquad\b.*$", text, flags=re.MULTILINE):
        asked = re.search(r"--languages? ([\w,-]+)", command)
        assert asked, command
        assert set(asked[1].split(",")) <= XQUAD, command
    for asked in re.findall(r"""["']xquad["'], \[([^]]*)\]""", text):
        assert set(re.findall(r"\w+", asked)) <= XQUAD, asked


def test_version_is_the_same_everywhere():
    import isthmus

    assert f'version = "{isthmus.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"version: {isthmus.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_ci_runs_the_command_of_the_readme():
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
