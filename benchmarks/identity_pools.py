"""The pools of ``identity.py``, and which of their questions share few words with their passage."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from zero_shot import COLLECTIONS, sample_queries

from isthmus.collections import Collection, load
from isthmus.evaluation import BM25

# Distractors and questions: of a language's first collection, or (large) of every one.
SMALL, LARGE = (1000, 1200), (8000, None)


def distractors_and_queries(args: argparse.Namespace) -> tuple[int, int | None]:
    """At most so many."""
    return LARGE if args.large else SMALL


def pools_of(language: str, args: argparse.Namespace) -> Iterator[Collection]:
    """The evaluation collections of a language with distractors."""
    distractors, max_queries = distractors_and_queries(args)
    path = args.data / "distractors" / f"{language}.jsonl.xz"
    for name in COLLECTIONS[language][: None if args.large else 1]:
        found = load(name, language=language, distractors=path, max_distractors=distractors, seed=0)
        yield sample_queries(found, max_queries, 0)


def overlap_of(pool: Collection, words: BM25) -> NDArray[np.float64]:
    """Share of each query's distinct tokens that its best relevant passage holds, in the order of the queries."""
    queries = [set(ids) for ids in words.token_ids(list(pool.queries.values()))]
    golds = [max(pool.qrels[query], key=lambda d: pool.qrels[query][d]) for query in pool.queries]
    held = [set(ids) for ids in words.token_ids([pool.corpus[gold] for gold in golds])]
    return np.array([len(q & d) / max(1, len(q)) for q, d in zip(queries, held, strict=True)])


def shares_few_words(pool: Collection, words: BM25) -> NDArray[np.bool_]:
    """Whether a query shares a smaller part of its words with its passage than the median query."""
    overlap = overlap_of(pool, words)
    return overlap < np.median(overlap)
