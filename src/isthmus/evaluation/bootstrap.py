"""Bootstrap over queries: how sure a mean, or a difference of two means, is."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.errors import InputError

_DRAWS_PER_BLOCK = 2**22


@dataclass(frozen=True)
class PairedBootstrap:
    """Result of :func:`paired_bootstrap`.

    Attributes:
        difference: Mean of ``a`` minus mean of ``b``.
        low: Lower end of the 95 % percentile interval of the difference.
        high: Upper end.
        p_value: Two-sided probability of a difference this large where there is none.
        resamples: Number of resamples.
        seed: Seed of the draws.
    """

    difference: float
    low: float
    high: float
    p_value: float
    resamples: int
    seed: int

    def to_dict(self) -> dict[str, float]:
        """The attributes as JSON values."""
        return asdict(self)


def paired_bootstrap(a: ArrayLike, b: ArrayLike, resamples: int = 10_000, seed: int = 0) -> PairedBootstrap:
    """Compare two systems on the same queries.

    The p value shifts the differences to mean zero and counts the resampled means at least as far out as the observed
    one (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 16), with one added to both counts so
    that it is never 0.

    Args:
        a: Score of each query under the first system, shape (queries,).
        b: Score of the same queries in the same order under the second.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Raises:
        InputError: If the shapes differ, are not one-dimensional or are empty, or a score is not finite.
    """
    first, second = _scores("a", a), _scores("b", b)
    if first.shape != second.shape:
        raise InputError(f"a and b must score the same queries, got {len(first)} and {len(second)} scores")
    differences = first - second
    observed = float(differences.mean())
    means = _resampled_means(differences, resamples, seed)
    # Means of the same numbers drawn in another order may differ in the last bits.
    slack = 1e-12 * (1.0 + float(np.abs(differences).max()))
    extreme = int((np.abs(means - observed) >= abs(observed) - slack).sum())
    low, high = np.percentile(means, [2.5, 97.5])
    p_value = (extreme + 1) / (resamples + 1)
    return PairedBootstrap(observed, float(low), float(high), p_value, resamples, seed)


def bootstrap_interval(values: ArrayLike, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of ``values``.

    Raises:
        InputError: If ``values`` is not one-dimensional, is empty or holds a number that is not finite.
    """
    means = _resampled_means(_scores("values", values), resamples, seed)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _scores(name: str, values: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or len(scores) == 0 or not np.isfinite(scores).all():
        raise InputError(f"{name} must be one finite score per query, got shape {scores.shape}")
    return scores


def _resampled_means(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    if resamples < 1:
        raise InputError(f"resamples must be 1 or more, got {resamples}")
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    size = max(1, _DRAWS_PER_BLOCK // len(values))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        means[start : start + rows] = values[generator.integers(0, len(values), (rows, len(values)))].mean(axis=1)
    return means
