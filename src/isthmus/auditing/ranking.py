"""Ranking the whole of a pool, with the ranks of everything relevant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from isthmus.auditing.measures import ENGLISH, MIX_DEPTH
from isthmus.auditing.pools import Documents, Pool
from isthmus.errors import EncoderError

_SCORES_PER_BLOCK = 2**24
# Score of a document without text, which dense encoders have a vector for as well.
BELOW_COSINES = -2.0


@dataclass(frozen=True, eq=False)
class Ranking:
    """Where the documents of a pool landed, question by question.

    Attributes:
        sizes: Documents each question was ranked against, shape (questions,).
        golds: Relevant documents of each question as places in :class:`Documents`, by rank.
        gold_ranks: Their ranks from 1, ascending.
        gold_scores: Their scores.
        top: First documents of each question, -1 behind the last hit, shape (questions, 20 or fewer).
        top_scores: Their scores, in the same shape.
        english_rank: Rank of the first irrelevant English document, shape (questions,); 0 where there is none.
        tied: Relevant documents whose score an irrelevant one of another text has too.
    """

    sizes: NDArray[np.int64]
    golds: tuple[NDArray[np.int64], ...]
    gold_ranks: tuple[NDArray[np.int64], ...]
    gold_scores: tuple[NDArray[np.float32], ...]
    top: NDArray[np.int64]
    top_scores: NDArray[np.float32]
    english_rank: NDArray[np.int64]
    tied: int


def rank_pool(queries: Any, vectors: Any, pool: Pool, documents: Documents) -> Ranking:
    """Rank every question against all of its pool by dot product.

    Irrelevant documents stand before relevant ones of the same score, and otherwise equal ones in the order of
    ``documents``; so do the copies of a relevant one, which no ranker can tell from it. A sparse document that shares
    no term with the question (score 0) is ranked, but is no hit; nor is a document without text.

    Args:
        queries: One row per question, in the order of ``pool.golds``; a sparse matrix or a dense array.
        vectors: One row per document of ``pool.places``, likewise.
        pool: What to search.
        documents: What its places mean.

    Raises:
        EncoderError: If a score is not finite.
    """
    count, depth = queries.shape[0], min(MIX_DEPTH, len(pool.places))
    sparse = issparse(queries)
    floor = 0.0 if sparse else BELOW_COSINES
    english = documents.languages == ENGLISH
    sizes, english_rank = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    top = np.full((count, depth), -1, dtype=np.int64)
    top_scores = np.zeros((count, depth), dtype=np.float32)
    golds, gold_ranks, gold_scores, tied = [], [], [], 0
    # Scored once, because a product may round the same vector differently in different places.
    numbers, first, column = np.unique(documents.text_numbers[pool.places], return_index=True, return_inverse=True)
    copies = len(numbers) < len(pool.places)
    vectors = vectors[first] if copies else vectors
    transposed = vectors.T.tocsr() if sparse else vectors.T
    block = max(1, _SCORES_PER_BLOCK // len(pool.places))
    for start in range(0, count, block):
        scored = queries[start : start + block] @ transposed
        scored = scored.toarray() if sparse else scored
        if not np.isfinite(scored).all():
            raise EncoderError("scores must be finite, got NaN or infinity; look at the model with isthmus doctor")
        scored = scored[:, column] if copies else scored
        scored[:, documents.blank[pool.places]] = floor
        for query, row in enumerate(scored, start=start):
            places = pool.candidates(query)
            scores = row if pool.hidden is None else row[np.searchsorted(pool.places, places)]
            gold = np.isin(places, pool.golds[query], assume_unique=True)
            alike = gold
            if copies:
                text_numbers = documents.text_numbers
                alike = np.isin(text_numbers[places], text_numbers[pool.golds[query]])
            order = np.lexsort((alike, -scores))
            ranked, relevant, values = places[order], gold[order], scores[order]
            hits = min(depth, int((values > floor).sum()))
            top[query, :hits], top_scores[query, :hits] = ranked[:hits], values[:hits]
            ranks = np.flatnonzero(relevant)
            golds.append(ranked[ranks])
            gold_ranks.append(ranks + 1)
            gold_scores.append(values[ranks])
            tied += int(np.isin(values[ranks], scores[~alike]).sum())
            foreign = np.flatnonzero(~relevant & english[ranked])
            sizes[query] = len(ranked)
            english_rank[query] = foreign[0] + 1 if len(foreign) else 0
    return Ranking(sizes, tuple(golds), tuple(gold_ranks), tuple(gold_scores), top, top_scores, english_rank, tied)
