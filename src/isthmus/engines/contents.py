"""The rows of an index folder, read back: for other engines' files, and to compare with them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from isthmus.index.quantize import unpack
from isthmus.index.reader import Segment, rows_within
from isthmus.index.sparse_index import SparseIndex
from isthmus.reading.corpus import Document

AT_ONCE = 2**22


def read_vectors(index: SparseIndex, at_once: int = AT_ONCE) -> Iterator[tuple[NDArray[np.int64], csr_matrix]]:
    """Rows of documents that are not deleted, as in :meth:`isthmus.index.SparseIndex.top`, with their vectors.

    Args:
        index: The index.
        at_once: Postings to hold at a time, about; 40 bytes each.

    Yields:
        Rows, ascending, and their float32 vectors of shape (rows, vocabulary).

    Raises:
        IndexFileError: If the index is damaged.
    """
    for first_row, segment in zip(index._firsts, index._segments, strict=False):
        segment.check_lists()
        step = max(1, at_once * segment.documents // max(1, segment.entry.postings))
        used = np.flatnonzero(np.diff(segment.starts))
        for first in range(0, segment.documents, step):
            last = min(first + step, segment.documents)
            rows = np.flatnonzero(segment.live()[first:last])
            vectors = _rows(segment, used, first, last, index.manifest.vocabulary_size)
            yield first_row + first + rows, vectors[rows]


def read_documents(index: SparseIndex, at_once: int = AT_ONCE) -> Iterator[tuple[list[Document], csr_matrix]]:
    """The same with the documents themselves."""
    for rows, vectors in read_vectors(index, at_once):
        yield [index.document_at(int(row)) for row in rows], vectors


def filled(index: SparseIndex) -> int:
    """Number of documents with an active entry: those that a query can find."""
    count = 0
    for segment in index._segments:
        found = np.zeros(segment.documents, dtype=np.bool_)
        for first in range(0, len(segment.rows), AT_ONCE):
            rows = segment.rows[first : first + AT_ONCE]
            if not rows_within(rows, segment.documents):
                raise segment.damaged("rows.npy")
            found[rows] = True
        count += int((found & segment.live()).sum())
    return count


def _rows(segment: Segment, used: NDArray[np.int64], first: int, last: int, size: int) -> csr_matrix:
    """Rows ``first`` to ``last``: a run of each list, because lists are ascending."""
    starts = np.zeros(size + 1, dtype=np.int64)
    rows, weights = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=segment.weights.dtype)]
    for term in used:
        start, stop = int(segment.starts[term]), int(segment.starts[term + 1])
        found = segment.rows[start:stop]
        low, high = np.searchsorted(found, (first, last))
        if low < high:
            starts[term + 1] = high - low
            rows.append(found[low:high])
            weights.append(segment.weights[start + low : start + high])
    joined = np.concatenate(rows) - np.int32(first)
    # Compiled code turns lists to rows without looking.
    if not rows_within(joined, last - first):
        raise segment.damaged("rows.npy")
    values = unpack(np.concatenate(weights), segment.entry.scale)
    return csc_matrix((values, joined, np.cumsum(starts)), shape=(last - first, size)).tocsr()
