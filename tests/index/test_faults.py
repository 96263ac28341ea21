"""Whatever the disk does, and whenever the power is cut, an index is as before a command or as after it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.errors import OutputError
from isthmus.index import SparseIndex
from isthmus.index.build import change_index
from isthmus.index.encoded_files import Inline, encode_documents, read_parts, write_parts
from isthmus.index.encoded_header import EncodedHeader
from isthmus.index.folder import check_free
from isthmus.index.format import Manifest, manifest_digest, read_manifest
from isthmus.index.options import MemoryLimits
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Corpus, Document
from isthmus.reading.disk import locked
from tests.faults import ERRORS, OPERATIONS, Fault, PowerCuts, failing, plant, tree
from tests.index.vectors import IDENTITY, SIZE, documents, encode

# Two segments of six documents.
LIMITS = MemoryLimits(documents=6, merged=17)
TOKENS = [f"t{number}" for number in range(SIZE)]
Command = Callable[[Path], Any]


def write(folder: Path, found: list[Document], **how: Any) -> None:
    update, compact = how.pop("update", False), how.pop("compact", False)
    with IndexWriter(folder, limits=LIMITS, **how) as writer:
        if found:
            writer.add(found, encode_documents(found, encode, SIZE), update=update)
        writer.commit(compact=compact)


def build(folder: Path, first: int = 0) -> None:
    new = Manifest(0, SIZE, "f32", True, IDENTITY)
    write(folder, documents(12, first=first), new=new, tokens=TOKENS, replaces=manifest_digest(folder))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with a deleted document, and another one to be copied."""
    root = tmp_path_factory.mktemp("made")
    build(root / "idx")
    change_index(root / "idx", delete=["d3"])
    build(root / "source", first=100)
    change_index(root / "source", delete=["d101"])
    return root


def commands(place: Path) -> dict[str, tuple[Command, bool]]:
    """What changes an index, and whether there is one before."""
    source = SparseIndex.open(place / "source")
    return {
        "build": (lambda folder: build(folder, first=50), False),
        "build anew": (lambda folder: build(folder, first=50), True),
        "add": (lambda folder: write(folder, documents(4, first=20)), True),
        "update": (lambda folder: write(folder, documents(4, seed=1), update=True), True),
        "delete": (lambda folder: change_index(folder, delete=["d5", "d9"]), True),
        "compact": (lambda folder: write(folder, [], compact=True), True),
        "save": (source.save, False),
        "save anew": (lambda folder: source.save(folder, overwrite=True), True),
    }


NAMES = ["build", "build anew", "add", "update", "delete", "compact", "save", "save anew"]


def contents(folder: Path) -> Any:
    """What an index finds, all of its files being whole; None where there is none, and one could be built."""
    if not (folder / "manifest.json").exists():
        check_free(folder, overwrite=False)
        return None
    index = SparseIndex.open(folder, verify_files=True)
    hits = index.search(csr_matrix(np.ones((1, SIZE), dtype=np.float32)), 30)
    return [(hit.id, hit.score, hit.document) for hit in hits], [index.token(1)], index.summary()["deleted"]


def named(folder: Path) -> set[str]:
    """The files of an index."""
    manifest = read_manifest(folder)
    segments = {f"segments/{entry.name}/{name}" for entry in manifest.segments for name in entry.files}
    return {"manifest.json", *manifest.files, *segments}


def check_clean(folder: Path, where: str = "", *, index: bool) -> None:
    """Nothing lies there that the index does not need, and nobody is writing."""
    if not index:
        # A lock that could not be taken may be another's, and stays.
        assert tree(folder) in ({}, {".lock": b""}), where
        assert not folder.exists() or "open" in where, where
        return
    with locked(folder):
        pass
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files - {".lock"} == named(folder), where
    assert {path.name for path in (folder / "segments").iterdir()} == {
        name.split("/")[1] for name in named(folder) if "/" in name
    }


def faults() -> Iterator[tuple[str, str]]:
    """Every operation with everything that can go wrong with it."""
    for operation in OPERATIONS:
        for kind in ERRORS:
            if kind != "short" or operation == "write":
                yield operation, kind


def harmless(operation: str, kind: str) -> bool:
    """Python writes what is left, and writes again; and a folder that is there need not be made."""
    return operation == "mkdir" or (operation == "write" and kind in ("short", "interrupted"))


