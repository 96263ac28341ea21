"""Result files hold what scripts rely on."""

import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
ALIGNMENT = {
    "model", "pool", "query_language", "pool_languages", "documents", "golds", "max@r", "max@r_norm", "complete@10",
    "ndcg@10", "english_first", "language_share", "loss", "seed", "stage",
}  # fmt: skip
IDENTITY = {
    "language", "collection", "arm", "map", "stage", "ndcg@10", "p_vs_bm25", "documents", "active_dims",
}  # fmt: skip


@pytest.mark.parametrize(("folder", "keys"), [("alignment", ALIGNMENT), ("identity", IDENTITY)])
def test_every_row_has_the_keys_of_the_contract(folder, keys):
    files = sorted((RESULTS / folder).glob("*.json"))
    assert len(files) > 5
    for path in files:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        assert rows
        assert all(row.keys() >= keys for row in rows), path.name


def test_alignment_was_measured_before_and_after():
    rows = [row for path in (RESULTS / "alignment").glob("*.json") for row in json.loads(path.read_text())["rows"]]
    for model in {row["model"] for row in rows}:
        assert {row["stage"] for row in rows if row["model"] == model} == {"before", "after"}
        pools = {row["pool"] for row in rows if row["model"] == model}
        assert pools == {"multi", "mono-same", "mono-cross"}
