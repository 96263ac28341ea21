"""Indistinguishable pairs: exact against the dense matrix, and fast."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array

from isthmus.transferring import advice
from isthmus.transferring.advice import indistinguishable


def brute_force(weights: csr_matrix, threshold: float = 0.99) -> int:
    dense = weights.toarray()
    norms = np.linalg.norm(dense, axis=1)
    unit = dense[norms > 0] / norms[norms > 0, None]
    return int((np.triu(unit @ unit.T, k=1) > threshold).sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.01, 0.05, 0.15]), st.sampled_from([0.02, 0.2, 0.9]))
def test_count_equals_brute_force(seed: int, noise: float, density: float) -> None:
    generator = np.random.default_rng(seed)
    base = random_array((12, 80), density=density, rng=generator).toarray()
    rows = base[generator.integers(0, 12, 60)]
    rows = rows * (1 + noise * generator.standard_normal(rows.shape)) * generator.uniform(0.5, 2, (60, 1))
    rows[generator.integers(0, 60, 5)] = 0.0
    weights = csr_matrix(rows)
    weights.eliminate_zeros()
    assert indistinguishable(weights, block=7).count == brute_force(weights)


def test_signed_rows_count_too() -> None:
    weights = csr_matrix([[0.9, -0.1], [-0.9, 0.1], [0.9, -0.11], [0.0, 0.0]])
    found = indistinguishable(weights)
    assert found.count == 1
    assert found.examples[0][:2] == (0, 2)
    assert found.examples[0][2] == pytest.approx(1.0, abs=1e-3)


def test_empty_and_single_rows() -> None:
    assert indistinguishable(csr_matrix((0, 5))).count == 0
    assert indistinguishable(csr_matrix((4, 5))).count == 0
    assert indistinguishable(csr_matrix([[1.0, 0.0]])).count == 0


def test_equal_rows_are_counted_as_a_group() -> None:
    weights = csr_matrix((np.ones(5000), (np.arange(5000), np.repeat([3, 8], 2500))), shape=(5000, 10))
    found = indistinguishable(weights)
    assert found.count == 2 * (2500 * 2499 // 2)
    assert found.examples == ((0, 1, 1.0), (2500, 2501, 1.0))


def test_rows_too_spread_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "LIMIT", 100)
    generator = np.random.default_rng(0)
    assert indistinguishable(csr_matrix(generator.uniform(0.5, 1, (20, 200)))).count is None


def test_a_real_size_takes_seconds() -> None:
    generator = np.random.default_rng(0)
    rows, support = 16_000, 6
    columns = np.minimum(generator.zipf(1.3, (rows, support)), 30_000) - 1
    shares = generator.dirichlet(np.ones(support), rows)
    weights = csr_matrix((shares.ravel(), (np.repeat(np.arange(rows), support), columns.ravel())))
    start = time.process_time()
    assert indistinguishable(weights).count
    assert time.process_time() - start < 20