@pytest.mark.parametrize("name", NAMES)
def test_a_disk_that_fails_leaves_the_state_before_or_after(place: Path, tmp_path: Path, name: str) -> None:
    command, there = commands(place)[name]
    start = tmp_path / "start"
    start.mkdir()
    if there:
        shutil.copytree(place / "idx", start / "idx")
    before = contents(start / "idx")
    shutil.copytree(start, tmp_path / "whole")
    command(tmp_path / "whole" / "idx")
    after = contents(tmp_path / "whole" / "idx")
    assert before != after or name == "compact"
    failed = 0
    for operation, kind in faults():
        # Every call takes minutes; without ISTHMUS_LONG_TESTS it is every third on a full disk, every ninth else.
        for number in range(0, 1000, 1 if "ISTHMUS_LONG_TESTS" in os.environ else 3 if kind == "full" else 9):
            root = tmp_path / "work"
            shutil.copytree(start, root)
            fault = Fault(operation, number, kind)
            error = None
            with failing(root, fault):
                try:
                    command(root / "idx")
                except OutputError as caught:
                    error = caught
            found = contents(root / "idx")
            where = f"{kind} {operation} {number}: {error}"
            assert found == after or (error is not None and found == before), where
            if error is not None and found == after:
                # The new manifest has its place, and might lose it by a power cut: what either names is kept.
                write(root / "idx", [])
            check_clean(root / "idx", where, index=found is not None)
            if error is not None:
                failed += 1
                assert "\n" not in str(error)
                assert "cannot be written (" in str(error), where
            shutil.rmtree(root)
            if not fault.happened:
                break
            assert error is not None or harmless(operation, kind), where
    assert failed > 5


@pytest.mark.parametrize("name", NAMES)
def test_a_power_cut_leaves_the_state_before_or_after(place: Path, tmp_path: Path, name: str) -> None:
    command, there = commands(place)[name]
    root = tmp_path / "work"
    root.mkdir()
    if there:
        shutil.copytree(place / "idx", root / "idx")
    before = contents(root / "idx")
    with PowerCuts(root) as cuts:
        command(root / "idx")
    after = contents(root / "idx")
    assert cuts.moments > 20
    assert len(cuts.states) > 5
    for number, state in enumerate(cuts.states):
        planted = plant(state, tmp_path / f"cut{number}")
        # None who was killed there stops the next one, who leaves nothing of it.
        assert contents(planted / "idx") in (before, after), sorted(state)
        if there:
            write(planted / "idx", [])
            check_clean(planted / "idx", index=True)
        shutil.rmtree(planted)
    for number, state in enumerate(cuts.final):
        # What was reported stays.
        assert contents(plant(state, tmp_path / f"final{number}") / "idx") == after


ENCODING = EncodedHeader(IDENTITY, SIZE, "f32", 5, {"dtype": "float32"})


def encode_all(folder: Path) -> None:
    write_parts(Corpus(documents(12)), folder, ENCODING, Inline(encode, SIZE), tokens=TOKENS)


def parts(folder: Path) -> dict[str, Any]:
    return {name: content for name, content in tree(folder).items() if name != ".lock"}


def test_encoding_goes_on_after_a_disk_that_failed(tmp_path: Path) -> None:
    encode_all(tmp_path / "whole")
    whole = parts(tmp_path / "whole")
    for operation, kind in faults():
        for number in range(1000):
            root = tmp_path / "work"
            root.mkdir()
            error = None
            with failing(root, Fault(operation, number, kind)) as fault:
                try:
                    encode_all(root / "encoded")
                except OutputError as caught:
                    error = caught
            found = parts(root / "encoded") if (root / "encoded").exists() else {}
            # Finished files and none else; the header is replaced at the end.
            assert {name: whole[name] for name in found if name != "encoding.json"} == {
                name: content for name, content in found.items() if name != "encoding.json"
            }
            encode_all(root / "encoded")
            assert parts(root / "encoded") == whole
            shutil.rmtree(root)
            if not fault.happened:
                break
            assert error is not None or harmless(operation, kind), f"{kind} {operation} {number}"
            assert "\n" not in str(error)


def test_encoding_goes_on_after_a_power_cut(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    with PowerCuts(root) as cuts:
        encode_all(root / "encoded")
    whole = parts(root / "encoded")
    for number, state in enumerate(cuts.states):
        planted = plant(state, tmp_path / f"cut{number}")
        encode_all(planted / "encoded")
        assert parts(planted / "encoded") == whole
    for number, state in enumerate(cuts.final):
        folder = plant(state, tmp_path / f"final{number}") / "encoded"
        assert sum(len(window) for window, _ in read_parts(folder)) == 12
