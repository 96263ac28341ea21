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

from isthmus.collections import Collection
from tests.tiny_encoders import splade

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CORPUS = {"d0": "house water", "d1": "war", "d2": "school", "d3": "capital house"}
QUERIES = {"q0": "water", "q1": "war", "q2": "school"}
METHOD_SCORES = {"sembridge": 0.75, "multivariate-gaussian": 0.5}
CONTRACT = {
    "encoder", "bridge", "language", "method", "stage", "seed", "ndcg@10", "ndcg@10_ci", "flops", "collection",
    "documents", "queries", "training", "settings_hash",
}  # fmt: skip


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import study_published

    torch.manual_seed(0)
    encoder = splade(tmp_path / "parts")
    # Of three rates the first is best for one method, the second in the mean.
    best = {"sembridge": (0.5, 0.45, 0.1), "multivariate-gaussian": (0.2, 0.4, 0.3)}

    def fine_tuned(
        name: str, language: str, seed: int, rate: float, data: Path, work: Path, make: Any
    ) -> tuple[Path, Any]:
        folder = work / name / "trained"
        assert make(name, language, seed, data) is encoder
        folder.mkdir(parents=True)
        method = name.split(".")[3]
        found = best[method][study_published.RATES.index(rate)]
        development = {"collection": "dev", "before": 0.1, "best": found, "evaluations": []}
        report = {"data": {"rows": 4}, "steps": 15, "kept_step": 15, "seconds": 1.0, "development": development}
        return folder, report

    collection = Collection("tiny", CORPUS, QUERIES, {f"q{i}": {f"d{i}": 1} for i in range(3)}, "ko")
    monkeypatch.setattr(study_published, "collection_of", lambda language, args: collection)
    monkeypatch.setattr(study_published, "print_of", lambda name: name)
    monkeypatch.setattr(study_published, "start", lambda place, data: encoder)
    monkeypatch.setattr(study_published, "fine_tuned", fine_tuned)
    monkeypatch.setattr(study_published.gc, "collect", lambda: 0)
    monkeypatch.setattr(study_published, "load_model", lambda folder: encoder)
    return study_published


def planned(published: ModuleType, monkeypatch: pytest.MonkeyPatch, *cells: Any) -> list[Any]:
    """Plan two methods of the first pair, and ``cells``."""
    methods, pair = ("sembridge", "multivariate-gaussian"), published.PAIRS[0]
    found = [*published.block(*pair, methods, published.STAGES), *cells]
    monkeypatch.setattr(published, "plan", lambda: iter(found))
    return found


def unmeasured(monkeypatch: pytest.MonkeyPatch, published: ModuleType) -> None:
    """Cells are planned, transferred and trained, but not measured."""
    content = {"collection": "tiny", "documents": 4, "queries": 300, "ndcg@10": 0.5}
    monkeypatch.setattr(
        published, "measured", lambda cell, model, collection, training: (
            content | {"training": training, "settings_hash": cell.key}, np.full(300, METHOD_SCORES[cell.method])
        ),
    )  # fmt: skip


def run(published: ModuleType, folder: Path) -> dict[str, Any]:
    output = folder / "study_published.json"
    published.main(["--data", str(folder), "--output", str(output), "--work", str(folder / "work")])
    content: dict[str, Any] = json.loads(output.read_text())
    return content


def test_the_plan_has_every_method_in_every_language_before_and_after(published: ModuleType) -> None:
    cells = set(published.plan())
    for encoder, bridge in published.PAIRS:
        for method in ("base", *published.METHODS):
            asked = None if method in published.WITHOUT_BRIDGE else bridge
            for language in published.LANGUAGES:
                seeds = [
                    [cell.seed for cell in cells if replace(cell, seed=0) == published.Place(
                        encoder, asked, language, method, stage, 0
                    )]
                    for stage in published.STAGES
                ]  # fmt: skip
                assert seeds[0] == [0]
                assert sorted(seeds[1]) == ([0, 1, 2] if method in published.BEST else [0])


