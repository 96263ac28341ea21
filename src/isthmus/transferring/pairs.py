"""Pairs of target tokens whose rows are so close that the transferred encoder cannot tell them apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

LIMIT = 2_000_000_000
_PAIRS = 65_536
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Indistinguishable pairs of rows.

    Attributes:
        count: How many there are; None where so many rows are widely spread that counting would take minutes.
        examples: Some of them as (row, row, cosine), one for each group of equal rows or pair of groups.
    """

    count: int | None
    examples: tuple[tuple[int, int, float], ...]


def indistinguishable(weights: csr_matrix, *, threshold: float = 0.99, examples: int = 5, block: int = 2048) -> Pairs:
    """Count the pairs of rows with a cosine above ``threshold``, exactly and without a dense matrix.

    Equal rows are counted as groups. Of the others, rows x and y can only be that close when y has nearly the share of
    x in the column where x is largest: their angle is at least the difference of their angles to that axis. This leaves
    few pairs, and only those get a whole dot product.

    Args:
        weights: Shape (rows, columns); empty rows belong to no pair.
        threshold: Cosine above which two rows are indistinguishable.
        examples: At most this many examples.
        block: Rows per step.
    """
    filled = np.flatnonzero(np.diff(weights.indptr))
    unit, firsts, sizes = _distinct(weights[filled])
    count = int((sizes * (sizes - 1) // 2).sum())
    shown = [(int(filled[rows[0]]), int(filled[rows[1]]), 1.0) for rows in _some(firsts, sizes > 1, examples)]
    largest, share = _largest(unit)
    # Below this the axis bound says nothing: such a row is spread over more than fifty source tokens.
    spread = np.flatnonzero(share**2 <= 1 - threshold**2 + 1e-9)
    if len(spread) * unit.nnz > LIMIT:
        return Pairs(None, tuple(shown))
    for left, right in _candidates(unit, largest, share, spread, threshold, block):
        for start in range(0, len(left), _PAIRS):
            i, j = left[start : start + _PAIRS], right[start : start + _PAIRS]
            cosines = np.asarray(unit[i].multiply(unit[j]).sum(axis=1)).ravel()
            close = cosines > threshold
            count += int((sizes[i[close]] * sizes[j[close]]).sum())
            for a, b, cosine in zip(i[close], j[close], cosines[close], strict=True):
                if len(shown) >= examples:
                    break
                shown.append((int(filled[firsts[a][0]]), int(filled[firsts[b][0]]), float(min(cosine, 1.0))))
    return Pairs(count, tuple(shown[:examples]))


def _distinct(weights: csr_matrix) -> tuple[csr_matrix, list[Ints], Ints]:
    """Unit rows without repetition, the rows of each, and their numbers."""
    rows = csr_matrix(weights, dtype=np.float64, copy=True)
    rows.sort_indices()
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    rows.data /= np.repeat(norms, np.diff(rows.indptr))
    places: dict[bytes, int] = {}
    groups = np.empty(rows.shape[0], dtype=np.int64)
    for row in range(rows.shape[0]):
        part = slice(rows.indptr[row], rows.indptr[row + 1])
        key = rows.indices[part].tobytes() + rows.data[part].tobytes()
        groups[row] = places.setdefault(key, len(places))
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=len(places)).astype(np.int64)
    members = np.split(order, np.cumsum(sizes)[:-1]) if len(places) else []
    return rows[[int(rows_of[0]) for rows_of in members]], members, sizes


def _some(members: list[Ints], chosen: NDArray[np.bool_], count: int) -> list[Ints]:
    return [members[group] for group in np.flatnonzero(chosen)[:count]]


def _largest(unit: csr_matrix) -> tuple[Ints, NDArray[np.float64]]:
    """Column and value of the largest absolute entry of each row."""
    sizes = np.abs(unit)
    columns = np.asarray(sizes.argmax(axis=1)).ravel().astype(np.int64)
    return columns, np.asarray(sizes.max(axis=1).toarray()).ravel()


def _candidates(
    unit: csr_matrix, largest: Ints, share: NDArray[np.float64], spread: Ints, threshold: float, block: int
) -> Iterator[tuple[Ints, Ints]]:
    """Pairs (i, j) that may be close, each once: from the axis of i, and all pairs with a spread row."""
    entries = np.abs(unit).tocoo()
    own = np.arccos(np.clip(share, 0.0, 1.0))
    reach = np.arccos(threshold) + 1e-9
    # One sorted key for all axes: column, then angle to it; every row asks for an interval of its own column.
    keys = entries.col + np.arccos(np.clip(entries.data, 0.0, 1.0)) / 4
    order = np.argsort(keys, kind="stable")
    keys, members = keys[order], entries.row[order].astype(np.int64)
    is_spread = np.zeros(unit.shape[0], dtype=np.bool_)
    is_spread[spread] = True
    rows = np.flatnonzero(~is_spread)
    for start in range(0, len(rows), block):
        some = rows[start : start + block]
        first = np.searchsorted(keys, largest[some] + np.clip(own[some] - reach, 0, None) / 4 - 1e-9)
        last = np.searchsorted(keys, largest[some] + (own[some] + reach) / 4 + 1e-9)
        lengths = last - first
        left = np.repeat(some, lengths)
        right = members[np.arange(lengths.sum()) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths)]
        ordinary = (left != right) & ~is_spread[right]
        left, right = left[ordinary], right[ordinary]
        # A pair may turn up from the axis of either row: keep it from the lower one then.
        back = np.abs(np.asarray(unit[left, largest[right]]).ravel()) if len(left) else np.empty(0)
        twice = (left > right) & (np.abs(np.arccos(np.clip(back, 0.0, 1.0)) - own[right]) <= reach)
        yield left[~twice], right[~twice]
    for row in spread:
        cosines = np.asarray((unit @ unit[row].T).todense()).ravel()
        close = np.flatnonzero((cosines > threshold) & (~is_spread | (np.arange(len(cosines)) > row)))
        yield np.full(len(close), row), close
