"""Several nodes behind one URL: which one is asked, what happens when one dies, and a build that goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.engines import build_engine, change_engine, http, open_engine
from isthmus.engines.base import Header, Location
from isthmus.engines.http import Http
from isthmus.engines.opensearch import OpenSearch
from isthmus.engines.server import ServerEngine
from isthmus.errors import EngineAwayError, EngineError, InputError
from isthmus.index import build
from isthmus.index.encoded_files import encode_documents
from tests.engines.conftest import FOUND, QUERIES, VECTORS
from tests.engines.fake import Fake, serving
from tests.index.vectors import IDENTITY, SIZE
from tests.tiny_encoders import splade


@pytest.fixture
def nodes() -> Iterator[Fake]:
    """Two nodes of one cluster."""
    with serving(nodes=2) as running:
        yield running


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been waited for."""
    waited: list[float] = []
    monkeypatch.setattr(http.time, "sleep", waited.append)
    return waited


@pytest.fixture
def url(nodes: Fake) -> str:
    first, second = nodes.ports
    return f"opensearch://127.0.0.1:{first},127.0.0.1:{second}/docs"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    splade(root / "backbone").save_pretrained(str(root / "encoder"))
    return root / "encoder"


def test_a_url_names_several_hosts() -> None:
    location = Location.parse("opensearch://h1:92,[::1],h3:94/docs")
    assert location.hosts == (("h1", 92), ("::1", None), ("h3", 94))
    assert Http(Location.parse("opensearch+https://h1,[::1]:92/docs"), 9200).bases == [
        "https://h1:9200",
        "https://[::1]:92",
    ]
    for wrong in ("h1,/docs", ",h1/docs", "h1,,h2/docs"):
        with pytest.raises(InputError, match=r"must be opensearch://HOST:PORT/NAME"):
            Location.parse(f"opensearch://{wrong}")
    with pytest.raises(InputError, match="must have a port number"):
        Location.parse("opensearch://h1,h2:ninety/docs")
    with pytest.raises(InputError, match="must name one host, got 2; only opensearch and elasticsearch take more"):
        Location.parse("milvus://h1,h2/docs")


def test_one_host_in_the_clear_is_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_API_KEY", "key")
    with pytest.raises(InputError, match="in the clear"):
        open_engine("opensearch://localhost,elsewhere/docs")


def test_the_next_node_is_asked_at_once_and_from_then_on(nodes: Fake, url: str, waits: list[float]) -> None:
    server = OpenSearch(Location.parse(url))
    server.create(Header(IDENTITY, SIZE))
    server.put(FOUND[:30], VECTORS[:30], text=True)
    first, second = nodes.ports
    assert set(nodes.asked) == {first}
    nodes.kill(first)
    server.put(FOUND[30:], VECTORS[30:], text=True)
    assert ServerEngine(server).search(QUERIES[0])
    assert nodes.asked[-3:] == [second] * 3
    assert (server.count(), waits) == (len(FOUND), [])
    nodes.kill(second)
    server.hurry()
    with pytest.raises(EngineAwayError, match=rf"none of http://127.0.0.1:{second}, http://127.0.0.1:{first} answers"):
        server.count()
    # The connection was open, so the second round tells; it follows at once.
    assert waits == [0.0]


def test_a_busy_node_is_left_for_another_after_a_wait(nodes: Fake, url: str, waits: list[float]) -> None:
    server = OpenSearch(Location.parse(url), backoff=0.0)
    server.create(Header(IDENTITY, SIZE))
    nodes.script = [(503, {"Retry-After": "3"}, {}), (429, {}, {})]
    assert server.count() == 0
    assert nodes.asked[-3:] == [nodes.ports[0], nodes.ports[1], nodes.ports[0]]
    assert waits == [3.0, 0.0]


def test_what_never_answered_is_told_at_once_and_what_did_is_waited_for(nodes: Fake, waits: list[float]) -> None:
    port = nodes.ports[0]
    nodes.kill(port)
    with pytest.raises(EngineAwayError, match=rf"127.0.0.1:{port} does not answer .*refused.*check address"):
        open_engine(f"opensearch://127.0.0.1:{port}/docs")
    assert waits == []
    nodes.start(port)
    server = OpenSearch(Location.parse(f"opensearch://127.0.0.1:{port}/docs"))
    server.create(Header(IDENTITY, SIZE))
    nodes.kill(port)
    with pytest.raises(EngineAwayError):
        server.count()
    assert len(waits) == http.ATTEMPTS
    assert waits[0] == 0
    assert all(2**n / 2 <= waited <= 2**n / 2 + 0.5 for n, waited in enumerate(waits) if n)


