"""What is done to mixed rows once they are mixed.

A mean of vectors is shorter than they are, and tokens with the same mixture are one and the same to the model: training
has to part them by the texts that hold one and not the other.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.token_map import Fate, TokenMap


def restore_norm(token_map: TokenMap, rows: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Scale every mixed row to the mean length of the rows it is made of, weighted as they are.

    Args:
        token_map: Map of shape (target, source).
        rows: ``W @ source``, shape (target, dim).
        source: Shape (source rows, dim), at least as many as the map has columns.

    Returns:
        A new tensor of the same dtype; rows that are not mixed are as they were.
    """
    mixed = token_map.rows(Fate.BRIDGED)
    own = _wide(rows)[mixed]
    lengths = np.linalg.norm(_wide(source)[: token_map.shape[1]], axis=1)
    return _replaced(rows, mixed, _scaled(own, token_map.weights[mixed] @ lengths))


def add_own_directions(token_map: TokenMap, rows: torch.Tensor, strength: float, seed: int) -> torch.Tensor:
    """Add to every mixed row a random direction of its own; the row keeps its length.

    Args:
        token_map: Map of shape (target, source).
        rows: Shape (target, dim).
        strength: Expected length of what is added, as a multiple of the row's own, before both are scaled back to that.
        seed: Seed of the draw; the directions depend on it, on the map and on ``dim`` alone.

    Returns:
        A new tensor of the same dtype; rows that are not mixed are as they were.
    """
    mixed = token_map.rows(Fate.BRIDGED)
    own = _wide(rows)[mixed]
    lengths = np.linalg.norm(own, axis=1)
    # What comes first in the stream of this seed is the noise of sampled rows.
    drawn_before = len(token_map.rows(Fate.SAMPLED))
    noise = np.random.default_rng(seed).standard_normal((drawn_before + len(mixed), own.shape[1]))[drawn_before:]
    added = noise * (strength * lengths / np.sqrt(own.shape[1]))[:, None]
    return _replaced(rows, mixed, _scaled(own + added, lengths))


def _wide(tensor: torch.Tensor) -> NDArray[np.float64]:
    # Not on the device: some have no float64.
    found: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return found


def _scaled(rows: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
    return np.asarray(rows * (lengths / found)[:, None])


def _replaced(rows: torch.Tensor, ids: NDArray[np.int64], values: NDArray[np.float64]) -> torch.Tensor:
    result = rows.clone()
    result[torch.from_numpy(ids).to(rows.device)] = torch.from_numpy(values).to(rows.dtype).to(rows.device)
    return result
