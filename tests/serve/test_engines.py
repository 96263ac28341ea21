"""Another engine behind the same API: what it answers, what it leaves out, and what is told when it is away."""

import json
import shutil
from types import SimpleNamespace

import pytest

from isthmus.engines import build_engine, change_engine, http
from isthmus.errors import InputError, NotFoundError
from isthmus.index import SparseIndex, build_index
from isthmus.serve import sources
from isthmus.serve.library import Library
from tests.engines.fake import Fake, serving
from tests.serve.conftest import ROWS
from tests.tiny_encoders import splade

KINDS = ["opensearch, fake", "opensearch, emulator", "milvus lite", "qdrant edge"]


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch):
    for name in ("API_KEY", "USERNAME", "PASSWORD", "CA_CERTS"):
        monkeypatch.delenv(f"OPENSEARCH_{name}", raising=False)


@pytest.fixture
def fake():
    """The small server."""
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def emulator():
    osmem = pytest.importorskip("osmem_server", reason="the emulator is not installed: pip install osmem-server")
    with osmem.OsmemServer.start() as running:
        yield running.url.removeprefix("http://")


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:3]), encoding="utf-8")
    return tmp_path / "corpus.jsonl"


@pytest.fixture(params=KINDS)
def url(request, model, corpus, tmp_path):
    """An index on each kind of server that can be had here, with the documents of ``folder``."""
    if request.param == "milvus lite":
        pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'isthmus[milvus]'")
        pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed: pip install 'isthmus[milvus]'")
        url = f"milvus:{tmp_path / 'vectors.db'}"
    elif request.param == "qdrant edge":
        pytest.importorskip("qdrant_edge", reason="no Qdrant Edge: pip install 'isthmus[qdrant]'")
        url = f"qdrant:{tmp_path / 'points'}"
    elif request.param.endswith("emulator"):
        url = f"opensearch://{request.getfixturevalue('emulator')}/{tmp_path.name.replace('_', '-').lower()}"
    else:
        url = f"opensearch://127.0.0.1:{request.getfixturevalue('fake').port}/docs"
    build_engine(url, str(model), str(corpus))
    return url


@pytest.fixture
def folder(model, corpus, tmp_path):
    build_index(str(model), str(corpus), tmp_path / "folder")
    return Library(tmp_path / "folder")


@pytest.fixture
def opened(request):
    """Open libraries that are closed when the test ends."""

    def open_library(url, **options):
        library = Library(url, **options)
        request.addfinalizer(library.close)
        return library

    return open_library


