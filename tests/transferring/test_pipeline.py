"""Whole transfers: every published source encoder, saved and opened by sentence-transformers alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder

from isthmus.bridge import BridgeVectors
from isthmus.encoders.heads import find_head
from isthmus.transferring import transfer_encoder
from isthmus.vocabulary import Vocabulary
from tests.tiny_encoders import LENGTH, inference_free, splade
from tests.tokenizers import byte_bpe, byte_spelling, unigram, wordpiece
from tests.transferring.conftest import KOREAN
from tests.transferring.linearity import assert_linear

TEXTS = ["서울의 학교는 한국에", "the house .", "전쟁 물 1 2 ?"]
MakeVectors = Callable[..., BridgeVectors]

# The paper's source encoders, and the families beside them.
ENCODERS: dict[str, dict[str, Any]] = {
    "naver/splade-v3": {"family": "bert"},
    "prithivida/Splade_PP_en_v1": {"family": "bert", "dtype": torch.float16, "seed": 1},
    "opensearch-neural-sparse-encoding-v1": {"family": "bert", "tied": False},
    "opensearch-neural-sparse-encoding-v1, config says tied": {"family": "bert", "tied": False, "claim_tied": True},
    "granite-embedding-30m-sparse": {"family": "roberta", "dtype": torch.bfloat16},
    "xlm-r": {"family": "xlm-r"},
    "modernbert": {"family": "modernbert", "activation": "log1p_relu"},
    "distilbert": {"family": "distilbert", "pooling": "sum"},
}


def korean_bpe() -> Any:
    words = [word.removeprefix("##") if word.startswith("##") else " " + word for word in KOREAN]
    return byte_bpe([byte_spelling(word) for word in words], pad_id=3)


def korean_unigram() -> Any:
    return unigram([word.removeprefix("##") if word.startswith("##") else "▁" + word for word in KOREAN], pad_id=4)


TARGETS: dict[str, Callable[[], Any]] = {
    "wordpiece": lambda: wordpiece(KOREAN, pad_id=7, lowercase=False),
    "byte-bpe": korean_bpe,
    "unigram": korean_unigram,
}


def sparse(encoder: SparseEncoder, texts: list[str], role: str = "document") -> np.ndarray:
    encode = encoder.encode_query if role == "query" else encoder.encode_document
    return np.asarray(encode(texts, show_progress_bar=False).to_dense().float())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ENCODERS)
def test_proof_after_save_and_reload(name: str, target: str, tmp_path: Path, vectors_for: MakeVectors) -> None:
    encoder = splade(tmp_path / "source", **ENCODERS[name])
    tokenizer = TARGETS[target]()
    assert tokenizer.pad_token_id != encoder.tokenizer.pad_token_id
    result, report = transfer_encoder(encoder, tokenizer, vectors=vectors_for(encoder.tokenizer, tokenizer))
    result.save_pretrained(str(tmp_path / "result"))
    opened = SparseEncoder(str(tmp_path / "result"), device="cpu")
    assert opened.dtype == encoder.dtype
    assert find_head(opened.transformers_model).tied == find_head(encoder.transformers_model).tied
    assert_linear(encoder.transformers_model, opened.transformers_model, report.token_map)
    assert opened.get_embedding_dimension() == Vocabulary.from_tokenizer(tokenizer).size == report.target_tokens
    assert opened.similarity_fn_name == "dot"
    assert opened.max_seq_length == encoder.max_seq_length == LENGTH
    settings = ("pooling_strategy", "activation_function")
    assert [getattr(opened[1], name) for name in settings] == [getattr(encoder[1], name) for name in settings]
    assert np.array_equal(sparse(result, TEXTS), sparse(opened, TEXTS))
    assert sparse(opened, ["서울의 학교 " * LENGTH]).any()


def test_source_stays_as_it_is(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    encoder = splade(tmp_path, prompts={"query": "the "})
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    vectors, english = sparse(encoder, ["the school of korea"]), len(encoder.tokenizer)
    state = korean.backend_tokenizer.to_str(), korean.model_max_length
    result, _ = transfer_encoder(encoder, korean, vectors=vectors_for(encoder.tokenizer, korean))
    sparse(result, TEXTS)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert np.array_equal(sparse(encoder, ["the school of korea"]), vectors)
    assert len(encoder.tokenizer) == english == encoder[1].embedding_dimension
    assert (korean.backend_tokenizer.to_str(), korean.model_max_length) == state
    assert result.prompts["query"] == "the "
    with torch.no_grad():
        next(result.parameters()).add_(1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())


ALONE = """
import json, sys
import numpy as np
from sentence_transformers import SparseEncoder
encoder = SparseEncoder(sys.argv[1], device="cpu")
rows = encoder.encode_document(json.loads(sys.argv[2]), show_progress_bar=False).to_dense()
queries = encoder.encode_query(json.loads(sys.argv[2]), show_progress_bar=False).to_dense()
assert "isthmus" not in sys.modules
np.save(sys.argv[3], np.stack([rows, queries]))
"""


def test_sentence_transformers_alone_gives_the_same_vectors(
    tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    encoder = inference_free(tmp_path / "source")
    english = encoder[0].sub_modules["query"][0].tokenizer
    result, _ = transfer_encoder(encoder, korean, vectors=vectors_for(english, korean))
    result.save_pretrained(str(tmp_path / "result"))
    arguments = [sys.executable, "-c", ALONE, str(tmp_path / "result"), json.dumps(TEXTS), str(tmp_path / "alone.npy")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(arguments, check=True, cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    documents, queries = np.load(tmp_path / "alone.npy")
    assert np.array_equal(documents, sparse(result, TEXTS))
    assert np.array_equal(queries, sparse(result, TEXTS, "query"))


def test_bias_modes_reach_the_model(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    encoder = splade(tmp_path)
    vectors = vectors_for(encoder.tokenizer, korean)
    old = encoder.transformers_model.get_output_embeddings().bias
    found = {}
    for bias in ("mixed", "zero", "position"):
        result, report = transfer_encoder(encoder, korean, vectors=vectors, bias=bias)
        found[bias] = result.transformers_model.get_output_embeddings().bias
        if bias != "mixed":
            with pytest.raises(AssertionError, match="not linear"):
                assert_linear(encoder.transformers_model, result.transformers_model, report.token_map)
    assert torch.equal(found["position"][: len(old)], old[: len(found["position"])])
    released, report = transfer_encoder(encoder, korean, vectors=vectors, as_released=True)
    assert torch.equal(released.transformers_model.get_output_embeddings().bias, found["position"])
    assert report.token_map.info["options"]["as_released"]


@pytest.mark.parametrize("method", ["mean", "gaussian", "multivariate-gaussian", "random", "nearest"])
def test_every_method_makes_an_encoder(method: str, tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    encoder = splade(tmp_path, "roberta")
    vectors = vectors_for(encoder.tokenizer, korean) if method == "nearest" else None
    result, report = transfer_encoder(encoder, korean, vectors=vectors, method=method, seed=4)
    again, _ = transfer_encoder(encoder, korean, vectors=vectors, method=method, seed=4)
    assert np.array_equal(sparse(result, TEXTS), sparse(again, TEXTS))
    assert report.method == method
    assert_linear(encoder.transformers_model, result.transformers_model, report.token_map)


def test_lengths_and_inputs_are_those_the_encoder_knows(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    encoder = splade(tmp_path / "source", "roberta")
    # 26 position rows, two of them before the first token: a tokenizer that promises 26 promises too much.
    encoder.max_seq_length = 26
    korean.padding_side = "left"
    korean.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    result, _ = transfer_encoder(encoder, korean, vectors=vectors_for(encoder.tokenizer, korean))
    assert result.max_seq_length == LENGTH
    assert result.tokenizer.padding_side == "right"
    result.save_pretrained(str(tmp_path / "result"))
    opened = SparseEncoder(str(tmp_path / "result"), device="cpu")
    assert opened.max_seq_length == LENGTH
    assert set(opened.preprocess(["집"])) >= {"input_ids", "attention_mask"}
    assert "token_type_ids" not in opened.preprocess(["집"])
    assert sparse(opened, ["집 " * 200]).any()


def test_prompts_and_active_dims_are_kept(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    encoder = splade(tmp_path / "source", prompts={"query": "the house ", "document": ""})
    encoder.max_active_dims, encoder.default_prompt_name = 5, "query"
    result, _ = transfer_encoder(encoder, korean, vectors=vectors_for(encoder.tokenizer, korean))
    result.save_pretrained(str(tmp_path / "result"))
    opened = SparseEncoder(str(tmp_path / "result"), device="cpu")
    assert opened.prompts == encoder.prompts
    assert opened.default_prompt_name == "query"
    assert (sparse(result, TEXTS) > 0).sum(axis=1).max() <= 5


def test_objects_need_neither_disk_nor_network(
    tmp_path: Path, korean: Any, vectors_for: MakeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = splade(tmp_path)
    vectors = vectors_for(encoder.tokenizer, korean)
    transfer_encoder(encoder, korean, vectors=vectors)

    def forbidden(*arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"opened {arguments[:1]}")

    for name in ("builtins.open", "os.open", "os.mkdir", "socket.socket.connect", "socket.getaddrinfo"):
        monkeypatch.setattr(name, forbidden)
    transfer_encoder(encoder, korean, vectors=vectors, sample_texts=TEXTS)


def test_importing_the_package_is_cheap() -> None:
    heavy = {"torch", "transformers", "sentence_transformers"}
    program = f"import sys, isthmus.transferring; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
