"""The study: its cells, that they are measured once, its summary and tables, on tiny encoders."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from benchmarks import encoding
from benchmarks.harness import Results, write_scores
from benchmarks.suites import study as suite
from benchmarks.suites import study_tables
from isthmus.collections import Collection
from tests.tiny_encoders import splade

CORPUS = {"d0": "house water", "d1": "war", "d2": "school", "d3": "capital house"}
QUERIES = {"q0": "water", "q1": "war", "q2": "school"}
CONTRACT = {"language", "method", "stage", "collection", "ndcg@10", "ndcg@10_ci", "flops", "seed", "documents"}


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("ISTHMUS_DATA", "unset")
    torch.manual_seed(0)
    encoder = splade(tmp_path / "parts")
    encoder.save_pretrained(str(tmp_path / "trained"))
    points = [{"step": 0, "ndcg@10": 0.1}, {"step": 15, "ndcg@10": 0.2}]
    report = {
        "data": {"rows": 4},
        "steps": 15,
        "kept_step": 15,
        "seconds": 1.0,
        "development": {"collection": "dev", "before": 0.1, "best": 0.2, "evaluations": points},
    }

    def fine_tuned(*rest: Any) -> tuple[Path, dict[str, Any]]:
        return tmp_path / "trained", report

    collection = Collection("tiny", CORPUS, QUERIES, {f"q{i}": {f"d{i}": 1} for i in range(3)}, "ko")
    monkeypatch.setattr(suite, "collection_of", lambda language, args: collection)
    monkeypatch.setattr(suite.Pair, "transferred", lambda self, name, *rest: encoder)
    monkeypatch.setattr(suite, "fine_tuned", fine_tuned)
    return suite


def run(study: ModuleType, folder: Path, *options: str) -> Results:
    arguments = ["--data", str(folder), "--output", str(folder / "study.json"), "--languages", "ko", *options]
    study.main([*arguments, "--methods", "random", "sembridge", "sembridge-alpha-2"])
    return Results(folder / "study.json")


def test_cells_keep_the_contract_and_are_measured_once(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(study, tmp_path)
    assert list(results.by_name) == [
        "ko.random.fine-tuned.0",
        "ko.random.zero-shot.0",
        "ko.sembridge-alpha-2.zero-shot.0",
        "ko.sembridge.fine-tuned.0",
        "ko.sembridge.zero-shot.0",
    ]
    assert all(set(cell) >= CONTRACT for cell in results.cells)
    measured: list[str] = []
    monkeypatch.setattr(study, "measure", lambda results, cell, *rest: measured.append(cell.name))
    content = json.loads(results.path.read_text())
    results.path.write_text(json.dumps(content | {"cells": [content["cells"][0], *content["cells"][2:]]}))
    run(study, tmp_path)
    assert measured == ["ko.random.zero-shot.0"]


def test_training_is_part_of_what_a_cell_depends_on(study: ModuleType, tmp_path: Path) -> None:
    cells = run(study, tmp_path).by_name
    cell = cells["ko.sembridge.fine-tuned.0"]
    assert cell["training"]["learning_rate"] == cell["settings"]["training"]["learning_rate"] == study.RATE
    assert cells["ko.sembridge.zero-shot.0"]["settings"]["training"] is None


def test_only_what_draws_is_measured_with_other_seeds(study: ModuleType, tmp_path: Path) -> None:
    results = run(study, tmp_path, "--seeds", "0", "1")
    seeds = {(row["method"], row["stage"]): row["seeds"] for row in results.content["rows"]}
    assert seeds["random", "zero-shot"] == seeds["sembridge", "fine-tuned"] == [0, 1]
    assert seeds["sembridge", "zero-shot"] == [0]


def test_the_summary_averages_seeds_and_compares_by_query(study: ModuleType, tmp_path: Path) -> None:
    results = run(study, tmp_path)
    changed = {"ko.random.zero-shot.0": [0.0, 0.0, 0.3], "ko.sembridge.zero-shot.0": [1.0, 1.0, 1.0]}
    write_scores(results.scored, results.scores() | {name: {"ndcg": np.array(x)} for name, x in changed.items()})
    rows = {(row["method"], row["stage"]): row for row in study.summarize(results)}
    assert rows["random", "zero-shot"]["ndcg@10"] == pytest.approx(0.1)
    assert rows["random", "zero-shot"]["against_sembridge"]["difference"] == pytest.approx(-0.9)
    assert "against_sembridge" not in rows["sembridge", "zero-shot"]


def test_cutting_keeps_the_largest_entries_of_every_row() -> None:
    vectors = csr_matrix(np.array([[0.5, 0.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]))
    expected = np.array([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]])
    assert np.array_equal(encoding.cut(vectors, 2).toarray(), expected)


def test_tables_show_the_cells(study: ModuleType, tmp_path: Path) -> None:
    results = run(study, tmp_path)
    text = study_tables.scores_table(tmp_path, stage="zero-shot")
    row = next(row for row in study.summarize(results) if row["method"] == "random")
    assert f"{row['ndcg@10']:.3f}" in text
    assert "| random |" in text
    assert "| 2 |" in study_tables.alpha_table(tmp_path)
