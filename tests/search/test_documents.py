"""Every kind of corpus gives the same documents, and what is wrong with one is named with its line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import sys
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import CollectionError, MissingExtraError, NotFoundError
from isthmus.search.documents import Corpus, Document, in_windows

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
    with pytest.raises(MissingExtraError, match=f"{package} is not installed; run: pip install 'isthmus\\["):
        Corpus(path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(jsonl(ROWS))))
    corpus = Corpus("-")
    assert corpus.total is None
    assert list(corpus) == EXPECTED


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
        (['{"id": "a", "text": "x"}', "", '{"id": "b", "text": '], r"line 3: must be JSON, got .*column"),
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
    with pytest.raises(CollectionError, match=r"must be a file or a folder with corpus\.jsonl"):
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
