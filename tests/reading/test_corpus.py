"""Every kind of corpus gives the same documents, and what is wrong with one is named with its line."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import lzma
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import CollectionError, MissingExtraError, NotFoundError, OutputError
from isthmus.reading.corpus import Corpus, Document, StandardInput, in_windows

ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": "물은 흐른다", "title": "물", "language": "ko"},
    {"id": "b", "text": 'with "quotes",\nand a line', "title": "", "language": "en"},
    {"id": "c", "text": "", "title": "", "language": "en"},
]
EXPECTED = [Document(row["id"], row["text"], row["title"], {"language": row["language"]}) for row in ROWS]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


@pytest.mark.parametrize("compress", [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)], ids=lambda c: c[0])
@pytest.mark.parametrize(("suffix", "content"), [(".jsonl", jsonl(ROWS)), (".csv", as_csv(ROWS))])
def test_files(tmp_path: Path, suffix: str, content: bytes, compress: Any) -> None:
    path = tmp_path / f"corpus{suffix}{compress[0]}"
    path.write_bytes(compress[1](content))
    corpus = Corpus(path)
    assert corpus.total == path.stat().st_size
    assert list(corpus) == EXPECTED
    assert corpus.done == corpus.total


def test_zstandard_of_several_frames(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="needs the extra zstd")
    path = tmp_path / "corpus.jsonl.zst"
    path.write_bytes(b"".join(zstandard.compress(jsonl([row])) for row in ROWS))
    assert list(Corpus(path)) == EXPECTED
    path.write_bytes(zstandard.compress(jsonl(ROWS))[:-6])
    with pytest.raises(CollectionError, match=r"damaged after line 0 .the compressed file ends early"):
        list(Corpus(path))


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    path = tmp_path / "corpus.parquet"
    parquet.write_table(sys.modules["pyarrow"].Table.from_pylist(ROWS), path)
    corpus = Corpus(path)
    assert (corpus.total, list(corpus)) == (3, EXPECTED)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CollectionError, match="must be a Parquet file"):
        Corpus(path)


@pytest.mark.parametrize(("suffix", "package"), [(".jsonl.zst", "zstandard"), (".parquet", "pyarrow")])
def test_packages_that_are_missing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str
) -> None:
    path = tmp_path / f"corpus{suffix}"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"{package} is not installed; run: .*pip install .*\\["):
        Corpus(path)


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Let standard input be a real pipe, which cannot go back, with a buffer smaller than what comes."""
    reading, writing = os.pipe()

    def write() -> None:
        # Whoever reads may have had enough.
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as stream:
            stream.write(content)

    threading.Thread(target=write, daemon=True).start()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.FileIO(reading), 16)))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress], ids=["plain", "gz", "xz"])
@pytest.mark.parametrize("format", [None, "jsonl", "csv"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, format: Any, compress: Any) -> None:
    more = [{**ROWS[0], "id": f"more{number}"} for number in range(2000)]
    rows = [*ROWS, *more]
    pipe(monkeypatch, compress(as_csv(rows) if format == "csv" else jsonl(rows)))
    corpus = Corpus("-" if format is None else StandardInput(format))
    assert corpus.total is None
    found = list(corpus)
    assert found[:3] == EXPECTED
    assert [document.id for document in found[3:]] == [row["id"] for row in more]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf" + jsonl(ROWS[:1])], ids=["none", "blank", "mark"])
def test_standard_input_shorter_than_what_tells_its_kind(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    pipe(monkeypatch, content)
    assert list(Corpus("-")) == EXPECTED[: content.count(b"id")]


def test_zstandard_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    zstandard = pytest.importorskip("zstandard", reason="needs the extra zstd")
    pipe(monkeypatch, b"".join(zstandard.compress(jsonl([row])) for row in ROWS))
    assert list(Corpus("-")) == EXPECTED


@pytest.mark.parametrize("format", [None, "parquet"])
def test_parquet_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    path = tmp_path / "corpus.parquet"
    parquet.write_table(sys.modules["pyarrow"].Table.from_pylist(ROWS), path)
    pipe(monkeypatch, path.read_bytes())
    corpus = Corpus(StandardInput(format))
    assert (corpus.total, list(corpus)) == (3, EXPECTED)
    pipe(monkeypatch, path.read_bytes()[:-9])
    with pytest.raises(CollectionError, match=r"^stdin must be a Parquet file, got"):
        Corpus(StandardInput(format))
    pipe(monkeypatch, path.read_bytes())
    with pytest.raises(CollectionError, match=r"^stdin must be csv, as --format says, got Parquet; leave --format out"):
        Corpus(StandardInput("csv"))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    pipe(monkeypatch, path.read_bytes())
    with pytest.raises(
        OutputError, match=r"^stdin cannot be kept in .* \(No space left on device\); free space, or let"
    ):
        Corpus(StandardInput(format))


def test_lines_of_a_slow_pipe_are_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.FileIO(reading))))
    with os.fdopen(writing, "wb", buffering=0) as stream:
        stream.write(jsonl(ROWS[:1]))
        found = iter(Corpus("-"))
        # Would wait forever, because nothing more comes before it is read.
        assert next(found) == EXPECTED[0]
        stream.write(jsonl(ROWS[1:]))
        assert next(found) == EXPECTED[1]


