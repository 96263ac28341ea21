"""A small part of ``python -m tests.fuzz``, and everything that it ever found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.fuzz.cases import FINDS, Cases, Find
from tests.fuzz.targets import TARGETS

# Cases of each target; the slow ones get fewer.
COUNT = int(os.environ.get("ISTHMUS_FUZZ_CASES", "25"))
SLOW = {"encoder": 8, "bodies": 2}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="bounds of time and memory are those of Unix")


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_refused_or_read(name: str, tmp_path: Path) -> None:
    if name == "bodies":
        pytest.importorskip("fastapi", reason="fastapi is not installed (extra `serve`)")
    cases = Cases(TARGETS[name], tmp_path)
    for files in cases.kept(name):
        cases.run(files)
    refused = sum(cases.run(cases.change(seed)) for seed in range(COUNT // SLOW.get(name, 1)))
    # Bodies are refused by their status.
    assert refused or name == "bodies"


def test_finds_are_of_targets() -> None:
    assert {path.name for path in FINDS.glob("*")} <= set(TARGETS)


def test_every_target_is_run_for_long() -> None:
    workflow = FINDS.parents[2] / ".github" / "workflows" / "fuzz.yml"
    for name in TARGETS:
        assert f"fuzz {name} --seconds 600" in workflow.read_text(encoding="utf-8")


def test_what_must_not_happen_is_found(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "a.json").write_text('{"a": 1}')

    def read(folder: Path) -> str:
        content = (folder / "a.json").read_bytes()
        if len(content) > 20:
            (folder.parent.parent / "victim").write_bytes(content)
        elif len(content) > 10:
            bytearray(2**34)
        return content.decode()[0]

    from tests.fuzz.cases import Target

    cases = Cases(Target(make, read, sealed=True), tmp_path)
    for content, message in (
        (b"\xff", "UnicodeDecodeError"),
        (b"", "IndexError"),
        (b"a" * 15, "MemoryError"),
        (b"a" * 25, "outside the folder"),
        (b"b", "not noticed"),
    ):
        with pytest.raises(Find, match=message):
            cases.run({Path("a.json"): content})
