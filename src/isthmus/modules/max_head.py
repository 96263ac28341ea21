"""The SPLADE vocabulary head as one operation: the largest logit of every entry over a text.

``log(1 + relu(x))`` is monotonic, so only the maximum over positions matters and the
``batch x length x vocabulary`` logits never have to exist (SPLADE, arXiv 2107.05720 and 2109.10086; on GPUs, Sparton,
arXiv 2603.25011). Of that maximum only the entries above the threshold matter, some hundred per text after training:

1. *screen*: maxima of all entries, chunk by chunk, in bfloat16 where the processor multiplies it faster;
2. *rescore*: entries that may be above the threshold, given how far rounding can have moved them, in float32.

The second step decides, so the result is that of float32 throughout.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from isthmus.modules import triton_max

# Tokens and entries of one matrix product: enough to be efficient, few enough to stay in the caches.
TOKENS_PER_PRODUCT = 256
ENTRIES_PER_PRODUCT = 8192
# Rounding both factors to bfloat16 (unit roundoff 2^-8) and the result once more moves a logit by at most
# (3u + 3u^2 + u^3) |h| |w|; the rest is room for the float32 sums.
SCREENING_MARGIN = 3.1 * 2**-8
# Biases above this are not worth the question whether any product can outweigh them.
HOPELESS_BIAS = -100.0


class ActiveEntries(NamedTuple):
    """Entries above the threshold, by text and then by entry.

    Attributes:
        texts: int64, shape (active,), ascending.
        entries: Vocabulary ids, int64, shape (active,), ascending within a text.
        values: Largest logits, bias included, float32, shape (active,).
        winners: Row of ``hidden`` each value comes from, int64, shape (active,).
    """

    texts: Tensor
    entries: Tensor
    values: Tensor
    winners: Tensor


def active_maxima(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Sequence[int],
    *,
    threshold: float = 0.0,
    screen: bool | None = None,
) -> ActiveEntries:
    """Find the entries whose largest logit over a text is above ``threshold``.

    Args:
        hidden: Hidden states of all texts end to end, padding left out, shape (tokens, dim).
        weight: Decoder weight, shape (vocabulary, dim).
        bias: Decoder bias, shape (vocabulary,); constant over positions, so it is added to the maximum.
        lengths: Number of tokens of each text; they sum to ``tokens``. A text without tokens has no active entry.
        threshold: Logits up to this are left out; NaN never is.
        screen: Search in bfloat16 first. None does where the processor has instructions for it.

    Returns:
        The active entries. Values are float32 sums of products whatever the dtypes are; on a GPU the weight is first
        rounded to the dtype of ``hidden``. Of equal logits the first
        position wins, as in ``torch.max`` on CPUs; logits that differ by rounding alone may fall either way.
    """
    if bias is None:
        bias = torch.zeros(weight.shape[0], device=weight.device)
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        if triton_max.is_available(hidden.device) and min(lengths, default=0) > 0:
            written = _reachable(hidden, weight, bias, threshold)
            every = len(written) == len(weight)
            rows = (weight, bias) if every else (weight[written], bias[written])
            values, winners = triton_max.triton_maxima(hidden, *rows, lengths)
            texts, entries = (~(values <= threshold)).nonzero(as_tuple=True)
            return ActiveEntries(texts, written[entries], values[texts, entries], winners[texts, entries])
        if screen is None:
            screen = _multiplies_bfloat16(hidden.device)
        texts, entries = _candidates(hidden, weight, bias.float(), lengths, threshold, screen)
        return _rescore(hidden, weight, bias.float(), lengths, threshold, texts, entries)


def _candidates(
    hidden: Tensor, weight: Tensor, bias: Tensor, lengths: Sequence[int], threshold: float, screen: bool
) -> tuple[Tensor, Tensor]:
    """Texts and entries that can be above the threshold, sorted."""
    dtype = torch.bfloat16 if screen else torch.float32
    searched = hidden.to(dtype)
    reach = torch.zeros(len(lengths), device=hidden.device)
    margin = SCREENING_MARGIN if screen else 32 * torch.finfo(torch.float32).eps
    norms = hidden.float().norm(dim=1) * margin
    for text, start, stop in _segments(lengths):
        reach[text] = torch.maximum(reach[text], norms[start:stop].amax())
    found: list[tuple[Tensor, Tensor]] = []
    for first in range(0, weight.shape[0], ENTRIES_PER_PRODUCT):
        chunk, offsets = weight[first : first + ENTRIES_PER_PRODUCT], bias[first : first + ENTRIES_PER_PRODUCT]
        written = _reachable(hidden, chunk, offsets, threshold)
        if len(written) < len(chunk):
            chunk, offsets = chunk[written], offsets[written]
        width = chunk.float().norm(dim=1)
        columns = chunk.to(dtype).T
        largest = torch.full((len(lengths), len(chunk)), -torch.inf, dtype=dtype, device=hidden.device)
        for group in _groups(lengths):
            start = group[0][1]
            logits = searched[start : group[-1][2]] @ columns
            for text, low, high in group:
                torch.maximum(largest[text], logits[low - start : high - start].amax(dim=0), out=largest[text])
        bound = torch.addcmul(largest.float() + offsets, reach[:, None], width)
        texts, entries = (~(bound <= threshold)).nonzero(as_tuple=True)
        found.append((texts, written[entries] + first))
    texts, entries = (torch.cat(parts) for parts in zip(*found, strict=True))
    order = texts.argsort(stable=True)
    return texts[order], entries[order]


def _reachable(hidden: Tensor, weight: Tensor, bias: Tensor, threshold: float) -> Tensor:
    """Entries whose bias some product could outweigh; the others are columns an encoder must not write."""
    low = (bias <= HOPELESS_BIAS).nonzero().squeeze(1)
    reached = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
    if len(low) and len(hidden):
        # By Cauchy and Schwarz; the surplus is room for rounding either factor to half precision.
        largest = 1.01 * hidden.float().norm(dim=1).amax() * weight[low].float().norm(dim=1)
        reached[low] = ~(largest + bias[low] <= threshold)
    return reached.nonzero().squeeze(1)


def _rescore(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    lengths: Sequence[int],
    threshold: float,
    texts: Tensor,
    entries: Tensor,
) -> ActiveEntries:
    """The exact maxima of the candidates, and where they are."""
    values = torch.empty(len(entries), device=hidden.device)
    winners = torch.empty(len(entries), dtype=torch.int64, device=hidden.device)
    last = torch.bincount(texts, minlength=len(lengths)).cumsum(0).tolist()
    row = begin = 0
    for length, end in zip(lengths, last, strict=True):
        states = hidden[row : row + length].float().T
        for low in range(begin, end, ENTRIES_PER_PRODUCT):
            part = slice(low, min(low + ENTRIES_PER_PRODUCT, end))
            # Entries first: the positions of a text then lie side by side, where their maximum is quick to find.
            torch.max(weight[entries[part]].float() @ states, dim=1, out=(values[part], winners[part]))
        winners[begin:end] += row
        row, begin = row + length, end
    values += bias[entries]
    keep = ~(values <= threshold)
    return ActiveEntries(texts[keep], entries[keep], values[keep], winners[keep])


def _segments(lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(text, start, stop) of each piece of at most ``TOKENS_PER_PRODUCT`` tokens."""
    row = 0
    for text, length in enumerate(lengths):
        for start in range(row, row + length, TOKENS_PER_PRODUCT):
            yield text, start, min(start + TOKENS_PER_PRODUCT, row + length)
        row += length


