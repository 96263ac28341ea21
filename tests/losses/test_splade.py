import pytest
import torch
from sentence_transformers.sparse_encoder.losses import CachedSpladeLoss, FlopsLoss, SpladeLoss

from isthmus.errors import InputError
from isthmus.losses import CachedNamedSpladeLoss, NamedSpladeLoss
from tests.losses.conftest import PAIRS, features, gradients
from tests.losses.test_cached import BATCH, LABELS, close

WEIGHTS = {"document_regularizer_weight": 0.01, "query_regularizer_weight": 0.03}


@pytest.mark.parametrize("name", PAIRS)
def test_alone_a_sparse_encoder_is_refused(sparse_encoder, name):
    plain, cached, columns = PAIRS[name]
    for loss in (plain(sparse_encoder, columns), cached(sparse_encoder, columns)):
        with pytest.raises(InputError, match=f"use SpladeLoss\\(model, {plain.__name__}"):
            loss(features(sparse_encoder, columns))


@pytest.mark.parametrize("name", PAIRS)
def test_the_stock_splade_losses_take_them(sparse_encoder, name):
    plain, _, columns = PAIRS[name]
    loss = plain(sparse_encoder, columns)
    expected = gradients(sparse_encoder, SpladeLoss(sparse_encoder, loss, **WEIGHTS), columns)
    assert {"document_regularizer_loss", "query_regularizer_loss"} < expected[0].keys()
    found = gradients(sparse_encoder, CachedSpladeLoss(sparse_encoder, loss, mini_batch_size=2, **WEIGHTS), columns)
    close(found, expected)


@pytest.mark.parametrize("name", PAIRS)
def test_regularisers_see_columns_by_what_they_are(sparse_encoder, name):
    plain, _, columns = PAIRS[name]
    found, _ = gradients(
        sparse_encoder, NamedSpladeLoss(sparse_encoder, plain(sparse_encoder, columns), **WEIGHTS), columns
    )
    with torch.no_grad():
        vectors = {
            column: sparse_encoder(one)["sentence_embedding"]
            for column, one in zip(columns, features(sparse_encoder, columns), strict=True)
        }
    for side, weight in (("query", 0.03), ("document", 0.01)):
        own = torch.cat([vector for column, vector in vectors.items() if ("query" in column) == (side == "query")])
        flops = FlopsLoss(sparse_encoder).compute_loss_from_embeddings(own)
        torch.testing.assert_close(found[f"{side}_regularizer_loss"], weight * flops)


@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("name", PAIRS)
def test_regularisers_do_not_see_what_stands_for_a_missing_negative(sparse_encoder, name, size):
    plain, _, columns = PAIRS[name]
    labels = torch.tensor(LABELS[name])
    around, options = (NamedSpladeLoss, {}) if size is None else (CachedNamedSpladeLoss, {"mini_batch_size": size})
    loss = around(sparse_encoder, plain(sparse_encoder, columns), **WEIGHTS, **options)
    found, gradient = gradients(sparse_encoder, loss, columns, labels)
    # The same by hand, of the rows that are there alone.
    sparse_encoder.zero_grad()
    vectors = [sparse_encoder(one)["sentence_embedding"] for one in features(sparse_encoder, columns)]
    expected = plain(sparse_encoder, columns).compute_loss_from_embeddings(vectors, labels)
    negatives = [column for column in columns if column.startswith("negative")]
    there = {column: vector[labels[:, negatives.index(column)] == 1] if column in negatives else vector
             for column, vector in zip(columns, vectors, strict=True)}  # fmt: skip
    for side, weight in (("query", 0.03), ("document", 0.01)):
        own = torch.cat([vector for column, vector in there.items() if ("query" in column) == (side == "query")])
        flops = FlopsLoss(sparse_encoder).compute_loss_from_embeddings(own)
        expected[f"{side}_regularizer_loss"] = weight * flops
    torch.stack(list(expected.values())).sum().backward()
    by_hand = {key: p.grad for key, p in sparse_encoder.named_parameters() if p.grad is not None}
    close((found, gradient), ({key: value.detach() for key, value in expected.items()}, by_hand))
    side = "document" if name != "proximity" else "query"
    with_all, _ = gradients(sparse_encoder, around(sparse_encoder, loss.loss, **WEIGHTS, **options), columns)
    assert found[f"{side}_regularizer_loss"].item() != pytest.approx(
        with_all[f"{side}_regularizer_loss"].item(), rel=1e-3
    )


@pytest.mark.parametrize("size", [1, 2, BATCH, BATCH + 1])
@pytest.mark.parametrize("name", PAIRS)
def test_the_cached_form_is_equal(sparse_encoder, name, size):
    plain, _, columns = PAIRS[name]
    loss = plain(sparse_encoder, columns)
    expected = gradients(sparse_encoder, NamedSpladeLoss(sparse_encoder, loss, **WEIGHTS), columns)
    found = gradients(
        sparse_encoder, CachedNamedSpladeLoss(sparse_encoder, loss, mini_batch_size=size, **WEIGHTS), columns
    )
    close(found, expected)


def test_torch_sparse_vectors_are_taken_too(sparse_encoder):
    plain, _, columns = PAIRS["clear"]
    loss = plain(sparse_encoder, columns)
    with torch.no_grad():
        vectors = [sparse_encoder(one)["sentence_embedding"].to_dense() for one in features(sparse_encoder, columns)]
    found = loss.compute_loss_from_embeddings([vector.to_sparse() for vector in vectors])
    close([found], [loss.compute_loss_from_embeddings(vectors)])