def close_to(found, expected):
    """The same answer, but for weights in fewer bits, which order matches by, and what only folders know."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected.keys() - {"timing", "generation"}:
            one, other = (
                sorted(side[key], key=lambda match: match["token"]) if key == "matches" and side[key] else side[key]
                for side in (found, expected)
            )
            close_to(one, other)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            close_to(one, other)
    else:
        assert found == (pytest.approx(expected, rel=0.005) if isinstance(expected, float) else expected)


def test_answers_are_those_of_the_folder(serve, url, folder, opened):
    own, other = serve(inside=folder), serve(inside=opened(url))
    for body in (
        {"query": "water house"},
        {"query": "war", "matches": True, "expansion": 5, "characters": 9},
        {"query": "the water", "filter": {"language": "ko"}},
        {"query": "the water", "filter": {"language": ["en", "ko"], "year": 2002}, "matches": True},
    ):
        expected = own.post("/api/search", json=body).json()
        assert expected["hits"]
        found = other.post("/api/search", json=body)
        assert found.status_code == 200, found.text
        close_to(found.json(), expected)
        assert found.json()["generation"] is None
        for hit in expected["hits"]:
            asked = {"query": body["query"], "id": hit["id"]}
            close_to(other.post("/api/explain", json=asked).json(), own.post("/api/explain", json=asked).json())
    asked = {"texts": ["water", "war"]}
    assert other.post("/api/encode", json=asked).json() == own.post("/api/encode", json=asked).json()
    asked = {"token": "home"}
    there, here = (client.get("/api/token", params=asked).json() for client in (other, own))
    # Only a folder tells what documents have a token.
    assert [row.pop("use") for row in there["rows"]] == [None] * len(there["rows"])
    assert all(row.pop("use") is not None for row in here["rows"])
    assert there == here
    assert other.get("/health").json() == {"status": "ok", "problem": None}


def test_what_a_server_does_not_know(serve, url, opened):
    client = serve(inside=opened(url))
    answer = client.get("/api/info")
    found = answer.json()
    assert found["index"] == url.rpartition("/")[2]
    assert (found["generation"], found["fields"], found["model"]) == (None, None, "tiny")
    # Milvus takes no empty vector, and one document of three is empty.
    assert found["documents"] == (2 if url.startswith("milvus") else 3)
    assert url not in answer.text
    assert "127.0.0.1" not in answer.text
    nowhere = client.post("/api/search", json={"query": "war", "filter": {"colour": 'a"\\b'}})
    assert (nowhere.status_code, nowhere.json()["hits"]) == (200, [])
    for identifier in ("zz", "__isthmus__"):
        unknown = client.get("/api/explain", params={"query": "war", "id": identifier})
        assert (unknown.status_code, unknown.json()["field"]) == (404, "id")
        assert url not in unknown.text


def test_changes_show_at_once(serve, url, opened, model):
    if url.startswith(("milvus", "qdrant")):
        pytest.skip("its file belongs to one process")
    client = serve(inside=opened(url))
    assert client.get("/api/info").json()["documents"] == 3
    change_engine(url, corpus=[{"id": "n", "text": "house house water"}], update=True, delete=["a"])
    ids = [hit["id"] for hit in client.post("/api/search", json={"query": "house", "top_k": 50}).json()["hits"]]
    assert "n" in ids
    assert "a" not in ids
    assert client.get("/api/info").json()["documents"] == 3


def test_a_document_that_is_gone_already_is_left_out(serve, fake, model, corpus, opened, monkeypatch):
    url = f"opensearch://127.0.0.1:{fake.port}/docs"
    build_engine(url, str(model), str(corpus))
    client = serve(inside=opened(url))
    body = {"query": "water", "matches": True}
    assert [hit["id"] for hit in client.post("/api/search", json=body).json()["hits"]] == ["b", "a"]
    kept = dict(fake.indexes["docs"]["rows"])
    # Searches still find a document after it was deleted, until the server refreshes.
    mget = Fake._mget
    without = {name: row for name, row in kept.items() if name != "b"}
    monkeypatch.setattr(Fake, "_mget", lambda self, rows, ids, fields: mget(self, without, ids, fields))
    answer = client.post("/api/search", json=body)
    assert (answer.status_code, [hit["id"] for hit in answer.json()["hits"]]) == (200, ["a"])
    assert client.get("/api/explain", params={"query": "water", "id": "b"}).status_code == 404


def test_an_engine_that_is_away(serve, fake, model, corpus, opened, monkeypatch, caplog):
    url = f"opensearch://127.0.0.1:{fake.port}/docs"
    build_engine(url, str(model), str(corpus))
    monkeypatch.setattr(http, "ATTEMPTS", 0)
    client = serve(inside=opened(url))
    refusal = (500, {}, {"error": {"reason": "disk is full at /var/lib"}})
    fake.script += [refusal, "drop", refusal]
    for path in ("search", "explain"):
        answer = client.get(f"/api/{path}", params={"query": "war", "id": "a"})
        assert (answer.status_code, answer.json()["field"]) == (503, None)
    assert client.get("/api/info").status_code == 503
    health = client.get("/health")
    assert health.json() == {"status": "degraded", "problem": answer.json()["error"]}
    for told in (answer, health):
        assert str(fake.port) not in told.text
        assert "/var/lib" not in told.text
    assert "disk is full" in caplog.text
    assert "does not answer" in caplog.text
    assert client.post("/api/search", json={"query": "war"}).status_code == 200
    assert client.get("/health").json() == {"status": "ok", "problem": None}


def test_an_index_that_another_model_made_anew(serve, fake, model, corpus, opened, monkeypatch, caplog, tmp_path):
    url = f"opensearch://127.0.0.1:{fake.port}/docs"
    build_engine(url, str(model), str(corpus))
    client = serve(inside=opened(url))
    now = [0.0]
    monkeypatch.setattr(sources, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert client.post("/api/search", json={"query": "war"}).status_code == 200
    build_engine(url, splade(tmp_path / "other", seed=3), str(corpus), overwrite=True)
    now[0] = 1e9
    answer = client.post("/api/search", json={"query": "war"})
    assert answer.status_code == 503
    assert client.get("/health").json()["status"] == "degraded"
    assert "fingerprint" in caplog.text
    fake.indexes.clear()
    assert client.post("/api/search", json={"query": "war"}).status_code == 503
    build_engine(url, str(model), str(corpus))
    assert client.post("/api/search", json={"query": "war"}).status_code == 200
    assert client.get("/health").json()["status"] == "ok"


def test_model_must_be_the_one_of_the_index(fake, model, corpus, opened, tmp_path):
    url = f"opensearch://127.0.0.1:{fake.port}/docs"
    with pytest.raises(NotFoundError, match="does not exist"):
        Library(url)
    build_engine(url, str(model), str(corpus))
    other = splade(tmp_path / "other", seed=3)
    with pytest.raises(InputError, match="fingerprint"):
        Library(url, model=other)
    assert opened(url, model=other, any_model=True).index().explain


class TestSeismic:
    @pytest.fixture(autouse=True)
    def _library(self):
        pytest.importorskip("seismic", reason="pyseismic-lsr is not installed: pip install 'isthmus[seismic]'")

    @pytest.fixture
    def lists(self, idx):
        change_engine(f"seismic:{idx}")
        return f"seismic:{idx}"

    def test_searches_and_cannot_filter(self, serve, lists, idx):
        client = serve(inside=Library(lists))
        expected = SparseIndex.open(idx).search("water house", 3)
        found = client.post("/api/search", json={"query": "water house", "top_k": 3, "matches": True}).json()
        assert {hit["id"] for hit in found["hits"]} <= {hit.id for hit in expected}
        assert found["hits"][0]["id"] == expected[0].id
        assert found["hits"][0]["matches"]
        assert found["generation"] == 1
        assert client.get("/api/explain", params={"query": "war", "id": "b"}).status_code == 200
        info = client.get("/api/info").json()
        assert (info["index"], info["fields"]) == ("idx", [])
        answer = client.post("/api/search", json={"query": "war", "filter": {"language": "en"}})
        assert (answer.status_code, answer.json()["field"]) == (422, "filter")
        assert str(idx) not in answer.text

    def test_the_lists_before_are_searched_until_there_are_new_ones(self, serve, lists, idx, caplog):
        client = serve(inside=Library(lists))
        SparseIndex.open(idx).add([{"id": "n", "text": "korea korea"}])
        before = client.post("/api/search", json={"query": "korea"})
        assert (before.status_code, before.json()["generation"]) == (200, 1)
        assert "has no lists yet" in client.get("/health").json()["problem"]
        assert "older or damaged" in caplog.text
        change_engine(lists)
        after = client.post("/api/search", json={"query": "korea"}).json()
        assert after["generation"] == 2
        assert "n" in {hit["id"] for hit in after["hits"]}
        assert client.get("/health").json() == {"status": "ok", "problem": None}

    def test_lists_that_are_not_there(self, idx):
        shutil.rmtree(idx / "seismic", ignore_errors=True)
        with pytest.raises(NotFoundError, match="has no lists"):
            Library(f"seismic:{idx}")
