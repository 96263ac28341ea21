"""Documents that a search found, and the tokens that they share with the query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from isthmus.reading.corpus import Document


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Attributes:
        id: Its id.
        score: Dot product of query and document, or its best passage.
        document: What the index stores of it, or of its best passage, which has an id of its own; its text is empty
            where texts are not stored.
    """

    id: str
    score: float
    document: Document


class Match(NamedTuple):
    """A token that query and document share; ``score`` is the product of the weights."""

    token: str
    query_weight: float
    document_weight: float
    score: float
