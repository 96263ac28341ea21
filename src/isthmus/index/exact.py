"""Exact search: every score is a dot product, every tie goes to the earlier document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.errors import InputError

Hits = tuple[NDArray[np.int64], NDArray[np.float32]]
_Scores = Iterator[tuple[NDArray[Any], NDArray[np.float32]]]
_SCORES_PER_BLOCK = 2**24
# Share of active entries above which a product with dense documents is the quicker one; encoders without sparsity
# regularisation get there.
_CROWDED = 0.1
_CROWDED_BLOCK = 1024
# Values in a group, and how many times more values than hits make it worth looking at groups first.
_GROUP = 64
_MAXIMA = 4 * _GROUP


def search(queries: csr_matrix, documents: csr_matrix, top_k: int = 100, *, block: int | None = None) -> Hits:
    """Search sparse vectors by dot product.

    Args:
        queries: Shape (queries, vocabulary).
        documents: Shape (documents, vocabulary).
        top_k: Hits per query at most.
        block: Queries per step, so that the scores of all queries are never held together; None chooses by the number
            of documents. It does not change the result.

    Returns:
        Document rows and their scores, best first, both of shape (queries, min(top_k, documents)). Only documents with
        a positive score are hits; the places behind them hold row -1 and score 0.

    Raises:
        InputError: If the vocabularies differ, or ``top_k`` or ``block`` is not positive.
    """
    block = _check(queries.shape, documents.shape, top_k, block)
    crowded = documents.nnz > _CROWDED * documents.shape[0] * documents.shape[1]
    score = _crowded_scores(documents) if crowded else _sparse_scores(documents)
    indices, scores = _no_hits(queries.shape[0], documents.shape[0], top_k)
    for start in range(0, queries.shape[0], block):
        for row, (found, values) in enumerate(score(queries[start : start + block]), start=start):
            best = best_positive(values, top_k)
            indices[row, : len(best)] = found[best]
            scores[row, : len(best)] = values[best]
    return indices, scores


def search_dense(
    queries: NDArray[np.float32], documents: NDArray[np.float32], top_k: int = 100, *, block: int | None = None
) -> Hits:
    """Search dense vectors by dot product; arguments and result as for :func:`search`, but every document is a hit."""
    block = _check(queries.shape, documents.shape, top_k, block)
    indices, scores = _no_hits(queries.shape[0], documents.shape[0], top_k)
    for start in range(0, queries.shape[0], block):
        for row, values in enumerate(queries[start : start + block] @ documents.T, start=start):
            best = _best(values, np.arange(len(values)), top_k)
            indices[row, : len(best)] = best
            scores[row, : len(best)] = values[best]
    return indices, scores


def _sparse_scores(documents: csr_matrix) -> Callable[[csr_matrix], _Scores]:
    """What scores a block of queries: per query the documents it meets, ascending, and their scores."""
    transposed = documents.T.tocsr()

    def score(queries: csr_matrix) -> _Scores:
        product = (queries @ transposed).tocsr()
        product.sort_indices()
        for row in range(product.shape[0]):
            span = slice(product.indptr[row], product.indptr[row + 1])
            yield product.indices[span], product.data[span]

    return score


def _crowded_scores(documents: csr_matrix) -> Callable[[csr_matrix], _Scores]:
    """The same by sparse times dense, which adds in the same order and so gives the same scores bit by bit."""
    everything = np.arange(documents.shape[0])

    def score(queries: csr_matrix) -> _Scores:
        product = np.empty((queries.shape[0], documents.shape[0]), dtype=np.float32)
        for start in range(0, documents.shape[0], _CROWDED_BLOCK):
            part = documents[start : start + _CROWDED_BLOCK].toarray()
            product[:, start : start + _CROWDED_BLOCK] = queries @ np.ascontiguousarray(part.T)
        for values in product:
            yield everything, values

    return score


def _check(queries: tuple[int, ...], documents: tuple[int, ...], top_k: int, block: int | None) -> int:
    if queries[1] != documents[1]:
        raise InputError(
            f"queries and documents must have the same number of dimensions, got {queries[1]} and {documents[1]}; "
            "encode both with the same encoder"
        )
    if top_k < 1:
        raise InputError(f"top_k must be 1 or more, got {top_k}")
    if block is not None and block < 1:
        raise InputError(f"block must be 1 or more queries, got {block}")
    return block or max(1, _SCORES_PER_BLOCK // max(1, documents[0]))


def _no_hits(queries: int, documents: int, top_k: int) -> Hits:
    shape = (queries, min(top_k, documents))
    return np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.float32)


def best_positive(values: NDArray[np.float32], top_k: int) -> NDArray[np.int64]:
    """Positions of the ``top_k`` largest values above zero, largest first, equal ones in the order they stand in."""
    threshold = np.float32(0)
    if len(values) > _MAXIMA * top_k:
        # The k-th largest of the maxima of many groups is no larger than the k-th largest value: few are above it.
        groups = len(values) // _GROUP
        maxima = values[: groups * _GROUP].reshape(_GROUP, groups).max(axis=0)
        threshold = np.partition(maxima, -top_k)[-top_k]
    candidates = np.flatnonzero(values >= threshold) if threshold > 0 else np.flatnonzero(values > 0)
    return _best(values, candidates, top_k)


def _best(values: NDArray[np.float32], candidates: NDArray[np.int64], top_k: int) -> NDArray[np.int64]:
    if len(candidates) > top_k:
        threshold = np.partition(values[candidates], -top_k)[-top_k]
        candidates = candidates[values[candidates] >= threshold]
    order = np.argsort(-values[candidates], kind="stable")[:top_k]
    return np.asarray(candidates[order], dtype=np.int64)
