"""How a query is asked: by clauses or by the plugin's own query, with no more dimensions than the server takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.engines.base import Header, Location
from isthmus.engines.opensearch import OpenSearch
from isthmus.engines.search_request import CLAUSES, CLAUSES_PATH, PLUGINS_PATH, clause_limit, knows_query_tokens
from isthmus.engines.server import ServerEngine, left_out
from isthmus.errors import EngineError, InputError
from isthmus.index import SparseIndex
from isthmus.reading.corpus import Document
from tests.engines.conftest import FOUND, QUERIES, VECTORS
from tests.engines.fake import Fake
from tests.index.vectors import IDENTITY, SIZE

WIDE = 3000


def connect(fake: Fake, scheme: str = "opensearch") -> OpenSearch:
    return OpenSearch(Location.parse(f"{scheme}://127.0.0.1:{fake.port}/docs"), backoff=0.001)


@pytest.fixture
def engine(fake: Fake) -> ServerEngine:
    server = connect(fake)
    server.create(Header(IDENTITY, SIZE))
    server.put(FOUND, VECTORS, text=True)
    return ServerEngine(server)


def bodies(fake: Fake) -> list[Any]:
    return [json.loads(one.body) for one in fake.requests if one.path.endswith("_search")]


def test_the_plugin_is_asked_for_once_and_used(engine: ServerEngine, fake: Fake) -> None:
    plain = [engine.search(QUERIES[row], filter={"language": ["en", "ko"]}) for row in range(3)]
    fake.plugins = ["2.19.1.0", "3.1.0.0"]
    engine = ServerEngine(connect(fake))
    fake.requests.clear()
    assert [engine.search(QUERIES[row], filter={"language": ["en", "ko"]}) for row in range(3)] == plain
    assert [one.path for one in fake.requests] == [PLUGINS_PATH, *["/docs/_search"] * 3]
    query = bodies(fake)[0]["query"]["bool"]
    row = QUERIES[0]
    tokens = {f"t{term}": float(weight) for term, weight in zip(row.indices, row.data, strict=True)}
    assert query["must"] == [{"neural_sparse": {"vector": {"query_tokens": tokens}}}]
    assert query["filter"] == [{"terms": {"labels": ["language=en", "language=ko"]}}]
    assert "should" not in query


def test_a_weight_that_the_plugin_does_not_take_goes_by_clauses(engine: ServerEngine, fake: Fake) -> None:
    fake.plugins = ["2.19.1.0"]
    engine.search(QUERIES[0])
    engine.search(QUERIES[0] * (65 / QUERIES[0].data.max()))
    assert ["must" in body["query"]["bool"] for body in bodies(fake)] == [True, False]


@pytest.mark.parametrize("plugins", [[], ["2.13.0.0"], ["2.19.1.0", ""], ["2.19.1.0", "2.11.0.0"]])
def test_without_the_plugin_everywhere_clauses_are_asked(engine: ServerEngine, fake: Fake, plugins: list[str]) -> None:
    fake.plugins = plugins
    engine.search(QUERIES[0])
    assert "should" in bodies(fake)[0]["query"]["bool"]


def test_elasticsearch_is_not_asked_for_the_plugin(engine: ServerEngine, fake: Fake) -> None:
    fake.plugins = ["2.19.1.0"]
    fake.requests.clear()
    ServerEngine(connect(fake, "elasticsearch")).search(QUERIES[0])
    assert PLUGINS_PATH not in [one.path for one in fake.requests]


@pytest.mark.parametrize("reply", [None, {}, {"nodes": {}}, {"nodes": {"a": {}}}, [], "html", {"nodes": "x"}])
def test_what_is_no_list_of_plugins_has_none(reply: Any) -> None:
    assert not knows_query_tokens(reply)


SETTING = "indices.query.bool.max_clause_count"


@pytest.mark.parametrize(
    ("reply", "limit"),
    [
        (None, CLAUSES),
        ({}, CLAUSES),
        ({"defaults": {SETTING: "4096"}}, 4096),
        ({"defaults": {SETTING: "1024"}, "persistent": {SETTING: "2048"}}, 2048),
        ({"persistent": {SETTING: "2048"}, "transient": {SETTING: 512}}, 512),
        ({"defaults": {SETTING: "many"}}, CLAUSES),
    ],
)
def test_the_limit_that_a_cluster_tells(reply: Any, limit: int) -> None:
    assert clause_limit(reply) == limit


@pytest.fixture
def wide(fake: Fake) -> ServerEngine:
    server = connect(fake)
    server.create(Header(IDENTITY, WIDE))
    weights = np.ones(WIDE, dtype=np.float32)
    server.put([Document("a", "x", metadata={"language": "ko"})], csr_matrix(weights), text=True)
    return ServerEngine(server)


def long_query(terms: int) -> csr_matrix:
    """Weights that grow with the dimension, so that the first ones are the lightest."""
    return csr_matrix((np.linspace(1, 2, terms, dtype=np.float32), np.arange(terms), [0, terms]), (1, WIDE))


@pytest.mark.parametrize("plugins", [[], ["2.19.1.0"]])
def test_the_heaviest_dimensions_are_asked(wide: ServerEngine, fake: Fake, plugins: list[str]) -> None:
    fake.plugins = plugins
    query = long_query(1345)
    (hit,) = wide.search(query)
    assert hit.score == pytest.approx(query.data[-1024:].sum(), rel=1e-4)
    assert left_out(wide, query) == wide.request(query).left_out == 321
    # Labels are clauses too.
    assert wide.search(query, filter={"language": ["ko", "en"]})
    assert left_out(wide, query, {"language": ["ko", "en"]}) == 323
    assert left_out(wide, long_query(1024)) == 0
    assert [one.path for one in fake.requests].count(CLAUSES_PATH) == 1


def test_a_cluster_that_takes_more_is_asked_for_more(wide: ServerEngine, fake: Fake) -> None:
    fake.settings, fake.most_clauses = {"defaults": {SETTING: "1300"}}, 1300
    assert left_out(wide, long_query(1345)) == 45
    assert wide.search(long_query(1345))


def test_a_limit_that_was_not_told_is_the_servers_word(wide: ServerEngine, fake: Fake) -> None:
    fake.most_clauses = 1000
    with pytest.raises(EngineError, match="maxClauseCount is set to 1000"):
        wide.search(long_query(1024))


def test_a_folder_leaves_nothing_out(index: SparseIndex) -> None:
    assert left_out(index, QUERIES[0]) == 0


def test_the_request_is_what_is_sent(engine: ServerEngine, fake: Fake) -> None:
    engine.search(QUERIES[0], 7, filter={"language": "ko"})
    request = engine.request(QUERIES[0], 7, filter={"language": "ko"})
    assert (request.method, request.path, request.body) == ("POST", "/docs/_search", bodies(fake)[0])
    with pytest.raises(InputError, match=r"must have a term to ask .* for, got none"):
        engine.request(csr_matrix((1, SIZE)))


def test_milvus_has_no_request_to_show(tmp_path: Path) -> None:
    pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'isthmus[milvus]'")
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed: pip install 'isthmus[milvus]'")
    from isthmus.engines.milvus import Milvus

    server = Milvus(Location.parse(f"milvus:{tmp_path / 'x.db'}"))
    with pytest.raises(InputError, match="to show requests"):
        server.request(QUERIES[0], 3, [])
    server.close()


def test_a_real_server_takes_both_ways_and_no_more_than_it_says(cluster: str) -> None:
    address = cluster.removeprefix("http://")
    found = {}
    for scheme in ("opensearch", "elasticsearch"):
        server = OpenSearch(Location.parse(f"{scheme}://{address}/wide"))
        if not server.exists():
            server.create(Header(IDENTITY, WIDE), shards=1, replicas=0)
            documents = [Document(name, "x", metadata={"language": "ko"}) for name in "ab"]
            rows = np.vstack([np.ones(WIDE), np.linspace(0.5, 1, WIDE)]).astype(np.float32)
            server.put(documents, csr_matrix(rows), text=True)
            server.flush()
        engine = ServerEngine(server)
        query = long_query(1345)
        assert left_out(engine, query, {"language": ["ko", "en"]}) == 323
        hits = engine.search(query, filter={"language": ["ko", "en"]})
        assert hits[0].score == pytest.approx(query.data[-1022:].sum(), rel=1e-3)
        body = engine.request(query * 40).body["query"]["bool"]
        assert engine.search(query * 40)
        # Above 64 the plugin refuses a weight.
        assert "should" in body
        found[scheme] = [(hit.id, pytest.approx(hit.score, rel=1e-5)) for hit in hits]
        assert ("must" in engine.request(query).body["query"]["bool"]) == (scheme == "opensearch")
    assert found["opensearch"] == found["elasticsearch"]
