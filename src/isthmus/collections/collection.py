"""What an evaluation needs to know about a collection, whatever format it came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus.errors import CollectionError
from isthmus.reading.notes import Notes


@dataclass(frozen=True)
class Collection:
    """A corpus with judged queries.

    Attributes:
        name: What it is called in results.
        corpus: Text of every passage by id, in the order of its file; title and text are joined by a space. One without
            text is in the pool, and no query finds it.
        queries: Text of every judged query by id.
        qrels: Grades by query id and passage id; every query has at least one grade above zero. Passages that are not
            in ``corpus`` count in the ideal ranking, as in BEIR.
        language: ISO 639-1 code, with a script where that matters ("zh-Hant"), or None where unknown.
        dropped_queries: Queries of the file that were left out: nothing relevant is known or, in SQuAD files, the
            question has no text or no answer.
        distractors: How many passages at the end of ``corpus`` were added from another file.
        notes: What was taken for granted when it was read.
    """

    name: str
    corpus: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    language: str | None = None
    dropped_queries: int = 0
    distractors: int = 0
    notes: Notes = field(default_factory=Notes, compare=False)

    def __post_init__(self) -> None:
        if not self.corpus:
            raise CollectionError(f"collection {self.name!r} must hold at least one passage, got none")
        if not self.queries:
            raise CollectionError(
                f"collection {self.name!r} must hold at least one query with a relevant passage, got none of "
                f"{self.dropped_queries}; check that its qrels use the ids of its queries"
            )
        for query in self.qrels:
            if query not in self.queries:
                raise CollectionError(f"qrels of {self.name!r} must name known queries, got {query!r}")
        for query in self.queries:
            if max(self.qrels.get(query, {}).values(), default=0) < 1:
                raise CollectionError(f"query {query!r} of {self.name!r} must have a relevant passage, got none")


def judged(
    queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> tuple[dict[str, str], dict[str, dict[str, int]], int]:
    """Keep the queries that have something relevant; returns them, their qrels and how many were left out."""
    relevant = {query for query, grades in qrels.items() if max(grades.values(), default=0) > 0}
    kept = {query: text for query, text in queries.items() if query in relevant}
    return kept, {query: dict(qrels[query]) for query in kept}, len(queries) - len(kept)
