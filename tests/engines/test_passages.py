"""Passages on servers: searched as in an index folder, and shown, replaced and deleted as documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.engines import build_engine, change_engine, open_engine
from isthmus.engines.base import Header
from isthmus.engines.comparison import compare
from isthmus.engines.milvus import Milvus
from isthmus.engines.qdrant import Qdrant
from isthmus.engines.server import ServerEngine
from isthmus.errors import InputError
from isthmus.index import SparseIndex
from isthmus.index.encoded_files import encode_documents
from tests.engines.conftest import connect
from tests.index.test_passages import CROWDED, ROWS, parts, write
from tests.index.vectors import IDENTITY, SIZE, encode
from tests.tiny_encoders import splade

# A passage in the middle that no query finds.
DOCUMENTS = [*CROWDED, *parts("gap", "9", "", "8", year=1)]


def test_a_server_finds_the_documents_of_the_exact_index(tmp_path: Path, url: str) -> None:
    server = connect(url)
    server.create(Header(IDENTITY, SIZE, {"split_texts": True}))
    server.put(DOCUMENTS, encode_documents(DOCUMENTS, encode, SIZE), text=True)
    server.flush()
    engine, index = ServerEngine(server), write(tmp_path / "idx", DOCUMENTS)
    assert (len(engine), engine.summary()["passages"]) == (5, len(DOCUMENTS))
    for text in ("7", "2", "8 9"):
        for top_k in (1, 2, 3, 9):
            found, expected = engine.search(encode([text]), top_k), index.search(encode([text]), top_k)
            assert [hit.id for hit in found] == [hit.id for hit in expected]
            # Which of several passages that are alike comes first, is up to the server.
            assert [hit.document.text for hit in found] == [hit.document.text for hit in expected]
            np.testing.assert_allclose([h.score for h in found], [h.score for h in expected], rtol=2**-9)
    assert [hit.id for hit in engine.search(encode(["7"]), filter={"year": 2})] == ["c#p0", "b"]
    # Milvus and Qdrant do not tell.
    assert engine.field_values("year") == (None if isinstance(server, (Milvus, Qdrant)) else ["1", "2"])
    assert engine.field_values("ye.r") in (None, [])
    assert engine.best_passage(encode(["8"]), "gap") == "gap#p2"
    assert engine.explain(encode(["8"]), "gap")[0].score == pytest.approx(
        index.explain(encode(["8"]), "gap")[0].score, rel=2**-9
    )
    assert engine.document("b").text == index.document("b").text == "1 7 2"
    assert compare(index, engine, [encode(["7"]), encode(["8 9"])]).passed
    engine.close()

    assert change_engine(url, delete=["a", "gap"]).deleted == 2
    with pytest.raises(InputError, match="document 'a' must be in"):
        change_engine(url, delete=["a"])
    engine = open_engine(url)
    assert (len(engine), engine.summary()["passages"]) == (3, 6)
    assert [hit.id for hit in engine.search(encode(["7 8 9"]))] == ["c#p0", "b"]
    engine.close()


def test_an_update_takes_away_what_is_no_more(tmp_path: Path, url: str) -> None:
    encoder = splade(tmp_path / "model")
    made = build_engine(url, encoder, ROWS, split_texts=True)
    assert (made.added, made.empty, made.truncated) == (3, 1, 0)
    build_engine(tmp_path / "idx", encoder, ROWS, split_texts=True)
    passages = SparseIndex.open(tmp_path / "idx").summary()["passages"]
    for corpus, added, there in ((ROWS, 0, passages), ([ROWS[0] | {"text": "water"}], 1, 3)):
        change = change_engine(url, model=encoder, corpus=corpus, update=True)
        assert change.added == added
        engine = open_engine(url, model=encoder)
        # Milvus has no document that no query finds, but as a passage.
        assert (len(engine), engine.summary()["passages"]) == (3, there)
        assert engine.document("long").text == corpus[0]["text"]
        engine.close()
