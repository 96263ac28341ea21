"""What the documentation says is what the results and the project say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Of google/xquad: https://github.com/google-deepmind/xquad
XQUAD = {"ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_tables_are_those_of_the_result_files():
    command = [sys.executable, "-m", "benchmarks", "tables", "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
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