@pytest.mark.parametrize(
    ("format", "content", "message"),
    [
        (
            None,
            gzip.compress(jsonl(ROWS) + b"{", mtime=0),
            r"^stdin, line 4: must be JSON, got '{' \(.*\); mend the line or remove it$",
        ),
        (None, gzip.compress(jsonl(ROWS), mtime=0)[:-12], "^stdin is damaged after line"),
        (None, as_csv(ROWS), r"^stdin, line 1: must be JSON, got .*; if it is CSV, say so with --format csv$"),
        (
            "jsonl",
            as_csv(ROWS),
            r"^stdin, line 1: must be JSON, got 'id,text,title,language.*\); mend the line or remove it$",
        ),
        ("csv", lzma.compress(b"id,text\na,x\nb\n"), "^stdin, line 3: must have as many fields as the header"),
    ],
)
def test_malformed_standard_input_is_named(
    monkeypatch: pytest.MonkeyPatch, format: Any, content: bytes, message: str
) -> None:
    pipe(monkeypatch, content)
    with pytest.raises(CollectionError, match=message):
        list(Corpus(StandardInput(format)))


@pytest.fixture
def field_limit() -> Iterator[None]:
    """The csv module's own limit, put back afterwards; it holds for the whole process."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("field_limit")
def test_long_fields_of_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "corpus.csv"
    path.write_bytes(as_csv([{"id": "a", "text": "x\n" * 100_000}, {"id": "b", "text": "y"}]))
    assert [len(document.text) for document in Corpus(path)] == [200_000, 1]
    path.write_text('id,text\na,"x"\nb,"y\n' + "z\n" * 100_000)
    csv.field_size_limit(131_072)
    monkeypatch.setattr("isthmus.reading.records._FIELD_CHARACTERS", 150_000)
    message = r"line 3: must have fields of at most 150,000 characters, got a longer one .*; close its quotes, or cut"
    with pytest.raises(CollectionError, match=message):
        list(Corpus(path))
    csv.field_size_limit(10_000_000)
    with pytest.raises(CollectionError, match=r"must be CSV \(unexpected end of data\)"):
        list(Corpus(path))
    assert csv.field_size_limit() == 10_000_000


def test_memory_and_beir_folders(tmp_path: Path) -> None:
    assert list(Corpus({"a": "x"})) == list(Corpus([{"id": "a", "text": "x"}])) == [Document("a", "x")]
    assert list(Corpus(EXPECTED)) == EXPECTED
    (tmp_path / "corpus.jsonl").write_bytes(jsonl([{"_id": 7, "text": "x"}]))
    assert list(Corpus(tmp_path)) == [Document("7", "x")]


def test_lines_of_json_keep_everything() -> None:
    document = Document("a\u2028b", "line\nline \ud800", "t", {"language": "ko", "n": [1, {"x": None}]})
    line = document.to_json()
    assert b"\n" not in line
    assert Document.from_json(line) == document
    assert Document.from_json(document.to_json(text=False)) == Document(document.id, "", "", document.metadata)
    assert Document("a", " y ", " x ").content == "x y"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ['{"id": "a", "text": "x"}', "", '{"id": "b", "text": '],
            r"corpus\.jsonl, line 3: must be JSON, got .*column.*; mend the line or remove it",
        ),
        (["[1]"], "line 1: must be an object with id and text, got list"),
        (['{"text": "x", "name": "y"}'], "line 1: id must be .*got None; the fields are text, name"),
        (['{"id": "", "text": "x"}'], "line 1: id must be a string that is not empty"),
        (['{"id": true, "text": "x"}'], "line 1: id must be"),
        (['{"id": "a", "text": 3}'], "line 1: text .and title. of 'a' must be a string, got 3"),
        (['{"id": "a", "text": "x", "title": ["t"]}'], "must be a string, got"),
        (['{"id": "a", "text": "x"}', '{"id": "a", "text": "y"}'], "line 2: id must be unique, got 'a' again"),
        (['{"id": 1, "text": "x"}', '{"id": "1", "text": "y"}'], "line 2: id must be unique, got '1' again"),
        (['{"id": "a", "text": "x \\ud800"}'], "line 1: id, text and title of 'a' must be Unicode"),
        (["[" * 100_000], "line 1: must be JSON"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(CollectionError, match=message):
        list(Corpus(path))


def test_malformed_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.jsonl does not exist"):
        Corpus(tmp_path / "none.jsonl")
    with pytest.raises(CollectionError, match=r"a folder with corpus\.jsonl, got .* without one; name a file in it"):
        Corpus(tmp_path)
    for name in ("corpus.txt", "corpus.parquet.gz"):
        with pytest.raises(CollectionError, match=r"must end in \.jsonl, \.csv or \.parquet"):
            Corpus(tmp_path / name)
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b'{"id": "a", "text": "x"}\n{"id": "b", "text": "\xff"}\n')
    with pytest.raises(CollectionError, match="line 2: must be UTF-8"):
        list(Corpus(path))
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress(jsonl(ROWS))[:-12])
    with pytest.raises(CollectionError, match="is damaged after line"):
        list(Corpus(path))
    path = tmp_path / "corpus.csv"
    for content, message in (
        ("id,text\na,x,y\n", "line 2: must have as many fields"),
        ('id,text\na,"x', "must be CSV"),
    ):
        path.write_text(content)
        with pytest.raises(CollectionError, match=message):
            list(Corpus(path))


def test_windows() -> None:
    assert [len(window) for window in in_windows([Document(str(n), "") for n in range(7)], 3)] == [3, 3, 1]


def test_numbers_that_json_does_not_have_become_null() -> None:
    rows = [{"id": "a", "text": "t", "price": float("nan"), "deep": {"list": [1.5, float("inf")]}, "year": 2000}]
    (document,) = Corpus(rows)
    assert document.metadata == {"price": None, "deep": {"list": [1.5, None]}, "year": 2000}
    assert b"NaN" not in document.to_json()
