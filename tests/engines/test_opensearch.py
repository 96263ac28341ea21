"""The exact requests, patience with a busy server, and credentials."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.engines.base import Header, Location, digest
from isthmus.engines.bulk import batches, nine_bits
from isthmus.engines.http import ATTEMPTS, Http, credentials, reason_of
from isthmus.engines.opensearch import OpenSearch
from isthmus.engines.search_request import PLUGINS_PATH
from isthmus.engines.server import ServerEngine
from isthmus.errors import EngineError, InputError
from isthmus.reading.corpus import Document
from tests.engines.fake import Fake
from tests.index.vectors import IDENTITY

SIZE = 40


def row(**weights: float) -> csr_matrix:
    terms = sorted(int(name[1:]) for name in weights)
    return csr_matrix(([weights[f"t{term}"] for term in terms], terms, [0, len(terms)]), (1, SIZE), dtype=np.float32)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def server(fake: Fake, waits: list[float]) -> OpenSearch:
    made = OpenSearch(Location.parse(f"opensearch://127.0.0.1:{fake.port}/docs"), backoff=0.001, sleep=waits.append)
    made.create(Header(IDENTITY, SIZE))
    fake.requests.clear()
    return made


def test_the_requests_are_these(server: OpenSearch, fake: Fake) -> None:
    server.drop()
    server.create(Header(IDENTITY, SIZE))
    document = Document("a", "집", "T", {"language": "ko", "tags": [1]})
    server.put([document], row(t3=1.0, t17=0.3), text=True)
    server.flush()
    ServerEngine(server).search(row(t3=2.0, t17=0.5), 5, filter={"language": ["ko", "en"], "year": 1})
    sent = [(one.method, one.path) for one in fake.requests]
    assert sent == [
        ("GET", "/docs/_mapping"),
        ("DELETE", "/docs"),
        ("PUT", "/docs"),
        ("POST", "/docs/_bulk"),
        ("POST", "/docs/_refresh"),
        ("GET", "/docs/_mapping"),
        ("GET", PLUGINS_PATH),
        ("POST", "/docs/_search"),
    ]
    mapping = json.loads(fake.requests[2].body)["mappings"]
    assert mapping["properties"]["vector"] == {"type": "rank_features"}
    assert mapping["properties"]["metadata"] == {"type": "object", "enabled": False}
    bulk = fake.requests[3]
    assert bulk.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line) for line in bulk.body.splitlines()] == [
        {"index": {"_id": "a"}},
        {
            "title": "T",
            "text": "집",
            "metadata": {"language": "ko", "tags": [1]},
            "labels": ["language=ko"],
            "digest": digest(document),
            "vector": {"t3": 1.0, "t17": 0.2998046875},
        },
    ]
    assert json.loads(fake.requests[7].body) == {
        "query": {
            "bool": {
                "should": [
                    {"rank_feature": {"field": "vector.t3", "linear": {}, "boost": 2.0}},
                    {"rank_feature": {"field": "vector.t17", "linear": {}, "boost": 0.5}},
                ],
                "minimum_should_match": 1,
                "filter": [
                    {"terms": {"labels": ["language=ko", "language=en"]}},
                    {"terms": {"labels": ["year=1", "year=1.0"]}},
                ],
            }
        },
        "size": 5,
        "track_total_hits": False,
        "_source": {"excludes": ["vector", "labels"]},
    }


def test_an_empty_vector_is_left_out(server: OpenSearch, fake: Fake) -> None:
    server.put([Document("a", "")], csr_matrix((1, SIZE)), text=True)
    assert "vector" not in json.loads(fake.requests[0].body.splitlines()[1])


def test_nine_bits_are_the_nearest() -> None:
    weights = np.random.default_rng(0).lognormal(0, 2, 10_000).astype(np.float32)
    rounded = nine_bits(weights)
    assert np.abs(rounded / weights - 1).max() <= 2.0**-9
    # Cutting off the 15 bits that the server does not keep changes nothing any more.
    np.testing.assert_array_equal(rounded.view(np.uint32) >> 15 << 15, rounded.view(np.uint32))
    np.testing.assert_array_equal(nine_bits(rounded), rounded)
    scale = np.exp2(np.floor(np.log2(weights)) - 8)
    np.testing.assert_allclose(np.abs(rounded - weights), np.abs(weights - np.rint(weights / scale) * scale), rtol=1e-6)


def test_bulk_requests_are_cut_by_size() -> None:
    assert list(batches(iter([b"ab", b"cd", b"efghij", b"k"]), 4)) == [[b"ab", b"cd"], [b"efghij"], [b"k"]]
    assert list(batches(iter([]), 4)) == []


def test_documents_that_were_too_many_are_sent_again(server: OpenSearch, fake: Fake, waits: list[float]) -> None:
    found = [Document(name, "x") for name in "abc"]
    fake.busy_items = [200, 429, 503, 429]
    server.put(found, csr_matrix(np.ones((3, SIZE), dtype=np.float32)), text=True)
    ids = [[json.loads(line)["index"]["_id"] for line in one.body.splitlines()[::2]] for one in fake.requests]
    assert ids == [["a", "b", "c"], ["b", "c"], ["b"]]
    assert waits == [0.001, 0.002]
    assert server.count() == 3


def test_a_refused_document_is_named(server: OpenSearch, fake: Fake) -> None:
    fake.busy_items = [200, 400]
    with pytest.raises(EngineError, match="refused document 'b': too much"):
        server.put([Document("a", ""), Document("b", "")], csr_matrix(np.ones((2, SIZE))), text=True)
    fake.busy_items = [429] * 99
    with pytest.raises(EngineError, match=r"stays too busy for 1 documents \(too much\); try .* --update"):
        server.put([Document("a", "")], csr_matrix(np.ones((1, SIZE))), text=True)


@pytest.mark.parametrize("trouble", [(429, {"Retry-After": "0"}, {}), (503, {}, {}), "drop"])
def test_a_busy_server_is_asked_again(server: OpenSearch, fake: Fake, trouble: Any) -> None:
    fake.script = [trouble, trouble]
    server.put([Document("a", "")], row(t1=1.0), text=True)
    assert [one.path for one in fake.requests] == ["/docs/_bulk"] * 3
    assert server.count() == 1


def test_a_server_that_stays_away_or_refuses(server: OpenSearch, fake: Fake) -> None:
    # The first search asks for plugins.
    server.find(row(t1=1.0), 5, [])
    fake.script = [(503, {}, {"error": {"reason": "starting"}})] * (ATTEMPTS + 1)
    with pytest.raises(EngineError, match="refused with status 503: starting"):
        server.count()
    fake.script = [
        (400, {}, {"error": {"root_cause": [{"reason": "too many clauses"}], "reason": "all shards failed"}})
    ]
    with pytest.raises(EngineError, match="too many clauses"):
        server.find(row(t1=1.0), 5, [])
    fake.script = [(302, {"Location": "http://elsewhere/"}, {})]
    with pytest.raises(EngineError, match="refused with status 302"):
        server.count()
    fake.script = [(200, {}, {"timed_out": False, "_shards": {"failed": 1}, "hits": {"hits": []}})]
    with pytest.raises(EngineError, match="searched a part of its shards only"):
        server.find(row(t1=1.0), 5, [])
    fake.script = [(403, {}, {"error": "no"})]
    assert server.size() is None
    closed = Http(Location.parse("opensearch://127.0.0.1:9/docs"), 9200, backoff=0.0001)
    with pytest.raises(EngineError, match=r"127.0.0.1:9 does not answer"):
        closed.ask("GET", "/")


def test_credentials_come_from_the_environment(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    location = Location.parse(f"opensearch://127.0.0.1:{fake.port}/docs")
    monkeypatch.setenv("OPENSEARCH_USERNAME", "me")
    with pytest.raises(InputError, match="must both be set"):
        credentials(location)
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret")
    OpenSearch(location).exists()
    sent = {name.lower(): value for name, value in fake.requests[-1].headers.items()}["authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"me:secret"
    monkeypatch.setenv("OPENSEARCH_API_KEY", "key")
    monkeypatch.setenv("OPENSEARCH_CA_CERTS", "ca.pem")
    assert credentials(location) == ({"Authorization": "ApiKey key"}, "ca.pem")
    assert credentials(Location.parse("elasticsearch://h/i")) == ({}, None)
    assert credentials(Location.parse("opensearch+https://h/i"))[0]
    with pytest.raises(InputError, match=r"must be opensearch\+https://.*in the clear") as caught:
        credentials(Location.parse("opensearch://h/i"))
    assert "key" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"error": {"reason": "a", "caused_by": {"reason": "b", "caused_by": {"reason": "c"}}}}, "c"),
        ({"error": {"reason": "a", "root_cause": [{"reason": "a"}]}}, "a"),
        ({"error": {"reason": "a", "root_cause": []}}, "a"),
        ({"error": "text"}, "text"),
        ("<html>", "<html>"),
        (None, "None"),
    ],
)
def test_the_innermost_reason_is_told(value: Any, reason: str) -> None:
    assert reason_of(value) == reason
