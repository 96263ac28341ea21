"""A new index takes the place of another behind an alias, and nothing else is touched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.engines import aliases, build_engine, change_engine, open_engine
from isthmus.engines.base import Header, Location
from isthmus.engines.opensearch import OpenSearch
from isthmus.errors import EngineAwayError, EngineError, InputError, OutputError
from isthmus.index import build
from tests.engines.fake import Fake
from tests.index.vectors import IDENTITY, SIZE
from tests.tiny_encoders import splade

WORDS = ["house", "water", "war", "capital"]
TEXTS = {f"d{n}": f"the {WORDS[n % 4]} of {WORDS[(n + 1) % 4]}" for n in range(40)}
KINDS = ["fake", "emulator", "cluster"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    splade(root / "backbone").save_pretrained(str(root / "encoder"))
    splade(root / "backbone", seed=3).save_pretrained(str(root / "other"))
    return root / "encoder"


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every index gets a second of its own."""
    seconds = iter(range(100))
    monkeypatch.setattr(aliases.time, "strftime", lambda *_: f"20260101-0000{next(seconds):02}")


@pytest.fixture(params=KINDS)
def url(request: Any, times: None, tmp_path: Path) -> str:
    if request.param == "fake":
        address = f"127.0.0.1:{request.getfixturevalue('fake').port}"
    else:
        address = request.getfixturevalue(request.param).removeprefix("http://")
    return f"opensearch://{address}/{re.sub('[^a-z]', '', tmp_path.name.lower())}"


def server(url: str, name: str = "") -> OpenSearch:
    return OpenSearch(Location.parse(url + name), backoff=0.001)


def test_a_new_index_takes_the_place_of_the_one_before(url: str, encoder: Path) -> None:
    alias = Location.parse(url).name
    others = [server(url, tail) for tail in ("-20250101-000000", "-mine", "2", "-20260101-000000-mine")]
    # The first was made by Isthmus, but for no alias.
    others[0].create(Header(IDENTITY, SIZE))
    for one in others[1:]:
        one._http.ask("PUT", one._index, {"mappings": {"properties": {}}})
    names = [f"{alias}-20260101-0000{n:02}" for n in range(5)]

    first = build_engine(url, encoder, TEXTS, alias=True)
    assert first.told == {"alias": alias, "index": names[0], "previous": None, "dropped": []}
    engine = open_engine(url)
    before = [hit.score for hit in engine.search("the house of water")]
    assert (len(engine), len(before)) == (40, 10)
    # Changes by the alias's name are changes of the index behind it.
    assert change_engine(url, corpus={"new": "house house"}, update=True, delete=["d1"]).deleted == 1
    assert len(engine) == 40
    assert engine.document("new").text == "house house"

    second = build_engine(url, encoder, TEXTS, alias=True)
    assert second.told == {"alias": alias, "index": names[1], "previous": names[0], "dropped": []}
    # The engine that was open answers from the new one.
    np.testing.assert_array_equal([hit.score for hit in engine.search("the house of water")], before)
    assert server(url, "-20260101-000000").count() == 40
    third = build_engine(url, encoder.with_name("other"), TEXTS, alias=True)
    assert third.told == {"alias": alias, "index": names[2], "previous": names[1], "dropped": [names[0]]}
    # Somebody keeps the one before.
    kept = server(url, "-kept")
    kept.move(None, names[1])
    assert build_engine(url, encoder, TEXTS, alias=True).told["dropped"] == []
    assert build_engine(url, encoder, TEXTS, alias=True).told["dropped"] == [names[2]]
    assert [server(url, name[len(alias) :]).exists() for name in names] == [False, True, False, True, True]
    assert all(one.exists() for one in others)
    for tail in (*[one.name[len(alias) :] for one in others], *[name[len(alias) :] for name in names]):
        server(url, tail)._http.ask("DELETE", f"/{alias}{tail}", known=(404,))


def test_one_that_is_not_as_it_should_be_does_not_take_its_place(
    url: str, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias = Location.parse(url).name
    first = build_engine(url, encoder, TEXTS, alias=True).told["index"]
    put = OpenSearch.put

    def heavier(self: OpenSearch, documents: Any, vectors: Any, *, text: bool) -> None:
        put(self, documents, vectors * 1.01, text=text)

    def fewer(self: OpenSearch, documents: Any, vectors: Any, *, text: bool) -> None:
        put(self, documents[1:], vectors[1:], text=text)

    for wrong, message in (
        (heavier, "does not have document .* as it was sent"),
        (fewer, "has 39 documents, and must"),
    ):
        monkeypatch.setattr(OpenSearch, "put", wrong)
        with pytest.raises(EngineError, match=message):
            build_engine(url, encoder, TEXTS, alias=True)
        monkeypatch.setattr(OpenSearch, "put", put)
        assert [name for name, *_ in server(url).generations()] == [first] == [server(url).read()[0]]
    find = OpenSearch.find
    monkeypatch.setattr(OpenSearch, "find", lambda *arguments: find(*arguments)[1:])
    with pytest.raises(EngineError, match="must find document"):
        build_engine(url, encoder, TEXTS, alias=True)
    assert server(url).read()[0] == first
    server(url, first[len(alias) :]).remove()


def test_what_was_cut_goes_on(fake: Fake, times: None, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"opensearch://127.0.0.1:{fake.port}/docs"
    monkeypatch.setattr(build, "PART_SIZE", 10)
    build_engine(url, encoder, {"a": "war"}, alias=True)
    port = fake.port
    # What is behind the alias (twice), which were begun, make it, and two windows.
    fake.dying[port] = 6
    monkeypatch.setattr("isthmus.engines.http.time.sleep", lambda _: None)
    with pytest.raises(EngineAwayError, match=r"20 documents were taken, and the same command goes on from there"):
        build_engine(url, encoder, TEXTS, alias=True)
    assert fake.aliases["docs"] == ["docs-20260101-000000"]
    fake.start(port)
    change = build_engine(url, encoder, TEXTS, alias=True)
    assert (change.added, change.unchanged, change.told["index"]) == (20, 20, fake.aliases["docs"][0])
    assert len(fake.indexes) == 2
    # Begun again, by another corpus: what is left over is told, and dropped.
    fake.dying[port] = 6
    with pytest.raises(EngineAwayError):
        build_engine(url, encoder, TEXTS, alias=True)
    fake.start(port)
    with pytest.raises(EngineError, match="has 20 documents, and must have 1; it was dropped"):
        build_engine(url, encoder, {"d0": TEXTS["d0"]}, alias=True)
    assert build_engine(url, encoder, {"d0": TEXTS["d0"]}, alias=True).added == 1


def test_what_does_not_go_with_an_alias(fake: Fake, encoder: Path, tmp_path: Path) -> None:
    url = f"opensearch://127.0.0.1:{fake.port}/docs"
    with pytest.raises(InputError, match="overwrite must be left out with alias"):
        build_engine(url, encoder, TEXTS, alias=True, overwrite=True)
    with pytest.raises(InputError, match=r"alias must come with opensearch:// .*; leave out --alias"):
        build_engine(tmp_path / "idx", encoder, TEXTS, alias=True)
    build_engine(url, encoder, TEXTS)
    with pytest.raises(OutputError, match="docs is an index, and an alias cannot have its name"):
        build_engine(url, encoder, TEXTS, alias=True)
    assert len(fake.indexes["docs"]["rows"]) == 40
