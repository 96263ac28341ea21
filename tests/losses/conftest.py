import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from isthmus.losses import (
    CachedCLEARLoss,
    CachedInfoNCELoss,
    CachedProximityLoss,
    CLEARLoss,
    InfoNCELoss,
    ProximityLoss,
)
from tests.tiny_encoders import splade

TEXTS = {
    "query": ["korea", "home", "2 schools", "water", "war and water"],
    "passage": ["capital of korea", "houses and home .", "schooling of the capital", "war", "the house"],
    "pivot_query": ["the capital", "a house", "schools", "the water school", "wars"],
    "pivot_passage": ["korea and the capital", "home of the house", "the school of 2 houses", "water .", "war ?"],
    "negative_query_1": ["the", "school", "korea ?", "1 house", "homes"],
    "negative_query_2": ["1", "2", "?", "war home", "."],
    "negative_pivot_passage_1": ["home and water", "korea of war", "1 capital", "schools", "houses of korea"],
    "negative_pivot_query_1": ["home ?", "korea", "1", "house of the war", "2 and 1"],
}
CLEAR = ["query", "pivot_query", "pivot_passage"]
PROXIMITY = ["passage", "pivot_query", "pivot_passage"]
INFONCE = ["query", "pivot_passage"]
PAIRS = {
    "clear": (CLEARLoss, CachedCLEARLoss, [*CLEAR, "negative_pivot_passage_1", "negative_query_1", "negative_query_2"]),
    "proximity": (ProximityLoss, CachedProximityLoss, [*PROXIMITY, "negative_pivot_query_1"]),
    "infonce": (InfoNCELoss, CachedInfoNCELoss, [*INFONCE, "negative_pivot_passage_1"]),
}


def dense(folder, dropout=0.0):
    """A tiny sentence encoder with mean pooling, random weights always the same."""
    options = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    splade(folder / "backbone", **options).save_pretrained(str(folder / "sparse"))
    encoder = SentenceTransformer(modules=[Transformer(str(folder / "sparse")), Pooling(16, "mean")], device="cpu")
    return encoder.train()


def sparse(folder):
    """A tiny SPLADE encoder whose vectors are neither empty nor full, random weights always the same."""
    encoder = splade(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    with torch.no_grad():
        encoder[0].auto_model.get_output_embeddings().bias.fill_(-2.0)
    return encoder.train()


@pytest.fixture(scope="session")
def dense_encoder(tmp_path_factory):
    return dense(tmp_path_factory.mktemp("dense"))


@pytest.fixture(scope="session")
def sparse_encoder(tmp_path_factory):
    return sparse(tmp_path_factory.mktemp("sparse"))


def features(encoder, columns, rows=slice(None)):
    """What a data collator makes of ``TEXTS``."""
    return [encoder.preprocess(TEXTS[column][rows]) for column in columns]


def gradients(encoder, loss, columns, labels=None, rows=slice(None)):
    """Components of a loss, and the gradients of its sum by parameter."""
    encoder.zero_grad()
    found = loss(features(encoder, columns, rows), labels)
    torch.stack(list(found.values())).sum().backward()
    grads = {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
    return {name: value.detach() for name, value in found.items()}, grads


def vectors(columns, rows=3, dimensions=5, *, sparse=False, seed=0, dtype=torch.float64):
    """Random vectors of every column; sparse ones are non-negative and have zeros."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(rows, dimensions, generator=generator, dtype=torch.float64) for _ in columns]
    if sparse:
        found = [torch.relu(one) + torch.nn.functional.one_hot(torch.arange(rows), dimensions) for one in found]
    return [one.to(dtype).requires_grad_() for one in found]
