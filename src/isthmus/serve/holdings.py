"""What an index holds, for who looks around in it: values of its fields, queries to begin with, uses of a token."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import numpy as np

from isthmus.auditing.accents import accents
from isthmus.diagnostics.inspected import look_into
from isthmus.engines import Engine
from isthmus.errors import IndexFileError, IsthmusError
from isthmus.index import SparseIndex
from isthmus.reading.corpus import Document
from isthmus.serve.library import Library

LANGUAGE = "language"
_VALUES, _EXAMPLES, _TOP, _BINS = 50, 6, 5, 12
_QUERY, _SNIPPET = 60, 160
_UNTOLD: dict[str, Any] = {"values": None, "languages": [], "examples": []}


class Holdings:
    """Counts what a folder's index holds; of other engines, which do not tell, nothing is known.

    Belongs to the thread of the index.

    Args:
        library: Encoder and index.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._counted: tuple[Engine | None, dict[str, Any]] = (None, _UNTOLD)

    def of(self, index: Engine) -> dict[str, Any]:
        """Values of the fields that can be filtered by, the languages, and queries to begin with; counted once.

        A damaged file of values keeps nobody from the rest.
        """
        if self._counted[0] is not index:
            try:
                self._counted = index, self._count(index) if isinstance(index, SparseIndex) else _UNTOLD
            except IndexFileError:
                self._counted = index, _UNTOLD
        return self._counted[1]

    def of_token(self, id: int | None) -> dict[str, Any]:
        """Whether the encoder writes a token's dimension, and which documents have it."""
        silenced = self._silenced
        written = None if id is None or silenced is None else id not in silenced
        return {"written": written, "use": None if id is None else self._use(id)}

    def _count(self, index: SparseIndex) -> dict[str, Any]:
        counts = {field: index.count_values(field) for field in self._library.fields() or ()}
        spoken = counts.get(LANGUAGE, Counter())
        colours = accents(spoken)
        codes = sorted(spoken, key=lambda code: (-spoken[code], code))
        documents = [index.first({LANGUAGE: code}) for code in codes[:_EXAMPLES]] or [index.first()]
        return {
            "values": {
                field: {
                    "distinct": len(found),
                    "top": [{"value": value, "documents": count} for value, count in found.most_common(_VALUES)],
                }
                for field, found in counts.items()
            },
            "languages": [{"code": code, "documents": spoken[code], "colour": colours[code]} for code in codes],
            "examples": [
                {"text": text, "language": _language(found)}
                for found in documents
                if found and (text := _opening(found))
            ],
        }

    def _use(self, id: int) -> dict[str, Any] | None:
        try:
            index = self._library.index()
            if not isinstance(index, SparseIndex) or id >= index.manifest.vocabulary_size:
                return None
            rows, weights = index.postings(id)
            order = np.argsort(-weights, kind="stable")[:_TOP]
            best = [(index.document_at(int(rows[place])), float(weights[place])) for place in order]
        except IsthmusError:
            # What is known of the token itself is worth having without.
            return None
        counts, edges = np.histogram(weights, _BINS, (0.0, float(weights.max(initial=0.0)) or 1.0))
        return {
            "documents": len(rows),
            "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
            "top": [
                {"id": found.id, "language": _language(found), "text": found.content[:_SNIPPET], "weight": weight}
                for found, weight in best
            ],
        }

    @functools.cached_property
    def _silenced(self) -> set[int] | None:
        """Columns that are never active; None where columns are no tokens."""
        parts = look_into(self._library.encoder)
        return parts.silenced() if parts.lexical else None


def _language(document: Document) -> str | None:
    found = document.metadata.get(LANGUAGE)
    return found if isinstance(found, str) else None


def _opening(document: Document) -> str:
    """Title, or the first words of the text, short enough for a query."""
    text = " ".join((document.title or document.text).split())
    if len(text) <= _QUERY:
        return text
    cut = text[:_QUERY]
    return cut.rpartition(" ")[0] or cut
