"""A URL names one index, or is refused before anything is sent; what --overwrite and deletions may remove."""

from __future__ import annotations

import json
import re
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.engines import build_engine, change_engine, http, open_engine, server
from isthmus.engines.base import Header, Location
from isthmus.engines.connection import Server
from isthmus.engines.http import Http
from isthmus.engines.milvus import LITE_COLLECTION, Milvus
from isthmus.engines.opensearch import OpenSearch
from isthmus.engines.postgresql import PostgreSQL
from isthmus.engines.qdrant import Qdrant
from isthmus.engines.qdrant_points import EdgePoints, Points, ServerPoints
from isthmus.errors import EngineError, IndexFileError, InputError, IsthmusError, OutputError
from isthmus.reading.corpus import Document
from tests.engines.conftest import FOUND, VECTORS, connect
from tests.engines.fake import Fake
from tests.index.vectors import IDENTITY, SIZE
from tests.tiny_encoders import splade

HEADER = Header(IDENTITY, SIZE, {"dtype": "float32"})
TEXTS = [{"id": "a", "text": "the house of water"}, {"id": "b", "text": "war"}]
OF_ALL = [
    "*", "test-*", "test-?", "docs?", "a,b", "docs,", "*,-docs", "<docs-{now}>", "<docs>", "%3Cdocs%3E", "_all",
    "_docs", "-docs", "+docs", ".", "..", ".docs", "%2A", "%2a", "%252A", "docs%00", "docs%2Cb", "docs%2F_all", "a/b",
    "a//b", "/docs", "docs//", "docs/_all", "docs#x", "docs?pretty", "do cs", " docs", "docs ", "do\tcs", "docs\n",
    "do\0cs", "docs\x7f", "docs\\b", 'do"cs', "a:b", "remote:docs", "a|b", "d@cs", "a" * 256, "집" * 86, "docs\u200b",
    "＊", "do\u2028cs", "\ud800",
]  # fmt: skip
OF_SEARCH_ENGINES = ["Docs", "docsÄ", "ΣΑΣ"]
OF_MILVUS = ["9docs", "do-cs", "do.cs", "집"]
HOSTILE = [
    *[(scheme, name) for scheme in ("opensearch", "elasticsearch") for name in [*OF_ALL, *OF_SEARCH_ENGINES]],
    *[("milvus", name) for name in [*OF_ALL, *OF_MILVUS] if name not in ("_all", "_docs")],
    *[("postgresql", name) for name in [*OF_ALL, *OF_MILVUS, "a" * 64, "pg;drop"] if name not in ("_all", "_docs")],
    *[("qdrant", name) for name in [*OF_ALL, "집"] if name != "docs//"],
]
VERBS: list[Callable[[str], object]] = [
    open_engine,
    lambda url: build_engine(url, "nothing", TEXTS, overwrite=True),
    lambda url: change_engine(url, delete=["a"]),
    lambda url: change_engine(url, corpus=TEXTS, update=True),
]


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """Somebody who listens, and whom nobody must call."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def check_refused(listener: socket.socket, scheme: str, name: str) -> None:
    database = "db/" if scheme == "postgresql" else ""
    url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/{database}{name}"
    with pytest.MonkeyPatch.context() as patch:
        # Nobody answers: who calls is not to wait.
        patch.setattr(http, "ATTEMPTS", 0)
        patch.setattr(http, "_READ_SECONDS", 0.1)
        for verb in VERBS:
            with pytest.raises(InputError, match=rf"must (be .*(letters|{scheme}://HOST:PORT/NAME)|not hold)"):
                verb(url)
            assert select.select([listener], [], [], 0)[0] == [], "a request left"


@pytest.mark.parametrize(("scheme", "name"), HOSTILE)
def test_a_name_that_may_mean_another_index_is_refused_before_anything_is_sent(
    listener: socket.socket, scheme: str, name: str
) -> None:
    check_refused(listener, scheme, name)


@given(name=st.text(st.sampled_from("ab9*?,<>{}/%+-_.:;#&=@!~|\\\"' \t\r\n\0AZé\u0301ßİ💧"), max_size=12))
def test_no_name_gets_through_but_plain_ones(listener: socket.socket, name: str) -> None:
    if re.fullmatch("[ab9éß][ab9éß\u0301._-]*/?", name):
        assert Location.parse(f"opensearch://h/{name}").name == name.rstrip("/")
    else:
        check_refused(listener, "opensearch", name)
    if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*/?", name):
        check_refused(listener, "milvus", name)
        check_refused(listener, "postgresql", name)
    if not re.fullmatch("[a-zA-Z0-9][a-zA-Z0-9_.-]*/?", name):
        check_refused(listener, "qdrant", name)


@pytest.mark.parametrize("authority", ["ho st", "h\\x", "h#x", "h?x", "h\n", "", ":9200", "me:se/cret@h", "h:x"])
def test_nor_does_a_host_that_is_none(authority: str) -> None:
    with pytest.raises(InputError) as caught:
        Location.parse(f"opensearch://{authority}/docs")
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["docs", "docs.v2", "2026-11_a.b", "집", "हिन्दी", "a" * 255, "docs/"])
def test_other_names_are_asked_for_as_they_are(fake: Fake, name: str) -> None:
    with pytest.raises(IsthmusError, match="does not exist"):
        open_engine(f"opensearch://127.0.0.1:{fake.port}/{name}")
    assert len(fake.requests) == 1
    assert fake.named(name.rstrip("/")) == []
    for wanted in ("Docs_2", "_docs"):
        assert Location.parse(f"milvus://h/{wanted}").name == wanted


def test_the_message_says_what_to_write() -> None:
    for name, remedy in {
        "Docs": "write 'docs'",
        "test-*": "write the name of one",
        "docs%2a": "a percent sign is no part of a name",
        "_all": "write the name of one",
        "a" * 300: "shorten it",
        ".docs": "choose another name",
    }.items():
        with pytest.raises(InputError, match=f"a letter or digit first.*; .*{re.escape(remedy)}"):
            Location("opensearch://h", "opensearch", host="h", name=name)


@pytest.fixture
def opened(url: str) -> Iterator[Server]:
    made = connect(url)
    yield made
    made.close()


class Foreign:
    """What somebody else has on the same server, one of it with the same beginning."""

    def __init__(self, server: Server) -> None:
        self.server = server
        name = server.name
        self.names = ["isthmus2", "mine"] if isinstance(server, Milvus) else [f"{name}_2", f"mine_{name}"[:60]]
        for name in self.names:
            self.make(name)

    def make(self, name: str) -> None:
        server = self.server
        if isinstance(server, Milvus):
            server._client.create_collection(name, dimension=2)
            server._client.insert(name, [{"id": 1, "vector": [1.0, 2.0]}])
        elif isinstance(server, OpenSearch):
            server._http.ask("PUT", f"/{name}", {"mappings": {"properties": {}}})
            action = b'{"index": {"_id": "1"}}\n{"mine": true}\n'
            server._http.ask("POST", f"/{name}/_bulk", action)
            server._http.ask("POST", f"/{name}/_refresh")
        elif isinstance(server, PostgreSQL):
            # PostgreSQL would cut off what is longer.
            server._run("CREATE TABLE {other} AS SELECT 1 AS mine", other=server._sql.Identifier(name))
        elif isinstance(points := points_of(server), ServerPoints):
            points._client.create_collection(name, vectors_config={})
            points._client.upsert(name, [points._models.PointStruct(id=1, vector={}, payload={"mine": True})])
        else:
            assert isinstance(points, EdgePoints)
            place = points._folder.with_name(name) / "segments"
            place.mkdir(parents=True)
            (place / "mine").write_text("mine")

    def check(self) -> None:
        """All is there, with its documents."""
        for name in self.names:
            assert self.count(name) == 1

    def count(self, name: str) -> int:
        server = self.server
        if isinstance(server, Milvus):
            # A new connection: the one before may keep what it knew.
            return len(server._client.query(name, filter="id == 1"))
        if isinstance(server, OpenSearch):
            return int(server._http.ask("GET", f"/{name}/_count")[1]["count"])
        if isinstance(server, PostgreSQL):
            return int(server._run("SELECT count(*) FROM {other}", other=server._sql.Identifier(name))[0][0])
        if isinstance(points := points_of(server), ServerPoints):
            return int(points._client.count(name).count)
        assert isinstance(points, EdgePoints)
        return (points._folder.with_name(name) / "segments" / "mine").read_text().count("mine")


def points_of(server: Server) -> Points:
    assert isinstance(server, Qdrant)
    return server._points


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    splade(root / "backbone").save_pretrained(str(root / "encoder"))
    return root / "encoder"


def fill(server: Server) -> None:
    server.create(HEADER)
    server.put(FOUND, VECTORS, text=True)
    server.flush()


def alias(server: Server, name: str, *targets: str) -> None:
    if isinstance(server, Milvus):
        server._client.create_alias(targets[0], name)
    elif isinstance(server, Qdrant):
        points = points_of(server)
        assert isinstance(points, ServerPoints)
        made = points._models.CreateAlias(collection_name=targets[0], alias_name=name)
        points._client.update_collection_aliases([points._models.CreateAliasOperation(create_alias=made)])
    else:
        assert isinstance(server, OpenSearch)
        server._http.ask(
            "POST", "/_aliases", {"actions": [{"add": {"index": target, "alias": name}} for target in targets]}
        )


def test_what_others_have_stays(opened: Server, url: str, encoder: Path) -> None:
    foreign = Foreign(opened)
    build_engine(url, encoder, TEXTS)
    foreign.check()
    assert build_engine(url, encoder, TEXTS, overwrite=True).added == 2
    foreign.check()
    assert change_engine(url, delete=["a"]).deleted == 1
    foreign.check()
    assert opened.count() == 1
    opened.drop()
    assert not opened.exists()
    foreign.check()


def test_what_is_behind_an_alias_can_be_searched_and_is_not_dropped(opened: Server, url: str) -> None:
    name = opened.name
    if not Location.parse(url).host and not isinstance(opened, Milvus):
        pytest.skip("neither tables nor folders have aliases")
    opened.name = behind = "behind" if isinstance(opened, Milvus) else f"behind-{name}"
    if not isinstance(opened, Milvus):
        opened = connect(url[: -len(name)] + behind)
    fill(opened)
    before = opened.count()
    alias(opened, name, behind)

    through = open_engine(url, any_model=True)
    assert len(through) == before
    assert through.search(VECTORS[1], 1) != []
    through.close()
    with pytest.raises(OutputError, match=f"^{name} is an alias of {behind}; .* name {behind}, or choose another name"):
        # Told before the encoder is opened, which may take long.
        build_engine(url, "nothing", TEXTS, overwrite=True)
    if isinstance(opened, Milvus):
        opened.name = name
    with pytest.raises(OutputError, match="is an alias of"):
        (opened if isinstance(opened, Milvus) else connect(url)).drop()
    opened.name = behind
    assert opened.count() == before
    opened.drop()
    assert not opened.exists()


def test_an_alias_of_several_is_refused(url: str, encoder: Path) -> None:
    location = Location.parse(url)
    if location.scheme not in ("opensearch", "elasticsearch"):
        pytest.skip("only OpenSearch and Elasticsearch have aliases of several")
    parts = [
        OpenSearch(Location.parse(f"{location.scheme}://{location.host}:{location.port}/{location.name}{letter}"))
        for letter in "ab"
    ]
    for one in parts:
        fill(one)
    alias(parts[0], location.name, *[one.name for one in parts])
    for verb in (*VERBS, lambda url: build_engine(url, encoder, TEXTS)):
        with pytest.raises(IndexFileError, match=f"is an alias of {parts[0].name}, {parts[1].name}; name one of them"):
            verb(url)
    for one in parts:
        assert one.count() == len(FOUND)
        one.drop()
        one.close()


def test_what_came_while_the_encoder_was_opened_is_not_dropped(
    opened: Server, url: str, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(opened, OpenSearch):
        pytest.skip("the others keep the index locked, or are asked as OpenSearch is")
    build_engine(url, encoder, TEXTS)
    windows = server.encoded_windows

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        opened.drop()
        opened._http.ask("PUT", opened._index, {"mappings": {"properties": {}}})
        return windows(*arguments, **options)

    monkeypatch.setattr(server, "encoded_windows", meanwhile)
    with pytest.raises(IndexFileError, match="was not made by isthmus index"):
        build_engine(url, encoder, TEXTS, overwrite=True)
    found = opened._mapping()
    assert found is not None
    assert "_meta" not in found[1]
    opened.remove()


@pytest.mark.parametrize(
    "reply",
    [{}, [], None, "<html>", {"docs": None}, {"docs": {}}, {"docs": {"mappings": None}}, {"docs": {"mappings": []}},
     {"docs": {"mappings": {"_meta": None}}}, {"docs": {"mappings": {"_meta": {"isthmus": [1]}}}}],
)  # fmt: skip
def test_a_reply_that_is_no_mapping_is_told(fake: Fake, reply: Any) -> None:
    fake.script = [(200, {}, reply)]
    with pytest.raises((EngineError, IndexFileError), match=r"must answer with the mapping|was not made by isthmus"):
        open_engine(f"opensearch://127.0.0.1:{fake.port}/docs")


BLOCK = {"type": "cluster_block_exception", "reason": "index [docs] blocked by: [%s];"}


@pytest.mark.parametrize(("status", "block"), [(429, "TOO_MANY_REQUESTS/12/disk usage"), (403, "FORBIDDEN/8/write")])
def test_a_blocked_index_is_told_at_once(fake: Fake, status: int, block: str) -> None:
    waits: list[float] = []
    docs = OpenSearch(Location.parse(f"opensearch://127.0.0.1:{fake.port}/docs"), sleep=waits.append)
    docs.create(HEADER)
    failed = {"_id": "a", "status": status, "error": BLOCK | {"reason": BLOCK["reason"] % block}}
    fake.script = [(200, {}, {"items": [{"index": failed}]})]
    with pytest.raises(EngineError, match=rf"takes no documents: .*\[{block}\]; .*free space, or lift .* --update$"):
        docs.put([Document("a", "x")], VECTORS[1], text=True)
    assert waits == []
    # That of a server that starts goes away.
    failed |= {"status": 503, "error": BLOCK | {"reason": "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered];"}}
    fake.script = [(200, {}, {"items": [{"index": failed}]})]
    docs.put([Document("a", "x")], VECTORS[1], text=True)
    assert (len(waits), docs.count()) == (1, 1)
    fake.script = [(403, {}, {"error": BLOCK | {"reason": "blocked by: [FORBIDDEN/10/create-index];"}, "status": 403})]
    with pytest.raises(EngineError, match=r"status 403: .*FORBIDDEN/10/create-index\]; .*lift the block"):
        docs.create(HEADER)


AWKWARD = [
    "it's", 'say "x"', "back\\slash", "\\'", '\\"', "new\nline", "\r\t\x01", "c' ]", "a%2A", "../x", "*", "_all", "a,b",
    "{x}", "집 💧", "zz'] or id not in ['x", 'zz"] or id not in ["x',
]  # fmt: skip


def test_an_id_is_an_id_and_nothing_else(opened: Server) -> None:
    fill(opened)
    before = opened.count()
    for identifier in AWKWARD:
        assert opened.missing([identifier]) == [identifier]
        assert opened.document(identifier) is None
        assert opened.stored(identifier) is None
    opened.put([Document(one, "x", metadata={"k": one}) for one in AWKWARD], VECTORS[[1] * len(AWKWARD)], text=True)
    opened.flush()
    for number, identifier in enumerate(AWKWARD):
        assert opened.missing([identifier]) == []
        found = opened.document(identifier)
        assert found is not None
        assert found.id == identifier
        assert opened.stored(identifier)
        assert [hit.id for hit in opened.find(VECTORS[1], 99, [[f"k={identifier}"]])] == [identifier]
        opened.delete([identifier])
        opened.flush()
        assert opened.count() == before + len(AWKWARD) - number - 1


def test_files_that_milvus_lite_did_not_make_stay(tmp_path: Path, encoder: Path) -> None:
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed: pip install 'isthmus[milvus]'")
    file, folder = tmp_path / "file.db", tmp_path / "folder.db"
    file.write_text("mine")
    with pytest.raises(EngineError):
        build_engine(f"milvus:{file}", encoder, TEXTS, overwrite=True)
    assert file.read_text() == "mine"
    mine = folder / "collections" / LITE_COLLECTION / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(EngineError):
        build_engine(f"milvus:{folder}", encoder, TEXTS, overwrite=True)
    assert mine.read_text() == "mine"


def test_a_folder_that_holds_more_than_qdrant_edge_made_stays(tmp_path: Path, encoder: Path) -> None:
    pytest.importorskip("qdrant_edge", reason="no Qdrant Edge: pip install 'isthmus[qdrant]'")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for overwrite, error in ((False, OutputError), (True, IndexFileError)):
        with pytest.raises(error):
            build_engine(f"qdrant:{folder}", encoder, TEXTS, overwrite=overwrite)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    build_engine(f"qdrant:{tmp_path / 'own'}", encoder, TEXTS)
    (tmp_path / "own" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"Qdrant Edge's files alone, got mine\.txt"):
        build_engine(f"qdrant:{tmp_path / 'own'}", encoder, TEXTS, overwrite=True)
    assert (tmp_path / "own" / "mine.txt").exists()
    assert open_engine(f"qdrant:{tmp_path / 'own'}", any_model=True).summary()["documents"] == 2


@pytest.mark.parametrize("kind", ["VIEW {table} AS SELECT 1 AS mine", "MATERIALIZED VIEW {table} AS SELECT 1 AS mine"])
def test_what_is_no_table_stays(postgres: str, monkeypatch: pytest.MonkeyPatch, encoder: Path, kind: str) -> None:
    monkeypatch.setenv("PGHOST", postgres)
    url = f"postgresql://postgres@/postgres/v{len(kind)}"
    server = connect(url)
    assert isinstance(server, PostgreSQL)
    server._run("CREATE " + kind)
    for verb in (open_engine, lambda url: build_engine(url, encoder, TEXTS, overwrite=True)):
        with pytest.raises(IndexFileError, match="is no table that isthmus index made"):
            verb(url)
    assert server._run("SELECT mine FROM {table}") == [(1,)]
    server.close()


def test_a_table_that_a_view_reads_stays(postgres: str, monkeypatch: pytest.MonkeyPatch, encoder: Path) -> None:
    monkeypatch.setenv("PGHOST", postgres)
    url = "postgresql://postgres@/postgres?table=read_by_a_view"
    build_engine(url, encoder, TEXTS)
    server = connect(url)
    assert isinstance(server, PostgreSQL)
    server._run("CREATE VIEW reader AS SELECT id FROM {table}")
    with pytest.raises(EngineError, match=r"cannot drop table .*because other objects depend on it"):
        build_engine(url, encoder, TEXTS, overwrite=True)
    assert server.count() == 2
    server.close()


class TestRealOpenSearch:
    """What the emulator may do otherwise, on a cluster with others' indexes and hidden ones."""

    @pytest.fixture
    def asking(self, cluster: str) -> Iterator[Http]:
        asking = Http(Location.parse(f"opensearch://{cluster.removeprefix('http://')}/x"), 9200)
        yield asking
        asking.close()

    def everything(self, asking: Http) -> dict[str, str]:
        asking.ask("POST", "/_refresh")
        rows = asking.ask("GET", "/_cat/indices?format=json&expand_wildcards=all&h=index,uuid,docs.count")[1]
        return {row["index"]: json.dumps(row) for row in rows}

    @pytest.mark.parametrize("name", ["*", "real-*", "_all", "real-a,real-b", "real-a,", "..", ".real", "%72eal-a"])
    def test_nothing_is_dropped_by_a_pattern(self, asking: Http, cluster: str, encoder: Path, name: str) -> None:
        place = f"opensearch://{cluster.removeprefix('http://')}"
        for one in ("real-a", "real-b"):
            build_engine(f"{place}/{one}", encoder, TEXTS, overwrite=True)
        for one in ("real-mine", ".real"):
            asking.ask("PUT", f"/{one}/_doc/1?refresh=true", {"mine": True})
        before = self.everything(asking)
        assert before.keys() >= {"real-a", "real-b", "real-mine", ".real"}
        with pytest.raises(InputError):
            build_engine(f"{place}/{name}", encoder, TEXTS, overwrite=True)
        assert self.everything(asking) == before

    @pytest.mark.parametrize("block", ["read_only_allow_delete", "read_only", "write"])
    def test_a_block_is_told(self, asking: Http, cluster: str, encoder: Path, block: str) -> None:
        url = f"opensearch://{cluster.removeprefix('http://')}/real-block"
        build_engine(url, encoder, TEXTS, overwrite=True)
        # What is there with the same text would not be sent.
        changed = [row | {"text": row["text"] + " again"} for row in TEXTS]
        asking.ask("PUT", "/real-block/_settings", {f"index.blocks.{block}": True})
        try:
            with pytest.raises(EngineError, match=r"takes no documents: .*blocked by: \[.*; .*lift the block"):
                change_engine(url, corpus=changed, update=True)
        finally:
            asking.ask("PUT", "/real-block/_settings", {f"index.blocks.{block}": None})
        assert change_engine(url, corpus=changed, update=True).added == 2
