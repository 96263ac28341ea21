"""What an index holds, beside searching it: values of fields, the lists of its dimensions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.index.reader import Filter, Segment
from isthmus.reading.corpus import Document


class Surveyed:
    """Part of :class:`isthmus.index.SparseIndex`; where documents were split, their passages are counted."""

    _segments: list[Segment]
    _firsts: NDArray[np.int64]

    def _filter(self, filter: Mapping[str, Any] | None) -> Filter | None:
        raise NotImplementedError

    def count_values(self, field: str) -> Counter[str]:
        """How many documents have each value of a metadata field.

        Raises:
            InputError: If no document has such a field.
        """
        self._filter({field: ()})
        return sum((segment.count_values(field) for segment in self._segments), Counter[str]())

    def field_values(self, field: str) -> list[str]:
        """The values that a metadata field of the documents has, most frequent first; raises as ``count_values``."""
        return [value for value, _ in self.count_values(field).most_common()]

    def first(self, filter: Mapping[str, Any] | None = None) -> Document | None:
        """The document that was added first of those that match, as for :meth:`search`; None where there is none."""
        wanted = self._filter(filter)
        for segment in self._segments:
            kept = segment.live() if wanted is None else segment.live() & segment.mask(wanted)
            if kept.any():
                return segment.document(int(kept.argmax()))
        return None

    def postings(self, term: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows, as of :meth:`document_at`, and stored weights of the documents that have a dimension."""
        found = [segment.postings(term) for segment in self._segments]
        rows = [first + rows for first, (rows, _) in zip(self._firsts, found, strict=False)]
        weights = [weights for _, weights in found]
        return (
            np.concatenate([np.zeros(0, dtype=np.int64), *rows]),
            np.concatenate([np.zeros(0, dtype=np.float32), *weights]),
        )
