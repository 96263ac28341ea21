from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random

from isthmus.transferring import columns
from isthmus.transferring.columns import representatives


def plain(weights: np.ndarray, written: np.ndarray, threshold: float) -> list[int]:
    """One token after the other."""
    result = list(range(len(weights)))
    chosen: list[int] = []
    for row in range(len(weights)):
        if not written[row] or not weights[row].any():
            continue
        unit = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-30)
        close = [(unit[row] @ unit[other], -other) for other in chosen if unit[row] @ unit[other] > threshold]
        if close:
            result[row] = -max(close)[1]
        else:
            chosen.append(row)
    return result


@pytest.mark.parametrize("block", [1, 7, 1024])
@pytest.mark.parametrize("threshold", [0.3, 0.8, 0.99])
def test_same_as_one_token_after_the_other(threshold: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_BLOCK", block)
    generator = np.random.default_rng(3)
    dense = random(60, 12, 0.15, random_state=generator).toarray()
    dense[20:30] = dense[:10] * 2
    weights = csr_matrix(dense)
    written = generator.random(60) < 0.8
    found = representatives(weights, written, threshold)
    assert found.tolist() == plain(dense, written, threshold)
    assert not dense.any(axis=1).all()
    assert (found != np.arange(60)).any()


def test_representatives_stand_for_themselves() -> None:
    # a is close to b and b to c, but a is not close to c: b goes to a, c stays.
    angles = np.radians([0, 20, 40])
    weights = csr_matrix(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert representatives(weights, np.ones(3, dtype=bool), 0.9).tolist() == [0, 0, 2]
