"""Encoding and searching the collections of the suites."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_matrix, issparse, vstack

from benchmarks.harness import timed
from isthmus.collections import Collection
from isthmus.evaluation import BM25, EvaluationResult, evaluate_vectors
from isthmus.evaluation.models import encode

Role = Literal["query", "document"]
ROLES: tuple[Role, Role] = ("query", "document")


class Encoded:
    """A model that encodes every text once, however many pools hold it.

    Attributes:
        model: What encodes.
        seconds: Spent encoding so far.
        characters: Encoded so far.
    """

    def __init__(self, model: Any, **options: Any) -> None:
        self.model, self.options = model, options
        self.seconds, self.characters = 0.0, 0
        self._places: dict[Role, dict[str, int]] = {role: {} for role in ROLES}
        self._vectors: dict[Role, Any] = {}

    def add(self, role: Role, texts: Sequence[str]) -> None:
        """Encode those that are new."""
        places = self._places[role]
        new = [text for text in dict.fromkeys(texts) if text not in places]
        if not new:
            return
        vectors, seconds = timed(lambda: encode(self.model, new, role=role, **self.options))
        self.seconds, self.characters = self.seconds + seconds, self.characters + sum(map(len, new))
        if role in self._vectors:
            parts = [self._vectors[role], vectors]
            vectors = vstack(parts, format="csr") if issparse(vectors) else np.concatenate(parts)
        self._vectors[role] = vectors
        places.update({text: row for row, text in enumerate(new, start=len(places))})

    def __call__(self, role: Role, texts: Sequence[str]) -> Any:
        """Vectors, one row a text."""
        self.add(role, texts)
        return self._vectors[role][[self._places[role][text] for text in texts]]

    def sides(self, collection: Collection) -> list[Any]:
        """Vectors of a collection's queries and documents."""
        return [self(role, texts) for role, texts in texts_of(collection).items()]

    def seconds_for(self, collection: Collection) -> float:
        """What encoding a collection takes, by its characters."""
        characters = sum(len(text) for texts in texts_of(collection).values() for text in texts)
        return self.seconds / max(1, self.characters) * characters


def texts_of(collection: Collection) -> dict[Role, list[str]]:
    """The texts of both sides of a collection."""
    return {"query": list(collection.queries.values()), "document": list(collection.corpus.values())}


def sides_of(model: Any, collection: Collection, **options: Any) -> list[Any]:
    """Vectors of a collection's queries and documents, encoded anew; BM25 takes its statistics from the documents."""
    known = {} if isinstance(model, BM25) else options
    return [encode(model, texts, role=role, **known) for role, texts in texts_of(collection).items()]


def evaluated(model: Any, collection: Collection, name: str, **settings: Any) -> EvaluationResult:
    """Encode a collection in bfloat16 and search it."""
    started = time.perf_counter()
    sides = sides_of(model, collection, dtype="bfloat16")
    return evaluate_vectors(*sides, collection, name=name, started=started, settings=settings)


def sample_queries(collection: Collection, limit: int | None, seed: int) -> Collection:
    """Keep ``limit`` queries drawn with ``seed``, in their order; the pool stays whole."""
    if limit is None or limit >= len(collection.queries):
        return collection
    ids = list(collection.queries)
    kept = [ids[i] for i in sorted(np.random.default_rng(seed).choice(len(ids), limit, replace=False).tolist())]
    queries = {query: collection.queries[query] for query in kept}
    return replace(collection, queries=queries, qrels={query: collection.qrels[query] for query in kept})


def cut(vectors: csr_matrix, dims: int) -> csr_matrix:
    """The largest ``dims`` entries of every row."""
    rows = []
    for row in range(vectors.shape[0]):
        start, end = vectors.indptr[row], vectors.indptr[row + 1]
        order = np.argsort(-vectors.data[start:end], kind="stable")[:dims]
        rows.append((vectors.indices[start:end][order], vectors.data[start:end][order]))
    starts = np.cumsum([0, *(len(ids) for ids, _ in rows)])
    data = np.concatenate([values for _, values in rows])
    return csr_matrix((data, np.concatenate([ids for ids, _ in rows]), starts), shape=vectors.shape)


def dims_of(vectors: csr_matrix) -> float:
    """Mean entries of a row."""
    return float(vectors.nnz / vectors.shape[0])
