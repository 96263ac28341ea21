"""A SPLADE encoder in which nothing is wrong: every token activates its own column and hardly another one.

Layers hand the embeddings through, so a vector is the set of the text's tokens; each test breaks one thing.
"""

import itertools

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import BertConfig, BertForMaskedLM

from tests.tokenizers import wordpiece

WORDS = tuple("".join(parts) for parts in itertools.product("bdfgklmnpr", "aeiou", "stvwxyzh"))
DIM = 64


def texts(count=40, length=14):
    generator = np.random.default_rng(1)
    return [" ".join(generator.choice(WORDS, size=length)) for _ in range(count)]


TEXTS = texts()


@pytest.fixture(scope="session")
def healthy_folder(tmp_path_factory):
    """The encoder, saved."""
    folder = tmp_path_factory.mktemp("healthy")
    tokenizer = wordpiece(WORDS, max_length=64)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=DIM, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = BertForMaskedLM(config)
        for name, parameter in model.named_parameters():
            if "LayerNorm.weight" in name:
                parameter.fill_(1.01)
            elif "word_embeddings" in name:
                parameter.normal_(0.0, 0.2)
            elif name.endswith("transform.dense.weight"):
                parameter.copy_(torch.eye(DIM))
            else:
                parameter.zero_()
        model.cls.predictions.transform.dense.bias.fill_(0.01)
        model.cls.predictions.bias.fill_(-6.0)
        model.cls.predictions.bias[tokenizer.all_special_ids] = -100.0
    model.save_pretrained(folder / "mlm")
    tokenizer.save_pretrained(folder / "mlm")
    modules = [Transformer(str(folder / "mlm"), transformer_task="fill-mask"), SpladePooling("max")]
    modules[1].embedding_dimension = len(tokenizer)
    SparseEncoder(modules=modules, device="cpu", similarity_fn_name="dot").save_pretrained(str(folder / "sparse"))
    dense = [Transformer(str(folder / "mlm")), Pooling(DIM, "mean")]
    SentenceTransformer(modules=dense, device="cpu").save_pretrained(str(folder / "dense"))
    return folder


@pytest.fixture
def encoder(healthy_folder):
    return SparseEncoder(str(healthy_folder / "sparse"), device="cpu")


@pytest.fixture
def dense(healthy_folder):
    return SentenceTransformer(str(healthy_folder / "dense"), device="cpu")


@pytest.fixture
def head(encoder):
    """The MLM head of ``encoder``, to be broken without gradients."""
    with torch.no_grad():
        yield encoder[0].model.cls.predictions


def by_check(findings):
    """Findings by name; every check must speak once."""
    named = {finding.check: finding for finding in findings}
    assert len(named) == len(findings)
    return named
