"""Writers in processes of their own, forked and not started anew, and killed by the clock."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.index import SparseIndex
from isthmus.index.build import change_index
from isthmus.index.encoded_files import encode_documents
from isthmus.index.format import Manifest, manifest_digest, read_manifest
from isthmus.index.options import MemoryLimits
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Document
from tests.index.vectors import IDENTITY, SIZE, documents, encode

LIMITS = MemoryLimits(documents=40, merged=2**10)
ONES = csr_matrix(np.ones((1, SIZE), dtype=np.float32))


def _write(folder: Path, found: list[Document], **how: Any) -> None:
    update, compact = how.pop("update", False), how.pop("compact", False)
    with IndexWriter(folder, limits=LIMITS, **how) as writer:
        for start in range(0, len(found), 20):
            window = found[start : start + 20]
            writer.add(window, encode_documents(window, encode, SIZE), update=update)
        writer.commit(compact=compact)


def _build(folder: Path, first: int = 0) -> None:
    new = Manifest(0, SIZE, "f32", True, IDENTITY)
    _write(folder, documents(120, first=first), new=new, tokens=["t"] * SIZE, replaces=manifest_digest(folder))


COMMANDS: dict[str, Callable[[Path], Any]] = {
    "build": lambda folder: _build(folder, first=500),
    "build anew": lambda folder: _build(folder, first=500),
    "add": lambda folder: _write(folder, documents(90, first=200)),
    "update": lambda folder: _write(folder, documents(90, seed=1), update=True),
    "delete": lambda folder: change_index(folder, delete=[f"d{number}" for number in range(0, 100, 3)]),
    "compact": lambda folder: _write(folder, [], compact=True),
}


def contents(folder: Path) -> Any:
    """What an index finds, every file of it being whole; None for no index."""
    if not (folder / "manifest.json").exists():
        return None
    hits = SparseIndex.open(folder, verify_files=True).search(ONES, 1000)
    return [(hit.id, hit.score, hit.document) for hit in hits]


def _child(command: Callable[[Path], Any], folder: Path) -> int:
    child = os.fork()
    if child == 0:
        try:
            command(folder)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
            os._exit(1)
    return child


def _kill_after(child: int, seconds: float) -> tuple[int, float]:
    """Exit status of a child that is killed after so many seconds if it has not ended, and how long it lived."""
    began = time.perf_counter()
    while (lived := time.perf_counter() - began) < seconds:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status, lived
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1], lived


def kill(root: Path, kills: int, seed: int = 0) -> dict[str, Counter[str]]:
    """Kill every command in turn, and look at what it left; the next writer finds nothing in its way.

    Returns:
        By command, how many kills left the state before, the state after, and came when it had ended already.

    Raises:
        AssertionError: If a kill leaves anything else.
    """
    generator = random.Random(seed)
    start = root / "start"
    _build(start)
    before, told = contents(start), {}
    seconds, right = {}, {}
    for name, command in COMMANDS.items():
        folder = root / "work"
        if name != "build":
            shutil.copytree(start, folder)
        began = time.perf_counter()
        assert os.waitpid(_child(command, folder), 0)[1] == 0
        seconds[name], right[name] = time.perf_counter() - began, contents(folder)
        told[name] = Counter[str]()
        shutil.rmtree(folder)
    done = 0
    while done < kills:
        name = list(COMMANDS)[done % len(COMMANDS)]
        folder = root / "work"
        if name != "build":
            shutil.copytree(start, folder)
        child = _child(COMMANDS[name], folder)
        status, lived = _kill_after(child, generator.uniform(0, 1.1) * seconds[name])
        if not status:
            # The run before was a slow one: kills that come too late tell nothing.
            seconds[name] = min(seconds[name], lived)
        assert status in (0, signal.SIGKILL), f"{name} failed"
        found, own = contents(folder), None if name == "build" else before
        assert found in (own, right[name]), f"{name}: neither before nor after"
        assert status or found == right[name], f"{name}: ended, and is not there"
        told[name]["ended before" if not status else "after" if found == right[name] != own else "before"] += 1
        _check_next(folder, found)
        shutil.rmtree(folder)
        done += 1
    return told


def _check_next(folder: Path, found: Any) -> None:
    """The next writer is not locked out, and removes what the killed one left."""
    if found is None:
        _build(folder, first=500)
    else:
        change_index(folder, delete=[])
        assert contents(folder) == found
    manifest = read_manifest(folder)
    named = {entry.name for entry in manifest.segments}
    assert {path.name for path in (folder / "segments").iterdir()} == named
    beside = {path.name for path in folder.iterdir()} - {".lock", "manifest.json", "segments", *manifest.files}
    assert not beside
