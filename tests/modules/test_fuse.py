"""A fused encoder is the same encoder: vectors, gradients, training, what it saves."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

from isthmus.encoders.encoding import encode_texts
from isthmus.modules.fuse import fuse_head, fused_view, is_fused, unfuse_head
from isthmus.modules.max_head import ActiveEntries
from tests.tiny_encoders import FAMILIES, inference_free, splade

TEXTS = ["house", "water war .", "the capital of the school of the house of war 1 2 ?", "houses", "zzz", "12"]


def features_of(encoder: SparseEncoder, texts: list[str] = TEXTS) -> dict[str, Any]:
    return encoder.preprocess(texts)


def vectors_of(encoder: SparseEncoder) -> torch.Tensor:
    return encoder.encode(TEXTS, convert_to_sparse_tensor=False)


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_and_gradients(tmp_path: Path, family: str, activation: str) -> None:
    stock = splade(tmp_path, family, activation=activation)
    fused = copy.deepcopy(stock)
    assert fuse_head(fused) == 1
    torch.testing.assert_close(vectors_of(fused), vectors_of(stock), atol=1e-5, rtol=1e-5)
    for encoder in (stock, fused):
        # The stock pooling works in place unless it trains; the rest stays without dropout.
        encoder[1].train()
        pooled = encoder(features_of(encoder))["sentence_embedding"]
        weights = torch.linspace(-1, 1, pooled.shape[1])
        (pooled * weights).sum().backward()
    grads = [
        {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None} for encoder in (stock, fused)
    ]
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, atol=1e-5 * float(grad.abs().max()) + 1e-6, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_curve_is_that_of_the_stock_head(tmp_path: Path, family: str) -> None:
    curves = []
    for fuse in (False, True):
        torch.manual_seed(0)
        encoder = splade(tmp_path / str(fuse), family)
        encoder[1].train()
        if fuse:
            fuse_head(encoder)
        loss = SpladeLoss(encoder, SparseMultipleNegativesRankingLoss(encoder), 1e-3, 1e-3)
        # Slow enough that rounding is not blown up.
        optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-4)
        curve = []
        for _ in range(8):
            found = loss([features_of(encoder, TEXTS[:3]), features_of(encoder, TEXTS[3:])])
            total = sum(found.values())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            curve.append(total.item())
        curves.append(curve)
    assert curves[0][0] != curves[0][-1]
    torch.testing.assert_close(torch.tensor(curves[0]), torch.tensor(curves[1]), atol=1e-4, rtol=1e-4)


def test_saves_as_the_plain_encoder(tmp_path: Path) -> None:
    stock = splade(tmp_path / "model")
    expected = vectors_of(stock)
    fuse_head(stock)
    stock.save_pretrained(str(tmp_path / "saved"))
    plain = SparseEncoder(str(tmp_path / "saved"), device="cpu")
    assert not is_fused(plain[1])
    assert "isthmus" not in (tmp_path / "saved" / "modules.json").read_text()
    torch.testing.assert_close(vectors_of(plain), expected, atol=1e-5, rtol=1e-5)


def test_unfuse_gives_the_logits_back(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    features = {key: value for key, value in features_of(encoder).items() if torch.is_tensor(value)}
    expected = encoder[0].auto_model(**features).logits
    fuse_head(encoder)
    assert encoder[0].auto_model(**features).logits.shape != expected.shape
    unfuse_head(encoder)
    assert torch.equal(encoder[0].auto_model(**features).logits, expected)
    assert not is_fused(encoder[1])
    unfuse_head(encoder)


def test_fusing_twice_is_fusing_once(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    expected = vectors_of(encoder)
    assert fuse_head(encoder) == fuse_head(encoder) == 1
    torch.testing.assert_close(vectors_of(encoder), expected, atol=1e-5, rtol=1e-5)


def test_copies_are_fused_with_their_own_weights(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    fuse_head(encoder)
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        with torch.no_grad():
            other[0].auto_model.get_output_embeddings().weight.mul_(2)
        assert is_fused(other[1])
        assert not torch.allclose(vectors_of(other), vectors_of(encoder))
        unfuse_head(other)
        doubled = vectors_of(other)
        fuse_head(other)
        torch.testing.assert_close(vectors_of(other), doubled, atol=1e-5, rtol=1e-5)


def test_view_shares_weights_and_leaves_the_encoder_alone(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    view = fused_view(encoder)
    assert view is not None
    assert not is_fused(encoder[1])
    assert view.tokenizer is encoder.tokenizer
    assert {id(p) for p in view.parameters()} == {id(p) for p in encoder.parameters()}
    found = view(features_of(view))["sentence_embedding"]
    assert isinstance(found, ActiveEntries)
    expected = vectors_of(encoder)
    torch.testing.assert_close(found.values, expected[found.texts, found.entries], atol=1e-5, rtol=1e-5)
    assert len(found.values) == (expected > 0).sum()


def test_route_of_an_inference_free_encoder_is_fused(tmp_path: Path) -> None:
    encoder = inference_free(tmp_path)
    expected = [
        encode(TEXTS, convert_to_sparse_tensor=False) for encode in (encoder.encode_query, encoder.encode_document)
    ]
    assert fuse_head(encoder) == 1
    for encode, before in zip((encoder.encode_query, encoder.encode_document), expected, strict=True):
        torch.testing.assert_close(encode(TEXTS, convert_to_sparse_tensor=False), before, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_fused_stays_as_it_is(tmp_path: Path) -> None:
    summed = splade(tmp_path / "sum", pooling="sum")
    assert fuse_head(summed) == 0
    assert fused_view(summed) is None
    scaled = splade(tmp_path / "scaled")
    model = scaled[0].auto_model
    model.register_forward_hook(lambda _module, _inputs, output: setattr(output, "logits", output.logits * 2))
    expected = vectors_of(scaled)
    assert fuse_head(scaled) == 0
    assert torch.equal(vectors_of(scaled), expected)


class Doubled(torch.nn.Module):
    """Something that follows the pooling and expects its tensor."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return features | {"sentence_embedding": features["sentence_embedding"] * 2}


def test_what_follows_the_pooling_still_gets_a_tensor(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    expected = vectors_of(encoder)
    encoder.append(Doubled())
    assert fused_view(encoder) is None
    found = encode_texts(encoder, TEXTS, role="document").toarray()
    torch.testing.assert_close(torch.from_numpy(found), expected * 2, atol=1e-5, rtol=1e-5)
    assert fuse_head(encoder) == 1
    torch.testing.assert_close(vectors_of(encoder), expected * 2, atol=1e-5, rtol=1e-5)


def test_flattened_inputs(tmp_path: Path) -> None:
    """Flash attention hands texts over end to end; the pooling sees the hidden states in one row."""
    encoder = splade(tmp_path)
    features = {key: value for key, value in features_of(encoder).items() if torch.is_tensor(value)}
    expected = vectors_of(encoder)
    fuse_head(encoder)
    hidden = encoder[0].auto_model(**features).logits
    mask = features["attention_mask"].bool()
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)]).int()
    flat = {"token_embeddings": hidden[mask][None], "cu_seq_lens_q": ends}
    torch.testing.assert_close(encoder[1](flat)["sentence_embedding"], expected, atol=1e-5, rtol=1e-5)
