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

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.bridge.candidates import (
    Float64s,
    Floats,
    Ints,
    SourceSearch,
    TokenSimilarity,
    cosine_moments,
    crowding,
    group_maxima,
    known_rows,
    row_starts,
)
from isthmus.errors import InputError
from isthmus.options import Options

GROUPS = 1024
# Spread that standardised cosines have; chosen on development pairs.
STANDARD_SPREAD = 0.2
# Below them a spread is the rounding of the vectors, or chance.
LEAST_SPREAD = 1e-5
LEAST_ROWS = 100


def entmax_rows(similarities: Floats, alpha: float) -> Float64s:
    """Exact alpha-entmax of every row (arXiv 1905.05702).

    Args:
        similarities: Finite scores, shape (rows, columns) with at least one column.
        alpha: 1 is softmax, 2 sparsemax; larger is sparser.

    Returns:
        Weights, shape (rows, columns); every row sums to one.

    Raises:
        InputError: If ``alpha`` is below 1 or not finite, or a score is not finite.

    Example:
        >>> entmax_rows(np.array([[0.9, 0.8, 0.1]]), 2.0).round(2)
        array([[0.55, 0.45, 0.  ]])
    """
    scores, order = _sorted_rows(similarities, alpha)
    weights = np.empty_like(scores)
    lengths = np.full(len(scores), scores.shape[1])
    flat = _solve(np.take_along_axis(scores, order, axis=1).ravel(), lengths, alpha)[0]
    np.put_along_axis(weights, order, flat.reshape(scores.shape), axis=1)
    return weights


def adaptive_rows(similarities: Floats, margin: float, least: float = 2.0) -> tuple[Float64s, Float64s]:
    """alpha-entmax of every row with an alpha of its own, under which the best score alone decides who takes part.

    The rule: a column gets weight when its score is less than ``margin`` below the row's best, and no other does. With
    d_i = s_i - max(s) + margin and b = alpha - 1, entmax has its threshold there when the sum g(b) of (b d_i)^(1/b)
    over d_i > 0 is 1. Its terms grow with b while b d_i < e, g falls to 0 with b, and g(1/margin) >= 1 because of the
    best score alone: there is one root in (0, 1/margin], and the terms are the weights. It is the smallest alpha under
    which no score a margin below the best can have weight: 1 + 1/margin for a clear winner, less the more candidates
    there are; never below ``least``, which ends the support of a flat row of hundreds before the margin does.

    Args:
        similarities: Finite scores, shape (rows, columns) with at least one column.
        margin: Above 0.
        least: Smallest alpha, above 1.

    Returns:
        Weights, shape (rows, columns), and the alphas, shape (rows,).

    Raises:
        InputError: If an argument does not fit.
    """
    check_margin(margin, least)
    scores, order = _sorted_rows(similarities, least)
    weights = np.empty_like(scores)
    lengths = np.full(len(scores), scores.shape[1])
    flat, alphas = _adapt(np.take_along_axis(scores, order, axis=1).ravel(), lengths, margin, least)
    np.put_along_axis(weights, order, flat.reshape(scores.shape), axis=1)
    return weights, alphas


@dataclass(frozen=True)
class EntmaxOptions(Options):
    """How similarities become weights, beside alpha.

    Attributes:
        margin: Choose alpha per row, as :func:`adaptive_rows` does with the given one as the least; None has one alpha
            everywhere.
        csls: Neighbours, at least 1, of a correction for hubs, which are near to everything (CSLS, arXiv 1710.04087):
            similarities are 2 cos(x, y) - r(y), r(y) the mean cosine of y with its nearest target rows; r(x) is left
            out, because entmax does not see what a whole row shares. Differences count double. None: cosines.
        scale: Above 0; similarities are multiplied by it first, see :func:`standard_scale`.
        top_k: Similarities the first bound is made from; grown for rows whose support does not end within them.
        block: Target rows per step.
        dtype: Type of the weights; they are computed in float64.
        show_progress_bar: None shows a bar when stderr is a terminal.
    """

    margin: float | None = None
    csls: int | None = None
    scale: float = 1.0
    top_k: int = 64
    block: int = 512
    dtype: type[np.floating[Any]] = np.float64
    show_progress_bar: bool | None = None

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InputError(f"top_k must be at least 1, got {self.top_k}")


