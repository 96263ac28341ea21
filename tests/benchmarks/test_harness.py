"""What all suites share: result files, scores by query, tables, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import harness
from benchmarks.__main__ import OTHERS, SUITES, main
from benchmarks.harness import Cell, Results
from benchmarks.tables import TABLES

ROOT = Path(__file__).parents[2]


def test_a_cell_is_finished_under_its_settings_only(tmp_path: Path) -> None:
    results = Results(tmp_path / "suite.json")
    cell = Cell("ko.mean", {"seed": 0})
    assert not results.done(cell)
    results.add(cell, {"ndcg@10": 0.5}, {"ndcg": np.array([0.0, 1.0])})
    again = Results(tmp_path / "suite.json")
    assert again.done(cell)
    assert not again.done(Cell("ko.mean", {"seed": 1}))
    assert again.by_name["ko.mean"]["ndcg@10"] == 0.5
    assert again.by_name["ko.mean"]["settings"] == {"seed": 0}


def test_two_processes_keep_each_others_cells(tmp_path: Path) -> None:
    first, second = Results(tmp_path / "suite.json"), Results(tmp_path / "suite.json")
    first.add(Cell("b", {}), {"rows": [{"arm": "x"}]}, {"x": np.array([0.25])})
    second.add(Cell("a", {}), {"rows": []}, {"x": np.array([0.5, 1.0])})
    first.update(run={"seed": 0})
    found = Results(tmp_path / "suite.json")
    assert list(found.by_name) == ["a", "b"]
    assert found.content["run"] == {"seed": 0}
    assert {name: scores["x"].tolist() for name, scores in found.scores().items()} == {"a": [0.5, 1.0], "b": [0.25]}


def test_scores_come_back_exactly(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    scores = {"a": {"x": generator.random(300), "y": np.zeros(3)}, "b": {"x": generator.random(2)}}
    harness.write_scores(tmp_path / "s.npz", scores)
    found = harness.read_scores(tmp_path / "s.npz")
    assert {cell: list(arms) for cell, arms in found.items()} == {"a": ["x", "y"], "b": ["x"]}
    for cell, arms in scores.items():
        for arm, values in arms.items():
            assert found[cell][arm].tolist() == values.tolist()


def test_a_file_has_a_line_for_each_row(tmp_path: Path) -> None:
    content = {"run": {"a": [1, 2]}, "rows": [{"x": "한"}, {"x": 2}], "none": []}
    harness.write_json(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert '\n  {"x": "한"},\n  {"x": 2}\n' in text


def test_every_table_of_the_documentation_is_made_and_every_one_made_is_shown() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {line[11:-4] for page in pages for line in page.read_text(encoding="utf-8").splitlines()
             if line.startswith("<!-- table:")}  # fmt: skip
    assert shown <= set(TABLES)
    assert {name for name in set(TABLES) - shown if not name.startswith("bridges-")} == set()


@pytest.mark.parametrize("suite", [*SUITES, *OTHERS])
def test_every_suite_is_there_and_says_what_it_takes(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    if suite == "figures":
        pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit) as stopped:
        main([suite, "--help"])
    assert stopped.value.code == 0
    assert f"python -m benchmarks {suite}" in capsys.readouterr().out


def test_data_must_be_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    with pytest.raises(SystemExit):
        harness.parse(harness.parser_of("A suite.", "study"), [])
    assert "--data must name the folder of the collections (or set ISTHMUS_DATA)" in capsys.readouterr().err
