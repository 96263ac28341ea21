"""Approximate lists beside an index."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.engines import build_engine, change_engine, open_engine
from isthmus.engines.comparison import compare
from isthmus.engines.seismic import make_lists
from isthmus.errors import IndexFileError, InputError, MissingExtraError, NotFoundError, OutputError
from isthmus.index import SparseIndex
from isthmus.index.format import Manifest
from isthmus.index.writer import IndexWriter
from tests.engines.conftest import FOUND, QUERIES
from tests.index.vectors import IDENTITY


def test_says_what_to_install(index: SparseIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "seismic", None)
    with pytest.raises(MissingExtraError, match=r"run: .*pip install .*\[seismic\]"):
        open_engine(f"seismic:{index.folder}")


class TestSeismic:
    @pytest.fixture(autouse=True)
    def _library(self) -> None:
        pytest.importorskip("seismic", reason="pyseismic-lsr is not installed: pip install 'isthmus[seismic]'")

    def test_finds_most_of_what_the_index_finds(self, index: SparseIndex, capfd: pytest.CaptureFixture[str]) -> None:
        index.delete(["d3"])
        url = f"seismic:{index.folder}"
        change_engine(url)
        engine = open_engine(url)
        assert capfd.readouterr().out == ""
        queries = [QUERIES[row] for row in range(QUERIES.shape[0])]
        found = compare(index, engine, queries, min_recall=0.9)
        assert found.passed, found.problems
        assert found.drift < 0.001
        hits = engine.search(QUERIES[0], 5)
        assert hits[0].document == index.document(hits[0].id)
        assert engine.explain(QUERIES[0], hits[0].id) == index.explain(QUERIES[0], hits[0].id)
        assert engine.summary()["bytes"] > index.summary()["bytes"]
        assert engine.search(csr_matrix(QUERIES[0].shape)) == []
        with pytest.raises(InputError, match="seismic cannot filter"):
            engine.search(QUERIES[0], filter={"language": "ko"})
        with pytest.raises(InputError, match="top_k must be 1 or more"):
            engine.search(QUERIES[0], 0)

    def test_lists_of_another_state_are_refused(self, index: SparseIndex) -> None:
        url = f"seismic:{index.folder}"
        with pytest.raises(NotFoundError, match="has no lists of Seismic; make them with isthmus index -o seismic:"):
            open_engine(url)
        change_engine(url)
        index.delete([FOUND[0].id])
        with pytest.raises(IndexFileError, match="must be made from the index as it is now"):
            open_engine(url)
        assert change_engine(url, delete=[FOUND[1].id]).deleted == 1
        assert len(open_engine(url)) == len(FOUND) - 2
        header = index.folder / "seismic" / "header.json"
        header.write_text(json.dumps(json.loads(header.read_text()) | {"version": 9}))
        with pytest.raises(IndexFileError, match="format version 9"):
            open_engine(url)

    def test_a_folder_of_somebody_else_stays(self, index: SparseIndex) -> None:
        url = f"seismic:{index.folder}"
        place = index.folder / "seismic"
        place.mkdir()
        (place / "measurements.csv").write_text("mine")
        with pytest.raises(OutputError, match=r"must hold Seismic's lists alone, got measurements\.csv; move it away"):
            change_engine(url)
        with pytest.raises(OutputError, match=r"got measurements\.csv"):
            build_engine(url, "nothing", [], overwrite=True)
        with pytest.raises(OutputError, match=r"got measurements\.csv"):
            make_lists(index.folder)
        assert (place / "measurements.csv").read_text() == "mine"
        (place / "measurements.csv").rename(place / "header.json")
        with pytest.raises(InputError, match=r"header\.json must be a JSON file"):
            change_engine(url)
        assert (place / "header.json").read_text() == "mine"
        (place / "header.json").unlink()
        change_engine(url)
        # Lists that were lost are made again.
        (place / "lists.index.seismic").unlink()
        change_engine(url)
        assert len(open_engine(url)) == len(FOUND)

    def test_vocabularies_above_sixteen_bits(self, tmp_path: Path) -> None:
        size = 70_000
        vectors = csr_matrix(
            (np.arange(1, 121, dtype=np.float32), (np.repeat(np.arange(60), 2), np.tile([5, 69_999], 60))), (60, size)
        )
        with IndexWriter(tmp_path / "idx", new=Manifest(0, size, "f32", True, IDENTITY), tokens=None) as writer:
            writer.add(FOUND, vectors)
            writer.commit()
        change_engine(f"seismic:{tmp_path / 'idx'}")
        query = csr_matrix(([1.0], ([0], [69_999])), (1, size), dtype=np.float32)
        hit = open_engine(f"seismic:{tmp_path / 'idx'}").search(query, 1)[0]
        assert (hit.id, hit.score) == ("d59", 120.0)

    def test_an_empty_index_has_no_lists(self, tmp_path: Path) -> None:
        with IndexWriter(tmp_path / "idx", new=Manifest(0, 40, "f32", True, IDENTITY), tokens=None) as writer:
            writer.commit()
        with pytest.raises(InputError, match="seismic takes vectors with positive weights"):
            change_engine(f"seismic:{tmp_path / 'idx'}")
