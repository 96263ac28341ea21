"""The benchmark of the vocabulary head compares what it says, on a tiny shape; no times are asserted."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.suites import head as suite

KEYS = {"task", "body", "vocabulary", "length", "device", "speedup", "activation_memory_ratio", "max_abs_diff"}


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Any:
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    monkeypatch.setitem(suite.BODIES, "tiny", tiny)
    monkeypatch.setitem(suite.TOKENS, "tiny", 128)
    return suite


@pytest.mark.parametrize("task", ["encode", "train"])
def test_both_sides_compute_the_same(head: Any, task: str) -> None:
    row = head.measure(task, "tiny", 3000, 16, "cpu", 1)
    assert row.keys() >= KEYS
    assert (row["vocabulary"], row["length"], row["batch"]) == (3000, 16, 8)
    assert row["max_abs_diff"] < 1e-5
    assert row["activation_mb"] < row["stock_activation_mb"]
    if task == "encode":
        assert row["active_dims"] == pytest.approx(head.ACTIVE, rel=0.3)
    else:
        assert row["max_gradient"] > 100 * row["max_abs_diff"]


def test_grid_names_every_row_once(head: Any) -> None:
    rows = head.grid(False, ["encode", "train"], ["minilm", "bert-base"])
    assert len(rows) == len(set(rows)) == 40
    assert head.grid(True, ["encode"], ["minilm"]) == [("encode", "minilm", 30_522, 128)]
