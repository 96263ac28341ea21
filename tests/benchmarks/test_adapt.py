"""The suite of adapting: ranks, corrections, and questions that are not in their passages."""

import numpy as np
import pytest

from benchmarks.suites.adapt import Pool, scores_of
from benchmarks.suites.adapt_questions import KINDS, made_of
from benchmarks.suites.adapt_tables import agreement, holm
from isthmus.evaluation import BM25


def test_a_tie_counts_as_the_mean_place():
    similarities = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [0.0, *np.ones(2)]])
    assert scores_of(similarities, np.array([0, 1, 0])) == pytest.approx([1, 1 / np.log2(3), 0.5])


def test_words_score_as_bm25_does():
    passages = ["한국의 수도는 서울이다", "일본의 수도는 도쿄이다", "서울은 크다"]
    pool = Pool("p", "ko", passages, "isthmus/tokenizer-ko")
    pool.sets["labels"] = (["서울 수도"], np.array([0]), None)
    words = BM25("isthmus/tokenizer-ko")
    expected = (words.encode_queries(["서울 수도"]) @ words.encode_documents(passages).T).toarray()
    found = pool.lexical("labels")
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), rtol=1e-4)
    assert pool.lexical("labels", pairs=True).shape == (1, 3)


def test_p_values_are_corrected_by_holm():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_questions_that_rank_as_labels_do_agree_and_others_do_not():
    draw = np.random.default_rng(0)
    level = {"BM25": 0.6, "a": 0.3, "b": 0.5, "c": 0.8}

    def scores(order):
        return {
            arm: np.clip(level[other] + draw.normal(0, 0.1, 80), 0, 1) for arm, other in zip(level, order, strict=True)
        }

    found = {"ko: labels": scores(level)} | {f"ko: {kind}": scores(level) for kind in KINDS}
    found["ko: keywords"] = scores(["BM25", "c", "b", "a"])
    by_kind = {row["kind"]: row for row in agreement(found)}
    assert by_kind["sentence"]["spearman"]["value"] == 1
    assert by_kind["sentence"]["right"]["value"] == 1
    assert by_kind["keywords"]["kendall"]["value"] < 0
    assert by_kind["sentence"]["error"]["value"] < 0.05 < by_kind["keywords"]["error"]["value"]
    assert by_kind["sentence"]["cells"] == 3


def test_what_is_cut_out_is_not_in_its_passage():
    passages = [
        ". ".join(f"낱말{number}{place} 서울 {place * 7} 나라{number} 사람" for place in range(5)) + "."
        for number in range(8)
    ]
    made = made_of(passages, BM25("isthmus/tokenizer-ko"), {})
    assert set(made) == set(KINDS)
    for kind in ("snippet", "sentence", "first"):
        assert made[kind]
        assert all(text not in rest for text, _, rest in made[kind])
    assert all(text in passages[number] and rest is None for text, number, rest in made["left"])
