"""The SPLADE vocabulary head as one operation: the largest logit of every entry over a text.

``log(1 + relu(x))`` is monotonic, so only the maximum over positions matters and the
``batch x length x vocabulary`` logits never have to exist (SPLADE, arXiv 2107.05720 and 2109.10086).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Tokens of whole texts that share one matrix product: enough to be efficient, few enough to stay in the caches.
TOKENS_PER_PRODUCT = 256


def segment_maximum(hidden: Tensor, weight: Tensor, bias: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Take the maximum over each text of ``hidden @ weight.T``, then add the bias.

    Args:
        hidden: Hidden states of all texts end to end, padding left out, shape (tokens, dim).
        weight: Decoder weight, shape (vocabulary, dim).
        bias: Decoder bias, shape (vocabulary,); constant over positions, so it does not move the maximum.
        lengths: Number of tokens of each text, at least 1; they sum to ``tokens``.

    Returns:
        Largest logits in float32 and the winning rows of ``hidden``, both of shape (texts, vocabulary). The first of
        several equal positions that ``torch.max`` reports wins.
    """
    values = torch.empty(len(lengths), weight.shape[0], dtype=torch.float32, device=hidden.device)
    winners = torch.empty(len(lengths), weight.shape[0], dtype=torch.int64, device=hidden.device)
    row = start = 0
    while row < len(lengths):
        last = row + 1
        tokens = lengths[row]
        while last < len(lengths) and tokens + lengths[last] <= TOKENS_PER_PRODUCT:
            tokens += lengths[last]
            last += 1
        # Vocabulary first: the positions of a text then lie side by side, where their maximum is quick to find.
        logits = weight @ hidden[start : start + tokens].T
        offset = 0
        for text in range(row, last):
            values[text], winners[text] = logits[:, offset : offset + lengths[text]].max(dim=1)
            winners[text] += start + offset
            offset += lengths[text]
        row, start = last, start + tokens
    return values + bias.float(), winners


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    indices = torch.stack([rows, columns])
    return torch.sparse_coo_tensor(indices, values, shape, check_invariants=False).to_sparse_csr()


class _MaxHead(torch.autograd.Function):
    """Pooled, rectified logits whose backward pass visits only active entries at their winning positions."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, lengths: Sequence[int], dtype: torch.dtype
    ) -> Tensor:
        values, winners = segment_maximum(hidden.to(dtype), weight.to(dtype), bias, lengths)
        values.relu_()
        rows, entries = values.nonzero(as_tuple=True)
        ctx.save_for_backward(hidden, weight, rows, entries, winners[rows, entries])
        return values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        hidden, weight, rows, entries, positions = ctx.saved_tensors
        flow = grads[0][rows, entries]
        shape = (weight.shape[0], hidden.shape[0])
        grad_weight = _sparse(entries, positions, flow, shape) @ hidden.float()
        grad_hidden = _sparse(positions, entries, flow, shape[::-1]) @ weight.float()
        grad_bias = torch.zeros(weight.shape[0], device=flow.device).index_add_(0, entries, flow)
        return grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype), grad_bias, None, None


def max_head(
    hidden: Tensor, weight: Tensor, bias: Tensor, lengths: Sequence[int], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Differentiable SPLADE max pooling, before ``log1p``.

    Args:
        hidden: As for :func:`segment_maximum`, float32.
        weight: As for :func:`segment_maximum`, float32.
        bias: As for :func:`segment_maximum`, float32.
        lengths: As for :func:`segment_maximum`.
        dtype: Type in which the logits are computed; gradients flow in float32.

    Returns:
        ``relu(max over positions of logits)``, shape (texts, vocabulary), float32.
    """
    pooled: Tensor = _MaxHead.apply(hidden, weight, bias, lengths, dtype)  # type: ignore[no-untyped-call]
    return pooled
