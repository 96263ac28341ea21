"""URLs, and which engine they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.engines import change_engine, is_engine_url, open_engine
from isthmus.engines.base import Header, Location, labels
from isthmus.errors import IndexFileError, InputError, NotFoundError, UnknownNameError
from isthmus.index import SparseIndex
from isthmus.reading.corpus import Document
from tests.engines.conftest import QUERIES
from tests.index.vectors import IDENTITY


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("idx", Location("idx", path="idx")),
        ("C:\\idx", Location("C:\\idx", path="C:\\idx")),
        ("seismic:a/b", Location("seismic:a/b", "seismic", path="a/b")),
        ("milvus:x.db", Location("milvus:x.db", "milvus", path="x.db")),
        (
            "opensearch+https://[::1]:92/docs",
            Location("opensearch+https://[::1]:92/docs", "opensearch", True, "//[::1]:92/docs", "::1", 92, "docs"),
        ),
        ("milvus://h/c", Location("milvus://h/c", "milvus", False, "//h/c", "h", None, "c")),
    ],
)
def test_takes_urls_apart(url: str, expected: Location) -> None:
    assert Location.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("opensearch://host", "must be opensearch://HOST:PORT/NAME"),
        ("opensearch://host:92/a/b", "must be opensearch://HOST:PORT/NAME"),
        ("opensearch:///docs", "must be opensearch://HOST:PORT/NAME"),
        ("opensearch://host:ninety/docs", "must have a port number"),
        ("opensearch:docs", "must be opensearch://HOST:PORT/INDEX"),
        ("seismic://idx", "must be seismic:FOLDER, without //"),
        ("seismic+https:idx", "must name a server to connect by TLS"),
        ("milvus:x.sqlite", "must be milvus:FILE.db or milvus://HOST:PORT/COLLECTION"),
    ],
)
def test_refuses_urls_that_name_nothing(url: str, message: str) -> None:
    if url.startswith("milvus"):
        pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'isthmus[milvus]'")
    with pytest.raises(InputError, match=message):
        open_engine(url)


def test_never_repeats_a_password() -> None:
    with pytest.raises(InputError, match="must not hold credentials") as caught:
        open_engine("opensearch://me:secret@host/docs")
    assert "secret" not in str(caught.value)


def test_knows_which_engines_there_are(tmp_path: Path) -> None:
    assert not is_engine_url(str(tmp_path))
    assert is_engine_url("elasticsearch://h/i")
    with pytest.raises(UnknownNameError, match=r"engine must be one of .*did you mean 'opensearch'"):
        is_engine_url("opensaerch://h/i")
    # A folder may be called anything.
    assert not is_engine_url("ab:c")
    assert is_engine_url("OPENSEARCH://h/i")
    (tmp_path / "seismc:there").mkdir()
    assert not is_engine_url(str(tmp_path / "seismc:there"))
    with pytest.raises(UnknownNameError, match="did you mean 'seismic'"):
        is_engine_url("seismc:idx")
    with pytest.raises(InputError, match=r"named by its folder, got 'file:///idx'; leave out 'file:'"):
        is_engine_url("file:///idx")


def test_a_folder_is_an_engine(index: SparseIndex) -> None:
    engine = open_engine(index.folder)
    assert engine.search(QUERIES[0]) == index.search(QUERIES[0])
    assert change_engine(index.folder, delete=["d0"]).deleted == 1
    assert len(open_engine(str(index.folder))) == len(index) - 1
    engine.close()
    with pytest.raises(NotFoundError, match="must be an index"):
        open_engine("nothing")


def test_headers_of_later_versions_are_refused() -> None:
    content = Header(IDENTITY, 3, {"dtype": "float32"}, False).to_dict()
    assert Header.from_dict(content, "it") == Header(IDENTITY, 3, {"dtype": "float32"}, False)
    with pytest.raises(IndexFileError, match="it has format version 2"):
        Header.from_dict(content | {"version": 2}, "it")
    with pytest.raises(IndexFileError, match="the header of it is damaged"):
        Header.from_dict(content | {"identity": None}, "it")
    with pytest.raises(IndexFileError, match="it was not made by isthmus index"):
        Header.from_dict(None, "it")


def test_labels_are_the_values_that_filters_compare() -> None:
    document = Document("a", "", metadata={"year": 2001, "open": True, "tags": [1], "more": {}, "none": None, "x": ""})
    assert labels(document) == ["year=2001", "open=true", "x="]