def test_methods_are_at_their_defaults(published: ModuleType) -> None:
    assert published.METHODS["sembridge"] == {"method": "sembridge"}
    assert published.METHODS["sembridge-released"] == {"method": "sembridge", "as_released": True}
    assert not any(set(options) & set(published.HELD) for options in published.METHODS.values())


def test_cells_keep_the_contract_and_are_measured_once(
    published: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "LANGUAGES", ("hi", "ko"))
    cells = planned(published, monkeypatch)
    content = run(published, tmp_path)
    assert len(content["rows"]) == len(cells)
    assert all(row.keys() >= CONTRACT for row in content["rows"])
    with np.load(tmp_path / "study_published.npz") as scores:
        assert sorted(scores) == sorted(map(str, cells))
        assert all(scores[name].shape == (3,) for name in scores)
    assert not list((tmp_path / "work").iterdir())
    lost = content["rows"].pop(3)
    content["rows"][0]["settings_hash"] = "of other settings"
    (tmp_path / "study_published.json").write_text(json.dumps(content))
    measured: list[str] = []
    found = published.measured
    monkeypatch.setattr(published, "measured", lambda cell, *rest: measured.append(cell.method) or found(cell, *rest))
    again = run(published, tmp_path)
    assert measured == [content["rows"][0]["method"], lost["method"]]
    assert len(again["rows"]) == len(cells)


def test_the_rate_with_the_best_mean_in_development_is_taken(
    published: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmeasured(monkeypatch, published)
    (mini,) = (
        cell for cell in published.block(*published.PAIRS[2], ["sembridge"], ["fine-tuned"]) if cell.language == "ko"
    )
    monkeypatch.setattr(published.study_arms, "RATES", (published.RATES[2],))
    planned(published, monkeypatch, mini)
    content = run(published, tmp_path)
    assert len(content["rates"]) == 6
    rates = {
        row["encoder"]: row["training"]["learning_rate"] for row in content["rows"] if row["stage"] == "fine-tuned"
    }
    # The other encoder has the rate of the study.
    assert rates == {published.TINY: published.RATES[1], published.MINI: published.RATES[2]}


def test_tables_show_means_and_leave_empty_what_was_not_measured(
    published: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmeasured(monkeypatch, published)
    planned(published, monkeypatch)
    run(published, tmp_path)
    (tmp_path / "study").mkdir()
    old = [{"language": code, "method": "ofa", "stage": "zero-shot", "ndcg@10": 0.125} for code in published.LANGUAGES]
    (tmp_path / "study" / "summary.json").write_text(json.dumps({"rows": old}))
    import study_published_tables as tables
    from tables import markdown

    text = tables.study_published(tmp_path, markdown=markdown)
    assert "| sembridge | 0.750 |" in text
    assert "| multivariate Gaussian | 0.500 ▼ |" in text
    assert "| OFA |  | 0.125 |" in text
    # Encoders and bridges of which nothing is whole have no column.
    assert "mini-splade-en, e5-small" not in text
    content = json.loads((tmp_path / "study_published.json").read_text())
    content["rows"] = [
        row for row in content["rows"]
        if (row["language"], row["method"], row["stage"]) != ("zh", "multivariate-gaussian", "zero-shot")
    ]  # fmt: skip
    (tmp_path / "study_published.json").write_text(json.dumps(content))
    assert "| multivariate Gaussian |  |" in tables.study_published(tmp_path, markdown=markdown)
    languages = tables.study_published_languages(
        tmp_path, markdown=markdown, pair=published.PAIRS[0], stage="zero-shot"
    )
    assert "| multivariate Gaussian | 0.500 | 0.500 | 0.500 | 0.500 |  |  |" in languages
    assert "**0.425**" in tables.study_published_rates(tmp_path, markdown=markdown)
