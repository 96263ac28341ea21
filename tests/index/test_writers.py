"""Two writers of one folder: one is refused, nothing of the other is lost, and no two models' vectors are mixed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.encoders.fingerprint import Fingerprint
from isthmus.errors import OutputError
from isthmus.index import SparseIndex
from isthmus.index.encoded_files import Inline, encode_documents, write_parts
from isthmus.index.encoded_header import EncodedHeader
from isthmus.index.format import Manifest, manifest_digest
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Corpus
from tests.faults import watched
from tests.index.vectors import IDENTITY, SIZE, documents, encode

# Another process: takes tasks by line, says when it has looked and is loading its model, and waits to be let go on.
CHILD = """
import json, sys
import isthmus.index.build as building
import isthmus.index.query_encoder as query_encoder
from isthmus.encoders.fingerprint import Fingerprint, OpenEncoder
from isthmus.errors import OutputError
from isthmus.index import SparseIndex

task = {}

def wait():
    print("ready", flush=True)
    sys.stdin.readline()

def open_encoder(model, *_, **__):
    if isinstance(model, OpenEncoder):
        return model
    wait()
    return OpenEncoder(None, Fingerprint(model, "tokenizer", model), task["size"])

building.open_encoder = query_encoder.open_encoder = open_encoder
for line in sys.stdin:
    task = json.loads(line)
    try:
        if task["verb"] == "build":
            building.build_index(task["model"], task["corpus"], task["folder"], overwrite=task.get("overwrite", False))
        elif task["verb"] == "add":
            building.change_index(task["folder"], model=task["model"], corpus=task["corpus"])
        else:
            index = SparseIndex.open(task["corpus"])
            wait()
            index.save(task["folder"], overwrite=task.get("overwrite", False))
        print("done", flush=True)
    except OutputError as error:
        print("refused", error, flush=True)
"""


class Writer:
    """The other process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, verb: str, corpus: Path, folder: Path, model: str = "a", **more: Any) -> None:
        """Begin, up to the moment at which the model is loaded."""
        task = {"verb": verb, "corpus": str(corpus), "folder": str(folder), "model": model, "size": SIZE}
        self._say(json.dumps(task | more))
        assert self._hear() == "ready"

    def go(self) -> None:
        """Let it end."""
        self._say("go")

    def result(self) -> str:
        """How it ended."""
        return self._hear()

    def end(self) -> str:
        """Let it end, and tell how."""
        self.go()
        return self.result()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def _hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")


