"""Exact search equals sorting all dot products, with ties in document order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array

from isthmus.errors import InputError
from isthmus.index import search, search_dense


def by_sorting(scores: np.ndarray, top_k: int) -> list[list[int]]:
    """Positive documents of each row, by (score descending, row ascending)."""
    return [[int(j) for j in sorted(np.flatnonzero(row > 0), key=lambda j: (-row[j], j))[:top_k]] for row in scores]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), top_k=st.integers(1, 12), block=st.integers(1, 9))
def test_equals_sorting_every_score(seed: int, top_k: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    # Small whole numbers make exact ties common and float arithmetic exact.
    queries = csr_matrix(rng.integers(0, 3, (7, 6)) * (rng.random((7, 6)) < 0.4), dtype=np.float32)
    documents = csr_matrix(rng.integers(0, 3, (10, 6)) * (rng.random((10, 6)) < 0.5), dtype=np.float32)
    indices, scores = search(queries, documents, top_k, block=block)
    products = (queries @ documents.T).toarray()
    assert indices.shape == scores.shape == (7, min(top_k, 10))
    for row, expected in enumerate(by_sorting(products, top_k)):
        assert indices[row, : len(expected)].tolist() == expected
        assert (indices[row, len(expected) :] == -1).all()
        assert (scores[row, len(expected) :] == 0).all()
        np.testing.assert_array_equal(scores[row, : len(expected)], products[row, expected])


def test_blocks_do_not_change_the_result() -> None:
    rng = np.random.default_rng(1)
    queries, documents = (csr_matrix(random_array((n, 50), density=0.2, rng=rng, dtype=np.float32)) for n in (20, 40))
    whole = search(queries, documents, 10)
    for block in (1, 3, 100):
        for expected, found in zip(whole, search(queries, documents, 10, block=block), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_crowded_documents_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    queries, documents = (csr_matrix(random_array((n, 60), density=0.6, rng=rng, dtype=np.float32)) for n in (15, 50))
    monkeypatch.setattr("isthmus.index.exact._CROWDED_BLOCK", 7)
    found = []
    for share in (0.0, 1.0):
        monkeypatch.setattr("isthmus.index.exact._CROWDED", share)
        found.append(search(queries, documents, 10, block=4))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_equal_documents_stay_in_order() -> None:
    documents = csr_matrix(np.ones((300, 2), dtype=np.float32))
    indices, _ = search(csr_matrix(np.ones((1, 2), dtype=np.float32)), documents, 5)
    assert indices.tolist() == [[0, 1, 2, 3, 4]]


def test_no_documents_and_no_queries() -> None:
    one, none = csr_matrix((1, 4), dtype=np.float32), csr_matrix((0, 4), dtype=np.float32)
    assert search(one, none, 3)[0].shape == (1, 0)
    assert search(none, one, 3)[0].shape == (0, 1)


def test_dense_search_keeps_negative_scores() -> None:
    documents = np.array([[1, 0], [-1, 0], [0, 1], [1, 0]], dtype=np.float32)
    indices, scores = search_dense(np.array([[1, 0]], dtype=np.float32), documents, 4)
    assert indices.tolist() == [[0, 3, 2, 1]]
    assert scores.tolist() == [[1, 1, 0, -1]]


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": 1, "block": 0}])
def test_refuses_sizes_below_one(options: dict[str, int]) -> None:
    matrix = csr_matrix((1, 4), dtype=np.float32)
    with pytest.raises(InputError, match="must be 1 or more"):
        search(matrix, matrix, **options)


def test_refuses_other_vocabularies() -> None:
    with pytest.raises(InputError, match="same number of dimensions, got 4 and 5"):
        search(csr_matrix((1, 4)), csr_matrix((1, 5)))
