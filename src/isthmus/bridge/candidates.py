"""Which source tokens may get weight in each target row: cosines in blocks, cut off by a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus._progress import progress
from isthmus.errors import BridgeError, InputError

PAIRS = 4096
Floats = NDArray[np.floating[Any]]
Float64s = NDArray[np.float64]
Ints = NDArray[np.int64]


def best_sources(
    target: Floats,
    source: Floats,
    *,
    candidates: NDArray[np.int64] | None = None,
    block: int = 512,
    show_progress_bar: bool | None = None,
) -> tuple[Ints, Float64s]:
    """The most similar source token of every target row; the lowest id among equals.

    Args:
        target: Vectors of the target tokens, shape (rows, dim).
        source: Vectors of the source tokens, shape (source, dim).
        candidates: Distinct source ids to choose from; None for all.
        block: Target rows per step.
        show_progress_bar: None shows a bar when stderr is a terminal.

    Returns:
        Source ids and their cosines, each of shape (rows,).

    Raises:
        InputError: If ``block`` or ``candidates`` do not fit.
        BridgeError: If vectors differ in dimension, are not finite, or are zero.
    """
    chosen = SourceSearch(target, source, candidates, block=block, desc="nearest", show=show_progress_bar)
    ids, similarities = [np.empty(0, np.int64)], [np.empty(0, np.float64)]
    for lengths, columns, values in chosen.blocks(lambda similarities: similarities.max(axis=1).astype(np.float64)):
        ids.append(columns[row_starts(lengths)])
        similarities.append(values[row_starts(lengths)])
    return np.concatenate(ids), np.concatenate(similarities)


def top_sources(
    target: Floats,
    source: Floats,
    count: int,
    *,
    candidates: NDArray[np.int64] | None = None,
    block: int = 512,
    desc: str = "nearest",
    show_progress_bar: bool | None = None,
) -> tuple[Ints, Float64s]:
    """The ``count`` most similar source tokens of every target row, best first; the lower id among equals.

    Args:
        target: Vectors of the target tokens, shape (rows, dim).
        source: Vectors of the source tokens, shape (source, dim).
        count: How many, at least 1; all candidates where there are fewer.
        candidates: Distinct source ids to choose from; None for all.
        block: Target rows per step.
        desc: Label of the progress bar.
        show_progress_bar: None shows a bar when stderr is a terminal.

    Returns:
        Source ids and their cosines, each of shape (rows, min(count, candidates)).

    Raises:
        InputError: If ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"count must be at least 1, got {count}")
    chosen = SourceSearch(target, source, candidates, block=block, desc=desc, show=show_progress_bar)
    places = np.arange(min(count, len(chosen.ids)))

    def bound(similarities: NDArray[np.float32]) -> Float64s:
        # The last of the best among some similarities of a row is at most the last of the best among all.
        maxima = group_maxima(similarities, max(1024, 8 * count))
        last = maxima.shape[1] - len(places)
        return np.partition(maxima, last, axis=1)[:, last].astype(np.float64)

    ids, similarities = [np.empty((0, len(places)), np.int64)], [np.empty((0, len(places)))]
    for lengths, columns, values in chosen.blocks(bound):
        best = row_starts(lengths)[:, None] + places
        ids.append(columns[best])
        similarities.append(values[best])
    return np.concatenate(ids), np.concatenate(similarities)


