"""Files of an open index that are cut off or written over: reading raises, and neither dies nor tells what is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.engines.contents import filled, read_vectors
from isthmus.errors import IndexFileError
from isthmus.index import SparseIndex
from isthmus.index.build import change_index
from isthmus.index.encoded_files import encode_documents
from isthmus.index.format import Manifest
from isthmus.index.writer import IndexWriter
from tests.index.vectors import IDENTITY, SIZE, documents, encode

QUERY = csr_matrix(np.ones((1, SIZE), dtype=np.float32))
WAYS: list[Callable[[SparseIndex], Any]] = [
    lambda index: [(hit.id, hit.score, hit.document) for hit in index.search(QUERY, 20)],
    lambda index: [hit.id for hit in index.search(QUERY, 20, filter={"language": "ko"})],
    lambda index: [(match.token, match.score) for match in index.explain(QUERY, "d4")],
    lambda index: index.field_values("language"),
    lambda index: [(rows.tolist(), vectors.toarray().tolist()) for rows, vectors in read_vectors(index)],
    filled,
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open") / "idx"
    found = documents(24)
    with IndexWriter(folder, new=Manifest(0, SIZE, "f32", True, IDENTITY), tokens=["t"] * SIZE) as writer:
        writer.add(found, encode_documents(found, encode, SIZE))
        writer.commit()
    change_index(folder, delete=["d3"])
    return folder


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut off":
        os.truncate(path, 0)
    elif how == "cut short":
        os.truncate(path, len(content) - 1)
    elif how == "written over":
        path.write_bytes(bytes(reversed(content)))
    elif how == "written over, once more the same":
        path.write_bytes(content)
    elif how == "removed":
        path.unlink()
    else:
        other = path.with_name(f"{path.name}.new")
        other.write_bytes(b"?" * len(content))
        other.replace(path)
    if path.exists() and how != "replaced":
        # The clock of a file system is slow; who opened a file and who writes it are seldom as near as here.
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


@pytest.mark.parametrize(
    "how", ["cut off", "cut short", "written over", "written over, once more the same", "removed", "replaced"]
)
def test_an_open_index_answers_as_before_or_says_that_it_was_changed(built: Path, tmp_path: Path, how: str) -> None:
    names = [path.relative_to(built) for path in built.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(names) > 12
    raised = set()
    for name in names:
        folder = tmp_path / "idx"
        shutil.copytree(built, folder)
        index, before = SparseIndex.open(folder), SparseIndex.open(folder)
        expected = [way(before) for way in WAYS]
        damage(folder / name, how)
        for way, right in zip(WAYS, expected, strict=True):
            try:
                assert way(index) == right, name
            except IndexFileError as error:
                raised.add((name.name, "was changed while it was open" in str(error)))
        shutil.rmtree(folder)
    assert all(as_changed for _, as_changed in raised)
    if how in ("removed", "replaced"):
        assert raised == set()
    else:
        assert {"rows.npy", "weights.npy", "documents.jsonl", "field_rows.npy"} <= {name for name, _ in raised}
