"""Effectiveness of rankings and efficiency of sparse vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

DEPTH = 100
EFFECTIVENESS = ("ndcg@10", "mrr@10", "recall@100")


def best_owners(indices: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
    """Rankings in which every row stands once, at its best place.

    Args:
        indices: As for :func:`effectiveness`, with rows that may come several times.
        depth: Places to keep.

    Returns:
        Shape (queries, depth or fewer), -1 behind the last hit.
    """
    kept = np.full((len(indices), min(depth, indices.shape[1])), -1, dtype=np.int64)
    for ranking, row in zip(kept, indices.tolist(), strict=True):
        once = list(dict.fromkeys(found for found in row if found >= 0))[:depth]
        ranking[: len(once)] = once
    return kept


def effectiveness(
    indices: NDArray[np.int64],
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    qrels: Mapping[str, Mapping[str, int]],
) -> dict[str, NDArray[np.float64]]:
    """Score rankings with ir-measures.

    Args:
        indices: Document rows of each query, best first, -1 behind the last hit, shape (queries, at least 100 or all).
        query_ids: Id of each row of ``indices``.
        document_ids: Id of each document row.
        qrels: Grades by query id and document id; grades below 1 are not relevant.

    Returns:
        ``ndcg@10`` (linear gains, logarithm of base 2), ``mrr@10`` and ``recall@100``, each of shape (queries,); a
        query without hits scores 0.
    """
    # The evaluator behind ir-measures sorts by score and breaks ties by document id. Our ranking has settled ties
    # already (in document order), so it gets the ranks as strictly decreasing scores.
    run = {
        query: {document_ids[j]: float(len(row) - rank) for rank, j in enumerate(row) if j >= 0}
        for query, row in zip(query_ids, indices.tolist(), strict=True)
    }
    return score_run(run, query_ids, qrels)


def score_run(
    run: Mapping[str, Mapping[str, float]], query_ids: Sequence[str], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, NDArray[np.float64]]:
    """Score rankings that are given by scores, no two of a query equal; otherwise as :func:`effectiveness`.

    Args:
        run: Scores by query id and document id.
        query_ids: In the order of the result.
        qrels: Grades by query id and document id.
    """
    import ir_measures

    measures = {ir_measures.nDCG @ 10: "ndcg@10", ir_measures.RR @ 10: "mrr@10", ir_measures.R @ DEPTH: "recall@100"}
    relevant = {query: {document: max(grade, 0) for document, grade in qrels[query].items()} for query in query_ids}
    position = {query: row for row, query in enumerate(query_ids)}
    values = {name: np.zeros(len(query_ids)) for name in EFFECTIVENESS}
    for metric in ir_measures.iter_calc(list(measures), relevant, run):
        values[measures[metric.measure]][position[metric.query_id]] = metric.value
    return values


def activation_rates(vectors: csr_matrix) -> NDArray[np.float64]:
    """Share of the rows in which each column is active, shape (vocabulary,)."""
    active = vectors.indices[vectors.data != 0]
    rates: NDArray[np.float64] = np.bincount(active, minlength=vectors.shape[1]) / max(1, vectors.shape[0])
    return rates


def flops(queries: csr_matrix, documents: csr_matrix) -> float:
    """Expected multiplications per query-document pair.

    The sum over the vocabulary of p_q(j) * p_d(j), with the activation rates over the given queries and documents
    (arXiv 2004.05665, as SPLADE reports it in arXiv 2107.05720).
    """
    return float(activation_rates(queries) @ activation_rates(documents))


def active_dims(vectors: csr_matrix) -> float:
    """Mean number of active entries of a row."""
    return int(np.count_nonzero(vectors.data)) / max(1, int(vectors.shape[0]))
