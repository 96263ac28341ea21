"""A comparison of another engine with the exact index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.engines.base import Engine
from isthmus.engines.contents import filled, read_vectors
from isthmus.engines.options import ParityOptions
from isthmus.errors import InputError
from isthmus.index.sparse_index import SparseIndex

TERMS = 32


@dataclass(frozen=True)
class Parity:
    """The outcome of a comparison.

    Attributes:
        queries: How many were asked.
        hits: How many documents came back and were scored again.
        drift: Largest difference between the engine's score of a document and the exact one, relative to the latter.
        recall: Mean share of the best documents that came back; a document as good as the last of them counts as one
            of them, so ties cost nothing.
        unknown: Documents that came back and are not in the index.
        documents: Documents of the index, those with an empty vector left out.
        documents_there: Documents that the engine says it has.
        tolerance: Drift that was allowed.
        min_recall: Recall that was asked for.
        problems: What is wrong, for people; nothing where all is well.
    """

    queries: int
    hits: int
    drift: float
    recall: float
    unknown: int
    documents: int
    documents_there: int
    tolerance: float
    min_recall: float
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "problems": list(self.problems), "passed": self.passed}


def compare(
    index: SparseIndex,
    engine: Engine,
    queries: Sequence[csr_matrix],
    options: ParityOptions | None = None,
    **changes: Any,
) -> Parity:
    """Ask both the same queries and score every document that came back again.

    Args:
        index: The exact index.
        engine: What is compared with it.
        queries: One row each; see :func:`sample_queries` where there are none.
        options: How; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Raises:
        InputError: If there is no query, or an argument is out of range.
        EngineError: If a server does not answer.
    """
    options = ParityOptions.of(options, **changes)
    top_k, tolerance, min_recall = options.top_k, options.tolerance, options.min_recall
    if not queries:
        raise InputError("queries must not be empty, got none; pass one, or see sample_queries")
    hits = unknown = 0
    drift, recalls = 0.0, []
    for query in queries:
        best = [hit.score for hit in index.search(query, top_k)]
        worst = float(best[-1]) if len(best) else np.inf
        good = 0
        found = engine.search(query, top_k)
        for hit in found:
            exact = _exact(index, query, hit.id)
            if exact is None:
                unknown += 1
                continue
            hits += 1
            drift = max(drift, abs(hit.score - exact) / exact if exact > 0 else np.inf)
            good += exact >= worst * (1 - tolerance)
        recalls.append(good / len(best) if len(best) else float(not found))
    recall = float(np.mean(recalls))
    # Of a document without an active entry there is a passage all the same.
    here, there = len(index) if index.manifest.split else filled(index), len(engine)
    problems = []
    if drift > tolerance:
        problems.append(f"a score differs by {drift:.2%}, more than {tolerance:.2%}")
    if recall < min_recall:
        problems.append(f"recall@{top_k} is {recall:.4f}, less than {min_recall:g}")
    if unknown:
        problems.append(f"{unknown} hits are documents that the index does not have")
    if not here <= there <= len(index):
        problems.append(f"the engine has {there:,} documents, the index {here:,} with text")
    return Parity(len(queries), hits, drift, recall, unknown, here, there, tolerance, min_recall, tuple(problems))


def sample_queries(index: SparseIndex, count: int, *, seed: int = 0, terms: int = TERMS) -> list[csr_matrix]:
    """Queries made of documents, which need no model: the heaviest terms of some of them, taken at random.

    Args:
        index: Where to take them from.
        count: How many at most.
        seed: Of the choice.
        terms: Terms of each query at most.
    """
    chosen = np.sort(np.random.default_rng(seed).choice(len(index), min(count, len(index)), replace=False))
    return list(_chosen(index, chosen, terms))


def _chosen(index: SparseIndex, places: Any, terms: int) -> Iterator[csr_matrix]:
    first = 0
    for _, vectors in read_vectors(index):
        for place in places[(places >= first) & (places < first + vectors.shape[0])]:
            row = vectors[int(place - first)]
            heaviest = np.sort(np.argsort(-row.data, kind="stable")[:terms])
            if len(heaviest):
                yield csr_matrix((row.data[heaviest], row.indices[heaviest], [0, len(heaviest)]), shape=row.shape)
        first += vectors.shape[0]


def _exact(index: SparseIndex, query: csr_matrix, identifier: str) -> float | None:
    try:
        return sum(match.score for match in index.explain(query, identifier))
    except InputError:
        return None
