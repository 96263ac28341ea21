"""What every server must do, on every kind that can be had here."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix, vstack

from isthmus.engines import build_engine, change_engine, milvus, open_engine
from isthmus.engines.base import Header, Location
from isthmus.engines.comparison import compare
from isthmus.engines.connection import Server
from isthmus.engines.milvus import Milvus
from isthmus.engines.opensearch import OpenSearch
from isthmus.engines.postgresql import PostgreSQL
from isthmus.engines.qdrant import HEADER_POINT, Qdrant
from isthmus.engines.server import ServerEngine
from isthmus.errors import EngineAwayError, EngineError, IndexFileError, InputError, NotFoundError, OutputError
from isthmus.index import SparseIndex
from isthmus.reading.corpus import Document
from tests.engines.conftest import FOUND, QUERIES, VECTORS, connect
from tests.index.vectors import IDENTITY, SIZE
from tests.tiny_encoders import splade

HEADER = Header(IDENTITY, SIZE, {"dtype": "float32"})
# OpenSearch keeps nine bits of a weight.
TOLERANCE = 2.0**-9


@pytest.fixture
def server(url: str) -> Iterator[Server]:
    opened = connect(url)
    yield opened
    opened.close()


@pytest.fixture
def filled(server: Server) -> Server:
    server.create(HEADER)
    server.put(FOUND, VECTORS, text=True)
    server.flush()
    return server


def check_equal(engine: ServerEngine, index: SparseIndex, filter: dict[str, Any] | None = None) -> None:
    """Every query gets the scores of the exact index, and every hit its own."""
    for row in range(QUERIES.shape[0]):
        query = QUERIES[row]
        found, expected = engine.search(query, 9, filter=filter), index.search(query, 9, filter=filter)
        np.testing.assert_allclose([h.score for h in found], [h.score for h in expected], rtol=TOLERANCE)
        for hit in found:
            exact = sum(match.score for match in index.explain(query, hit.id))
            assert hit.score == pytest.approx(exact, rel=TOLERANCE)
            assert hit.document == index.document(hit.id)


def count_of(server: Server, documents: Sequence[Document]) -> int:
    """Milvus takes no empty vector."""
    return sum(bool(one.text) for one in documents) if isinstance(server, Milvus) else len(documents)


def test_finds_what_the_exact_index_finds(filled: Server, index: SparseIndex) -> None:
    engine = ServerEngine(filled)
    assert len(engine) == count_of(filled, FOUND)
    check_equal(engine, index)
    assert compare(index, engine, [QUERIES[row] for row in range(QUERIES.shape[0])]).passed
    one_by_one = [engine.search(QUERIES[row], 9) for row in range(QUERIES.shape[0])]
    empty = csr_matrix((1, SIZE), dtype=np.float32)
    together = engine.search_many(vstack([QUERIES, empty], format="csr"), 9)
    assert together == [*one_by_one, []]


@pytest.mark.parametrize(
    "filter",
    [{"language": "ko"}, {"language": ["ko", "zh"]}, {"language": ["en", "ko"], "year": 2001}, {"public": True}],
)
def test_filters_as_the_exact_index_does(filled: Server, index: SparseIndex, filter: dict[str, Any]) -> None:
    check_equal(ServerEngine(filled), index, filter)


def test_a_field_that_no_document_has_finds_nothing(filled: Server) -> None:
    assert ServerEngine(filled).search(QUERIES[0], filter={"colour": 'a"\\b'}) == []


def test_putting_again_changes_nothing_and_replaces(filled: Server, index: SparseIndex) -> None:
    filled.put(FOUND[:30], VECTORS[:30], text=True)
    filled.flush()
    engine = ServerEngine(filled)
    assert len(engine) == count_of(filled, FOUND)
    check_equal(engine, index)
    filled.put([Document("d0", "new", metadata={"language": "xx"})], VECTORS[1], text=True)
    filled.flush()
    assert len(engine) == count_of(filled, FOUND)
    (hit,) = engine.search(VECTORS[1], filter={"language": "xx"})
    assert (hit.id, hit.document.text) == ("d0", "new")


def test_deletes(filled: Server) -> None:
    engine = ServerEngine(filled)
    first = engine.search(QUERIES[0], 1)[0].id
    assert filled.missing([first, "nothing"]) == ["nothing"]
    filled.delete([first])
    filled.flush()
    assert first not in [hit.id for hit in engine.search(QUERIES[0], 60)]
    assert filled.missing([first]) == [first]
    assert len(engine) == count_of(filled, FOUND) - 1


def test_explains_with_stored_weights(filled: Server) -> None:
    engine = ServerEngine(filled)
    (hit,) = engine.search(QUERIES[0], 1)
    matches = engine.explain(QUERIES[0], hit.id)
    assert sum(match.score for match in matches) == pytest.approx(hit.score, rel=1e-5)
    assert matches == sorted(matches, key=lambda match: -match.score)
    with pytest.raises(InputError, match="'nothing' must be in"):
        engine.explain(QUERIES[0], "nothing")


def test_texts_can_be_left_out(server: Server) -> None:
    server.create(HEADER)
    server.put(FOUND, VECTORS, text=False)
    server.flush()
    (hit,) = ServerEngine(server).search(QUERIES[0], 1)
    assert hit.document.text == ""
    assert hit.document.metadata["language"]


def test_keeps_the_header(server: Server) -> None:
    assert not server.exists()
    with pytest.raises(NotFoundError, match="does not exist; make it with isthmus index"):
        server.header()
    server.create(HEADER)
    assert server.exists()
    assert server.header() == HEADER
    server.drop()
    assert not server.exists()


def test_refuses_what_does_not_fit(filled: Server) -> None:
    engine = ServerEngine(filled)
    with pytest.raises(InputError, match="must have 40 dimensions"):
        engine.search(csr_matrix((1, 3)))
    with pytest.raises(InputError, match="top_k must be 1 or more"):
        engine.search(QUERIES[0], 0)
    with pytest.raises(InputError, match="must be one text or one row, got 2"):
        engine.search(QUERIES[:2])
    with pytest.raises(InputError, match="non-negative weights only"):
        engine.search(-QUERIES[0])
    with pytest.raises(InputError, match="non-negative weights only"):
        filled.put(FOUND[:1], -VECTORS[:1], text=True)
    with pytest.raises(InputError, match="at most 512 bytes"):
        filled.put([Document("x" * 513, "")], VECTORS[:1], text=True)
    assert engine.search(csr_matrix((1, SIZE))) == []
    assert engine.search(csr_matrix(([0.0], [3], [0, 1]), (1, SIZE))) == []


TEXTS = [
    {"id": "a", "text": "the house of water", "language": "en"},
    {"id": "b", "text": "war", "language": "ko"},
    {"id": "c", "text": "", "language": "en"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    splade(root / "backbone").save_pretrained(str(root / "encoder"))
    splade(root / "backbone", seed=3).save_pretrained(str(root / "other"))
    return root


def test_from_a_corpus_to_hits_by_url_alone(tmp_path: Path, url: str, model: Path) -> None:
    encoder = model / "encoder"
    change = build_engine(url, encoder, TEXTS)
    assert (change.added, change.empty) == (3, 1)
    build_engine(tmp_path / "idx", encoder, TEXTS)
    exact, engine = open_engine(tmp_path / "idx"), open_engine(url)
    try:
        found, expected = engine.search("water"), exact.search("water")
        np.testing.assert_allclose([h.score for h in found], [h.score for h in expected], rtol=TOLERANCE)
        assert [hit.id for hit in found] == [hit.id for hit in expected]
        assert engine.summary()["model"] == str(encoder)
        assert {match.token for match in engine.explain("water", "a")} <= {
            match.token for match in exact.explain("water", "a")
        }
    finally:
        engine.close()

    with pytest.raises(OutputError, match=r"already exists; .*--overwrite"):
        build_engine(url, encoder, TEXTS)
    with pytest.raises(InputError, match="fingerprint"):
        change_engine(url, model=model / "other", corpus=TEXTS, update=True)
    with pytest.raises(InputError, match="must be changed by --update"):
        change_engine(url, corpus=TEXTS)
    with pytest.raises(InputError, match="merges on its own"):
        change_engine(url, compact=True)
    with pytest.raises(InputError, match="'zz' must be in"):
        change_engine(url, delete=["a", "zz"])
    change = change_engine(url, corpus=[{"id": "d", "text": "capital"}], update=True, delete=["a"])
    assert (change.added, change.deleted) == (1, 1)
    other = open_engine(url, model=model / "other")
    try:
        with pytest.raises(InputError, match="fingerprint"):
            other.search("water")
        vector = exact.vectors(["capital"])[0]
        assert {hit.id for hit in other.search(vector)} <= {"b", "d"}
    finally:
        other.close()
    assert build_engine(url, encoder, TEXTS[:1], overwrite=True).added == 1
    with pytest.raises(InputError, match="weights must be 'f32'"):
        build_engine(url, encoder, TEXTS, weights="u8")


def test_what_isthmus_did_not_make_is_not_overwritten(url: str, model: Path, server: Server) -> None:
    server.create(HEADER)
    if isinstance(server, Milvus):
        server.delete(["__isthmus__"])
        server.flush()
    elif isinstance(server, Qdrant):
        server._points.delete([HEADER_POINT])
    elif isinstance(server, PostgreSQL):
        server._run("COMMENT ON TABLE {table} IS 'mine'")
    else:
        server.drop()
        assert isinstance(server, OpenSearch)
        server._http.ask("PUT", server._index, {"mappings": {"properties": {}}})
    server.close()
    with pytest.raises(IndexFileError, match="was not made by isthmus index"):
        build_engine(url, model / "encoder", TEXTS, overwrite=True)
    with pytest.raises(IndexFileError, match="was not made by isthmus index"):
        open_engine(url)


def test_milvus_sends_no_token_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'isthmus[milvus]'")
    monkeypatch.setenv("MILVUS_TOKEN", "secret")
    with pytest.raises(InputError, match=r"must be milvus\+https://") as caught:
        open_engine("milvus://milvus.example:19530/docs")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("found", "fits"), [("3.2.1", False), ("2.5.1", False), ("3.2.2", True), ("3.10.0", True)])
def test_milvus_lite_that_scores_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch, found: str, fits: bool) -> None:
    monkeypatch.setattr(milvus, "version", lambda name: found)
    with nullcontext() if fits else pytest.raises(EngineError, match=r"must be 3\.2\.2 or later"):
        milvus._check_lite(Location.parse("milvus:x.db"))


@pytest.mark.parametrize("url", ["qdrant://127.0.0.1:{port}/docs", "postgresql://me@127.0.0.1:{port}/db/docs"])
def test_a_server_that_is_not_there_is_away(url: str) -> None:
    pytest.importorskip("qdrant_client" if url.startswith("q") else "psycopg", reason="its client is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(EngineAwayError, match=r"docs does not answer.*refused"):
        open_engine(url.format(port=port))


def test_qdrant_sends_no_key_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("qdrant_client", reason="no Qdrant client: pip install 'isthmus[qdrant]'")
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    with pytest.raises(InputError, match=r"must be qdrant\+https://") as caught:
        open_engine("qdrant://qdrant.example/docs")
    assert "secret" not in str(caught.value)


def test_urls_of_databases() -> None:
    location = Location.parse("postgresql://me@h.example:5433/library?table=docs")
    assert (location.host, location.port, location.user) == ("h.example", 5433, "me")
    assert (location.database, location.name) == ("library", "docs")
    assert Location.parse("postgresql:///library/docs").host == ""
    hosts = ("//h/library", "//h/?table=docs", "//h/library?table=", "//h/a/b/c", "//h,i/library/docs", "//h/a=b/docs")
    for wrong in hosts:
        with pytest.raises(InputError, match="must be "):
            Location.parse(f"postgresql:{wrong}")
    with pytest.raises(InputError, match="TLS is asked for by PGSSLMODE"):
        Location.parse("postgresql+https://h/library/docs")
    for secret in ("me:cret@h", "me:c/ret@h", "me@cret@h"):
        with pytest.raises(InputError, match="must not hold credentials") as caught:
            Location.parse(f"postgresql://{secret}/library/docs")
        assert "ret" not in str(caught.value).replace("credentials", "")


def test_postgresql_is_asked_again_where_the_connection_was_lost(
    postgres: str, monkeypatch: pytest.MonkeyPatch, index: SparseIndex
) -> None:
    monkeypatch.setenv("PGHOST", postgres)
    server = connect("postgresql://postgres@/postgres/lost")
    assert isinstance(server, PostgreSQL)
    server.create(HEADER)
    other = connect("postgresql://postgres@/postgres/lost")
    assert isinstance(other, PostgreSQL)
    pid = server._connection.info.backend_pid
    other._run("SELECT pg_terminate_backend(%s)", [pid])
    server.put(FOUND, VECTORS, text=True)
    assert server.count() == len(FOUND)
    check_equal(ServerEngine(server), index)
    server.drop()
    server.close()
    other.close()
