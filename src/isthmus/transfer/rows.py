"""What is done to mixed rows once they are mixed.

A mean of vectors is shorter than they are, and two tokens with the same mixture are one and the same to the model: no
training tells them apart, since it moves both rows alike until a text holds one of them alone.
"""

from __future__ import annotations

import numpy as np
import torch

from isthmus.token_map import Fate, TokenMap


def restore_norm(token_map: TokenMap, rows: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Scale every mixed row to the mean length of the rows it is made of, weighted as they are.

    Args:
        token_map: Map of shape (target, source).
        rows: ``W @ source``, shape (target, dim).
        source: Shape (source rows, dim).

    Returns:
        A new tensor of the same dtype; rows that are not mixed are as they were.
    """
    mixed = token_map.rows(Fate.BRIDGED)
    lengths = source.detach().to("cpu", torch.float64).norm(dim=1).numpy()
    wanted = token_map.weights[mixed] @ lengths[: token_map.shape[1]]
    ids = torch.from_numpy(mixed).to(rows.device)
    found = rows[ids].double().norm(dim=1).clamp_min(1e-12)
    result = rows.clone()
    result[ids] = (rows[ids].double() * (torch.from_numpy(wanted).to(rows.device) / found).unsqueeze(1)).to(rows.dtype)
    return result


def add_identity(token_map: TokenMap, rows: torch.Tensor, strength: float, seed: int) -> torch.Tensor:
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
    drawn = np.random.default_rng(seed).standard_normal((len(mixed), rows.shape[1])) / np.sqrt(rows.shape[1])
    ids = torch.from_numpy(mixed).to(rows.device)
    own = rows[ids].double()
    lengths = own.norm(dim=1, keepdim=True)
    mixed_rows = own + torch.from_numpy(drawn).to(rows.device) * lengths * strength
    result = rows.clone()
    result[ids] = (mixed_rows * (lengths / mixed_rows.norm(dim=1, keepdim=True).clamp_min(1e-12))).to(rows.dtype)
    return result