def _groups(lengths: Sequence[int]) -> Iterator[list[tuple[int, int, int]]]:
    """Runs of pieces that share one matrix product."""
    group: list[tuple[int, int, int]] = []
    for piece in _segments(lengths):
        if group and piece[2] - group[0][1] > TOKENS_PER_PRODUCT:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type != "cpu":
        return False
    checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(check is not None and check() for check in checks)


class _MaxHead(torch.autograd.Function):
    """Pooled, rectified logits whose backward pass visits only active entries at their winning positions."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, lengths: Sequence[int]) -> Tensor:
        active = active_maxima(hidden, weight, bias, lengths)
        ctx.save_for_backward(hidden, weight, *active[:2], active.winners)
        ctx.bias_dtype = None if bias is None else bias.dtype
        values = torch.zeros(len(lengths), weight.shape[0], device=hidden.device)
        values[active.texts, active.entries] = active.values
        return values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        hidden, weight, texts, entries, winners = ctx.saved_tensors
        flow = grads[0][texts, entries].float()
        shape = (weight.shape[0], hidden.shape[0])
        grad_hidden = grad_weight = grad_bias = None
        with torch.autocast(hidden.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                grad_hidden = (_sparse(winners, entries, flow, shape[::-1]) @ weight.float()).to(hidden.dtype)
            if ctx.needs_input_grad[1]:
                grad_weight = (_sparse(entries, winners, flow, shape) @ hidden.float()).to(weight.dtype)
            if ctx.needs_input_grad[2]:
                zeros = torch.zeros(weight.shape[0], device=flow.device)
                grad_bias = zeros.index_add_(0, entries, flow).to(ctx.bias_dtype)
        return grad_hidden, grad_weight, grad_bias, None


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    indices = torch.stack([rows, columns])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_coo_tensor(indices, values, shape, check_invariants=False).to_sparse_csr()


def max_head(hidden: Tensor, weight: Tensor, bias: Tensor | None, lengths: Sequence[int]) -> Tensor:
    """Differentiable SPLADE max pooling, before ``log1p``.

    Args:
        hidden: As for :func:`active_maxima`.
        weight: As for :func:`active_maxima`.
        bias: As for :func:`active_maxima`.
        lengths: As for :func:`active_maxima`.

    Returns:
        ``relu(max over positions of logits)``, shape (texts, vocabulary), float32. The gradient flows through the
        winning position of each active entry alone.
    """
    pooled: Tensor = _MaxHead.apply(hidden, weight, bias, lengths)  # type: ignore[no-untyped-call]
    return pooled
