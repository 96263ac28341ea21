import pytest
import torch

from isthmus.losses import CLEARLoss
from tests.losses import literal
from tests.losses.conftest import CLEAR, vectors


def negatives(forward, reverse):
    return [*(f"negative_pivot_passage_{n}" for n in forward), *(f"negative_query_{n}" for n in reverse)]


def total(found):
    return torch.stack(list(found.values())).sum()


def same(loss, inputs, expected):
    """Value and gradients of a loss are those of the literal formula."""
    value = total(loss.compute_loss_from_embeddings(inputs))
    torch.testing.assert_close(value, expected)
    actual = torch.autograd.grad(value, inputs)
    for one, other in zip(actual, torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(one, other)
    assert all(one.abs().sum() > 0 for one in actual)


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("kl", [True, False])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_value_and_gradient_are_those_of_the_formula(sparse_encoder, count, kl, kind):
    columns = [*CLEAR, *negatives(range(1, count + 1), range(1, count + 1))]
    inputs = vectors(columns, sparse=kind == "sparse")
    by_name = dict(zip(columns, inputs, strict=True))
    sides = [[by_name[name] for name in columns if name.startswith(side)] for side in ("negative_p", "negative_q")]
    chosen = {"similarity": literal.dot, "scale": 1.0} if kind == "sparse" else {}
    expected = literal.clear(by_name, *sides, kl=kl, alpha=0.3, beta=0.5, **chosen)
    model = sparse_encoder if kind == "sparse" else None
    same(CLEARLoss(model, columns, alpha=0.3, beta=0.5, kl=kl), inputs, expected)


def test_defaults_are_the_papers():
    config = CLEARLoss(None, CLEAR).get_config_dict()
    assert config == {
        "alpha": 0.4, "beta": 0.2, "kl": True, "detach": "none", "columns": CLEAR, "similarity": "cosine",
        "scale": 20.0, "gather_across_devices": False,
    }  # fmt: skip


def test_components_are_named_and_weighted():
    inputs = vectors(CLEAR)
    found = CLEARLoss(None, CLEAR).compute_loss_from_embeddings(inputs)
    assert list(found) == ["forward_loss", "reverse_loss", "kl_loss"]
    plain = CLEARLoss(None, CLEAR, alpha=0.5, kl=False).compute_loss_from_embeddings(inputs)
    assert list(plain) == ["forward_loss", "reverse_loss"]
    for name in plain:
        torch.testing.assert_close(found[name], 0.8 * plain[name])


def test_rows_without_a_negative_rank_it_nowhere():
    columns = [*CLEAR, *negatives([1], [1])]
    inputs = vectors(columns)
    by_name = dict(zip(columns, inputs, strict=True))
    labels = torch.tensor([[1, 1], [0, 0], [1, 1]])
    kept = [[by_name[name][0], None, by_name[name][2]] for name in columns[3:]]
    expected = literal.clear(by_name, kept[:1], kept[1:])
    value = total(CLEARLoss(None, columns).compute_loss_from_embeddings(inputs, labels))
    torch.testing.assert_close(value, expected)
    for gradient in torch.autograd.grad(value, inputs)[3:]:
        assert (gradient[1] == 0).all()
        assert (gradient[[0, 2]] != 0).any(dim=1).all()


def test_the_divergence_compares_what_both_sides_have():
    columns = [*CLEAR, *negatives([1, 2], [2, 3])]
    inputs = vectors(columns)
    labels = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 0]])
    loss = CLEARLoss(None, columns, alpha=0.0, beta=1.0)
    found = loss.compute_loss_from_embeddings(inputs, labels)["kl_loss"]
    # Number 2 is on both sides, and row 1 has none of it among the passages.
    shared = [*CLEAR, "negative_pivot_passage_2", "negative_query_2"]
    by_name = dict(zip(columns, inputs, strict=True))
    rows = [by_name[name] for name in shared]
    mask = torch.tensor([[1, 1], [0, 0], [1, 1]])
    only = CLEARLoss(None, shared, alpha=0.0, beta=1.0).compute_loss_from_embeddings(rows, mask)["kl_loss"]
    torch.testing.assert_close(found, only)


@pytest.mark.parametrize(("detach", "still"), [("forward", ["pivot_query"]), ("reverse", ["query"])])
def test_a_detached_side_learns_nothing_from_the_divergence(detach, still):
    inputs = vectors(CLEAR)
    whole = CLEARLoss(None, CLEAR).compute_loss_from_embeddings(inputs)["kl_loss"]
    half = CLEARLoss(None, CLEAR, detach=detach).compute_loss_from_embeddings(inputs)["kl_loss"]
    torch.testing.assert_close(half, whole)
    gradients = dict(zip(CLEAR, torch.autograd.grad(half, inputs, allow_unused=True), strict=True))
    assert [name for name, one in gradients.items() if one is None] == still


@pytest.mark.parametrize("kind", ["identical", "zero"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("sparse", [False, True])
def test_identical_and_zero_vectors_are_finite(sparse_encoder, kind, dtype, sparse):
    columns = [*CLEAR, *negatives([1], [1])]
    inputs = [torch.full((3, 5), 0.0 if kind == "zero" else 2.0, dtype=dtype).requires_grad_() for _ in columns]
    value = total(CLEARLoss(sparse_encoder if sparse else None, columns).compute_loss_from_embeddings(inputs))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(0.8 * torch.tensor(6.0).log().item(), rel=1e-5)
    for gradient in torch.autograd.grad(value, inputs):
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 100
