import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from isthmus.losses import InfoNCELoss
from tests.losses import literal
from tests.losses.conftest import INFONCE, vectors


def test_with_all_negatives_it_is_the_ranking_loss_of_sentence_transformers(dense_encoder):
    columns = [*INFONCE, "negative_pivot_passage_1", "negative_pivot_passage_2"]
    inputs = vectors(columns)
    found = InfoNCELoss(dense_encoder, columns).compute_loss_from_embeddings(inputs)
    expected = MultipleNegativesRankingLoss(dense_encoder).compute_loss_from_embeddings(inputs, None)
    torch.testing.assert_close(found["nce_loss"], expected)
    for one, other in zip(*(torch.autograd.grad(x, inputs) for x in (found["nce_loss"], expected)), strict=True):
        torch.testing.assert_close(one, other)


def test_missing_negatives_are_left_out():
    columns = [*INFONCE, "negative_pivot_passage_1"]
    query, passage, negative = vectors(columns)
    labels = torch.tensor([[0], [1], [0]])
    found = InfoNCELoss(None, columns).compute_loss_from_embeddings([query, passage, negative], labels)["nce_loss"]
    kept = [[None, negative[1], None]]
    torch.testing.assert_close(found, literal.contrast(literal.ranked(literal.cosine, 20.0, query, passage, kept)))


def test_anchor_and_positive_can_be_others():
    loss = InfoNCELoss(None, ["passage", "pivot_passage"], anchor="pivot_passage", positive="passage", similarity="dot")
    passage, pivot = vectors(loss.layout.columns)
    expected = literal.contrast(literal.ranked(literal.dot, 1.0, pivot, passage, []))
    torch.testing.assert_close(loss.compute_loss_from_embeddings([passage, pivot])["nce_loss"], expected)
    assert loss.get_config_dict()["anchor"] == "pivot_passage"


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_one_candidate_is_always_first(value):
    inputs = [torch.full((1, 4), value).requires_grad_() for _ in INFONCE]
    loss = InfoNCELoss(None, INFONCE).compute_loss_from_embeddings(inputs)["nce_loss"]
    assert loss.item() == 0
    assert all((gradient == 0).all() for gradient in torch.autograd.grad(loss, inputs))
