"""The shape of the package: public names, import order, quick start-up."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import isthmus
from isthmus import errors

ROOT = Path(isthmus.__file__).parent
# A part imports only from the parts before it.
ORDER = [
    "errors",
    "_lazy",
    "_progress",
    "_lookup",
    "reading",
    "options",
    "token_map",
    "assets",
    "collections",
    "modules",
    "encoders",
    "vocabulary",
    "bridge",
    "initializers",
    "transferring",
    "lexical",
    "index",
    "engines",
    "evaluation",
    "auditing",
    "diagnostics",
    "losses",
    "training",
    "adapting",
    "serve",
    "cli",
]


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "isthmus":
            names = (node.module or "").split(".")[1:]
            found |= {names[0]} if names else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("isthmus.")}
    return found


FILES = [path for path in sorted(ROOT.rglob("*.py")) if part(path) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_parts_import_only_from_parts_before_them(path):
    own = part(path)
    assert own in ORDER, f"{own} has no place in the import order"
    late = {name for name in imported_parts(path) if name in ORDER and ORDER.index(name) > ORDER.index(own)}
    assert not late
    assert own == "cli" or "cli" not in imported_parts(path)


def test_public_names_are_importable_sorted_and_few():
    assert isthmus.__all__ == sorted(isthmus.__all__)
    assert len(isthmus.__all__) <= 12
    for name in isthmus.__all__:
        assert getattr(isthmus, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = isthmus.nothing


def test_no_room_bears_the_name_of_a_verb():
    for name in isthmus.__all__:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"isthmus.{name}")


def test_every_exception_is_drawn_in_the_tree():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert len(classes) > 5
    for exception in classes:
        assert issubclass(exception, errors.IsthmusError)
        assert exception.__name__ in errors.__doc__


@pytest.mark.parametrize("module", ["isthmus", "isthmus.cli", "isthmus.vocabulary", "isthmus.token_map"])
def test_start_up_does_not_load_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_modules_stay_readable():
    long = {path.name: n for path in FILES if (n := len(path.read_text(encoding="utf-8").splitlines())) > 350}
    assert not long


def test_a_name_means_one_thing():
    stems: dict[str, list[str]] = {}
    classes: dict[str, list[str]] = {}
    for path in FILES:
        place = str(path.relative_to(ROOT))
        if path.stem not in ("__init__", "base", "options"):
            stems.setdefault(path.stem, []).append(place)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes.setdefault(node.name, []).append(place)
    assert {name: places for name, places in (stems | classes).items() if len(places) > 1} == {}
