"""Metrics of mixed pools: by hand, and against a naive second implementation on random rankings with ties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.auditing import mixed_metrics
from isthmus.auditing.measures import SPLIT
from isthmus.auditing.pools import Documents, Pool, build_pools, with_copies
from isthmus.auditing.ranking import Ranking, rank_pool
from isthmus.collections import ParallelCollection
from isthmus.errors import EncoderError


def parallel(passages: int, qrels: dict[str, tuple[str, ...]], languages: tuple[str, ...]) -> ParallelCollection:
    texts = {code: {f"p{n}": f"{code} {n}" for n in range(passages)} for code in languages}
    return ParallelCollection("c", texts, {code: {id: id for id in qrels} for code in languages}, qrels)


def ranked(
    scores: dict[str, list[float]],
    qrels: dict[str, tuple[str, ...]],
    own: str,
    pool: str = "multi",
    *,
    sparse: bool = False,
) -> tuple[Ranking, Pool, Documents]:
    """Rank by given scores: by language, those of its passages, the same for every question."""
    collection = parallel(len(next(iter(scores.values()))), qrels, tuple(scores))
    documents = Documents(collection)
    found = next(p for p in build_pools(collection, documents, [pool]) if p.info.query_language == own)
    table = {f"{code} {n}": score for code, values in scores.items() for n, score in enumerate(values)}
    column = np.array([[table[documents.texts[place]]] for place in found.places], dtype=np.float32)
    queries = np.ones((len(qrels), 1), dtype=np.float32)
    vectors = (csr_matrix(queries), csr_matrix(column)) if sparse else (queries, column)
    return rank_pool(*vectors, found, documents), found, documents


# English 0, Korean 0, English 1, Korean 1, English 2, ...: passage 0 first, each in English before Korean.
IN_TURN = {"en": [10.0, 8.0, 6.0, 4.0], "ko": [9.0, 7.0, 5.0, 3.0]}


def test_max_rank_and_complete_by_hand() -> None:
    ranking, pool, documents = ranked(IN_TURN, {"first": ("p0",), "last": ("p3",), "both": ("p0", "p3")}, "ko")
    assert [ranks.tolist() for ranks in ranking.gold_ranks] == [[1, 2], [7, 8], [1, 2, 7, 8]]
    found = mixed_metrics.per_query(ranking, pool, documents)
    assert found["max@r"].tolist() == [2, 8, 8]
    assert found["max@r_norm"].tolist() == [100, 0, 0]
    assert found["complete@10"].tolist() == [100, 100, 100]
    assert found["recall@10"].tolist() == [1, 1, 1]
    assert ranking.sizes.tolist() == [8, 8, 8]
    assert ranking.tied == 0


def test_max_rank_norm_by_hand() -> None:
    """(log2 480 - log2 8) / (log2 480 - log2 2); a pool of nothing but relevant documents is always in order."""
    found = mixed_metrics.max_rank_norm(
        np.array([8.0, 2.0, 480.0, 3.0]), np.array([480.0, 480, 480, 3]), np.array([2.0, 2, 2, 3])
    )
    assert found.tolist() == pytest.approx([100 * math.log2(60) / math.log2(240), 100, 0, 100])


def test_complete_and_recall_stop_after_ten() -> None:
    scores = {"en": [20.0 - n for n in range(8)], "ko": [5.0 - n for n in range(8)]}
    ranking, pool, documents = ranked(scores, {"in": ("p1",), "out": ("p2",)}, "en")
    assert [ranks.tolist() for ranks in ranking.gold_ranks] == [[2, 10], [3, 11]]
    found = mixed_metrics.per_query(ranking, pool, documents)
    assert found["complete@10"].tolist() == [100, 0]
    assert found["recall@10"].tolist() == [1, 0.5]


def test_ndcg_and_lang_ndcg_by_hand() -> None:
    """Golds at rank 3 (English) and 4 (Korean); gains 2 and 1 depend on who asks."""
    qrels = {"q": ("p1",)}
    discount = [1 / math.log2(rank + 1) for rank in range(1, 5)]
    for own, gains in (("ko", (1, 2)), ("en", (2, 1))):
        found = mixed_metrics.per_query(*ranked(IN_TURN, qrels, own))
        assert found["ndcg@10"][0] == pytest.approx((discount[2] + discount[3]) / (discount[0] + discount[1]))
        ideal = 2 * discount[0] + discount[1]
        assert found["lang_ndcg@10"][0] == pytest.approx((gains[0] * discount[2] + gains[1] * discount[3]) / ideal)


def test_english_first_by_hand() -> None:
    qrels = {"right": ("p0",), "wrong": ("p1",)}
    assert mixed_metrics.per_query(*ranked(IN_TURN, qrels, "ko"))["english_first"].tolist() == [0, 1]
    korean_first = {"en": IN_TURN["ko"], "ko": IN_TURN["en"]}
    # The first hit is an irrelevant Korean passage, the second its English twin, and only then comes what is relevant.
    assert mixed_metrics.per_query(*ranked(korean_first, qrels, "ko"))["english_first"].tolist() == [0, 1]
    # An irrelevant Korean passage alone is not an English one.
    mixed = {"en": [1.0, 5.0, 0.0], "ko": [9.0, 6.0, 0.5]}
    assert mixed_metrics.per_query(*ranked(mixed, {"wrong": ("p1",)}, "ko"))["english_first"].tolist() == [0]
    assert "english_first" not in mixed_metrics.per_query(*ranked(IN_TURN, qrels, "en", "mono-same"))
    assert "english_first" not in mixed_metrics.per_query(*ranked({"ru": [1.0], "ko": [2.0]}, {"q": ("p0",)}, "ko"))


def test_language_preference_by_hand() -> None:
    qrels = {"a": ("p0",), "b": ("p3",)}
    for own, preferred in (("en", 1.0), ("ko", 0.0)):
        found = mixed_metrics.per_query(*ranked(IN_TURN, qrels, own))
        assert found["language_preference"].tolist() == [preferred, preferred]
    assert "language_preference" not in mixed_metrics.per_query(*ranked(IN_TURN, qrels, "en", "mono-cross"))


def test_split_by_hand() -> None:
    """First is English 0: what that means depends on who asks what."""
    qrels = {"a": ("p0",), "b": ("p1",)}
    halves = {"en": ("right", "semantic_failure"), "ko": ("language_failure", "both_failures")}
    for own, kinds in halves.items():
        found = mixed_metrics.split_of_first_hits(*ranked(IN_TURN, qrels, own))
        assert found == {kind: 0.5 if kind in kinds else 0.0 for kind in SPLIT}
    assert mixed_metrics.split_of_first_hits(*ranked(IN_TURN, qrels, "en", "mono-cross")) == {}


def test_language_share_and_mix_by_hand() -> None:
    scores = {"en": [20.0 - n for n in range(8)], "ko": [5.0 - n for n in range(8)]}
    ranking, pool, documents = ranked(scores, {"q": ("p1",), "r": ("p7",)}, "en")
    assert mixed_metrics.language_share(ranking, pool, documents) == {"en": 0.8, "ko": 0.2}
    mix, relevant = mixed_metrics.mix_by_rank(ranking, pool, documents)
    assert mix["en"].tolist() == [1.0] * 8 + [0.0] * 8
    assert (mix["en"] + mix["ko"]).tolist() == [1.0] * 16
    # p1 is at 2 and 10, p7 at 8 and 16, each for one question of two.
    assert {rank + 1: share for rank, share in enumerate(relevant["en"]) if share} == {2: 0.5, 8: 0.5}
    assert {rank + 1: share for rank, share in enumerate(relevant["ko"]) if share} == {10: 0.5, 16: 0.5}


def test_ties_count_against_what_is_relevant() -> None:
    ranking, pool, documents = ranked({"en": [1.0] * 4, "ko": [1.0] * 4}, {"q": ("p2",)}, "ko")
    assert ranking.gold_ranks[0].tolist() == [7, 8]
    assert ranking.tied == 2
    assert mixed_metrics.per_query(ranking, pool, documents)["english_first"].tolist() == [1]


def test_sparse_documents_that_share_nothing_are_ranked_but_no_hits() -> None:
    scores = {"en": [0.0, 2.0, 0.0], "ko": [0.0, 0.0, 0.0]}
    ranking, pool, documents = ranked(scores, {"q": ("p1",)}, "ko", sparse=True)
    assert ranking.gold_ranks[0].tolist() == [1, 6]
    assert (ranking.top[0] >= 0).tolist() == [True] + [False] * 5
    assert mixed_metrics.language_share(ranking, pool, documents) == {"en": 1.0, "ko": 0.0}
    nothing = ranked({"en": [0.0] * 2, "ko": [0.0] * 2}, {"q": ("p1",)}, "ko", sparse=True)
    assert mixed_metrics.language_share(*nothing) == {"en": 0.0, "ko": 0.0}
    assert mixed_metrics.split_of_first_hits(*nothing)["both_failures"] == 1
    assert all(not shares.any() for shares in mixed_metrics.mix_by_rank(*nothing)[0].values())


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(EncoderError, match="scores must be finite"):
        ranked({"en": [math.nan], "ko": [1.0]}, {"q": ("p0",)}, "en")


def naive(
    scores: NDArray[np.float32], pool: Pool, documents: Documents, languages: tuple[str, ...]
) -> tuple[list[dict[str, Any]], dict[str, float], dict[str, float]]:
    """Everything again from sorted lists, one question at a time."""
    rows, kinds, shares = [], [], []
    own = pool.info.query_language
    for query, golds in enumerate(pool.golds):
        relevant = set(golds.tolist())
        entries = [
            (-float(score), place in relevant, place)
            for place, score in zip(pool.places.tolist(), scores[query], strict=True)
        ]
        if pool.hidden is not None:
            entries = [entry for entry in entries if entry[2] not in set(pool.hidden[query].tolist())]
        order = [place for _, _, place in sorted(entries)]
        spoken = [str(documents.languages[place]) for place in order]
        ranks = [rank for rank, place in enumerate(order, 1) if place in relevant]
        first = ranks[0]
        row: dict[str, Any] = {"max@r": ranks[-1], "complete@10": 100 * (ranks[-1] <= 10)}
        top, size = len(ranks), len(order)
        row["max@r_norm"] = 100 * (math.log2(size) - math.log2(ranks[-1])) / (math.log2(size) - math.log2(top))
        row["recall@10"] = sum(rank <= 10 for rank in ranks) / top
        gains = {rank: 2 if spoken[rank - 1] == own else 1 for rank in ranks}
        for name, gain in (("ndcg@10", dict.fromkeys(ranks, 1)), ("lang_ndcg@10", gains)):
            ideal = sorted(gain.values(), reverse=True)[:10]
            best = sum(value / math.log2(rank + 1) for rank, value in enumerate(ideal, 1))
            row[name] = sum(value / math.log2(rank + 1) for rank, value in gain.items() if rank <= 10) / best
        row["english_first"] = any(spoken[rank - 1] == "en" for rank in range(1, first))
        mine = [spoken[rank - 1] == own for rank in ranks]
        row["language_preference"] = float(mine[0]) if any(mine) and not all(mine) else math.nan
        if any(mine):
            right, same = first == 1, spoken[0] == own
            kinds.append({(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}[right, same])
        shares += spoken[:10]
        rows.append(row)
    split = {kind: kinds.count(place) / len(kinds) for place, kind in enumerate(SPLIT)}
    return rows, split, {code: shares.count(code) / len(shares) for code in languages}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["multi", "pairs", "partly-parallel", "english-distractors"])
def test_agreement_with_a_naive_implementation(name: str, seed: int) -> None:
    """Whole numbers as scores, so that most of them are tied."""
    generator = np.random.default_rng(seed)
    qrels = {
        f"q{n}": tuple(f"p{i}" for i in sorted(generator.choice(9, generator.integers(1, 4), replace=False)))
        for n in range(15)
    }
    collection = parallel(9, qrels, ("ko", "en", "ru"))
    documents = Documents(collection, seed=seed)
    for pool in build_pools(collection, documents, [name], seed=seed):
        scores = generator.integers(1, 1 + (3, 6, 40)[seed % 3], (15, len(pool.places))).astype(np.float32)
        ranking = rank_pool(np.eye(15, dtype=np.float32), scores.T.copy(), pool, documents)
        rows, split, share = naive(scores, pool, documents, pool.info.languages)
        for metric, values in mixed_metrics.per_query(ranking, pool, documents).items():
            np.testing.assert_allclose(values, [row[metric] for row in rows], atol=1e-9, err_msg=metric)
        assert mixed_metrics.split_of_first_hits(ranking, pool, documents) == pytest.approx(split)
        assert mixed_metrics.language_share(ranking, pool, documents) == pytest.approx(share)
        sparse = rank_pool(csr_matrix(np.eye(15, dtype=np.float32)), csr_matrix(scores.T), pool, documents)
        assert [r.tolist() for r in sparse.gold_ranks] == [r.tolist() for r in ranking.gold_ranks]
        assert sparse.tied == ranking.tied


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = parallel(5, {f"q{n}": (f"p{n}",) for n in range(5)}, ("en", "ko"))
    documents = Documents(collection)
    pool = build_pools(collection, documents, ["multi"])[0]
    scores = np.random.default_rng(0).random((5, 10), dtype=np.float32)
    whole = rank_pool(np.eye(5, dtype=np.float32), scores.T, pool, documents)
    monkeypatch.setattr("isthmus.auditing.ranking._SCORES_PER_BLOCK", 20)
    parts = rank_pool(np.eye(5, dtype=np.float32), scores.T, pool, documents)
    np.testing.assert_array_equal(whole.top, parts.top)


def with_shared_passage(scores: dict[str, float], questions: int) -> tuple[Ranking, Pool, Documents]:
    """``questions`` that p0 answers and one that p1 does, copies kept; scores by text."""
    qrels = {**{f"q{n}": ("p0",) for n in range(questions)}, "other": ("p1",)}
    collection = with_copies(parallel(2, qrels, ("en", "ko")))
    documents = Documents(collection, keep_copies=True)
    pool = build_pools(collection, documents, ["multi"], keep_copies=True)[1]
    column = np.array([[scores[documents.texts[place]]] for place in pool.places], dtype=np.float32)
    return rank_pool(np.ones((len(qrels), 1), dtype=np.float32), column, pool, documents), pool, documents


def test_copies_by_hand() -> None:
    """Six copies each: the English ones have ranks 1 to 6, the Korean ones 7 to 12, each question another of them."""
    ranking, pool, documents = with_shared_passage({"en 0": 4, "ko 0": 3, "en 1": 2, "ko 1": 1}, 6)
    assert (pool.info.documents, pool.info.golds) == (14, 2)
    assert sorted(int(ranks[0]) for ranks in ranking.gold_ranks[:6]) == [1, 2, 3, 4, 5, 6]
    assert sorted(int(ranks[1]) for ranks in ranking.gold_ranks[:6]) == [7, 8, 9, 10, 11, 12]
    assert ranking.gold_ranks[6].tolist() == [13, 14]
    # A copy is another document with the same score, and no tie.
    assert ranking.tied == 0
    found = mixed_metrics.per_query(ranking, pool, documents)
    assert found["complete@10"].tolist().count(100) == 4
    # The copy of another question is irrelevant: only one question has its own English copy first.
    assert found["english_first"].tolist().count(0) == 1


def test_copies_do_not_help_a_ranker_that_says_nothing() -> None:
    ranking, *_ = with_shared_passage(dict.fromkeys(["en 0", "ko 0", "en 1", "ko 1"], 1.0), 2)
    assert ranking.gold_ranks[2].tolist() == [5, 6]
    assert min(int(ranks[0]) for ranks in ranking.gold_ranks[:2]) >= 3
    assert ranking.tied == 6
