"""The largest logits of each text on a GPU, in one Triton kernel that never stores all logits.

The maximum over positions comes before the monotonic activation (SPLADE, arXiv 2107.05720 and 2109.10086), so logits
can be pooled tile by tile while they are computed. To fuse the two on GPUs is the idea of Sparton, arXiv 2603.25011;
the kernel here is our own.

The tests compare the results with plain PyTorch in Triton's interpreter on CPUs and compile the kernel for GPUs; they
run it on a GPU only where there is one. The tile sizes are candidates to choose from at run time, not measured optima.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

try:
    import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
    import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError:  # no dependency: machines without a GPU do well without it
    triton = tl = None

# Entries and hidden dimensions of a tile, warps, and stages of the pipeline that loads tiles ahead of their use.
HALF_TILES = ((64, 32, 4, 2), (64, 64, 4, 3), (128, 32, 4, 4), (128, 64, 8, 3), (256, 64, 8, 3))
SINGLE_TILES = ((32, 16, 4, 3), (64, 16, 4, 3), (64, 32, 8, 2), (128, 16, 8, 3))
# Positions of a tile: the power of two that holds the longest text, within what the matrix units and registers take.
MIN_POSITIONS, MAX_POSITIONS = 16, 128


def is_available(device: torch.device) -> bool:
    """Tell whether :func:`triton_maxima` runs compiled for ``device``."""
    return device.type == "cuda" and triton is not None


def triton_maxima(hidden: Tensor, weight: Tensor, bias: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Find per text and vocabulary entry the largest logit ``hidden[p] @ weight[v] + bias[v]`` and its row ``p``.

    Tensors on a CPU are taken only in Triton's interpreter (``TRITON_INTERPRET=1`` before the first import of Triton).

    Args:
        hidden: Hidden states of all texts end to end, padding left out, float32, float16 or bfloat16, shape
            (tokens, dim).
        weight: Decoder weight, shape (vocabulary, dim). Of another dtype than ``hidden``, it is rounded to that of
            ``hidden`` tile by tile.
        bias: Decoder bias, shape (vocabulary,); constant over positions, so it is added to the maximum.
        lengths: Number of tokens of each text, at least 1; they sum to ``tokens``.

    Returns:
        Largest logits, float32 sums of products, and the rows of ``hidden`` they come from, int64, both of shape
        (texts, vocabulary). Of equal logits the first position wins; NaN counts as larger than any number.

    Raises:
        ValueError: If a text is empty or the lengths do not sum to ``tokens``.
    """
    if min(lengths, default=1) < 1 or sum(lengths) != hidden.shape[0]:
        raise ValueError(f"lengths of texts must be at least 1 and sum to {hidden.shape[0]}, the rows of hidden")
    vocabulary, dim = weight.shape
    starts = torch.tensor([0, *accumulate(lengths)], device=hidden.device)
    values = torch.empty(len(lengths), vocabulary, dtype=torch.float32, device=hidden.device)
    winners = torch.empty(len(lengths), vocabulary, dtype=torch.int64, device=hidden.device)
    kernel, constants = _launcher(hidden.dtype == torch.float32)
    longest = triton.next_power_of_2(max(lengths, default=1))
    with torch.cuda.device(hidden.get_device()):  # negative on a CPU, which changes nothing
        # Texts run fastest: those that share a tile of the weight follow each other while the cache holds it.
        kernel[lambda chosen: (len(lengths), triton.cdiv(vocabulary, chosen["ENTRY_TILE"]))](
            *(hidden, weight, bias.float().contiguous(), starts, values, winners, vocabulary, dim),
            *(*hidden.stride(), *weight.stride()),
            POSITION_TILE=min(max(longest, MIN_POSITIONS), MAX_POSITIONS),
            **constants,
        )
    return values, winners


@cache
def _launcher(single: bool) -> tuple[Any, dict[str, int]]:
    """The kernel, and its constants that are not tuned. Made late: tuning needs a driver, importing must not."""
    kernel = triton.jit(_pool)
    if not isinstance(kernel, triton.JITFunction):  # in Triton's interpreter
        return kernel, {"ENTRY_TILE": 16, "DIM_TILE": 16, "WIDEN": True}
    configs = [
        triton.Config({"ENTRY_TILE": entries, "DIM_TILE": dims}, num_warps=warps, num_stages=stages)
        for entries, dims, warps, stages in (SINGLE_TILES if single else HALF_TILES)
    ]
    # The tuner itself tells dtypes apart.
    return triton.autotune(configs, key=["dim", "POSITION_TILE"])(kernel), {"WIDEN": False}


def _pool(
    hidden: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    starts: tl.tensor,
    values: tl.tensor,
    winners: tl.tensor,
    vocabulary: tl.tensor,
    dim: tl.tensor,
    hidden_row: tl.tensor,
    hidden_column: tl.tensor,
    weight_row: tl.tensor,
    weight_column: tl.tensor,
    POSITION_TILE: tl.constexpr,
    ENTRY_TILE: tl.constexpr,
    DIM_TILE: tl.constexpr,
    WIDEN: tl.constexpr,
) -> None:
    """Pool one tile of entries over one text; entries are rows, so that a row's maximum stays within few threads.

    Logit and row make one integer: above, the logit as an integer of the same order (NaN highest); below, the row,
    counted backwards. The largest integer is then the first position of the largest logit.
    """
    text = tl.program_id(0).to(tl.int64)
    entries = tl.program_id(1).to(tl.int64) * ENTRY_TILE + tl.arange(0, ENTRY_TILE)
    known = entries < vocabulary
    stop = tl.load(starts + text + 1)
    best = tl.full([ENTRY_TILE], -0x7FFFFFFFFFFFFFFF, tl.int64)
    for first in range(tl.load(starts + text), stop, POSITION_TILE):
        rows = first + tl.arange(0, POSITION_TILE)
        inside = rows < stop
        logits = tl.zeros([ENTRY_TILE, POSITION_TILE], tl.float32)
        for column in range(0, dim, DIM_TILE):
            columns = column + tl.arange(0, DIM_TILE)
            within = columns < dim
            states = tl.load(
                hidden + rows[None, :] * hidden_row + columns[:, None] * hidden_column,
                mask=inside[None, :] & within[:, None],
                other=0.0,
            )
            factors = tl.load(
                weight + entries[:, None] * weight_row + columns[None, :] * weight_column,
                mask=known[:, None] & within[None, :],
                other=0.0,
            )
            factors = factors.to(states.dtype)
            if WIDEN:  # The interpreter cannot multiply bfloat16; products of halves are exact in float32 anyway.
                factors, states = factors.to(tl.float32), states.to(tl.float32)
            logits = tl.dot(factors, states, logits, input_precision="ieee")
        logits = tl.where(inside[None, :], logits, float("-inf"))
        bits = logits.to(tl.int32, bitcast=True)
        order = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
        order = tl.where(logits != logits, 0x7FFFFFFF, order)
        ranked = (order.to(tl.int64) << 32) | (0x7FFFFFFF - rows)[None, :]
        best = tl.maximum(best, tl.max(ranked, axis=1))
    order = (best >> 32).to(tl.int32)
    largest = tl.where(order < 0, order ^ 0x7FFFFFFF, order).to(tl.float32, bitcast=True)
    largest += tl.load(bias + entries, mask=known, other=0.0)
    offsets = text * vocabulary + entries
    tl.store(values + offsets, largest, mask=known)
    tl.store(winners + offsets, 0x7FFFFFFF - (best & 0x7FFFFFFF), mask=known)
