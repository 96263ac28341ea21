"""The benchmark of engines: its collections, its recall, and one small run of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.suites import search
from benchmarks.suites import search_engines as engines

ROOT = Path(__file__).parents[2]


def test_the_collection_is_like_splade(tmp_path: Path) -> None:
    made = engines.synthetic(400, 30)
    entries = np.diff(made.documents.indptr)
    assert 100 < entries.mean() < 200
    assert 20 <= np.diff(made.queries.indptr).mean() <= 40
    assert 0 < made.documents.data.min() <= made.documents.data.max() <= 3.5
    counts = np.sort(np.bincount(made.documents.indices))[::-1]
    assert counts[:100].sum() > 0.15 * counts.sum()
    again = engines.synthetic(400, 30)
    assert (made.documents != again.documents).nnz == 0
    np.testing.assert_array_equal(made.best, np.sort(made.best, axis=1)[:, ::-1])
    engines.save_matrix(tmp_path, "queries", made.queries)
    assert (engines.load_matrix(tmp_path, "queries") != made.queries).nnz == 0


def test_recall_counts_ties_and_misses() -> None:
    made = engines.synthetic(50, 4)
    scores = (made.documents @ made.queries.T).toarray().T
    best = [np.argsort(-row)[:10].tolist() for row in scores]
    assert search.recall(made, best) == 1.0
    assert search.recall(made, [row[:5] for row in best]) == pytest.approx(0.5, abs=0.05)
    assert search.recall(made, [[], *best[1:]]) == 0.75


def test_a_small_run_is_resumed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "search", "--documents", "40", "--queries", "5"]
    command += ["--engines", "embedded, f32", "--folder", str(tmp_path), "-o", str(tmp_path / "out.json")]
    subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["recall@10"] == 1.0
    contract = {"engine", "documents", "build_s", "bytes", "open_ms", "p50_ms", "p99_ms", "recall@10"}
    assert row.keys() >= contract | {"memory", "build_memory", "cold_open_ms", "cold_first_ms", "libraries"}
    again = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads((tmp_path / "out.json").read_text())["rows"] == [row]
    assert again.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
