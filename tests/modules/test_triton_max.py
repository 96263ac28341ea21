"""The Triton kernel pools what all logits and their maximum would give: interpreted, compiled, and on a GPU."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch

from isthmus.modules import triton_max
from isthmus.modules.triton_max import triton_maxima

Pair = tuple[torch.Tensor, torch.Tensor]
Maxima = Callable[..., Pair]
LENGTHS = ([3, 1, 5], [1], [70, 2], [130, 16, 129])
HALVES = (torch.float16, torch.bfloat16)
DTYPES = [(torch.float32, torch.float32), *((half, dtype) for half in HALVES for dtype in (half, torch.float32))]


@pytest.fixture(scope="module", params=["interpreter", "gpu"])
def maxima(request: pytest.FixtureRequest) -> Iterator[Maxima]:
    # Interpreters before 3.7 fail on NumPy 2.4.
    pytest.importorskip("triton", "3.7" if request.param == "interpreter" else None, reason="Triton is not installed")
    if request.param == "gpu":
        if not torch.cuda.is_available():
            pytest.skip("there is no GPU")
        yield lambda *parts: tuple(
            found.cpu() for found in triton_maxima(*(part.cuda() for part in parts[:3]), parts[3])
        )
        return
    # Triton decides on its first import whether it interprets, so the interpreter needs a process of its own.
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        patch.setenv("TRITON_INTERPRET", "1")
        yield lambda *parts: pool.submit(triton_maxima, *parts).result()


def random_parts(tokens: int, size: int, dim: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(*shape, generator=generator) for shape in ((tokens, dim), (size, dim), (size,)))


def small_integers(tokens: int, size: int, dim: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Parts whose logits are exact in any order and precision, and often equal."""
    return tuple(part.round().clamp(-2, 2) for part in random_parts(tokens, size, dim))


