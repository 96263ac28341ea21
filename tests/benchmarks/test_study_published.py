"""The study on published weights: its plan, that cells are measured once, its tables, on a tiny encoder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.harness import Results, write_scores
from benchmarks.suites import study_published as suite
from benchmarks.suites import study_published_tables as tables
from isthmus.collections import Collection
from tests.tiny_encoders import splade

CORPUS = {"d0": "house water", "d1": "war", "d2": "school", "d3": "capital house"}
QUERIES = {"q0": "water", "q1": "war", "q2": "school"}
CONTRACT = {
    "settings", "language", "method", "stage", "seed", "ndcg@10", "ndcg@10_ci", "flops", "collection", "documents",
    "queries", "training", "settings_hash",
}  # fmt: skip
METHODS = ("sembridge", "multivariate-gaussian")


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    torch.manual_seed(0)
    encoder = splade(tmp_path / "parts")
    development = {"collection": "dev", "before": 0.1, "best": 0.2, "evaluations": []}
    report = {"data": {"rows": 4}, "steps": 15, "kept_step": 15, "seconds": 1.0, "development": development}

    def fine_tuned(name: str, language: str, seed: int, data: Path, work: Path, pair: Any) -> tuple[Path, Any]:
        assert pair.transferred(name, language, seed, data) is encoder
        (work / name).mkdir(parents=True)
        return work / name, report

    collection = Collection("tiny", CORPUS, QUERIES, {f"q{i}": {f"d{i}": 1} for i in range(3)}, "ko")
    monkeypatch.setattr(suite, "collection_of", lambda language, args: collection)
    monkeypatch.setattr(suite, "fingerprint", lambda name: name)
    monkeypatch.setattr(suite, "start", lambda *place: encoder)
    monkeypatch.setattr(suite, "fine_tuned", fine_tuned)
    monkeypatch.setattr(suite, "load_model", lambda folder: encoder)
    monkeypatch.setattr(suite, "plan", lambda: suite.block(*suite.PAIRS[0], METHODS, suite.STAGES))
    return suite


def run(folder: Path) -> Results:
    output = folder / "study_published.json"
    suite.main(["--data", str(folder), "--output", str(output), "--work", str(folder / "work")])
    return Results(output)


def test_the_plan_has_every_method_in_every_language_before_and_after() -> None:
    cells = set(suite.plan())
    for encoder, bridge in suite.PAIRS:
        for method in ("base", *suite.METHODS):
            asked = None if method in suite.WITHOUT_BRIDGE else bridge
            for language in suite.LANGUAGES:
                before, after = (suite.Place(encoder, asked, language, method, stage, 0) for stage in suite.STAGES)
                assert [cell.seed for cell in cells if replace(cell, seed=0) == before] == [0]
                seeds = sorted(cell.seed for cell in cells if replace(cell, seed=0) == after)
                assert seeds == ([0, 1, 2] if method in suite.BEST else [0])


def test_methods_are_at_their_defaults() -> None:
    assert suite.METHODS["sembridge"] == {"method": "sembridge"}
    assert suite.METHODS["sembridge-released"] == {"method": "sembridge", "as_released": True}
    assert not any(set(options) & set(suite.HELD) for options in suite.METHODS.values())


def test_cells_keep_the_contract_and_are_measured_once(
    published: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "LANGUAGES", ("hi", "ko"))
    cells = [str(cell) for cell in published.plan()]
    results = run(tmp_path)
    assert sorted(results.by_name) == sorted(results.scores()) == sorted(cells)
    assert all(set(cell) >= CONTRACT for cell in results.cells)
    assert [bool(results.by_name[name]["training"]) for name in cells] == [False, True] * 4
    assert not list((tmp_path / "work").iterdir())
    content = json.loads(results.path.read_text())
    content["cells"] = [cell for cell in content["cells"] if cell["cell"] != cells[3]]
    next(cell for cell in content["cells"] if cell["cell"] == cells[0])["settings_hash"] = "of other settings"
    results.path.write_text(json.dumps(content))
    measured: list[str] = []
    monkeypatch.setattr(published, "measure", lambda results, cell, *rest: measured.append(cell.name))
    run(tmp_path)
    assert measured == [cells[0], cells[3]]


@pytest.mark.long
def test_tables_show_means_and_leave_empty_what_was_not_measured(
    published: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"documents": 4, "queries": 300, "flops": 2.0, "query_active_dims": 8.0, "document_active_dims": 16.0}

    def measure(results: Results, cell: Any, *rest: Any) -> None:
        scores = {"ndcg": np.full(300, 0.75 if cell.method == "sembridge" else 0.5)}
        results.add(cell, {"language": cell.language, **content}, scores)

    monkeypatch.setattr(published, "measure", measure)
    results = run(tmp_path)
    old = [{"cell": code, "language": code, "method": "ofa", "stage": "zero-shot", "ndcg@10": 0.125}
           for code in published.LANGUAGES]  # fmt: skip
    (tmp_path / "study.json").write_text(json.dumps({"cells": old}))
    text = tables.means_table(tmp_path)
    assert "| sembridge | 0.750 |" in text
    assert "| multivariate Gaussian | 0.500 ▼ |" in text
    assert "| OFA |  | 0.125 |" in text
    # Encoders and bridges of which nothing is whole have no column.
    assert "mini-splade-en, e5-small" not in text
    assert "| sembridge | 2.0 | 8, 16 | 2.0 | 8, 16 |" in tables.cost_table(tmp_path)
    # One cell is lost, another has a second seed.
    rows = json.loads(results.path.read_text())
    lost, first = (
        str(published.Place(published.TINY, bridge, "zh", method, "zero-shot", 0))
        for bridge, method in ((None, "multivariate-gaussian"), (published.E5, "sembridge"))
    )
    second = first.removesuffix("0") + "1"
    kept = [cell for cell in rows["cells"] if cell["cell"] != lost]
    rows["cells"] = [*kept, {"cell": second, "language": "zh", **content}]
    results.path.write_text(json.dumps(rows))
    write_scores(results.scored, {**results.scores(), second: {"ndcg": np.full(300, 0.25)}})
    assert "| multivariate Gaussian |  |" in tables.means_table(tmp_path)
    # (0.75 * 4 + 0.5) / 5, by seeds that one language alone has.
    assert "| sembridge | 0.700 |" in tables.means_table(tmp_path)
    languages = tables.languages_table(tmp_path, stage="zero-shot")
    assert "| multivariate Gaussian | 0.500 | 0.500 | 0.500 | 0.500 |  |  |" in languages
    assert "| sembridge | 0.750 | 0.750 | 0.750 | 0.750 | 0.500 | 0.700 |" in languages
