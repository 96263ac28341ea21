"""alpha-entmax of cosine similarities, exact, without ever holding the similarity matrix whole.

alpha-entmax (arXiv 1905.05702) turns a row of similarities s into weights
p_i = max((alpha-1) s_i - tau, 0)^(1/(alpha-1)), with tau such that they sum to one. Two facts make it cheap over a
whole vocabulary:

- adding candidates can only raise tau, so the tau of *some* of the similarities bounds the tau of all from below, and
  every source token with (alpha-1) s <= that bound has weight zero: a certificate that nothing was lost;
- the maxima of a thousand groups of columns are similarities of the row, cost one pass, and hold most of its best ones.

So a float32 product gives the similarities of a block of rows, the bound picks the few candidates that may matter, and
only those get a float64 cosine and an exact solution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.bridge.candidates import Candidates, Float64s, Floats, Ints, row_starts
from isthmus.errors import InputError

GROUPS = 1024


def entmax_rows(similarities: Floats, alpha: float) -> Float64s:
    """Exact alpha-entmax of every row (arXiv 1905.05702).

    Args:
        similarities: Finite scores, shape (rows, columns) with at least one column.
        alpha: 1 is softmax, 2 sparsemax; larger is sparser.

    Returns:
        Weights, shape (rows, columns); every row sums to one.

    Raises:
        InputError: If ``alpha`` is below 1 or not finite, or a score is not finite.
    """
    check_alpha(alpha)
    scores = np.asarray(similarities, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise InputError(f"similarities must have shape (rows, columns >= 1), got {scores.shape}")
    if not np.isfinite(scores).all():
        raise InputError("similarities must be finite, got NaN or infinity; leave masked columns out")
    weights = np.empty_like(scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    lengths = np.full(len(scores), scores.shape[1])
    flat = _solve(np.take_along_axis(scores, order, axis=1).ravel(), lengths, alpha)[0]
    np.put_along_axis(weights, order, flat.reshape(scores.shape), axis=1)
    return weights


def bridge_weights(
    target: Floats,
    source: Floats,
    alpha: float,
    *,
    candidates: NDArray[np.int64] | None = None,
    top_k: int = 64,
    block: int = 512,
    dtype: type[np.floating[Any]] = np.float64,
    show_progress_bar: bool | None = None,
) -> csr_matrix:
    """alpha-entmax over the cosines of every target row with the source candidates, as sparse rows.

    The result is that of the full entmax over float64 cosines, whatever ``top_k`` and ``block``: they only change the
    speed. Cosines are dot products; rows that are not of unit length are scaled. Memory: about 5 bytes x ``block`` x
    candidates beside the vectors. With ``alpha=1`` (softmax) every candidate has a weight, so the result takes 12 bytes
    for each pair; below 2 supports run to thousands and the work is several times the matrix product.

    Args:
        target: Vectors of the target tokens, shape (rows, dim).
        source: Vectors of the source tokens, shape (source, dim).
        alpha: As for :func:`entmax_rows`.
        candidates: Distinct source ids that may get weight; None for all.
        top_k: Similarities the first bound is made from; grown for rows whose support does not end within them.
        block: Target rows per step.
        dtype: Type of the weights; they are computed in float64.
        show_progress_bar: None shows a bar when stderr is a terminal.

    Returns:
        Weights, shape (rows, source), indices ascending within a row; every row sums to one.

    Raises:
        InputError: If ``alpha``, ``top_k``, ``block`` or ``candidates`` do not fit.
        BridgeError: If vectors differ in dimension, are not finite, or are zero.
    """
    check_alpha(alpha)
    if top_k < 1:
        raise InputError(f"top_k must be at least 1, got {top_k}")
    if alpha < 2:
        # Supports of thousands: the float64 side of the work, about 100 bytes a pair, is then what fills the memory.
        block = min(block, 64)
    data, indices, counts = [np.empty(0, dtype)], [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
    chosen = Candidates(target, source, candidates, block, desc="entmax", show=show_progress_bar)
    for lengths, columns, values in chosen.blocks(lambda similarities: _bound(similarities, alpha, top_k)):
        weights, _ = _solve(values, lengths, alpha)
        data.append(weights[weights > 0].astype(dtype))
        indices.append(columns[weights > 0])
        counts.append(np.add.reduceat((weights > 0).astype(np.int64), row_starts(lengths)))
    result = csr_matrix(
        (np.concatenate(data), np.concatenate(indices), np.cumsum(np.concatenate(counts))),
        shape=(len(target), len(source)),
    )
    result.sort_indices()
    return result


def check_alpha(alpha: float) -> None:
    """Raise InputError unless ``alpha`` is finite and at least 1."""
    if not (np.isfinite(alpha) and alpha >= 1):
        raise InputError(f"alpha must be finite and at least 1 (1 is softmax, 4 the SemBridge default), got {alpha}")


def _bound(similarities: NDArray[np.float32], alpha: float, top_k: int) -> Float64s:
    """A similarity per row at or below which every weight is zero, shape (rows,)."""
    rows, columns = similarities.shape
    if alpha == 1:
        return np.full(rows, -np.inf)
    maxima = similarities[:, :GROUPS].copy()
    for first in range(GROUPS, columns, GROUPS):
        width = min(GROUPS, columns - first)
        np.maximum(maxima[:, :width], similarities[:, first : first + width], out=maxima[:, :width])
    bound = np.empty(rows)
    left = np.arange(rows)
    groups = maxima.shape[1]
    while len(left):
        k = min(top_k, groups)
        largest = np.partition(maxima[left], groups - k, axis=1)[:, groups - k :]
        best: Float64s = -np.sort(-largest.astype(np.float64), axis=1)
        weights, support = _solve(best.ravel(), np.full(len(left), k), alpha)
        heaviest = weights.reshape(-1, k)[:, 0]
        bound[left] = best[:, 0] - heaviest ** (alpha - 1) / (alpha - 1)
        left = left[(support == k) & (k < groups)]
        top_k = k * 4
    return bound


def _solve(values: Float64s, lengths: Ints, alpha: float) -> tuple[Float64s, Ints]:
    """Entmax of the rows that lie end to end in ``values``, each sorted from high to low.

    Returns:
        Weights, aligned with ``values``, and the support size of every row.
    """
    if len(values) == 0:
        return np.empty(0), np.empty(0, np.int64)
    starts = row_starts(lengths)
    if alpha == 1:
        weights = np.exp(values - np.repeat(values[starts], lengths))
        return weights / np.repeat(np.add.reduceat(weights, starts), lengths), lengths
    support = _support(values, lengths, starts, alpha)
    inside = np.arange(len(values)) - np.repeat(starts, lengths) < np.repeat(support, lengths)
    # Measured from the smallest similarity in the support, not from zero: near it p varies as a root of the difference,
    # which would turn a rounding of 1e-16 into a weight of 1e-5.
    lowest = np.repeat(values[starts + support - 1], support)
    weights = np.zeros(len(values))
    weights[inside] = _weights((values[inside] - lowest) * (alpha - 1), support, alpha - 1)
    return weights, support


def _support(values: Float64s, lengths: Ints, starts: Ints, alpha: float) -> Ints:
    """Support sizes: the j-th best is inside when those above it, with tau at its value, have less mass than one."""
    low, high = np.ones_like(lengths), lengths.copy()
    while (low < high).any():
        middle = (low + high + 1) // 2
        above = (values - np.repeat(values[starts + middle - 1], lengths)) * (alpha - 1)
        mass = np.add.reduceat(np.clip(above, 0, 1) ** (1 / (alpha - 1)), starts)
        low, high = np.where(mass < 1, middle, low), np.where(mass < 1, high, middle - 1)
    return low


def _weights(above: Float64s, support: Ints, power: float) -> Float64s:
    """Solve sum (above + y)^(1/power) = 1 for the y of each row by Newton steps from the right.

    The unknown is y itself for power < 1 and the smallest weight y^(1/power) otherwise: the sum is convex in it either
    way, so the steps never overshoot, and the smallest weight keeps its relative precision.
    """
    starts, exponent = row_starts(support), 1 / power
    tied = above == 0
    unknown = 1.0 / support if power >= 1 else np.minimum((1.0 / support) ** power, 1 - above[starts])
    for _ in range(200):
        each = np.repeat(unknown, support)
        shifted = above + each ** max(power, 1.0)
        weights = shifted**exponent
        if power >= 1:
            weights[tied] = each[tied]
            slopes = np.divide(each**power, shifted, out=np.ones_like(shifted), where=~tied) ** (1 - exponent)
        else:
            slopes = exponent * shifted ** (exponent - 1)
        step = (np.add.reduceat(weights, starts) - 1) / np.add.reduceat(slopes, starts)
        unknown = np.clip(unknown - step, 0, 1)
        if np.abs(step).max() < 1e-15:
            break
    return np.asarray(weights / np.repeat(np.add.reduceat(weights, starts), support))


def heaviest_cosines(weights: csr_matrix, target: Floats, source: Floats) -> Float64s:
    """Cosine of each target row with its heaviest source token, which is its most similar one.

    Args:
        weights: Shape (rows, source); no row is empty.
        target: Unit vectors of the rows, shape (rows, dim).
        source: Unit vectors of the source tokens, shape (source, dim).
    """
    heaviest = np.asarray(weights.argmax(axis=1)).ravel() if weights.shape[0] else np.empty(0, dtype=np.int64)
    return np.asarray(np.einsum("ij,ij->i", target, source[heaviest], dtype=np.float64))
