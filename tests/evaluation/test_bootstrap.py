"""The bootstrap: symmetric, seeded, and right where the answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluation import bootstrap_interval, paired_bootstrap


def test_interval_is_close_to_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.2, 2000)
    low, high = bootstrap_interval(values)
    width = 1.96 * values.std() / np.sqrt(len(values))
    assert (low, high) == (
        pytest.approx(values.mean() - width, abs=6e-4),
        pytest.approx(values.mean() + width, abs=6e-4),
    )


def test_p_value_is_close_to_the_normal_one() -> None:
    """A mean difference of two standard errors has a two-sided p value of .0455."""
    noise = np.random.default_rng(1).normal(0, 1, 4000)
    noise = (noise - noise.mean()) / noise.std()
    a = 2 / np.sqrt(len(noise)) + noise
    found = paired_bootstrap(a, np.zeros_like(a))
    assert found.p_value == pytest.approx(0.0455, abs=0.008)
    assert found.difference == pytest.approx(2 / np.sqrt(len(noise)))


def test_swapping_changes_the_sign_alone() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(300), rng.random(300)
    forth, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert forth.p_value == back.p_value
    assert (forth.difference, forth.low, forth.high) == pytest.approx((-back.difference, -back.high, -back.low))


def test_no_difference_and_a_sure_one() -> None:
    same = paired_bootstrap([0.1, 0.7, 0.3], [0.1, 0.7, 0.3])
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    sure = paired_bootstrap(np.full(50, 0.9), np.full(50, 0.2), resamples=999)
    assert sure.p_value == 1 / 1000
    assert sure.to_dict()["resamples"] == 999


def test_seed_decides() -> None:
    values = np.random.default_rng(3).random(40)
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, seed=5) != bootstrap_interval(values, seed=6)


def test_blocks_cover_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.evaluation.bootstrap._DRAWS_PER_BLOCK", 100)
    low, high = bootstrap_interval(np.random.default_rng(4).random(30), resamples=1001)
    assert 0 < low < high < 1


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0], [1.0, 2.0], "a and b must score the same queries, got 1 and 2"),
        ([], [], "a must be one finite score per query"),
        ([[1.0]], [[1.0]], r"got shape \(1, 1\)"),
        ([1.0], [float("nan")], "b must be one finite score per query"),
    ],
)
def test_refusals(a: Any, b: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        paired_bootstrap(a, b)


def test_refuses_no_resamples() -> None:
    with pytest.raises(InputError, match="resamples must be 1 or more, got 0"):
        bootstrap_interval([1.0], resamples=0)
