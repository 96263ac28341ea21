"""Files, modules and tools that the project speaks of exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "isthmus"
# The changelog speaks of what was.
PAGES = [
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("docs/*/*.md")]
    if path.name != "CHANGELOG.md"
]
SETTINGS = [ROOT / name for name in ("Makefile", "pyproject.toml", ".ci/run", ".github/workflows/ci.yml")]
CODE = [path for folder in ("src", "recipes", "examples") for path in (ROOT / folder).rglob("*.py")]
# Files of the reader's own.
READERS = {"cluster.py"}

FOLDERS = r"docs|examples|benchmarks|recipes|tests|src|\.ci|\.github"
PATH = re.compile(rf"(?<![\w/.*:-])(?:\.\./)*((?:{FOLDERS})/[\w.*/-]*[\w*/])")
NAME = re.compile(r"`([\w-]+\.(?:py|md|toml|cff))`")
FOLDER = re.compile(r"`(\w+/)`")
MODULE = re.compile(r"\bisthmus((?:\.[a-z_][a-z0-9_]*)+)")


def missing_paths(text: str) -> list[str]:
    """Paths from the root that lead nowhere."""
    return [path for path in PATH.findall(text) if not any(ROOT.glob(path.rstrip("/")))]


def missing_names(text: str, folder: Path, name: re.Pattern[str] = NAME) -> list[str]:
    """Names in backticks that are neither in the root nor in the package nor in a folder."""
    found = set(name.findall(text)) - READERS
    return sorted(one for one in found if not any((place / one).exists() for place in (ROOT, PACKAGE, folder)))


def missing_modules(text: str) -> Iterator[str]:
    """Dotted names whose module, or whose first name in the module, is not there."""
    for dotted in MODULE.findall(text):
        place, source = PACKAGE, PACKAGE / "__init__.py"
        for name in dotted.split(".")[1:]:
            if place.joinpath(name).is_dir():
                place, source = place / name, place / name / "__init__.py"
            elif place.joinpath(f"{name}.py").is_file():
                place, source = place / name, place / f"{name}.py"
            else:
                if not re.search(rf"\b{name}\b", source.read_text(encoding="utf-8")):
                    yield f"isthmus{dotted}"
                break


def test_files_and_modules_that_are_spoken_of_exist():
    missing = {}
    for path in [*PAGES, *SETTINGS, *CODE]:
        text = path.read_text(encoding="utf-8")
        missing[str(path.relative_to(ROOT))] = [
            *missing_paths(text),
            *missing_modules(text),
            *(missing_names(text, path.parent) if path.suffix == ".md" else []),
        ]
    assert {path: found for path, found in missing.items() if found} == {}


def test_the_rooms_of_the_package_are_those_that_contributing_lists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert missing_names(text, ROOT, FOLDER) == []
    rooms = {path.parent.name + "/" for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= set(FOLDER.findall(text))


def test_mentions_of_what_is_not_there_are_found():
    assert missing_paths("see docs/nothing.md and ../tests/nothing/") == ["docs/nothing.md", "tests/nothing/"]
    assert missing_paths("src/isthmus/, benchmarks/*.md, docs/guides/train.md, http://localhost/docs/_bulk") == []
    assert missing_names("`nothing.py`, `errors.py`, `README.md`", ROOT) == ["nothing.py"]
    assert list(missing_modules("isthmus.errors.InputError, isthmus.assets, isthmus.audit")) == []
    absent = ["isthmus.nothing.at_all", "isthmus.errors.not_there"]
    assert list(missing_modules(" and ".join(absent))) == absent


def test_dependencies_of_development_are_listed_once():
    """Commands that install name the package, pip, a group or an extra, and no other distribution."""
    for path in [*PAGES, ROOT / "Makefile", ROOT / ".github" / "workflows" / "ci.yml"]:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for arguments in re.findall(r"\bpip install (.*)", text):
            words = arguments.split("`")[0].split("#")[0]
            words = re.sub(r"(--constraint|-c|--group|--python|--resolution|--requirements) \S+", "", words)
            named = {word for word in words.split() if not word.startswith("-")}
            allowed = re.compile(r"""'?(\.|pip>=25\.1|dist/\*\.whl|(\.|isthmus)\[[\w,]+\])'?$""")
            assert not [word for word in named if not allowed.match(word)], f"{path.name}: {arguments}"


def test_hooks_are_the_tools_of_make_check():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    hooked = [re.sub(r" --(force-exclude|fix)", "", hook["entry"]) for hook in hooks]
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    checked = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert hooked == [re.sub(r" (\.|--check)(?= |$)", "", line) for line in checked]
