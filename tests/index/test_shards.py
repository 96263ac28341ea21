"""Encoding is resumable: whatever happens, the parts hold every document once, as one uninterrupted run makes them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.encoders.fingerprint import Fingerprint
from isthmus.errors import CollectionError, IndexFileError, InputError, NotFoundError, OutputError
from isthmus.index.encoded_files import Inline, part_name, read_encoding, read_parts, write_parts
from isthmus.index.encoded_header import EncodedHeader
from isthmus.index.options import EncodeCorpusOptions, Shard, Weights
from isthmus.reading.corpus import Corpus, Document
from isthmus.reading.disk import locked
from tests.index.vectors import IDENTITY, SIZE, documents, encode, rows

ENCODING = EncodedHeader(IDENTITY, SIZE, "f32", 10, {"dtype": "float32"})
CHILD = """
import sys, time
from pathlib import Path
from isthmus.reading.corpus import Corpus
from isthmus.index.encoded_files import Inline, write_parts
from tests.index.test_shards import ENCODING
from tests.index.vectors import SIZE, encode

def slowly(texts):
    time.sleep(0.02)
    return encode(texts)

print("ready", flush=True)
write_parts(Corpus(sys.argv[1]), Path(sys.argv[2]), ENCODING, Inline(slowly, SIZE), tokens=["a"] * SIZE)
"""


def run(folder: Path, found: Any, encoding: EncodedHeader = ENCODING) -> EncodedHeader:
    return write_parts(Corpus(found), folder, encoding, Inline(encode, SIZE), tokens=["a"] * SIZE)


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_vectors_and_documents_come_back_in_order(tmp_path: Path) -> None:
    found = documents(57)
    done = run(tmp_path, found)
    expected = encode([one.text for one in found])
    assert done == read_encoding(tmp_path)
    assert done.complete == {
        "documents": 57,
        "postings": expected.nnz,
        "parts": 6,
        "empty": 8,
        "error": 0.0,
        "truncated": 0,
    }
    windows = list(read_parts(tmp_path))
    assert [one for window, _ in windows for one in window] == found
    stacked = np.vstack([vectors.toarray() for _, vectors in windows])
    np.testing.assert_array_equal(stacked, expected.toarray())


def test_shares_are_made_apart_and_joined(tmp_path: Path) -> None:
    found = documents(97)
    run(tmp_path / "whole", found)

    def share(folder: Path, text: str) -> EncodedHeader:
        shard = Shard.parse(text)
        return write_parts(Corpus(found), folder, ENCODING, Inline(encode, SIZE), tokens=["a"] * SIZE, shard=shard)

    counts = [share(tmp_path / f"share-{number}", f"{number}/3").complete for number in (1, 2, 3)]
    assert [one["parts"] for one in counts if one] == [4, 3, 3]
    assert sum(one["documents"] for one in counts if one) == 97
    joined = tmp_path / "joined"
    joined.mkdir()
    for number in (1, 2):
        for path in (tmp_path / f"share-{number}").glob("*.*"):
            (joined / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="must be finished; run isthmus encode again"):
        list(read_parts(joined))
    # The third never came: the last run makes what is missing.
    run(joined, found)
    assert parts(joined) == parts(tmp_path / "whole")
    # Into one folder at the same time; who makes all of it waits for none of them.
    both = tmp_path / "both"
    with locked(both, "1-of-2"):
        share(both, "2/2")
        with pytest.raises(OutputError, match="is being written by another process"):
            share(both, "1/2")
        with pytest.raises(OutputError, match="is being written by another process"):
            run(both, found)
    share(both, "1/2")
    run(both, found)
    assert parts(both) == parts(tmp_path / "whole")
    assert [path.name for path in both.glob(".lock*")] == [".lock"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "/3", "-1/3", "1/3/5", "a/b", "1/0", "1.0/2", ""])
def test_a_share_is_a_number_of_how_many(text: str) -> None:
    with pytest.raises(InputError, match="shard must be NUMBER/COUNT"):
        EncodeCorpusOptions(shard=text)


@pytest.mark.parametrize("weights", ["f16", "u8"])
def test_rounded_weights_are_off_by_no_more_than_stated(tmp_path: Path, weights: Weights) -> None:
    found = documents(57)
    done = run(tmp_path, found, replace(ENCODING, weights=weights))
    stacked = np.vstack([vectors.toarray() for _, vectors in read_parts(tmp_path)])
    error = np.abs(stacked - encode([one.text for one in found]).toarray()).max()
    assert done.complete is not None
    assert 0 < error <= done.complete["error"] + 1e-6 < 0.05


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """A process is killed again and again at random moments; what comes out is what one run makes."""
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows(documents(400))))
    run(tmp_path / "whole", corpus)
    generator = random.Random(0)
    folder = tmp_path / "killed"
    seen = []
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(corpus), str(folder)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(generator.uniform(0.0, 0.3))
        child.kill()
        child.wait()
        child.stdout.close()
        seen.append(len(list(folder.glob("part-*"))))
    assert seen == sorted(seen)
    assert 0 < seen[-1] < 40
    run(folder, corpus)
    assert parts(folder) == parts(tmp_path / "whole")
    assert not list(folder.glob(".part-*"))


def test_stopped_after_every_part(tmp_path: Path) -> None:
    found = documents(57)
    run(tmp_path / "whole", found)

    class Stop(Exception):
        pass

    def stop(_: int, fresh: bool) -> None:
        if fresh:
            raise Stop

    folder = tmp_path / "stopped"
    for _ in range(6):
        with pytest.raises(Stop):
            write_parts(Corpus(found), folder, ENCODING, Inline(encode, SIZE), tokens=["a"] * SIZE, on_part=stop)
        with pytest.raises(InputError, match="must be finished; run isthmus encode again"):
            list(read_parts(folder))
    run(folder, found)
    assert parts(folder) == parts(tmp_path / "whole")


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = documents(57)

    def full(texts: Sequence[str]) -> Any:
        if "d30" in {one.id for one in found if one.text in texts}:
            monkeypatch.setattr("os.fsync", fail)
        return encode(texts)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"part-00000003.* \(No space left on device\); free space"):
        write_parts(Corpus(found), tmp_path, ENCODING, Inline(full, SIZE))
    monkeypatch.undo()
    names = {path.name for path in tmp_path.iterdir()}
    assert names - {".lock"} == {"encoding.json", "tokens.json", *(part_name(number) for number in range(3))}
    assert run(tmp_path, found).complete is not None


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(OutputError, match="is being written by another process; wait"):
        run(tmp_path, documents(3))
    run(tmp_path, documents(3))


def test_what_was_begun_otherwise_is_refused(tmp_path: Path) -> None:
    found = documents(30)
    run(tmp_path, found)
    before = parts(tmp_path)
    with pytest.raises(InputError, match=r"part-00000001.* was made of other documents"):
        run(tmp_path, [*found[:12], Document("x", "1"), *found[13:]])
    with pytest.raises(InputError, match=r"part-00000002.* was made of other documents"):
        run(tmp_path, found[:20])
    (tmp_path / part_name(1)).rename(tmp_path / "aside")
    with pytest.raises(InputError, match=r"part-00000002.* was made of other documents"):
        run(tmp_path, found[:10])
    (tmp_path / "aside").rename(tmp_path / part_name(1))
    for change in ({"weights": "u8"}, {"part_size": 9}, {"settings": {"dtype": "bfloat16"}}):
        with pytest.raises(InputError, match=f"was begun with {next(iter(change))} "):
            run(tmp_path, found, replace(ENCODING, **change))
    with pytest.raises(
        InputError, match=r"must be the one that made the vectors in .*fingerprint of the encoder differs"
    ):
        run(tmp_path, found, replace(ENCODING, identity=Fingerprint("else", IDENTITY.tokenizer)))
    assert parts(tmp_path) == before


def test_a_corpus_that_grew_is_continued(tmp_path: Path) -> None:
    """Whole parts are kept; only a last part that was not full stands in the way."""
    run(tmp_path, documents(30))
    done = run(tmp_path, documents(45))
    assert done.complete is not None
    assert done.complete["documents"] == 45
    with pytest.raises(InputError, match=r"part-00000004.* was made of other documents"):
        run(tmp_path, documents(46))


def test_malformed_corpora_leave_what_is_finished(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    lines = [json.dumps(row) for row in rows(documents(25))]
    corpus.write_text("\n".join([*lines, "{"]))
    with pytest.raises(CollectionError, match="line 26: must be JSON"):
        run(tmp_path / "out", corpus)
    assert len(list((tmp_path / "out").glob("part-*"))) == 2
    corpus.write_text("\n".join(lines))
    done = run(tmp_path / "out", corpus).complete
    assert done is not None
    assert done["documents"] == 25


def test_damage_is_refused(tmp_path: Path) -> None:
    found = documents(30)
    run(tmp_path, found)
    path = tmp_path / part_name(1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(
        IndexFileError, match=r"part-00000001.* is damaged .*remove the file and run isthmus encode again"
    ):
        run(tmp_path, found)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(IndexFileError, match="its digest differs"):
        list(read_parts(tmp_path))
    path.unlink()
    with pytest.raises(IndexFileError, match=r"part-00000001.* is damaged"):
        list(read_parts(tmp_path))
    run(tmp_path, found)
    header = tmp_path / "encoding.json"
    content = json.loads(header.read_text())
    for changed, message in (
        (json.dumps(content | {"version": 2}), "has format version 2, and this Isthmus reads version 1"),
        ("{", "encoding.json is damaged"),
        (json.dumps({"format": "isthmus-encoding", "version": 1}), "encoding.json is damaged"),
    ):
        header.write_text(changed)
        with pytest.raises(IndexFileError, match=message):
            run(tmp_path, found)
    header.unlink()
    with pytest.raises(NotFoundError, match=r"has no encoding\.json; run isthmus encode"):
        read_encoding(tmp_path)
    with pytest.raises(OutputError, match="must be empty or an encoded corpus, got part-00000000"):
        run(tmp_path, found)
