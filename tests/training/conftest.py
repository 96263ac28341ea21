import json
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding

from isthmus.training import TrainOptions
from tests.tiny_encoders import bert_tokenizer, splade

# Training needs the extra `train`; without it there is nothing to test here.
collect_ignore_glob = [] if find_spec("accelerate") and find_spec("datasets") else ["test_*.py"]

PAIRS = [
    {"query": "the house", "positive": "home of the war"},
    {"query": "water school", "positive": "the school of water"},
    {"query": "korea", "positive": "the capital of korea"},
    {"query": "war", "positive": "wars of korea"},
    {"query": "home", "positive": "houses and home ."},
    {"query": "schools", "positive": "schooling of the capital"},
    {"query": "1", "positive": "1 house ?"},
    {"query": "2", "positive": "2 homes and water"},
]
# Options under which the tiny encoders learn the pairs by heart.
QUICK = {
    "steps": 20, "batch_size": 8, "learning_rate": 1e-2, "logging_steps": 5, "bf16": False, "max_active_share": 1.0,
}  # fmt: skip


@pytest.fixture
def interrupted(monkeypatch):
    """Runs in the body of ``with interrupted(step)`` are broken off at that step."""

    @contextmanager
    def call(step):
        # Only where the extra is installed.
        from isthmus.training.callbacks import Monitor

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == step:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Monitor, "on_step_end", on_step_end)
            with pytest.raises(KeyboardInterrupt):
                yield

    return call


@pytest.fixture(scope="session")
def make_sparse(tmp_path_factory):
    """Make a tiny SPLADE encoder whose vectors are neither empty nor dense; returns its folder."""

    def call(bias=-2.0, dropout=0.0):
        root = tmp_path_factory.mktemp("sparse")
        options = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        encoder = splade(root / "backbone", **options)
        with torch.no_grad():
            encoder[0].auto_model.get_output_embeddings().bias.fill_(bias)
        encoder.save_pretrained(str(root / "encoder"))
        return root / "encoder"

    return call


@pytest.fixture(scope="session")
def sparse_folder(make_sparse):
    return make_sparse()


@pytest.fixture(scope="session")
def dense_folder(tmp_path_factory, sparse_folder):
    """A tiny sentence encoder with mean pooling."""
    root = tmp_path_factory.mktemp("dense")
    transformer = Transformer(str(sparse_folder))
    encoder = SentenceTransformer(modules=[transformer, Pooling(16, "mean")], device="cpu")
    assert len(encoder.tokenizer) == len(bert_tokenizer())
    encoder.save_pretrained(str(root / "encoder"))
    return root / "encoder"


@pytest.fixture(scope="session")
def static_folder(tmp_path_factory):
    """A tiny dense encoder with one vector per token, whose tokenizer is a bare ``tokenizers.Tokenizer``."""
    folder = tmp_path_factory.mktemp("static")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        static = StaticEmbedding(bert_tokenizer().backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture
def write(tmp_path):
    """Write rows as JSONL."""

    def call(rows, name="pairs.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return call


@pytest.fixture
def settings():
    """Make options of ``train`` under which the tiny encoders learn the pairs by heart."""

    def call(**changes):
        return TrainOptions(**(QUICK | changes))

    return call


def tensors(folder):
    """All tensors of a folder's encoder."""
    return load_file(folder / "model.safetensors")
