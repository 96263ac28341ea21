"""Files that cost more than they look: bounded memory, a limit for lines, and one clear error."""

import gzip
import json
import lzma
import os
import tracemalloc

import pytest

from isthmus.collections.squad import read_squad
from isthmus.errors import CollectionError, InputError
from isthmus.index.format import Manifest
from isthmus.index.options import _read_ids
from isthmus.reading import lines
from isthmus.reading.corpus import Corpus
from isthmus.reading.fields import DEEPEST
from isthmus.reading.lines import read_lines
from isthmus.reading.visible import visible, visible_json


def zst(content):
    zstandard = pytest.importorskip("zstandard", reason="needs the extra zstd")
    return zstandard.compress(content, 19)


PACKERS = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": zst}


@pytest.mark.parametrize("end", PACKERS)
def test_a_bomb_costs_bounded_memory(end, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LINE_BYTES", 2**20)
    path = tmp_path / f"bomb.jsonl{end}"
    path.write_bytes(PACKERS[end](b'{"id": "a", "text": "' + b"x" * 2**26))
    assert path.stat().st_size < 2**18
    tracemalloc.start()
    try:
        with pytest.raises(CollectionError, match=r"line 1: must have at most 1,048,576 bytes, got more; cut it"):
            list(Corpus(path))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_what_is_unpacked_is_copied_once(tmp_path):
    """Time that grows with the square of a file shows in how often its bytes are given out."""
    stream = lines.decompressed((tmp_path / "x").open("w+b"), "")
    stream.close()
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zst(b"x" * 2**23))
    with path.open("rb") as raw:
        unpacked = lines.decompressed(raw, ".zst")
        held = unpacked.raw
        sizes = []
        while unpacked.read(2**13):
            sizes.append(len(held._ready))
    assert max(sizes) <= 2**17


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lines_have_a_limit(encoding, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LINE_BYTES", 100)
    path = tmp_path / "a.txt"
    path.write_bytes(("x" * 99 + "\n" + "y" * 200 + "\n").encode(encoding))
    with pytest.raises(InputError, match="line 2: must have at most 100 bytes"):
        list(read_lines(path))


@pytest.mark.parametrize("read", [lambda path: list(Corpus(path)), read_squad])
def test_files_that_are_held_whole_have_a_limit(read, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "WHOLE_BYTES", 100)
    path = tmp_path / "a.json"
    path.write_text("[\n" + '{"id": "a", "text": "b"},\n' * 10)
    with pytest.raises(CollectionError, match="must have at most 100 characters, got more"):
        read(path)


def test_pipes_and_devices_are_no_files(tmp_path):
    path = tmp_path / "corpus.jsonl"
    os.mkfifo(path)
    with pytest.raises(CollectionError, match="must be a file, got a pipe or a device"):
        Corpus(path)
    with pytest.raises(InputError, match="must be a file, got a pipe or a device"):
        list(read_lines(path))
    with pytest.raises(InputError, match="must be a file, got a pipe or a device"):
        _read_ids(path)


def test_deep_metadata_is_refused(tmp_path):
    def nested(depth):
        return {"id": "a", "text": "b", "m": json.loads("[" * depth + "]" * depth)}

    (document,) = Corpus([nested(DEEPEST)])
    assert document.metadata["m"]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(nested(500)))
    for source in ([nested(500)], path):
        with pytest.raises(CollectionError, match="metadata of 'a' must be nested at most 64 levels deep"):
            list(Corpus(source))
    path.write_text("[" * 100_000)
    with pytest.raises(CollectionError, match="line 1: must be JSON"):
        list(Corpus(path))


def test_half_a_surrogate_pair_may_name_a_field():
    (document,) = Corpus([{"id": "a", "text": "b", "\ud800": "\udfff"}])
    assert document.metadata == {"\ud800": "\udfff"}
    manifest = Manifest(1, 4, "f32", True, None, settings={"\ud800": 1})
    assert Manifest.from_dict(json.loads(manifest.to_bytes()), "m") == manifest


@pytest.mark.parametrize("content", [b"\x00" * 100, b'{"id": "a", "text": "\x00"}', b'{"id": "a"'])
def test_zero_bytes_are_refused(content, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(CollectionError, match="line 1"):
        list(Corpus(path))


def test_empty_lines_are_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n" * 10_000)
    assert list(Corpus(path)) == []


def test_ids_are_those_of_the_file(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text(" a \nb c\r\n\n\u00e9\ne\u0301\n", encoding="utf-8")
    assert _read_ids(path) == [" a ", "b c", "\u00e9", "e\u0301"]
    path = tmp_path / "ids.jsonl"
    path.write_text('{"id": "a\\nb"}\n{"_id": "  "}\n')
    assert _read_ids(path) == ["a\nb", "  "]


def test_what_steers_a_terminal_is_spelled_out():
    assert visible("a\x1b[31m\r\n\x9b2J\u202egnp\u2066") == "a\\x1b[31m\\r\\n\\x9b2J\\u202egnp\\u2066"
    assert visible("a\nb\x07", lines=True) == "a\nb\\x07"
    # Letters of words that need them.
    assert visible("می\u200cخواهم क\u094d\u200dष") == "می\u200cخواهم क\u094d\u200dष"
    text = visible_json(json.dumps({"a": "\x1b\x9b\u202e"}, ensure_ascii=False))
    assert text.isascii()
    assert json.loads(text) == {"a": "\x1b\x9b\u202e"}
