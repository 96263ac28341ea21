"""Raw text from files: lines, corpora, compressions, and what is wrong with one."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import CollectionError, NotFoundError
from isthmus.reading.texts import read_samples, read_texts
from isthmus.training.unlabelled import read_documents

LINES = ["erste Zeile", " zweite\u2028Zeile ", "dritte"]
CONTENT = "\r\n".join([LINES[0], "", LINES[1], LINES[2]]).encode()


@pytest.mark.parametrize("compress", [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)], ids=lambda c: c[0])
def test_lines_of_a_text_file(tmp_path: Path, compress: Any) -> None:
    path = tmp_path / f"de.txt{compress[0]}"
    path.write_bytes(compress[1](b"\xef\xbb\xbf" + CONTENT))
    assert list(read_texts([path, str(path)])) == LINES * 2


def test_zstandard(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="needs the extra zstd")
    path = tmp_path / "de.txt.zst"
    path.write_bytes(zstandard.compress(CONTENT))
    assert list(read_texts([path])) == LINES
    path.write_bytes(zstandard.compress(CONTENT)[:-4])
    with pytest.raises(CollectionError, match="the compressed file ends early"):
        list(read_texts([path]))


def test_unlabelled_text_to_train_on_may_be_compressed_alike(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="needs the extra zstd")
    path = tmp_path / "de.txt.zst"
    path.write_bytes(zstandard.compress(CONTENT))
    assert [document.text for document in read_documents(path)] == LINES
    path.write_bytes(zstandard.compress(CONTENT)[:-4])
    with pytest.raises(CollectionError, match="the compressed file ends early"):
        list(read_documents(path))


def test_titles_and_texts_of_a_corpus(tmp_path: Path) -> None:
    rows = [{"_id": "a", "title": "Haus", "text": "am See"}, {"_id": "b", "text": "Berg"}]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_texts([path])) == list(read_texts([tmp_path])) == ["Haus am See", "Berg"]


def test_the_line_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "de.txt"
    path.write_bytes(b"gut\n\xfcber\n")
    texts = read_texts([path])
    assert next(texts) == "gut"
    with pytest.raises(CollectionError, match=r"de\.txt, line 2: must be UTF-8 text"):
        next(texts)
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(CONTENT)[:-9])
    with pytest.raises(CollectionError, match=r"cut\.txt\.gz is damaged"):
        list(read_texts([tmp_path / "cut.txt.gz"]))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}\n{"_id": ')
    with pytest.raises(CollectionError, match="line 2"):
        list(read_texts([tmp_path / "corpus.jsonl"]))


def test_all_files_are_looked_for_before_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "de.txt").write_text("gut\n")
    with pytest.raises(NotFoundError, match="nowhere"):
        read_texts([tmp_path / "de.txt", tmp_path / "nowhere.txt"])
    (tmp_path / "de.pdf").write_text("%PDF")
    with pytest.raises(CollectionError, match=r"must end in \.txt, .*; rename it"):
        read_texts([tmp_path / "de.txt", tmp_path / "de.pdf"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "de.txt").write_text("gut\n")
    with pytest.raises(CollectionError, match=r"with corpus\.jsonl, got .*empty without one; name its .*empty/\*\.txt"):
        read_texts([tmp_path / "empty"])


def test_samples_are_the_same_in_all_formats(tmp_path: Path) -> None:
    found = [" Haus am See", "", "Berg\u2028tal ", "Wald"]
    rows = [{"id": f"d{number}", "text": text} for number, text in enumerate(found)]
    contents = {
        ".txt": "\n".join(found).encode(),
        ".jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
        ".csv": "".join(f'"{a}","{b}"\n' for a, b in [("id", "text"), *((r["id"], r["text"]) for r in rows)]).encode(),
    }
    zstandard = pytest.importorskip("zstandard", reason="needs the extra zstd")
    packers = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
    for kind, content in contents.items():
        for compression, pack in packers.items():
            path = tmp_path / f"de{kind}{compression}"
            path.write_bytes(pack(content))
            assert read_samples(path) == ["Haus am See", "Berg\u2028tal", "Wald"], path.name
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "de.parquet")
    assert read_samples(tmp_path / "de.parquet") == ["Haus am See", "Berg\u2028tal", "Wald"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("de.txt", ""), ("de.txt", " \n\n"), ("de.jsonl", '{"id": "a", "text": " "}\n'), ("de.csv", "id,text\n")],
)
def test_a_file_without_text_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CollectionError, match=rf"{name} must hold at least one line or document .*; give a file with"):
        read_samples(tmp_path / name)
    (tmp_path / "more.txt").write_text("gut\n")
    assert [text for text in read_texts([tmp_path / name, tmp_path / "more.txt"]) if text.strip()] == ["gut"]