def bridge_weights(
    target: Floats,
    source: Floats,
    alpha: float,
    options: EntmaxOptions | None = None,
    *,
    candidates: NDArray[np.int64] | None = None,
    **changes: Any,
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
        options: How else; None takes the defaults.
        candidates: Distinct source ids that may get weight; None for all.
        **changes: Fields of ``options`` to replace.

    Returns:
        Weights, shape (rows, source), indices ascending within a row; every row sums to one.

    Raises:
        InputError: If ``alpha``, an option or ``candidates`` do not fit.
        BridgeError: If vectors differ in dimension, are not finite, or are zero.

    Example:
        >>> bridge_weights(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), 4.0).toarray()
        array([[1., 0.]])
    """
    check_alpha(alpha)
    options = EntmaxOptions.of(options, **changes)
    margin, show = options.margin, options.show_progress_bar
    if margin is not None:
        check_margin(margin, alpha)
    crowded = None
    if options.csls is not None:
        crowded = crowding(target, source, options.csls, candidates=candidates, show_progress_bar=show)
    block = options.block
    if alpha < 2 or (margin is not None and margin > 0.1):
        # Supports of thousands: the float64 side of the work, about 100 bytes a pair, is then what fills the memory.
        block = min(block, 64)
    data, indices, counts = [np.empty(0, options.dtype)], [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
    similarity = TokenSimilarity(crowded, options.scale)
    chosen = SourceSearch(target, source, candidates, similarity, block=block, desc="entmax", show=show)

    def bound(similarities: NDArray[np.float32]) -> Float64s:
        reach = None if margin is None else similarities.max(axis=1).astype(np.float64) - margin
        return _bound(similarities, alpha, options.top_k) if reach is None else reach

    for lengths, columns, values in chosen.blocks(bound):
        weights = _solve(values, lengths, alpha)[0] if margin is None else _adapt(values, lengths, margin, alpha)[0]
        data.append(weights[weights > 0].astype(options.dtype))
        indices.append(columns[weights > 0])
        counts.append(np.add.reduceat((weights > 0).astype(np.int64), row_starts(lengths)))
    result = csr_matrix(
        (np.concatenate(data), np.concatenate(indices), np.cumsum(np.concatenate(counts))),
        shape=(len(target), len(source)),
    )
    result.sort_indices()
    return result


def standard_scale(target: Floats, source: Floats) -> float:
    """Factor that gives the cosines of all pairs a standard deviation of 0.2, so that one alpha serves every bridge.

    Args:
        target: Vectors of the target tokens that are to be made, shape (rows, dim); zero rows are left out.
        source: Vectors of the source tokens, shape (source, dim), likewise.

    Returns:
        1 where all cosines are the same, or there are fewer than 100 on a side, which say nothing of a spread.
    """
    sides = [known_rows(rows) for rows in (target, source)]
    spread = cosine_moments(*sides)[1] if min(map(len, sides)) >= LEAST_ROWS else 0.0
    return STANDARD_SPREAD / spread if spread > LEAST_SPREAD else 1.0


def check_alpha(alpha: float) -> None:
    """Raise InputError unless ``alpha`` is finite and at least 1."""
    if not (np.isfinite(alpha) and alpha >= 1):
        raise InputError(f"alpha must be finite and at least 1 (1 is softmax, 4 the SemBridge default), got {alpha}")


def check_margin(margin: float, least: float = 2.0) -> None:
    """Raise InputError unless ``margin`` is finite and above 0, and ``least``, the smallest alpha, above 1."""
    if not (np.isfinite(margin) and margin > 0):
        raise InputError(f"margin must be finite and above 0 (0.05 is SemBridge's default), got {margin}")
    if least <= 1:
        raise InputError(f"alpha must be above 1 with a margin (softmax leaves no token out), got {least}")


def _sorted_rows(similarities: Floats, alpha: float) -> tuple[Float64s, Ints]:
    """The checked scores in float64 and the order of each row from high to low."""
    check_alpha(alpha)
    scores = np.asarray(similarities, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise InputError(f"similarities must have shape (rows, columns >= 1), got {scores.shape}")
    if not np.isfinite(scores).all():
        raise InputError("similarities must be finite, got NaN or infinity; leave masked columns out")
    return scores, np.argsort(-scores, axis=1, kind="stable")


def _bound(similarities: NDArray[np.float32], alpha: float, top_k: int) -> Float64s:
    """A similarity per row at or below which every weight is zero, shape (rows,)."""
    rows = len(similarities)
    if alpha == 1:
        return np.full(rows, -np.inf)
    maxima = group_maxima(similarities, GROUPS)
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


def _adapt(values: Float64s, lengths: Ints, margin: float, least: float) -> tuple[Float64s, Float64s]:
    """As :func:`_solve`, with the alpha of :func:`adaptive_rows` for each row, which it returns beside the weights."""
    alphas = np.full(len(lengths), least)
    if len(values) == 0:
        return np.empty(0), alphas
    starts = row_starts(lengths)
    distances = np.clip(values - np.repeat(values[starts], lengths) + margin, 0, None)
    mass = np.add.reduceat(((least - 1) * distances) ** (1 / (least - 1)), starts)
    free = mass < 1
    weights = np.zeros(len(values))
    bounded = np.repeat(~free, lengths)
    weights[bounded] = _solve(values[bounded], lengths[~free], least)[0]
    if not free.any():
        return weights, alphas
    counts = np.add.reduceat((distances > 0).astype(np.int64), starts)[free]
    taken, starts = np.flatnonzero(~bounded & (distances > 0)), row_starts(counts)
    distances = distances[taken]
    low, high = np.full(len(counts), least - 1), np.full(len(counts), 1 / margin)
    # Sixty halvings leave nothing of an interval in float64.
    for _ in range(60):
        middle = (low + high) / 2
        each = np.repeat(middle, counts)
        below = np.add.reduceat((each * distances) ** (1 / each), starts) < 1
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    each = np.repeat(high, counts)
    shares = (each * distances) ** (1 / each)
    weights[taken] = shares / np.repeat(np.add.reduceat(shares, starts), counts)
    alphas[free] = 1 + high
    return weights, alphas


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
