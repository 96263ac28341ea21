"""The pooled head equals all logits first and their maximum after, in value and in gradient."""

from __future__ import annotations

import pytest
import torch

from isthmus.modules import max_head as module
from isthmus.modules.max_head import max_head, segment_maximum

LENGTHS = ([3, 1, 5], [1], [4, 4, 4, 4], [300, 2])


def random_parts(lengths: list[int], size: int = 30, dim: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((sum(lengths), dim), (size, dim), (size,))
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


def plain(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    return torch.stack([part.amax(dim=0) for part in (hidden @ weight.T + bias).split(lengths)])


@pytest.mark.parametrize("tokens", [1, 4, 256])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_values_and_winners(lengths: list[int], tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKENS_PER_PRODUCT", tokens)
    hidden, weight, bias = (part.detach() for part in random_parts(lengths))
    values, winners = segment_maximum(hidden, weight, bias, lengths)
    torch.testing.assert_close(values, plain(hidden, weight, bias, lengths))
    torch.testing.assert_close((hidden[winners] * weight).sum(dim=-1) + bias, values)
    text_of = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    assert torch.equal(text_of[winners], torch.arange(len(lengths))[:, None].expand_as(winners))


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


def test_nothing_active_sends_nothing_back() -> None:
    hidden, weight, bias = random_parts([2, 3])
    found = max_head(hidden, weight, bias - 1e3, [2, 3])
    assert not found.any()
    found.sum().backward()
    assert all(part.grad is not None and not part.grad.any() for part in (hidden, weight, bias))


def test_half_precision_logits_keep_float32_gradients() -> None:
    hidden, weight, bias = random_parts([3, 4])
    found = max_head(hidden, weight, bias, [3, 4], torch.bfloat16)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain(hidden, weight, bias, [3, 4]).relu(), atol=0.1, rtol=0.05)
    found.sum().backward()
    assert {part.grad.dtype for part in (hidden, weight, bias) if part.grad is not None} == {torch.float32}
