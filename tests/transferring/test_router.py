"""Inference-free encoders: SPLADE documents, IDF queries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

from isthmus.errors import EncoderError, InputError, TokenizerError
from isthmus.transferring import transfer_encoder
from isthmus.transferring.statics import idf_from_texts
from isthmus.vocabulary import Vocabulary
from tests.tiny_encoders import LENGTH, inference_free, splade
from tests.tokenizers import with_holes, wordpiece
from tests.transferring.linearity import assert_linear

TEXTS = ["집 학교", "집 물", "집", "전쟁"]


def sides(encoder: Any) -> tuple[Any, Any]:
    routes = encoder[0].sub_modules
    return routes["query"][0], routes["document"]


def test_idf_is_recomputed_from_target_texts(tmp_path: Path, korean: Any, vectors_for: Callable[..., Any]) -> None:
    encoder = inference_free(tmp_path / "source")
    query, document = sides(encoder)
    vectors = vectors_for(query.tokenizer, korean)
    result, report = transfer_encoder(encoder, korean, vectors=vectors, idf_texts=iter(TEXTS))
    result.save_pretrained(str(tmp_path / "result"))
    opened = SparseEncoder(str(tmp_path / "result"), device="cpu")
    new_query, new_document = sides(opened)
    ids = {word: korean.convert_tokens_to_ids(word) for word in ("집", "학교", "서울")}
    for word, count in {"집": 3, "학교": 1, "서울": 0}.items():
        assert float(new_query.weight[ids[word]]) == pytest.approx(np.log(1 + (4 - count + 0.5) / (count + 0.5)))
    assert not new_query.weight[korean.all_special_ids].any()
    assert not new_query.weight.requires_grad
    assert new_document[1].activation_function == "log1p_relu"
    assert_linear(document[0].model, new_document[0].model, report.token_map)
    queries = opened.encode_query(["집 서울"], show_progress_bar=False).to_dense()[0]
    assert set(np.flatnonzero(queries)) == {ids["집"], ids["서울"]}
    assert opened.max_seq_length == encoder.max_seq_length


@pytest.mark.parametrize("method", ["sembridge", "gaussian", "random", "mean"])
def test_without_texts_the_weights_go_through_the_map(
    method: str, tmp_path: Path, korean: Any, vectors_for: Callable[..., Any]
) -> None:
    encoder = inference_free(tmp_path)
    query, _ = sides(encoder)
    vectors = vectors_for(query.tokenizer, korean) if method == "sembridge" else None
    before = query.weight.clone()
    result, report = transfer_encoder(encoder, korean, vectors=vectors, method=method)
    assert np.allclose(sides(result)[0].weight.numpy(), report.token_map.apply(before.numpy()))
    assert torch.equal(query.weight, before)


def test_modules_shared_by_routes_stay_shared(tmp_path: Path, korean: Any, vectors_for: Callable[..., Any]) -> None:
    inner = splade(tmp_path)
    modules = list(inner.children())
    router = Router.for_query_document(query_modules=modules, document_modules=modules)
    encoder = SparseEncoder(modules=[router], device="cpu")
    result, _ = transfer_encoder(encoder, korean, vectors=vectors_for(inner.tokenizer, korean))
    routes = result[0].sub_modules
    assert routes["query"][0] is routes["document"][0]
    assert result.similarity_fn_name == "dot"


def test_a_tokenizer_shared_by_both_sides_keeps_to_the_positions(tmp_path: Path, korean: Any) -> None:
    inner = splade(tmp_path, "roberta")
    inner.max_seq_length = 99
    query = SparseStaticEmbedding(inner.tokenizer, weight=torch.ones(len(inner.tokenizer)))
    result, _ = transfer_encoder(_with_query(query, list(inner.children())), korean, method="mean")
    query, document = sides(result)
    assert query.tokenizer is document[0].tokenizer
    assert document[0].tokenizer.model_max_length == LENGTH
    assert result.encode_document(["집 " * 99], show_progress_bar=False).to_dense().any()


def test_refusals(tmp_path: Path, korean: Any, vectors_for: Callable[..., Any]) -> None:
    encoder = inference_free(tmp_path / "free")
    query, document = sides(encoder)
    with pytest.raises(TokenizerError, match=r"no gaps in its ids .* got 2 missing ids; fill them"):
        transfer_encoder(encoder, with_holes(), method="mean")
    with pytest.raises(InputError, match="idf_texts must hold at least one text"):
        transfer_encoder(encoder, korean, method="mean", idf_texts=[])
    with pytest.raises(InputError, match="got one string"):
        transfer_encoder(encoder, korean, method="mean", idf_texts="집")
    with pytest.raises(InputError, match="idf_texts must be None for an encoder without a static query side"):
        transfer_encoder(splade(tmp_path / "splade"), korean, method="mean", idf_texts=TEXTS)
    short = SparseStaticEmbedding(query.tokenizer, weight=torch.ones(5))
    with pytest.raises(EncoderError, match="one query weight per token, got 5 weights"):
        transfer_encoder(_with_query(short, document), korean, method="mean")
    other = SparseStaticEmbedding(wordpiece(["other"]))
    with pytest.raises(EncoderError, match="one tokenizer for queries and documents"):
        transfer_encoder(_with_query(other, document), korean, method="mean")


def test_idf_of_a_vocabulary() -> None:
    tokenizer = wordpiece(["a", "b"])
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    weights = idf_from_texts(tokenizer, vocabulary, ["a a a", "a b"])
    a, b = tokenizer.convert_tokens_to_ids(["a", "b"])
    assert weights.shape == (vocabulary.size,)
    assert weights[[a, b]] == pytest.approx([np.log(1 + 0.5 / 2.5), np.log(1 + 1.5 / 1.5)])


def _with_query(query: Any, document: Any) -> SparseEncoder:
    return SparseEncoder(modules=[Router.for_query_document([query], list(document))], device="cpu")
