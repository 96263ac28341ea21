import pytest
import torch

from isthmus.errors import InputError
from isthmus.losses import ProximityLoss
from tests.losses import literal
from tests.losses.conftest import PROXIMITY, vectors
from tests.losses.test_clear import same, total


def unit(vector):
    return vector / literal.dot(vector, vector) ** 0.5


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize(("temperature", "normalize"), [(1.0, False), (0.25, True)])
def test_value_and_gradient_are_those_of_the_formula(count, temperature, normalize):
    columns = [*PROXIMITY, *(f"negative_pivot_query_{n}" for n in range(count))]
    inputs = vectors(columns)
    by_name = dict(zip(columns, inputs, strict=True))

    def distribution(vector):
        return literal.softmax(unit(vector) if normalize else vector, temperature)

    expected = literal.proximity(by_name, inputs[3:], distribution=distribution, weights=(0.7, 2.0), scale=5.0)
    options = {"temperature": temperature, "normalize": normalize, "scale": 5.0}
    same(ProximityLoss(None, columns, jsd_weight=0.7, nce_weight=2.0, **options), inputs, expected)


def test_sparse_vectors_are_compared_by_shares(sparse_encoder):
    inputs = vectors(PROXIMITY, sparse=True)
    by_name = dict(zip(PROXIMITY, inputs, strict=True))
    expected = literal.proximity(by_name, [], distribution=literal.shares, similarity=literal.dot, scale=1.0)
    loss = ProximityLoss(sparse_encoder, PROXIMITY)
    value = total(loss.compute_loss_from_embeddings(inputs))
    torch.testing.assert_close(value, expected)
    actual, wanted = (torch.autograd.grad(one, inputs) for one in (value, expected))
    for values, one, other in zip(inputs, actual, wanted, strict=True):
        # An inactive column cannot follow a gradient, and that of the formula is not finite there.
        active = values > 0
        torch.testing.assert_close(one[active], other[active])
        assert one.isfinite().all()
    assert (loss.similarity, loss.scale) == ("dot", 1.0)


def test_eps_can_sit_inside_the_logarithms():
    inputs = vectors(PROXIMITY)
    p, q = ([literal.softmax(row) for row in inputs[i]] for i in (2, 0))
    expected = literal.mean([literal.jsd(a, b, 0.01) ** 0.5 for a, b in zip(p, q, strict=True)])
    loss = ProximityLoss(None, PROXIMITY, eps=0.01, eps_placement="log", nce_weight=0.0)
    torch.testing.assert_close(total(loss.compute_loss_from_embeddings(inputs)), expected)


def test_eps_can_sit_outside_the_root():
    inputs = vectors(PROXIMITY)
    p, q = ([literal.softmax(row) for row in inputs[i]] for i in (2, 0))
    expected = literal.mean([literal.jsd(a, b) ** 0.5 + 0.01 for a, b in zip(p, q, strict=True)])
    loss = ProximityLoss(None, PROXIMITY, eps=0.01, eps_placement="outside", nce_weight=0.0)
    value = total(loss.compute_loss_from_embeddings(inputs))
    torch.testing.assert_close(value, expected)
    moved = [inputs[i] for i in (0, 2)]
    for one, other in zip(torch.autograd.grad(value, moved), torch.autograd.grad(expected, moved), strict=True):
        torch.testing.assert_close(one, other)


def test_the_divergence_has_its_bounds(sparse_encoder):
    one, other = torch.eye(4)[:2], torch.eye(4)[2:]
    loss = ProximityLoss(sparse_encoder, PROXIMITY)
    apart = loss.compute_loss_from_embeddings([one, one, other])["jsd_loss"]
    equal = loss.compute_loss_from_embeddings([one, one, one])["jsd_loss"]
    assert apart.item() == pytest.approx(literal.LOG2**0.5, rel=1e-5)
    assert equal.item() == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize("kind", ["identical", "zero", "one zero"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("placement", ["root", "outside", "log"])
def test_identical_and_zero_vectors_are_finite(sparse_encoder, kind, dtype, sparse, placement):
    fill = {"identical": (2.0, 2.0, 2.0), "zero": (0.0, 0.0, 0.0), "one zero": (0.0, 2.0, 2.0)}[kind]
    inputs = [torch.full((3, 5), value, dtype=dtype).requires_grad_() for value in fill]
    loss = ProximityLoss(sparse_encoder if sparse else None, PROXIMITY, eps_placement=placement)
    value = total(loss.compute_loss_from_embeddings(inputs))
    assert value.isfinite()
    for gradient in torch.autograd.grad(value, inputs):
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 100


def test_half_precision_vectors_give_what_their_values_give():
    inputs = vectors(PROXIMITY, dtype=torch.bfloat16)
    loss = ProximityLoss(None, PROXIMITY)
    found = loss.compute_loss_from_embeddings(inputs)
    exact = loss.compute_loss_from_embeddings([one.double() for one in inputs])
    for name in ("jsd_loss", "nce_loss"):
        assert found[name].item() == pytest.approx(exact[name].item(), rel=1e-5)


@pytest.mark.parametrize("options", [{"temperature": 0.5}, {"normalize": True}])
def test_shares_take_no_softmax_options(sparse_encoder, options):
    with pytest.raises(InputError, match="left out for a SparseEncoder"):
        ProximityLoss(sparse_encoder, PROXIMITY, **options)
