"""Raw text from files: lines, corpora, compressions, and what is wrong with one."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import CollectionError, NotFoundError
from isthmus.search.texts import read_texts

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
    with pytest.raises(CollectionError, match=r"a folder with corpus\.jsonl"):
        read_texts([tmp_path / "empty"])
