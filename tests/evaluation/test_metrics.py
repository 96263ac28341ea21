"""Metrics against values worked out by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.evaluation.metrics import activation_rates, active_dims, effectiveness, flops

DOCUMENTS = [f"d{i}" for i in range(120)]


def measure(rows: list[list[int]], qrels: dict[str, dict[str, int]]) -> dict[str, list[float]]:
    width = max(map(len, rows))
    indices = np.array([row + [-1] * (width - len(row)) for row in rows])
    found = effectiveness(indices, list(qrels), DOCUMENTS, qrels)
    return {name: values.tolist() for name, values in found.items()}


def test_one_relevant_passage_at_rank_three() -> None:
    found = measure([[5, 7, 9]], {"q": {"d9": 1}})
    assert found == {
        "ndcg@10": [pytest.approx(1 / log2(4))],
        "mrr@10": [pytest.approx(1 / 3)],
        "recall@100": [1.0],
    }


def test_grades_and_a_missing_relevant_passage() -> None:
    """Gains 1, 0, 2 at ranks 1 to 3; ideal 2, 1, 1; a grade of -1 counts like 0."""
    found = measure([[0, 1, 2]], {"q": {"d0": 1, "d1": -1, "d2": 2, "d50": 1}})
    ideal = 2 / log2(2) + 1 / log2(3) + 1 / log2(4)
    assert found["ndcg@10"] == [pytest.approx((1 / log2(2) + 2 / log2(4)) / ideal)]
    assert found["recall@100"] == [pytest.approx(2 / 3)]


def test_cutoffs() -> None:
    eleventh, hundredth = [*range(1, 11), 0], [*range(1, 100), 0]
    found = measure([eleventh, hundredth, [*range(1, 101)]], {name: {"d0": 1} for name in ("a", "b", "c")})
    assert found == {"ndcg@10": [0, 0, 0], "mrr@10": [0, 0, 0], "recall@100": [1, 1, 0]}


def test_query_without_hits_scores_zero() -> None:
    found = measure([[3], [-1]], {"hit": {"d3": 1}, "none": {"d3": 1}})
    assert found == {"ndcg@10": [1, 0], "mrr@10": [1, 0], "recall@100": [1, 0]}


def test_order_of_the_rows_decides_not_the_ids() -> None:
    """trec_eval would put d9 before d1 where scores are equal; ranks are what counts here."""
    for rows, rank in (([[1, 9]], 1), ([[9, 1]], 2)):
        assert measure(rows, {"q": {"d1": 1}})["mrr@10"] == [1 / rank]


def test_flops_and_active_dims() -> None:
    queries = csr_matrix(np.array([[1, 0, 2, 0], [0, 0, 3, 0]], dtype=np.float32))
    documents = csr_matrix(np.array([[5, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]], dtype=np.float32))
    np.testing.assert_allclose(activation_rates(queries), [1 / 2, 0, 1, 0])
    np.testing.assert_allclose(activation_rates(documents), [1 / 4, 1 / 2, 3 / 4, 0])
    assert flops(queries, documents) == pytest.approx(1 / 2 * 1 / 4 + 1 * 3 / 4)
    assert (active_dims(queries), active_dims(documents)) == (3 / 2, 6 / 4)


def test_flops_is_the_mean_number_of_products() -> None:
    rng = np.random.default_rng(0)
    queries, documents = (csr_matrix(rng.random((n, 30)) * (rng.random((n, 30)) < 0.3)) for n in (8, 11))
    pairs = (queries != 0).astype(int) @ (documents != 0).astype(int).T
    assert flops(queries, documents) == pytest.approx(pairs.toarray().mean())


def test_stored_zeros_are_not_active() -> None:
    matrix = csr_matrix((np.array([0.0, 2.0]), np.array([0, 1]), np.array([0, 2])), shape=(1, 3))
    assert activation_rates(matrix).tolist() == [0, 1, 0]
    assert active_dims(matrix) == 1
