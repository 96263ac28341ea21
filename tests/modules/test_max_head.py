"""The pooled head equals all logits first and their maximum after, in value and in gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.modules import max_head as module
from isthmus.modules.max_head import ActiveEntries, active_maxima, max_head

LENGTHS = ([3, 1, 5], [1], [4, 4, 4, 4], [600, 2])


def random_parts(lengths: list[int], size: int = 30, dim: int = 6, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((sum(lengths), dim), (size, dim), (size,))
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


def plain(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    return torch.stack([part.max(dim=0).values for part in (hidden @ weight.T + bias).split(lengths)])


def dense(active: ActiveEntries, shape: tuple[int, int]) -> torch.Tensor:
    values = torch.zeros(shape)
    values[active.texts, active.entries] = active.values
    return values


@pytest.mark.parametrize("screen", [False, True])
@pytest.mark.parametrize(("tokens", "entries"), [(1, 1), (4, 7), (256, 8192)])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_values_and_winners(
    lengths: list[int], tokens: int, entries: int, screen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKENS_PER_PRODUCT", tokens)
    monkeypatch.setattr(module, "ENTRIES_PER_PRODUCT", entries)
    hidden, weight, bias = (part.detach() for part in random_parts(lengths))
    active = active_maxima(hidden, weight, bias - 1, lengths, screen=screen)
    expected = plain(hidden, weight, bias - 1, lengths)
    torch.testing.assert_close(dense(active, expected.shape), expected.relu())
    assert 0 < len(active.entries) < expected.numel() or len(expected) == 2
    won = (hidden[active.winners] * weight[active.entries]).sum(dim=-1) + bias[active.entries] - 1
    torch.testing.assert_close(won, active.values)
    assert torch.equal(
        torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))[active.winners], active.texts
    )
    assert torch.equal(active.texts * 30 + active.entries, expected.relu().flatten().nonzero().flatten())


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([1e-3, 1.0, 30.0, 1e4]),
    threshold=st.sampled_from([-1.0, 0.0, 0.5]),
)
def test_screening_loses_nothing(lengths: list[int], seed: int, scale: float, threshold: float) -> None:
    """Above all where rounding to bfloat16 moves logits across the threshold: here most logits are near it."""
    hidden, weight, _ = (part.detach() for part in random_parts(lengths, dim=40, seed=seed))
    hidden *= scale
    pieces = (hidden @ weight.T).split(lengths)
    full = torch.stack([piece.amax(dim=0) if len(piece) else torch.full((30,), -torch.inf) for piece in pieces])
    noise = torch.randn(30, generator=torch.Generator().manual_seed(seed)) * scale * 0.01
    bias = threshold - full[next(row for row, length in enumerate(lengths) if length)] + noise
    active = active_maxima(hidden, weight, bias, lengths, threshold=threshold, screen=True)
    found = torch.full(full.shape, -torch.inf)
    found[active.texts, active.entries] = active.values
    expected = full + bias
    # Float32 itself is off by this much.
    sure = ~((expected - threshold).abs() < 1e-4 * scale)
    assert sure.any()
    assert torch.equal((found > -torch.inf)[sure], (expected > threshold)[sure])
    known = found > -torch.inf
    torch.testing.assert_close(found[known], expected[known], atol=1e-4 * scale, rtol=1e-5)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_gradients_equal_those_of_the_whole_logits(lengths: list[int]) -> None:
    fast, slow = random_parts(lengths), random_parts(lengths)
    found = max_head(*fast, lengths)
    expected = plain(*slow, lengths).relu()
    torch.testing.assert_close(found, expected)
    flow = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (torch.log1p(found) * flow).sum().backward()
    (torch.log1p(expected) * flow).sum().backward()
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-4)


def test_of_equal_logits_the_first_wins_and_takes_the_gradient() -> None:
    row = torch.tensor([1.0, 2.0])
    hidden = torch.stack([-row, row, row, row]).requires_grad_()
    weight = torch.stack([row, row])
    active = active_maxima(hidden, weight, None, [4])
    assert active.winners.tolist() == [1, 1]
    max_head(hidden, weight, None, [4]).sum().backward()
    stock = hidden.detach().clone().requires_grad_()
    (stock @ weight.T).max(dim=0).values.relu().sum().backward()
    assert torch.equal(hidden.grad, stock.grad)
    assert hidden.grad.any(dim=1).tolist() == [False, True, False, False]


def test_nothing_active_sends_nothing_back() -> None:
    hidden, weight, bias = random_parts([2, 3])
    found = max_head(hidden, weight, bias - 1e3, [2, 3])
    assert not found.any()
    found.sum().backward()
    assert all(part.grad is not None and not part.grad.any() for part in (hidden, weight, bias))


def test_frozen_parts_get_no_gradient() -> None:
    hidden, weight, bias = random_parts([2, 3])
    weight.requires_grad_(False)
    max_head(hidden, weight, bias, [2, 3]).sum().backward()
    assert weight.grad is None
    assert hidden.grad is not None
    assert bias.grad is not None


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(half: torch.dtype) -> None:
    hidden, weight, bias = (part.detach().to(half).requires_grad_() for part in random_parts([3, 4]))
    found = max_head(hidden, weight, bias, [3, 4])
    assert found.dtype == torch.float32
    whole = [part.detach().float() for part in (hidden, weight, bias)]
    torch.testing.assert_close(found, plain(*whole, [3, 4]).relu())
    found.sum().backward()
    assert {part.grad.dtype for part in (hidden, weight, bias) if part.grad is not None} == {half}


def test_autocast_changes_nothing_inside() -> None:
    hidden, weight, bias = (part.detach() for part in random_parts([3, 4]))
    with torch.autocast("cpu", torch.bfloat16):
        inside = max_head(hidden, weight, bias, [3, 4])
    assert torch.equal(inside, max_head(hidden, weight, bias, [3, 4]))


@pytest.mark.parametrize("screen", [False, True])
def test_nan_is_not_hidden(screen: bool) -> None:
    hidden, weight, bias = (part.detach() for part in random_parts([3, 4]))
    hidden[1, 0] = torch.nan
    active = active_maxima(hidden, weight, bias, [3, 4], screen=screen)
    assert active.values[active.texts == 0].isnan().all()
    assert (active.texts == 0).sum() == 30
    assert not active.values[active.texts == 1].isnan().any()


def test_text_without_tokens_has_no_entry() -> None:
    hidden, weight, bias = (part.detach() for part in random_parts([3]))
    active = active_maxima(hidden, weight, bias + 100, [0, 3, 0])
    assert set(active.texts.tolist()) == {1}
    assert not len(active_maxima(hidden[:0], weight, bias, [0, 0]).entries)


@pytest.mark.parametrize("screen", [False, True])
@pytest.mark.parametrize("entries", [4, 7, 8192])
@pytest.mark.parametrize("masked", ["none", "some", "a whole product", "all"])
def test_columns_that_must_not_be_written_are_skipped(
    masked: str, entries: int, screen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENTRIES_PER_PRODUCT", entries)
    hidden, weight, bias = (part.detach() for part in random_parts([5, 3]))
    columns = {"none": [], "some": [0, 3, 11, 29], "a whole product": range(4, 20), "all": range(30)}[masked]
    bias[list(columns)] = -1e4
    multiplied = []
    reachable = module._reachable

    def spy(*args: object) -> torch.Tensor:
        multiplied.append(reachable(*args))
        return multiplied[-1]

    monkeypatch.setattr(module, "_reachable", spy)
    active = active_maxima(hidden, weight, bias, [5, 3], screen=screen)
    torch.testing.assert_close(dense(active, (2, 30)), plain(hidden, weight, bias, [5, 3]).relu())
    assert sum(map(len, multiplied)) == 30 - len(columns)


def test_a_product_that_outweighs_a_low_bias_is_found() -> None:
    hidden, weight, bias = (part.detach() for part in random_parts([4]))
    weight[7] = hidden[2] * (-module.HOPELESS_BIAS * 2 / hidden[2].square().sum())
    bias[7] = module.HOPELESS_BIAS - 1
    active = active_maxima(hidden, weight, bias, [4])
    assert active.values[active.entries == 7].item() == pytest.approx(-module.HOPELESS_BIAS - 1, rel=1e-4)
