"""What other engines' loaders get, read back and compared with the index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.engines.base import Location
from isthmus.engines.bulk import nine_bits
from isthmus.engines.contents import read_documents, read_vectors
from isthmus.engines.formats import FORMATS, export
from isthmus.engines.opensearch import OpenSearch
from isthmus.engines.server import ServerEngine
from isthmus.errors import IndexFileError, InputError, OutputError, UnknownNameError
from isthmus.index import SparseIndex
from tests.engines.conftest import FOUND, QUERIES, VECTORS
from tests.engines.fake import Fake
from tests.index.vectors import SIZE


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def dense(rows: list[dict[int, float]]) -> np.ndarray:
    matrix = np.zeros((len(rows), SIZE), dtype=np.float32)
    for place, row in enumerate(rows):
        for term, weight in row.items():
            matrix[place, term] = weight
    return matrix


@pytest.mark.parametrize("at_once", [1, 37, 10**6])
def test_reads_back_what_was_put_in(index: SparseIndex, at_once: int) -> None:
    index.delete(["d1", "d30"])
    parts = list(read_documents(index, at_once))
    kept = [place for place, one in enumerate(FOUND) if one.id not in ("d1", "d30")]
    assert [one for found, _ in parts for one in found] == [FOUND[place] for place in kept]
    back = np.concatenate([vectors.toarray() for _, vectors in parts])
    np.testing.assert_array_equal(back, VECTORS[kept].toarray())
    rows = np.concatenate([rows for rows, _ in read_vectors(index, at_once)])
    assert [index.document_at(int(row)) for row in rows] == [FOUND[place] for place in kept]


def test_damaged_lists_are_refused(index: SparseIndex) -> None:
    path = sorted(index.folder.glob("segments/*/rows.npy"))[0]
    content = bytearray(path.read_bytes())
    content[-4:] = (-5).to_bytes(4, "little", signed=True)
    path.write_bytes(content)
    with pytest.raises(IndexFileError, match=r"rows.npy is damaged"):
        list(read_vectors(SparseIndex.open(index.folder)))


def test_qdrant(index: SparseIndex, tmp_path: Path) -> None:
    done = export(index.folder, "qdrant", tmp_path / "out")
    points = lines(tmp_path / "out" / "points.jsonl")
    assert (done["documents"], done["postings"]) == (len(points), VECTORS.nnz) == (len(FOUND), VECTORS.nnz)
    assert [point["payload"]["id"] for point in points] == [one.id for one in FOUND]
    assert points[0]["payload"]["language"] == "en"
    assert len({point["id"] for point in points}) == len(points)
    again = export(index.folder, "qdrant", tmp_path / "out", overwrite=True)
    assert (again, lines(tmp_path / "out" / "points.jsonl")) == (done, points)
    sparse = [point["vector"].get("sparse", {"indices": [], "values": []}) for point in points]
    assert [] not in [one["vector"]["sparse"]["indices"] for one in points if one["vector"]]
    back = dense([dict(zip(one["indices"], one["values"], strict=True)) for one in sparse])
    np.testing.assert_array_equal(back, VECTORS.toarray())
    assert json.loads((tmp_path / "out" / "collection.json").read_text())["sparse_vectors"] == {"sparse": {}}


@pytest.mark.parametrize("scale", [100.0, 1.0])
def test_anserini(index: SparseIndex, tmp_path: Path, scale: float) -> None:
    done = export(index.folder, "anserini", tmp_path / "out", scale=scale)
    rows = lines(tmp_path / "out" / "docs.jsonl")
    assert all(isinstance(impact, int) and impact > 0 for row in rows for impact in row["vector"].values())
    back = dense([{int(token[1:]): impact for token, impact in row["vector"].items()} for row in rows])
    np.testing.assert_array_equal(back, np.rint(VECTORS.toarray() * np.float32(scale)))
    assert done["quantization"] == f"rint(weight * {scale:g})"
    assert done["largest_impact"] == back.max()
    assert done["largest_rounding_error"] == pytest.approx(np.abs(back / scale - VECTORS.toarray()).max(), rel=1e-4)
    assert done["postings_rounded_to_zero"] == VECTORS.nnz - np.count_nonzero(back)
    assert rows[0]["contents"] == FOUND[0].text


def test_anserini_tokens_are_words(index: SparseIndex, tmp_path: Path) -> None:
    index._tokens = ["", "two words", "\u3000", *index.manifest.identity.encoder]
    names = [__import__("isthmus.engines.formats", fromlist=["x"])._token_name(index, term) for term in range(4)]
    assert names == ["[id:0]", "[id:1]", "[id:2]", "w"]


def test_vespa(index: SparseIndex, tmp_path: Path) -> None:
    export(index.folder, "vespa", tmp_path / "out")
    rows = lines(tmp_path / "out" / "feed.jsonl")
    assert rows[3]["put"] == "id:isthmus:passage::d3"
    back = dense([{int(t): w for t, w in row["fields"]["weights"]["cells"].items()} for row in rows])
    np.testing.assert_array_equal(back, VECTORS.toarray())
    assert json.loads(rows[3]["fields"]["metadata"]) == FOUND[3].metadata
    schema = (tmp_path / "out" / "passage.sd").read_text()
    assert set(rows[3]["fields"]) == {line.split()[1] for line in schema.splitlines() if line.strip()[:6] == "field "}


def test_opensearch_files_are_the_requests_of_the_engine(index: SparseIndex, tmp_path: Path, fake: Fake) -> None:
    export(index.folder, "opensearch", tmp_path / "out")
    server = OpenSearch(Location.parse(f"opensearch://127.0.0.1:{fake.port}/docs"))
    server._http.ask("PUT", "/docs", json.loads((tmp_path / "out" / "mapping.json").read_text()))
    server._http.ask("POST", "/docs/_bulk", (tmp_path / "out" / "bulk-00001.ndjson").read_bytes())
    engine = ServerEngine(server)
    hit = engine.search(QUERIES[0], 1)[0]
    assert hit.score == pytest.approx(index.search(QUERIES[0], 1)[0].score, rel=2.0**-9)
    stored = dense([dict(server.stored(one.id) or {}) for one in FOUND])
    expected = VECTORS.copy()
    expected.data = nine_bits(expected.data)
    np.testing.assert_array_equal(stored, expected.toarray())


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_deleted_documents_are_left_out(index: SparseIndex, tmp_path: Path, format: str) -> None:
    index.delete(["d5"])
    assert export(index.folder, format, tmp_path / "out")["documents"] == len(FOUND) - 1
    assert '"d5"' not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())


def test_refusals(index: SparseIndex, tmp_path: Path) -> None:
    refused: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (UnknownNameError, "did you mean 'vespa'", lambda: export(index.folder, "vepsa", tmp_path / "out")),
        (InputError, "scale must be above 0", lambda: export(index.folder, "anserini", tmp_path / "out", scale=0)),
        (OutputError, "already exists", lambda: export(index.folder, "vespa", index.folder)),
        (OutputError, "must hold export.json", lambda: export(index.folder, "vespa", index.folder, overwrite=True)),
    ]
    for kind, message, call in refused:
        with pytest.raises(kind, match=message):
            call()
    assert not (tmp_path / "out").exists()


def test_anserini_topics_score_as_the_index_does(
    index: SparseIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = QUERIES[:6]
    monkeypatch.setattr(SparseIndex, "vectors", lambda self, texts: [rows[int(text)] for text in texts])
    monkeypatch.setattr("isthmus.engines.formats._QUERIES_AT_ONCE", 4)
    queries = [(f"q{number}", str(number)) for number in range(6)]
    done = export(index.folder, "anserini", tmp_path / "out", scale=100, queries=queries)
    assert (done["topics"], done["queries"]) == ("topics.tsv", 6)
    topics = [line.split("\t") for line in (tmp_path / "out" / "topics.tsv").read_text().splitlines()]
    assert [identifier for identifier, _ in topics] == [identifier for identifier, _ in queries]
    documents = {row["id"]: row["vector"] for row in lines(tmp_path / "out" / "docs.jsonl")}
    monkeypatch.undo()
    for (_, words), row in zip(topics, rows, strict=True):
        asked = Counter(words.split())
        # As Lucene scores: how often a token stands in the query, times its impact in the document.
        for hit in index.search(row, 5):
            score = sum(count * documents[hit.id].get(token, 0) for token, count in asked.items())
            assert score / 100**2 == pytest.approx(hit.score, rel=0.02, abs=0.05)


@pytest.mark.parametrize("ids", [["a", "a"], ["a b"], [""], ["a\t"]])
def test_ids_that_no_run_can_hold(index: SparseIndex, tmp_path: Path, monkeypatch: Any, ids: list[str]) -> None:
    monkeypatch.setattr(SparseIndex, "vectors", lambda self, texts: [QUERIES[0] for _ in texts])
    with pytest.raises(InputError, match="must be unique and without white space"):
        export(index.folder, "anserini", tmp_path / "out", queries=[(identifier, "x") for identifier in ids])
    assert not (tmp_path / "out").exists()


def test_topics_are_for_anserini(index: SparseIndex, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="queries must come with the format 'anserini', got 'qdrant'"):
        export(index.folder, "qdrant", tmp_path / "out", queries=[("a", "x")])
