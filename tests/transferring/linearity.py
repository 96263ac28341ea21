"""The proof of a transfer: for the same input vectors at the same positions, new logits = W @ old logits."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from isthmus.token_map import COPIES, FATES, Fate, TokenMap


def assert_linear(
    source: Any,
    target: Any,
    token_map: TokenMap,
    *,
    lengths: tuple[int, ...] = (22, 9, 3),
    seed: int = 0,
    columns: np.ndarray | None = None,
) -> None:
    """Raise AssertionError unless the target model's logits are W times the source model's.

    Both models get the same random sequences of copied tokens (specials among them) in float64, padded with the pad id
    that each config names. What may differ is only the rounding of the mixed rows to the checkpoint's dtype, so the
    tolerance of every logit is that rounding: eps * (|hidden| @ |row| + |bias|). Padding positions are compared too.

    Args:
        source: Masked language model before the transfer.
        target: Masked language model after it, reloaded.
        token_map: What the transfer applied.
        lengths: Lengths of the sequences in the batch, the longest first.
        seed: Seed of the sequences.
        columns: Columns that are compared; None compares all that are not sampled.
    """
    copied = np.flatnonzero(np.isin(token_map.fates, [FATES.index(fate) for fate in COPIES]))
    origin = token_map.weights[copied].indices
    pads = (source.config.pad_token_id, target.config.pad_token_id)
    ordinary = (origin != pads[0]) & (copied != pads[1])
    picks = np.random.default_rng(seed).choice(np.flatnonzero(ordinary), size=(len(lengths), max(lengths)))
    inside = np.arange(max(lengths)) < np.array(lengths)[:, None]
    eps = torch.finfo(target.dtype).eps
    old, _ = _logits(source, np.where(inside, origin[picks], pads[0]), inside)
    new, rounding = _logits(target, np.where(inside, copied[picks], pads[1]), inside)
    rows = np.flatnonzero(token_map.fates != FATES.index(Fate.SAMPLED))
    rows = rows if columns is None else np.intersect1d(rows, columns)
    expected = old.reshape(-1, old.shape[-1])[:, : token_map.shape[1]]
    expected = token_map.apply(np.ascontiguousarray(expected.T)).T.reshape(*old.shape[:2], -1)
    error = np.abs(new - expected)[..., rows] - eps * rounding[..., rows] - 1e-6
    if error.max() > 0:
        raise AssertionError(f"logits are not linear: off by {error.max():.3g} more than rounding explains")


def _logits(model: Any, ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a float64 copy, and the size of their terms."""
    exact = copy.deepcopy(model).double()
    decoder = exact.get_output_embeddings()
    hidden: list[torch.Tensor] = []
    decoder.register_forward_pre_hook(lambda _, arguments: hidden.append(arguments[0]))
    with torch.no_grad():
        logits = exact(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask.astype(np.int64))).logits
        sizes = hidden[0].abs() @ decoder.weight.abs().T
        if decoder.bias is not None:
            sizes = sizes + decoder.bias.abs()
    return logits.numpy(), sizes.numpy()
