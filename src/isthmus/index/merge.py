"""Several segments into one without their deleted documents, list by list in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.index.format import SegmentEntry, write_array, write_header
from isthmus.index.options import Weights
from isthmus.index.quantize import dtype_of, error_bound, pack, scale_for, unpack
from isthmus.index.reader import Segment
from isthmus.index.segments import DocumentWriter, entry_of

SEGMENTS_KEPT = 8


def groups_to_merge(postings: Sequence[int], limit: int = SEGMENTS_KEPT) -> list[list[int]]:
    """Which neighbours to merge so that ``limit`` segments stay: those with the fewest postings first.

    Args:
        postings: Postings of each segment, in order.
        limit: How many may stay.

    Returns:
        Positions of the segments that go into each, in order.
    """
    groups = [[position] for position in range(len(postings))]
    sizes = list(postings)
    while len(groups) > limit:
        least = min(range(len(groups) - 1), key=lambda place: sizes[place] + sizes[place + 1])
        groups[least : least + 2] = [groups[least] + groups[least + 1]]
        sizes[least : least + 2] = [sizes[least] + sizes[least + 1]]
    return groups


def merge(segments: Sequence[Segment], folder: Path, *, weights: Weights, text: bool, at_once: int) -> SegmentEntry:
    """Write one segment that holds the live documents of several, in their order.

    Args:
        segments: What to merge.
        folder: Folder of the new segment, made and empty.
        weights: How weights are stored, in the old ones and the new one. u8 rounds again where the scale changes.
        text: Whether title and text are stored.
        at_once: Postings to hold at a time, see :class:`isthmus.index.options.MemoryLimits`.
    """
    live = [segment.live() for segment in segments]
    fields = _copy_documents(segments, live, folder, text)
    firsts = np.cumsum([0, *(int(mask.sum()) for mask in live)])
    # Place of each old row in the new segment; meaningless where it is deleted.
    places = [(first + np.cumsum(mask) - 1).astype(np.int32) for first, mask in zip(firsts, live, strict=False)]
    counts = sum(_live_counts(segment, mask, at_once) for segment, mask in zip(segments, live, strict=True))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    write_array(folder / "starts.npy", starts)

    scales = {segment.entry.scale for segment in segments}
    largest = max((_largest(segment, at_once) for segment in segments), default=0.0)
    scale = scales.pop() if len(scales) == 1 else scale_for(weights, largest)
    error = max((segment.entry.error for segment in segments), default=0.0)
    if any(segment.entry.scale != scale for segment in segments):
        error += error_bound(weights, largest)

    total = int(starts[-1])
    with (folder / "rows.npy").open("wb") as rows_file, (folder / "weights.npy").open("wb") as weights_file:
        write_header(rows_file, np.int32, (total,))
        write_header(weights_file, dtype_of(weights), (total,))
        for first, last in _ranges(starts, at_once):
            parts = [
                _lists(segment, mask, place, first, last)
                for segment, mask, place in zip(segments, live, places, strict=True)
            ]
            terms, rows, values = (np.concatenate(part) for part in zip(*parts, strict=True))
            # Stable: within a list, segments stay in their order, and so do the rows.
            order = np.argsort(terms, kind="stable")
            rows_file.write(rows[order].data)
            weights_file.write(pack(values[order], weights, scale).data)
    return entry_of(folder, fields, int(firsts[-1]), total, scale, error)


def _copy_documents(
    segments: Sequence[Segment], live: Sequence[NDArray[np.bool_]], folder: Path, text: bool
) -> tuple[str, ...]:
    writer = DocumentWriter(folder, text=text)
    try:
        for segment, mask in zip(segments, live, strict=True):
            for row in np.flatnonzero(mask):
                writer.add(segment.document(int(row)))
        return writer.close()
    finally:
        writer.discard()


def _live_counts(segment: Segment, live: NDArray[np.bool_], at_once: int) -> NDArray[np.int64]:
    """Length of each list without deleted documents."""
    counts = np.diff(segment.starts)
    for first, last in _ranges(segment.starts, at_once) if len(segment.deleted) else ():
        rows = segment.rows[segment.starts[first] : segment.starts[last]]
        terms = np.repeat(np.arange(last - first), counts[first:last])
        counts[first:last] = np.bincount(terms, weights=live[rows], minlength=last - first)
    return np.asarray(counts, dtype=np.int64)


def _lists(
    segment: Segment, live: NDArray[np.bool_], places: NDArray[np.int32], first: int, last: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Live postings of dimensions ``first`` to ``last``: dimension, new row, weight."""
    span = slice(int(segment.starts[first]), int(segment.starts[last]))
    rows = segment.rows[span]
    keep = live[rows]
    terms = np.repeat(np.arange(first, last, dtype=np.int32), np.diff(segment.starts[first : last + 1]))
    weights = unpack(segment.weights[span], segment.entry.scale)
    return terms[keep], places[rows[keep]], weights[keep]


def _ranges(starts: NDArray[np.int64], at_once: int) -> Iterator[tuple[int, int]]:
    """Ranges of dimensions with at most ``at_once`` postings, or one dimension."""
    first, size = 0, len(starts) - 1
    while first < size:
        last = int(np.searchsorted(starts, starts[first] + at_once, side="right")) - 1
        last = min(size, max(first + 1, last))
        yield first, last
        first = last


def _largest(segment: Segment, at_once: int) -> float:
    spans = (slice(start, start + at_once) for start in range(0, len(segment.weights), at_once))
    largest = max((segment.weights[span].max() for span in spans), default=0)
    return float(unpack(np.array([largest], dtype=segment.weights.dtype), segment.entry.scale)[0])
