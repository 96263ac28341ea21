"""Result files hold what scripts rely on."""

import pytest

from benchmarks.harness import RESULTS, Results, read_scores

ALIGNMENT = {
    "model", "pool", "query_language", "pool_languages", "documents", "golds", "max@r", "max@r_norm", "complete@10",
    "ndcg@10", "english_first", "language_share", "loss", "seed", "stage",
}  # fmt: skip
EXACT = {
    "language", "collection", "arm", "map", "stage", "ndcg@10", "p_vs_bm25", "documents", "active_dims",
}  # fmt: skip


PUBLISHED = ALIGNMENT | {"language", "arm", "keep_copies"}


@pytest.mark.parametrize(
    ("files", "keys"),
    [("alignment.*.json", ALIGNMENT), ("alignment_published.json", PUBLISHED), ("exact_matching.*.json", EXACT)],
)
def test_every_row_has_the_keys_of_the_contract(files, keys):
    cells = [cell for path in RESULTS.glob(files) for cell in Results(path).cells]
    assert len(cells) > 5
    for cell in cells:
        assert cell["rows"]
        assert all(row.keys() >= keys for row in cell["rows"]), cell["cell"]


def test_alignment_was_measured_before_and_after():
    for path in RESULTS.glob("alignment.*.json"):
        rows = [row for cell in Results(path).cells for row in cell["rows"]]
        assert {row["stage"] for row in rows} == {"before", "after"}
        assert {row["pool"] for row in rows} == {"multi", "mono-same", "mono-cross"}


def test_the_published_model_was_measured_before_and_after_on_both_kinds_of_pool():
    found = Results(RESULTS / "alignment_published.json").by_name
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


@pytest.mark.parametrize("suite", ["zero_shot", "study", "keep_source", "domain", "new_language"])
def test_every_cell_has_its_scores_by_query(suite):
    results = Results(RESULTS / f"{suite}.json")
    scores = results.scores()
    assert scores.keys() == results.by_name.keys()
    for name, cell in results.by_name.items():
        for row in cell.get("rows", [cell]):
            own = scores[name][row.get("key", "ndcg")]
            assert (len(own), own.mean()) == (row["queries"], pytest.approx(row["ndcg@10"]))


def test_scores_of_exact_matching_are_those_of_its_rows():
    scores = read_scores(RESULTS / "exact_matching.npz")
    for path in RESULTS.glob("exact_matching.*.json"):
        for name, cell in Results(path).by_name.items():
            for row in cell["rows"]:
                assert scores[name][row["arm"]].mean() == pytest.approx(row["ndcg@10"], abs=1e-6)


def test_scores_by_query_are_small():
    assert sum(path.stat().st_size for path in RESULTS.glob("*.npz")) < 3_000_000
    assert len(list(RESULTS.rglob("*"))) < 40
