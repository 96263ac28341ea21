"""The comparison notices every kind of difference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.engines.comparison import compare, sample_queries
from isthmus.errors import InputError
from isthmus.index import Hit, SparseIndex
from isthmus.reading.corpus import Document
from tests.engines.conftest import FOUND, QUERIES, VECTORS

ASKED = [QUERIES[row] for row in range(QUERIES.shape[0])]


class Twisted:
    """The index, with its hits changed."""

    def __init__(self, index: SparseIndex, change: Any = lambda hits: hits, extra: int = 0) -> None:
        self._index, self._change, self._extra = index, change, extra

    def __len__(self) -> int:
        return len(self._index) + self._extra

    def search(self, query: Any, top_k: int = 10, **_: Any) -> list[Hit]:
        return self._change(self._index.search(query, top_k))


def test_the_index_itself_passes(index: SparseIndex) -> None:
    found = compare(index, Twisted(index), ASKED, tolerance=1e-6, min_recall=1)
    assert found.passed
    assert (found.recall, found.unknown, found.queries) == (1.0, 0, len(ASKED))
    assert found.hits == sum(len(index.search(query)) for query in ASKED)
    assert found.to_dict()["passed"]


@pytest.mark.parametrize(
    ("change", "extra", "message"),
    [
        (lambda hits: [*hits[:-1], replace(hits[-1], score=hits[-1].score * 1.01)], 0, "a score differs by 1.00%"),
        (lambda hits: hits[2:], 0, "recall@10 is"),
        (lambda hits: [*hits, Hit("other", 1.0, Document("other", ""))], 0, "hits are documents that the index does"),
        (lambda hits: [*hits[:-1], replace(hits[-1], id="d6")], 0, "a score differs by inf"),
        (lambda hits: hits, 1, "the engine has 61 documents, the index 52 with text"),
        (lambda hits: hits, -30, "the engine has 30 documents"),
        (lambda hits: [], 0, "recall@10 is 0.0000"),
    ],
)
def test_differences_are_noticed(index: SparseIndex, change: Any, extra: int, message: str) -> None:
    found = compare(index, Twisted(index, change, extra), ASKED)
    assert not found.passed
    assert message in " ".join(found.problems)


def test_ties_in_another_order_cost_nothing(index: SparseIndex) -> None:
    query = ASKED[0]
    scores = [round(hit.score, 4) for hit in index.search(query, 60)]
    cut = next(place for place in range(1, len(scores)) if scores[place] == scores[place - 1])
    everything = index.search(query, 60)
    swapped = [*everything[: cut - 1], everything[cut]]
    assert compare(index, Twisted(index, lambda hits: swapped), [query], top_k=cut, min_recall=1).passed


def test_queries_are_made_of_documents(index: SparseIndex) -> None:
    queries = sample_queries(index, 1000, terms=3)
    filled = [row for row in range(len(FOUND)) if VECTORS[row].nnz]
    assert len(queries) == len(filled)
    for query, row in zip(queries, filled, strict=True):
        weights = np.sort(VECTORS[row].data)[::-1]
        assert query.nnz == min(3, len(weights))
        np.testing.assert_array_equal(np.sort(query.data)[::-1], weights[:3])
    few = sample_queries(index, 5, seed=1)
    assert len(few) <= 5
    assert [one.nnz for one in few] == [one.nnz for one in sample_queries(index, 5, seed=1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": []}, "queries must not be empty"),
        ({"tolerance": -1}, "tolerance must be 0 or more, got -1"),
        ({"min_recall": 1.1}, r"min_recall must be 0 or more and at most 1, got 1\.1"),
    ],
)
def test_refuses_arguments_that_compare_nothing(index: SparseIndex, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(index, Twisted(index), **{"queries": ASKED, **options})