@pytest.fixture(scope="module")
def writers() -> Iterator[tuple[Writer, Writer]]:
    both = Writer(), Writer()
    yield both
    for one in both:
        one.close()


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Encoded corpora of two models, two of each."""
    root, found = tmp_path_factory.mktemp("corpora"), {}
    for number, name in enumerate(["a", "a2", "b", "b2"]):
        header = EncodedHeader(Fingerprint(name[0], "tokenizer", name[0]), SIZE, "f32", 10, {"dtype": "float32"})
        corpus = Corpus(documents(8, first=100 * number))
        write_parts(corpus, root / name, header, Inline(encode, SIZE), tokens=["t"] * SIZE)
        found[name] = root / name
    return found


def ids(folder: Path) -> set[str]:
    index = SparseIndex.open(folder, verify_files=True)
    return {segment.document(row).id for segment in index._segments for row in segment.live().nonzero()[0].tolist()}


def of(number: int) -> set[str]:
    return {one.id for one in documents(8, first=100 * number)}


def test_a_build_that_began_before_another_ended_is_refused(
    tmp_path: Path, writers: tuple[Writer, Writer], corpora: dict[str, Path]
) -> None:
    first, second = writers
    first.start("build", corpora["a"], tmp_path / "idx")
    second.start("build", corpora["a2"], tmp_path / "idx")
    assert second.end() == "done"
    assert "was written by another process since this one began" in first.end()
    assert ids(tmp_path / "idx") == of(1)
    # With overwrite too: it was not that index which was to be replaced.
    first.start("build", corpora["a"], tmp_path / "idx", overwrite=True)
    second.start("build", corpora["b"], tmp_path / "idx", "b", overwrite=True)
    assert second.end() == "done"
    assert first.end().startswith("refused")
    assert ids(tmp_path / "idx") == of(2)


@pytest.mark.parametrize("verb", ["build", "save"])
def test_of_two_that_write_at_once_one_is_refused(
    tmp_path: Path, writers: tuple[Writer, Writer], corpora: dict[str, Path], verb: str
) -> None:
    sources = [corpora["a"], corpora["a2"]]
    if verb == "save":
        sources = [tmp_path / "source0", tmp_path / "source1"]
        for writer, corpus, source in zip(writers, (corpora["a"], corpora["a2"]), sources, strict=True):
            writer.start("build", corpus, source)
            assert writer.end() == "done"
    for turn in range(8):
        folder = tmp_path / f"idx{turn}"
        for writer, source in zip(writers, sources, strict=True):
            writer.start(verb, source, folder)
        for writer in writers:
            writer.go()
        results = [writer.result() for writer in writers]
        assert sorted(result.split()[0] for result in results) == ["done", "refused"]
        assert ids(folder) == of(results.index("done"))


def test_vectors_of_two_models_do_not_meet(
    tmp_path: Path, writers: tuple[Writer, Writer], corpora: dict[str, Path]
) -> None:
    first, second = writers
    first.start("build", corpora["a"], tmp_path / "idx")
    assert first.end() == "done"
    first.start("add", corpora["a2"], tmp_path / "idx")
    second.start("build", corpora["b"], tmp_path / "idx", "b", overwrite=True)
    assert second.end() == "done"
    assert "was built anew by another process, with another encoder" in first.end()
    assert ids(tmp_path / "idx") == of(2)
    # Documents that came meanwhile are no obstacle.
    first.start("add", corpora["b2"], tmp_path / "idx", "b")
    SparseIndex.open(tmp_path / "idx").delete(["d200"])
    assert first.end() == "done"
    assert ids(tmp_path / "idx") == (of(2) | of(3)) - {"d200"}


def test_a_copy_waits_for_no_writer_of_its_source(
    tmp_path: Path, writers: tuple[Writer, Writer], corpora: dict[str, Path]
) -> None:
    first, second = writers
    first.start("build", corpora["b"], tmp_path / "idx", "b")
    assert first.end() == "done"
    for turn in range(4):
        first.start("build", corpora["a"] if turn % 2 else corpora["a2"], tmp_path / "idx", overwrite=True)
        before = ids(tmp_path / "idx")
        second.start("save", tmp_path / "idx", tmp_path / f"copy{turn}")
        first.go()
        second.go()
        assert [first.result(), second.result()] == ["done", "done"]
        assert ids(tmp_path / f"copy{turn}") in (before, of(0), of(1))


def test_a_copy_does_not_replace_what_is_being_written(
    tmp_path: Path, writers: tuple[Writer, Writer], corpora: dict[str, Path]
) -> None:
    writers[0].start("build", corpora["a"], tmp_path / "source")
    assert writers[0].end() == "done"
    found = documents(5)
    for replaced in (False, True):
        digest = manifest_digest(tmp_path / "idx")
        new = Manifest(0, SIZE, "f32", True, IDENTITY)
        with IndexWriter(tmp_path / "idx", new=new, replaces=digest) as writer:
            writer.add(found, encode_documents(found, encode, SIZE))
            if replaced:
                writers[1].start("save", tmp_path / "source", tmp_path / "idx", overwrite=True)
                assert "is being written by another process" in writers[1].end()
            writer.commit()
        assert ids(tmp_path / "idx") == {one.id for one in found}
    writers[1].start("save", tmp_path / "source", tmp_path / "idx", overwrite=True)
    assert writers[1].end() == "done"
    assert ids(tmp_path / "idx") == of(0)


def test_a_commit_builds_on_the_state_that_was_found(tmp_path: Path) -> None:
    found = documents(5)
    with IndexWriter(tmp_path / "idx", new=Manifest(0, SIZE, "f32", True, IDENTITY)) as writer:
        writer.add(found, encode_documents(found, encode, SIZE))
        writer.commit()
    whole = (tmp_path / "idx" / "manifest.json").read_bytes()
    with IndexWriter(tmp_path / "idx") as writer:
        writer.delete(["d1"])
        # Restored from a copy, by somebody who asks for no lock.
        (tmp_path / "idx" / "manifest.json").write_bytes(whole + b"\n")
        with pytest.raises(OutputError, match="was changed by something else meanwhile; run the command again"):
            writer.commit()
    assert ids(tmp_path / "idx") == {one.id for one in found}


def test_an_index_that_cannot_be_written_is_copied(tmp_path: Path) -> None:
    found = documents(5)
    with IndexWriter(tmp_path / "idx", new=Manifest(0, SIZE, "f32", True, IDENTITY)) as writer:
        writer.add(found, encode_documents(found, encode, SIZE))
        writer.commit()
    (tmp_path / "idx" / ".lock").unlink()
    (tmp_path / "idx" / "notes").mkdir()
    (tmp_path / "idx" / "notes" / "mine.txt").write_text("mine")

    def refuse(operation: str, path: str) -> bool:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    with watched(tmp_path / "idx", refuse):
        index = SparseIndex.open(tmp_path / "idx")
        assert index.search(encode(["3"]), 1)
        index.save(tmp_path / "copy")
        with pytest.raises(OutputError, match=r"cannot be written \(Read-only file system\)"):
            index.delete(["d1"])
    assert ids(tmp_path / "copy") == {one.id for one in found}
    assert (tmp_path / "copy" / "notes" / "mine.txt").read_text() == "mine"
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == (tmp_path / "idx" / "manifest.json").read_bytes()
