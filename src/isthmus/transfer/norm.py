"""The length of mixed rows: a mean of vectors is shorter than they are."""

from __future__ import annotations

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
