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


PUBLISHED = ALIGNMENT | {"language", "arm", "keep_copies"}


@pytest.mark.parametrize(
    ("folder", "keys"), [("alignment", ALIGNMENT), ("alignment_published", PUBLISHED), ("identity", IDENTITY)]
)
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


def test_the_published_model_was_measured_before_and_after_on_both_kinds_of_pool():
    found = {path.stem: json.loads(path.read_text()) for path in (RESULTS / "alignment_published").glob("*.json")}
    measured = {tuple(name.split(".")[:2]) for name in found}
    for name, content in found.items():
        rows = content["rows"]
        language, arm, _ = name.split(".")
        assert (language, "none") in measured
        assert {row["stage"] for row in rows} == {"before" if arm.startswith("none") else "after"}
        pools = {(row["pool"], row["keep_copies"], row["query_language"], row["documents"]) for row in rows}
        alone = {(pool, False, code, 240) for pool in ("mono-same", "mono-cross") for code in ("en", language)}
        mixed = {("multi", copies, code, 2380 if copies else 480) for copies in (0, 1) for code in ("en", language)}
        assert pools == alone | mixed
        assert {row["queries"] for row in rows} == {1190}