def plain(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, lengths: list[int]) -> Pair:
    logits = hidden.float() @ weight.to(hidden.dtype).float().T
    parts = [part.numpy() for part in logits.split(lengths)]
    # NumPy promises the first of equal maxima, and NaN before all.
    firsts = [part.argmax(axis=0) + stop - len(part) for part, stop in zip(parts, accumulate(lengths), strict=True)]
    winners = torch.from_numpy(np.stack(firsts))
    return logits.gather(0, winners) + bias.float(), winners


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("size", "dim"), [(30, 6), (16, 32), (49, 37)])
def test_values_and_winners(lengths: list[int], size: int, dim: int, maxima: Maxima) -> None:
    hidden, weight, bias = random_parts(sum(lengths), size, dim)
    values, winners = maxima(hidden, weight, bias, lengths)
    assert (values.dtype, winners.dtype) == (torch.float32, torch.int64)
    torch.testing.assert_close(values, plain(hidden, weight, bias, lengths)[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close((hidden[winners] * weight).sum(dim=-1) + bias, values, atol=1e-5, rtol=1e-5)
    text_of = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    assert torch.equal(text_of[winners], torch.arange(len(lengths))[:, None].expand_as(winners))


@pytest.mark.parametrize(("hidden_dtype", "weight_dtype"), DTYPES)
def test_precisions(hidden_dtype: torch.dtype, weight_dtype: torch.dtype, maxima: Maxima) -> None:
    hidden, weight, bias = random_parts(12, 21, 20)
    # A little off what the dtype of hidden can hold, on the side where the interpreter, which cuts, rounds alike.
    weight = weight.to(hidden_dtype).to(weight_dtype) * (1 + torch.finfo(hidden_dtype).eps / 8)
    parts = (hidden.to(hidden_dtype), weight, bias.to(weight_dtype))
    values, _ = maxima(*parts, [7, 5])
    # Products of halves are exact in float32: a kernel that does not round the weight, or sums in less, is further off.
    torch.testing.assert_close(values, plain(*parts, [7, 5])[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_first_of_equal_logits_wins(lengths: list[int], dtype: torch.dtype, maxima: Maxima) -> None:
    hidden, weight, bias = small_integers(sum(lengths), 30, 6)
    hidden[-2:] = hidden[-1]
    values, winners = maxima(hidden.to(dtype), weight.to(dtype), bias, lengths)
    expected = plain(hidden, weight, bias, lengths)
    assert torch.equal(values, expected[0])
    assert torch.equal(winners, expected[1])


def test_identical_rows_across_tiles(maxima: Maxima) -> None:
    # Whole numbers: a matrix product may round equal rows differently, by where they stand in a tile.
    hidden, weight, bias = small_integers(1, 17, 6)
    lengths = [triton_max.MAX_POSITIONS + 9, 3]
    values, winners = maxima(hidden.expand(sum(lengths), -1), weight, bias, lengths)
    assert torch.equal(winners, torch.tensor([[0], [lengths[0]]]).expand_as(winners))
    torch.testing.assert_close(values, (hidden @ weight.T + bias).expand(2, -1))


def test_values_that_are_no_finite_numbers(maxima: Maxima) -> None:
    hidden, weight, bias = small_integers(140, 20, 6)
    lengths = [4, 130, 6]
    hidden[2, 1] = hidden[3, 0] = hidden[133, 0] = torch.nan
    weight[7, 3] = torch.inf
    weight[8] = -torch.inf
    hidden[134:] = hidden[134:].abs() + 1
    values, winners = maxima(hidden, weight, bias, lengths)
    expected = plain(hidden, weight, bias, lengths)
    torch.testing.assert_close(values, expected[0], atol=0, rtol=0, equal_nan=True)
    assert torch.equal(winners, expected[1])
    assert values[:2].isnan().all()
    assert (winners[0, :7] == 2).all()
    assert values[2, 7] == torch.inf
    assert values[2, 8] == -torch.inf
    assert values[2, :7].isfinite().all()


def test_strides(maxima: Maxima) -> None:
    hidden, weight, bias = small_integers(8, 40, 20)
    expected = plain(hidden[:, :10], weight[::2, ::2], bias[::2], [5, 3])
    values, winners = maxima(hidden[:, :10], weight[::2, ::2], bias[::2], [5, 3])
    assert torch.equal(values, expected[0])
    assert torch.equal(winners, expected[1])


@pytest.mark.parametrize("lengths", [[3, 0, 2], [3, 1], [3, 3], []])
def test_wrong_lengths(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="sum to 5"):
        triton_maxima(*random_parts(5, 4, 3), lengths)


@pytest.mark.parametrize(
    ("dtypes", "single"),
    [
        (("fp32", "fp32"), True),
        pytest.param(("bf16", "bf16"), False, marks=pytest.mark.long),
        pytest.param(("fp16", "fp32"), False, marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("capability", [80, pytest.param(90, marks=pytest.mark.long)])
def test_compiles(
    dtypes: tuple[str, str], single: bool, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check without a GPU that the interpreter cannot replace: it takes more than the compiler does."""
    triton = pytest.importorskip("triton", "3.3", reason="Triton is not installed")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("Triton interprets")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = triton.jit(triton_max._pool)
    pointers = dict(zip(("hidden", "weight"), dtypes, strict=True)) | {"bias": "fp32", "starts": "i64"}
    pointers |= {"values": "fp32", "winners": "i64"}
    for entries, dims, warps, stages in triton_max.SINGLE_TILES if single else triton_max.HALF_TILES:
        constants = {"POSITION_TILE": triton_max.MAX_POSITIONS, "ENTRY_TILE": entries, "DIM_TILE": dims}
        constants |= {"hidden_column": 1, "weight_column": 1, "WIDEN": False}
        signature = dict.fromkeys(kernel.arg_names, "i32") | {name: "*" + of for name, of in pointers.items()}
        source = ASTSource(kernel, signature | dict.fromkeys(constants, "constexpr"), constants)
        options = {"num_warps": warps, "num_stages": stages}
        assert "cubin" in triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm


def test_runs_on_gpus_alone_and_imports_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not triton_max.is_available(torch.device("cpu"))
    monkeypatch.setattr(triton_max, "triton", object())
    assert triton_max.is_available(torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "triton", None)
    assert not runpy.run_path(triton_max.__file__)["is_available"](torch.device("cuda"))
