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

from isthmus.collections import Collection
from isthmus.initializers import SemBridge
from isthmus.token_map import Fate
from tests.initializers.test_initializers import problem_of
from tests.tiny_encoders import splade
from tests.tokenizers import with_holes

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CORPUS = {"d0": "house water", "d1": "war", "d2": "school", "d3": "capital house"}
QUERIES = {"q0": "water", "q1": "war", "q2": "school"}
CONTRACT = {"language", "method", "stage", "collection", "ndcg@10", "ndcg@10_ci", "flops", "seed", "documents"}


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("ISTHMUS_DATA", "unset")
    import study

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

    def fine_tuned(name: str, language: str, seed: int, rate: float, *rest: Any) -> tuple[Path, dict[str, Any]]:
        best = 0.2 + (rate == study.RATES[1])
        return tmp_path / "trained", report | {"development": report["development"] | {"best": best}}

    collection = Collection("tiny", CORPUS, QUERIES, {f"q{i}": {f"d{i}": 1} for i in range(3)}, "ko")
    monkeypatch.setattr(study, "LANGUAGES", ("ko",))
    monkeypatch.setattr(study, "RATES", (1e-4, 3e-4))
    monkeypatch.setattr(study, "collection_of", lambda language, args: collection)
    monkeypatch.setattr(study, "transferred", lambda name, *rest: encoder)
    monkeypatch.setattr(study, "fine_tuned", fine_tuned)
    return study


def run(study: ModuleType, folder: Path, *options: str) -> dict[str, Any]:
    arguments = ["--data", str(folder), "--output", str(folder / "study"), "--languages", "ko", *options]
    study.main([*arguments, "--methods", "random", "sembridge", "sembridge-alpha-2"])
    content: dict[str, Any] = json.loads((folder / "study" / "summary.json").read_text())
    return content


def test_cells_keep_the_contract_and_are_measured_once(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(study, tmp_path)
    cells = sorted((tmp_path / "study").glob("*.*.*.*.json"))
    assert [path.name for path in cells] == [
        "ko.random.fine-tuned.0.json",
        "ko.random.zero-shot.0.json",
        "ko.sembridge-alpha-2.zero-shot.0.json",
        "ko.sembridge.fine-tuned.0.json",
        "ko.sembridge.zero-shot.0.json",
    ]
    assert all(set(json.loads(path.read_text())) >= CONTRACT for path in cells)
    measured: list[str] = []
    monkeypatch.setattr(study, "measure", lambda cell, *rest: measured.append(cell.path.name))
    cells[1].unlink()
    run(study, tmp_path)
    assert measured == [cells[1].name]


def test_the_rate_that_is_best_in_development_is_taken(study: ModuleType, tmp_path: Path) -> None:
    run(study, tmp_path)
    cell = json.loads((tmp_path / "study" / "ko.sembridge.fine-tuned.0.json").read_text())
    assert cell["training"]["learning_rate"] == study.RATES[1]
    assert cell["settings"]["training"]["learning_rate"] == study.RATES[1]


def test_only_what_draws_is_measured_with_other_seeds(study: ModuleType, tmp_path: Path) -> None:
    summary = run(study, tmp_path, "--seeds", "0", "1")
    seeds = {(row["method"], row["stage"]): row["seeds"] for row in summary["rows"]}
    assert seeds["random", "zero-shot"] == seeds["sembridge", "fine-tuned"] == [0, 1]
    assert seeds["sembridge", "zero-shot"] == [0]


def test_the_summary_averages_seeds_and_compares_by_query(study: ModuleType, tmp_path: Path) -> None:
    run(study, tmp_path)
    folder = tmp_path / "study"
    np.savez_compressed(folder / "ko.random.zero-shot.0.npz", ndcg=np.array([0.0, 0.0, 0.3]))
    np.savez_compressed(folder / "ko.sembridge.zero-shot.0.npz", ndcg=np.array([1.0, 1.0, 1.0]))
    rows = {(row["method"], row["stage"]): row for row in study.summarize(folder)["rows"]}
    assert rows["random", "zero-shot"]["ndcg@10"] == pytest.approx(0.1)
    assert rows["random", "zero-shot"]["against_sembridge"]["difference"] == pytest.approx(-0.9)
    assert "against_sembridge" not in rows["sembridge", "zero-shot"]


def test_cutting_keeps_the_largest_entries_of_every_row(study: ModuleType) -> None:
    vectors = csr_matrix(np.array([[0.5, 0.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]))
    expected = np.array([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]])
    assert np.array_equal(study.cut(vectors, 2).toarray(), expected)


def test_tables_show_the_cells(study: ModuleType, tmp_path: Path) -> None:
    run(study, tmp_path)
    import study_tables
    from tables import markdown

    text = study_tables.study(tmp_path, markdown=markdown, stage="zero-shot")
    row = next(row for row in study.summarize(tmp_path / "study")["rows"] if row["method"] == "random")
    assert f"{row['ndcg@10']:.3f}" in text
    assert "| random |" in text
    assert "**" in study_tables.study_rates(tmp_path, markdown=markdown)
    assert "| 2 |" in study_tables.study_alpha(tmp_path, markdown=markdown)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0])
def test_mixtures_too_wide_to_hold_are_those_of_the_transfer(alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import study_dense

    monkeypatch.setattr(study_dense, "BLOCK", 2)
    problem = problem_of(with_holes(["house", "집", "학교", "##s", "##들", "학", "."]))
    tensors = [np.random.default_rng(0).standard_normal((problem.source.size, *shape)) for shape in ((3,), ())]
    held = SemBridge(alpha=alpha, csls=False).token_map(problem)
    made = {id: rows for ids, found in study_dense.mixed_rows(problem, tensors, alpha)
            for id, *rows in zip(ids.tolist(), *found, strict=True)}  # fmt: skip
    assert set(made) == set(held.rows(Fate.BRIDGED).tolist())
    for tensor, side in zip(tensors, (0, 1), strict=True):
        expected = held.apply(tensor)
        for id, rows in made.items():
            np.testing.assert_allclose(rows[side], expected[id], atol=1e-6)