def test_a_node_that_comes_back_is_used(nodes: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    port = nodes.ports[0]
    server = OpenSearch(Location.parse(f"opensearch://127.0.0.1:{port}/docs"))
    server.create(Header(IDENTITY, SIZE))
    nodes.kill(port)
    waits = iter([None, None, port])
    monkeypatch.setattr(http.time, "sleep", lambda _: (back := next(waits)) and nodes.start(back))
    assert server.count() == 0


def test_a_node_that_is_slow_is_not_called_away(nodes: Fake, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_HURRIED_READ_SECONDS", 0.05)
    monkeypatch.setattr(http, "ATTEMPTS", 0)
    server = OpenSearch(Location.parse(url))
    server.create(Header(IDENTITY, SIZE))
    server.hurry()
    reply = Fake.reply
    first = nodes.ports[0]

    def slow(self: Fake, request: Any) -> Any:
        if self.asked[-1] == first:
            http.time.sleep(0.3)
        return reply(self, request)

    monkeypatch.setattr(Fake, "reply", slow)
    # The other one is asked; and with none left, it is no server that is away.
    assert server.count() == 0
    monkeypatch.setattr(Fake, "reply", lambda self, request: (http.time.sleep(0.3), reply(self, request))[1])
    with pytest.raises(EngineError, match="timed out") as caught:
        server.count()
    assert not isinstance(caught.value, EngineAwayError)


def test_a_build_goes_on_by_another_node(nodes: Fake, url: str, model: Path, waits: list[float]) -> None:
    texts = [{"id": f"d{n}", "text": "the house of water"} for n in range(50)]
    nodes.dying[nodes.ports[0]] = 2
    assert build_engine(url, model, texts).added == 50
    assert len(nodes.indexes["docs"]["rows"]) == 50
    assert set(nodes.asked) == set(nodes.ports)
    assert waits == []


def test_a_build_that_was_cut_goes_on_where_it_was(
    nodes: Fake, model: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = nodes.ports[0]
    url = f"opensearch://127.0.0.1:{port}/docs"
    monkeypatch.setattr(build, "PART_SIZE", 10)
    texts: list[dict[str, Any]] = [{"id": f"d{n}", "text": f"the house of water {'war ' * n}"} for n in range(30)]
    # Is it there, make it, and two windows.
    nodes.dying[port] = 4
    with pytest.raises(EngineAwayError, match=r"does not answer .*; 20 documents were taken, .* --update goes on"):
        build_engine(url, model, texts)
    assert len(nodes.indexes["docs"]["rows"]) == 20
    nodes.start(port)
    encoded: list[str] = []

    def encode(documents: Any, *rest: Any) -> Any:
        encoded.extend(one.id for one in documents)
        return encode_documents(documents, *rest)

    monkeypatch.setattr(build, "encode_documents", encode)
    # One of those that are there has another text now, and one other metadata.
    texts[3]["text"] = "capital"
    texts[4]["language"] = "ko"
    change = change_engine(url, corpus=texts, update=True)
    assert encoded == ["d3", "d4", *(f"d{n}" for n in range(20, 30))]
    assert (change.added, change.unchanged) == (12, 18)
    rows = nodes.indexes["docs"]["rows"]
    assert (len(rows), rows["d3"]["text"], rows["d4"]["labels"]) == (30, "capital", ["language=ko"])
    again = change_engine(url, corpus=texts, update=True)
    assert (again.added, again.unchanged, len(encoded)) == (0, 30, 12)
    # Documents of earlier versions have no digest.
    del rows["d7"]["digest"]
    assert change_engine(url, corpus=texts, update=True).added == 1


def test_shards_and_replicas(nodes: Fake, url: str, model: Path, tmp_path: Path) -> None:
    build_engine(url, model, {"a": "water"}, shards=2, replicas=0)
    sent = next(json.loads(one.body) for one in nodes.requests if one.method == "PUT")
    assert sent["settings"] == {"number_of_shards": 2, "number_of_replicas": 0}
    build_engine(url, model, {"a": "water"}, overwrite=True)
    sent = [json.loads(one.body) for one in nodes.requests if one.method == "PUT"][-1]
    assert "settings" not in sent
    for options in ({"shards": 2}, {"replicas": 1}):
        with pytest.raises(InputError, match=r"must come with opensearch:// or elasticsearch://, got .*idx; leave out"):
            build_engine(tmp_path / "idx", model, {"a": "water"}, **options)
    with pytest.raises(InputError, match="shards must be 1 or more"):
        build_engine(url, model, {"a": "water"}, shards=0)


def test_milvus_is_told_nothing_of_shards(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'isthmus[milvus]'")
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed: pip install 'isthmus[milvus]'")
    url = f"milvus:{tmp_path / 'x.db'}"
    with pytest.raises(InputError, match="shards must come with opensearch"):
        build_engine(url, model, {"a": "water"}, shards=2)
    texts = {"a": "the house of water", "b": "war"}
    build_engine(url, model, {"a": texts["a"]})
    change = change_engine(url, corpus=[{"id": name, "text": text} for name, text in texts.items()], update=True)
    assert (change.added, change.unchanged) == (1, 1)


def test_scores_are_those_of_one_node(nodes: Fake, url: str) -> None:
    server = OpenSearch(Location.parse(url))
    server.create(Header(IDENTITY, SIZE))
    server.put(FOUND, VECTORS, text=True)
    before = [hit.score for hit in ServerEngine(server).search(QUERIES[1])]
    nodes.kill(nodes.ports[0])
    np.testing.assert_array_equal([hit.score for hit in ServerEngine(server).search(QUERIES[1])], before)