def crowding(
    target: Floats,
    source: Floats,
    count: int,
    *,
    candidates: NDArray[np.int64] | None = None,
    block: int = 512,
    show_progress_bar: bool | None = None,
) -> Float64s:
    """Mean cosine of every source token with its ``count`` nearest target rows: r_S of CSLS (arXiv 1710.04087).

    Args:
        target: Vectors of the target tokens, shape (rows, dim).
        source: Vectors of the source tokens, shape (source, dim).
        count: Neighbours, at least 1; all target rows where there are fewer.
        candidates: Distinct source ids; None for all.
        block: Source tokens per step.
        show_progress_bar: None shows a bar when stderr is a terminal.

    Returns:
        Means of shape (source,), zero outside ``candidates`` and where there is no target row.

    Raises:
        InputError: If ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"CSLS must have at least 1 neighbour, got {count}; pass csls=None for plain cosines")
    means = np.zeros(len(source))
    if len(target):
        ids = np.arange(len(source)) if candidates is None else np.asarray(candidates, dtype=np.int64)
        _, nearest = top_sources(
            source[ids], target, count, block=block, desc="hubness", show_progress_bar=show_progress_bar
        )
        means[ids] = nearest.mean(axis=1)
    return means


def known_rows(matrix: Floats) -> Floats:
    """The rows that are not zero."""
    return matrix[matrix.any(axis=1)]


def cosine_moments(target: Floats, source: Floats) -> tuple[float, float]:
    """Mean and standard deviation of the cosines of all pairs of rows, from the moments of both sides.

    Args:
        target: Vectors of shape (rows, dim), none of them zero.
        source: Vectors of shape (source, dim), likewise.

    Returns:
        a . b and sqrt(tr(A B) - (a . b)^2), where a, b are the means of x and A, B those of x x^T over unit rows; zero
        where a side has no rows.
    """
    moments = []
    for rows in (target, source):
        total, square = np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2)
        for first in range(0, len(rows), PAIRS):
            part = rows[first : first + PAIRS].astype(np.float64)
            part /= np.linalg.norm(part, axis=1, keepdims=True)
            total += part.sum(axis=0)
            square += part.T @ part
        moments.append((total / max(len(rows), 1), square / max(len(rows), 1)))
    (a, first_square), (b, second_square) = moments
    mean = float(a @ b)
    return mean, max(float(np.sum(first_square * second_square)) - mean**2, 0.0) ** 0.5


def heaviest_cosines(weights: csr_matrix, target: Floats, source: Floats) -> Float64s:
    """Cosine of each target row with its heaviest source token, which is its most similar one.

    Args:
        weights: Shape (rows, source); no row is empty.
        target: Unit vectors of the rows, shape (rows, dim).
        source: Unit vectors of the source tokens, shape (source, dim).
    """
    heaviest = np.asarray(weights.argmax(axis=1)).ravel() if weights.shape[0] else np.empty(0, dtype=np.int64)
    return np.asarray(np.einsum("ij,ij->i", target, source[heaviest], dtype=np.float64))


@dataclass(frozen=True, eq=False)
class TokenSimilarity:
    """What is made of the cosine of a target and a source token: ``scale * (2 cos - crowded)``, or ``scale * cos``.

    Attributes:
        crowded: Of every source token, shape (source,), what :func:`crowding` gives; None leaves cosines as they are.
        scale: Above 0.
    """

    crowded: Float64s | None = None
    scale: float = 1.0

    def of_block(self, cosines: NDArray[np.float32], ids: Ints) -> None:
        """Turn float32 cosines with the source tokens ``ids``, shape (rows, ids), into similarities, in place."""
        if self.crowded is not None:
            cosines *= 2
            cosines -= self.crowded[ids].astype(np.float32)
        if self.scale != 1:
            cosines *= np.float32(self.scale)

    def of_pairs(self, cosines: Float64s, ids: Ints) -> Float64s:
        """Similarities of single pairs from their float64 cosines, each with the source token in ``ids``."""
        if self.crowded is not None:
            cosines = 2 * cosines - self.crowded[ids]
        return cosines * self.scale

    def error(self, dim: int) -> float:
        """How far off a similarity from a float32 product of unit vectors with ``dim`` entries can be."""
        # Worst-case rounding of the dot product, with room for the rounding of its inputs.
        error = 2 * (dim + 8) * 2.0**-24
        if self.crowded is not None:
            # Doubling doubles the error; the penalty, at most 1, and the difference, at most 3, are rounded too.
            error = 2 * error + 8 * 2.0**-24
        # The scale and the product by it are rounded too; similarities are at most 3.
        return error if self.scale == 1 else self.scale * (error + 8 * 2.0**-24)


COSINE = TokenSimilarity()


class SourceSearch:
    """A walk over the target rows in blocks that keeps, for each, the source candidates above a bound.

    Args:
        target: Vectors of the target tokens, shape (rows, dim).
        source: Vectors of the source tokens, shape (source, dim).
        candidates: Distinct source ids; None for all.
        similarity: By what they are compared.
        block: Target rows per step.
        desc: Label of the progress bar.
        show: Whether it is shown.

    Raises:
        InputError: If ``block`` or ``candidates`` do not fit.
        BridgeError: If vectors differ in dimension, are not finite, or are zero.
    """

    def __init__(
        self,
        target: Floats,
        source: Floats,
        candidates: Ints | None,
        similarity: TokenSimilarity = COSINE,
        *,
        block: int,
        desc: str,
        show: bool | None,
    ) -> None:
        if target.ndim != 2 or source.ndim != 2 or target.shape[1] != source.shape[1]:
            raise BridgeError(
                f"target and source vectors must share their dimension, got {target.shape} and {source.shape}"
            )
        if block < 1:
            raise InputError(f"block must be at least 1, got {block}")
        ids = np.arange(len(source)) if candidates is None else np.asarray(candidates, dtype=np.int64)
        if len(ids) == 0:
            raise InputError("candidates must hold at least one source id, got none; choose the pool 'all'")
        if ids.min() < 0 or ids.max() >= len(source) or len(np.unique(ids)) < len(ids):
            raise InputError(
                f"candidates must be distinct ids below {len(source)}, got {ids.min()}..{ids.max()} ({len(ids)} ids)"
            )
        self.ids = np.sort(ids)
        self.target, self.source, self.block, self.desc, self.show = target, source, block, desc, show
        self.target_scale = _scale(target, np.arange(len(target)), "target")
        self.source_scale = _scale(source, self.ids, "source")
        whole = len(ids) == len(source)
        self.columns = _float32(source if whole else source[self.ids], self.source_scale)
        self.similarity = similarity

    def blocks(self, bound: Callable[[NDArray[np.float32]], Float64s]) -> Iterator[tuple[Ints, Ints, Float64s]]:
        """Yield (candidates per row, source ids, float64 similarities) of each block, best first within a row.

        A candidate is kept when its similarity may exceed ``bound(similarities)`` of its row.
        """
        buffer = np.empty((min(self.block, len(self.target)), len(self.ids)), dtype=np.float32)
        error = self.similarity.error(self.target.shape[1])
        starts = range(0, len(self.target), self.block)
        for start in progress(starts, desc=self.desc, total=len(starts), show=self.show):
            stop = min(start + self.block, len(self.target))
            rows = _float32(self.target[start:stop], self.target_scale[start:stop])
            similarities = np.matmul(rows, self.columns.T, out=buffer[: stop - start])
            self.similarity.of_block(similarities, self.ids)
            limit = (bound(similarities) - error).astype(np.float32)
            row, column = np.divmod(np.flatnonzero(similarities >= limit[:, None]), len(self.ids))
            values = self.similarity.of_pairs(self._cosines(start, stop, row, column), self.ids[column])
            order = np.lexsort((column, -values, row))
            yield np.bincount(row, minlength=stop - start), self.ids[column[order]], values[order]

    def _cosines(self, start: int, stop: int, row: Ints, column: Ints) -> Float64s:
        """Float64 cosines of the pairs, from the vectors as they were given."""
        values = np.empty(len(row))
        if len(row) * 16 > (stop - start) * len(self.ids):
            # So many pairs that a dense float64 product is cheaper than gathering both vectors of each.
            rows = self.target[start:stop].astype(np.float64)
            for first in range(0, len(self.ids), PAIRS):
                part = (first <= column) & (column < first + PAIRS)
                product = rows @ self.source[self.ids[first : first + PAIRS]].astype(np.float64).T
                values[part] = product[row[part], column[part] - first]
        else:
            for first in range(0, len(row), PAIRS):
                pairs = slice(first, first + PAIRS)
                left, right = self.target[start + row[pairs]], self.source[self.ids[column[pairs]]]
                values[pairs] = np.multiply(left, right, dtype=np.float64).sum(axis=1)
        return np.asarray(values * self.target_scale[start + row] * self.source_scale[column])


def _scale(vectors: Floats, ids: Ints, side: str) -> Float64s:
    """Factor that gives each of the rows ``ids`` unit length; exactly 1 where only float32 rounding is missing."""
    squares = np.concatenate(
        [
            np.square(vectors[ids[first : first + PAIRS]], dtype=np.float64).sum(axis=1)
            for first in range(0, len(ids), PAIRS)
        ]
        or [np.empty(0)]
    )
    bad = np.flatnonzero(~(np.isfinite(squares) & (squares > 0)))
    if len(bad):
        raise BridgeError(
            f"{side} vectors must be finite and not zero, got {len(bad)} that are not, the first in row {ids[bad[0]]}; "
            "leave those rows out"
        )
    norms = np.sqrt(squares)
    norms[np.abs(norms - 1) < 1e-6] = 1.0
    return np.asarray(1 / norms)


def _float32(vectors: Floats, scale: Float64s) -> NDArray[np.float32]:
    """The vectors at unit length in float32, without a copy where they are so already."""
    if (scale == 1).all():
        return np.asarray(vectors, dtype=np.float32)
    return np.multiply(vectors, scale[:, None].astype(np.float32), dtype=np.float32, casting="same_kind")


def group_maxima(similarities: NDArray[np.float32], groups: int) -> NDArray[np.float32]:
    """The largest similarity of each of at most ``groups`` groups of columns, shape (rows, groups or fewer)."""
    columns = similarities.shape[1]
    maxima = similarities[:, :groups].copy()
    for first in range(groups, columns, groups):
        width = min(groups, columns - first)
        np.maximum(maxima[:, :width], similarities[:, first : first + width], out=maxima[:, :width])
    return maxima


def row_starts(lengths: Ints) -> Ints:
    """Where each row begins when rows of these ``lengths`` lie end to end."""
    return np.asarray(np.cumsum(lengths) - lengths)
