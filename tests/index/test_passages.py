"""Indexes of passages: they are searched, documents are shown, added, replaced and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.encoders.splitting import passage_id
from isthmus.errors import InputError
from isthmus.index import SparseIndex, build_index, change_index, encode_corpus
from isthmus.index.encoded_files import encode_documents
from isthmus.index.format import Manifest
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Document, Passage
from tests.index.vectors import IDENTITY, SIZE, encode
from tests.tiny_encoders import splade

LONG = "the house of water . the capital of korea . war . schools . " * 4
ROWS = [
    {"id": "long", "text": LONG + "home home", "language": "en"},
    {"id": "short", "text": "home", "language": "ko"},
    {"id": "none", "text": "", "language": "ko"},
]


def parts(document: str, *texts: str, **metadata: Any) -> list[Document]:
    """A document of these passages, which lie one behind the other."""
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)]).tolist()
    return [
        Document(
            passage_id(document, number),
            text,
            metadata=metadata,
            passage=Passage(document, number, len(texts), start, start + len(text)),
        )
        for number, (start, text) in enumerate(zip(starts, texts, strict=False))
    ]


CROWDED = [
    *parts("a", *["7 7 7"] * 30, year=1),
    *parts("b", "1", "7", "2", year=2),
    *parts("c#p0", "7 7", "3", year=2),
    *parts("d", "4", year=1),
]


def write(folder: Path, documents: Sequence[Document]) -> SparseIndex:
    new = Manifest(0, SIZE, "f32", True, IDENTITY, {"split_texts": True})
    with IndexWriter(folder, new=new) as writer:
        writer.add(documents, encode_documents(documents, encode, SIZE))
        writer.commit()
    return SparseIndex.open(folder)


def test_as_many_documents_as_there_are_each_by_its_best_passage(tmp_path: Path) -> None:
    index = write(tmp_path / "idx", CROWDED)
    assert (len(index), index.summary()["passages"]) == (4, 36)
    for top_k, ids in ((1, ["a"]), (2, ["a", "c#p0"]), (3, ["a", "c#p0", "b"]), (9, ["a", "c#p0", "b"])):
        hits = index.search(encode(["7"]), top_k)
        assert [hit.id for hit in hits] == ids
    assert [hit.document.text for hit in hits] == ["7 7 7", "7 7", "7"]
    assert [hit.document.passage.start for hit in hits if hit.document.passage] == [0, 0, 2]
    assert [hit.id for hit in index.search(encode(["7"]), filter={"year": 2})] == ["c#p0", "b"]
    assert index.best_passage(encode(["2"]), "b") == hits[2].document.id.replace("#p1", "#p2")
    for hit in hits:
        for identifier in (hit.id, hit.document.id):
            found = index.explain(encode(["7"]), identifier)
            assert sum(match.score for match in found) == pytest.approx(hit.score)
    assert (index.document("b").text, index.document("b").id) == ("1 7 2", "b")
    assert index.document("b#p1").text == "7"
    with pytest.raises(InputError, match="'x' must be in the index"):
        index.explain(encode(["7"]), "x")


def test_a_document_goes_with_all_its_passages(tmp_path: Path) -> None:
    index = write(tmp_path / "idx", CROWDED)
    index.delete(["a", "d"])
    assert (len(index), [hit.id for hit in index.search(encode(["7"]))]) == (2, ["c#p0", "b"])
    with pytest.raises(InputError, match="'a' must be in the index"):
        index.delete(["b", "a"])
    with pytest.raises(InputError, match="'b#p1' must be in the index"):
        index.delete(["b#p1"])
    newer = [*parts("b", "5", year=3), *parts("e", "6", "7")]
    with IndexWriter(tmp_path / "idx") as writer:
        vectors = encode_documents(newer, encode, SIZE)
        with pytest.raises(InputError, match="document 'b' is in the index already"):
            writer.add(newer, vectors)
    with IndexWriter(tmp_path / "idx") as writer:
        writer.add(newer, vectors, update=True)
        writer.commit(compact=True)
    index = SparseIndex.open(tmp_path / "idx", verify_files=True)
    assert (len(index), index.summary()["passages"]) == (3, 5)
    assert [hit.id for hit in index.search(encode(["1 2 5 7"]))] == ["c#p0", "e", "b"]
    index.save(tmp_path / "copy")
    assert len(SparseIndex.open(tmp_path / "copy")) == 3


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return splade(tmp_path_factory.mktemp("model"))


def test_from_a_corpus_to_the_best_passage_and_back(tmp_path: Path, encoder: Any) -> None:
    made = build_index(encoder, ROWS, tmp_path / "idx", split_texts=True)
    assert (made.added, made.empty, made.truncated) == (3, 1, 0)
    plain = build_index(encoder, ROWS, tmp_path / "plain")
    assert (plain.added, plain.truncated) == (3, 1)
    index = SparseIndex.open(tmp_path / "idx", model=encoder)
    assert {hit.id for hit in index.search("home house war", 9)} == {"long", "short"}
    assert index.document("long").text == (LONG + "home home")
    passages = [index.document(passage_id("long", number)) for number in range(index.summary()["passages"] - 2)]
    assert build_index(encoder, {one.id: one.text for one in passages}, tmp_path / "alone").truncated == 0
    alone = SparseIndex.open(tmp_path / "alone", model=encoder)
    best = alone.search("home house", 1)[0]
    assert {hit.id: hit.score for hit in index.search("home house")}["long"] == pytest.approx(best.score)

    # What comes later is split as the record says.
    change_index(tmp_path / "idx", model=encoder, corpus=[ROWS[0] | {"id": "later"}])
    change_index(tmp_path / "idx", model=encoder, corpus=[{"id": "long", "text": "water"}], update=True)
    index = SparseIndex.open(tmp_path / "idx", model=encoder)
    assert (len(index), index.summary()["passages"]) == (4, len(passages) + 3)
    with pytest.raises(InputError, match=r"holds whole documents, got passages \(--split\)"):
        change_index(tmp_path / "plain", model=encoder, corpus=[{"id": "x", "text": "war"}], split_texts=True)


def test_encoded_folders_keep_their_passages(tmp_path: Path, encoder: Any) -> None:
    done = encode_corpus(encoder, ROWS, tmp_path / "encoded", part_size=3, split_texts=True).complete or {}
    assert (done["documents"], done["empty"], done["truncated"]) == (3, 1, 0)
    whole = encode_corpus(encoder, ROWS, tmp_path / "whole").complete or {}
    assert (whole["truncated"], "passages" in whole) == (1, False)
    build_index(encoder, tmp_path / "encoded", tmp_path / "a")
    build_index(encoder, ROWS, tmp_path / "b", split_texts=True)
    a, b = (SparseIndex.open(tmp_path / name, model=encoder) for name in "ab")
    assert (len(a), a.summary()["passages"]) == (3, done["passages"])
    assert [(hit.id, hit.document) for hit in a.search("home")] == [(hit.id, hit.document) for hit in b.search("home")]
    assert build_index(encoder, tmp_path / "whole", tmp_path / "c").truncated == 1
    with pytest.raises(InputError, match="must be encoded with --split"):
        build_index(encoder, tmp_path / "whole", tmp_path / "d", split_texts=True)
    with pytest.raises(InputError, match="holds whole documents, got passages"):
        change_index(tmp_path / "c", model=encoder, corpus=tmp_path / "encoded")
    with pytest.raises(InputError, match="was begun with settings"):
        encode_corpus(encoder, ROWS, tmp_path / "whole", split_texts=True)
