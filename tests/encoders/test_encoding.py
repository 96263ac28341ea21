"""The fast path equals the encoder's own path, and both keep the promises of encode_texts."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder
from tokenizers.processors import TemplateProcessing

from isthmus.encoders.encoding import encode_texts
from isthmus.errors import InputError
from isthmus.modules.fuse import fused_view
from tests.tiny_encoders import FAMILIES, inference_free, splade

TEXTS = [
    "house",
    "water war .",
    "",
    "the capital of the school of the house of war 1 2 ?",
    "houses",
    "zzz",
    "home",
    "12",
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> SparseEncoder:
    return splade(tmp_path_factory.mktemp("bert"))


def reference(encoder: Any, texts: list[str], role: str = "document", **options: Any) -> np.ndarray:
    encode = encoder.encode_query if role == "query" else encoder.encode_document
    return encode(texts, convert_to_sparse_tensor=False, **options).float().numpy()


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
@pytest.mark.parametrize("family", FAMILIES)
def test_both_paths_equal_the_encoder(tmp_path: Path, family: str, activation: str) -> None:
    encoder = splade(tmp_path, family, activation=activation)
    assert fused_view(encoder) is not None
    expected = reference(encoder, TEXTS)
    assert (expected > 0).any()
    assert (expected == 0).any()
    for stock in (False, True):
        found = encode_texts(encoder, TEXTS, role="document", batch_size=3, stock_head=stock)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.toarray(), expected, atol=1e-5)


@pytest.mark.parametrize("stock", [False, True])
def test_prompts_of_both_roles_are_used(tmp_path: Path, stock: bool) -> None:
    encoder = splade(tmp_path, prompts={"query": "war ", "passage": "home "})
    for role in ("query", "document"):
        found = encode_texts(encoder, ["water"], role=role, stock_head=stock).toarray()
        prompt = {"query": "war ", "document": "home "}[role]
        np.testing.assert_allclose(found, reference(encoder, ["water"], role, prompt=prompt), atol=1e-5)
    assert not np.allclose(reference(encoder, ["water"], "query"), reference(encoder, ["water"]))


@pytest.mark.parametrize("stock", [False, True])
def test_default_prompt(tmp_path: Path, stock: bool) -> None:
    encoder = splade(tmp_path, prompts={"other": "war "})
    encoder.default_prompt_name = "other"
    found = encode_texts(encoder, ["water"], role="query", stock_head=stock).toarray()
    np.testing.assert_allclose(found, reference(encoder, ["water"], "query"), atol=1e-5)


@pytest.mark.parametrize("stock", [False, True])
def test_max_active_dims_keeps_the_largest(bert: SparseEncoder, stock: bool) -> None:
    whole = encode_texts(bert, TEXTS, role="document").toarray()
    cut = encode_texts(bert, TEXTS, role="document", max_active_dims=2, stock_head=stock)
    assert np.diff(cut.indptr).max() == 2
    for row, kept in zip(whole, cut.toarray(), strict=True):
        np.testing.assert_allclose(np.sort(kept)[-2:], np.sort(row)[-2:], atol=1e-5)


def test_setting_of_the_encoder_is_the_default_limit(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    encoder.max_active_dims = 3
    assert np.diff(encode_texts(encoder, TEXTS, role="document").indptr).max() == 3


def test_route_of_each_role(tmp_path: Path) -> None:
    """An inference-free encoder takes static weights for queries, the model for documents."""
    encoder = inference_free(tmp_path)
    for role, stock in itertools.product(("query", "document"), (False, True)):
        found = encode_texts(encoder, ["water war"], role=role, stock_head=stock).toarray()
        np.testing.assert_allclose(found, reference(encoder, ["water war"], role), atol=1e-6)


def test_sum_pooling_takes_the_stock_path(tmp_path: Path) -> None:
    encoder = splade(tmp_path, pooling="sum")
    assert fused_view(encoder) is None
    np.testing.assert_allclose(
        encode_texts(encoder, TEXTS, role="query").toarray(), reference(encoder, TEXTS), atol=1e-5
    )


@pytest.mark.parametrize("stock", [False, True])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_computed_in_float32(tmp_path: Path, half: torch.dtype, stock: bool) -> None:
    encoder = splade(tmp_path, dtype=half)
    rounded = copy.deepcopy(encoder).float()
    found = encode_texts(encoder, TEXTS, role="document", stock_head=stock).toarray()
    np.testing.assert_allclose(found, reference(rounded, TEXTS), atol=1e-5)
    assert {parameter.dtype for parameter in encoder.parameters()} == {half}


@pytest.mark.parametrize("stock", [False, True])
def test_bfloat16_is_close(bert: SparseEncoder, stock: bool) -> None:
    found = encode_texts(bert, TEXTS, role="document", dtype="bfloat16", stock_head=stock)
    assert found.dtype == np.float32
    assert np.abs(found.toarray() - reference(bert, TEXTS)).max() < 0.1


def test_text_without_tokens_is_an_empty_row(tmp_path: Path) -> None:
    """A tokenizer that adds no special tokens leaves nothing of an empty text."""
    encoder = splade(tmp_path)
    encoder.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    for texts in (["", "water"], ["", ""]):
        found = encode_texts(encoder, texts, role="document")
        assert found.shape == (2, len(encoder.tokenizer))
        assert found[0].nnz == 0
        assert (found[1].nnz > 0) == (texts[1] != "")


@pytest.mark.parametrize("stock", [False, True])
def test_no_texts(bert: SparseEncoder, stock: bool) -> None:
    found = encode_texts(bert, [], role="query", stock_head=stock)
    assert found.shape[0] == 0
    assert found.nnz == 0


def test_training_mode_is_left_as_it_was(bert: SparseEncoder) -> None:
    bert.train()
    try:
        first = encode_texts(bert, TEXTS, role="query").toarray()
        assert bert.training
        np.testing.assert_array_equal(first, encode_texts(bert, TEXTS, role="query").toarray())
    finally:
        bert.eval()


def test_columns_ascend(bert: SparseEncoder) -> None:
    for stock in (False, True):
        assert encode_texts(bert, TEXTS, role="query", stock_head=stock).has_sorted_indices


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"role": "passage"}, "role"),
        ({"dtype": "float16"}, "dtype"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_active_dims": 0}, "max_active_dims"),
        ({"texts": "water"}, "texts"),
        ({"texts": [None]}, "texts"),
    ],
)
def test_refusals(bert: SparseEncoder, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=f"^{named} must"):
        encode_texts(bert, **{"texts": ["water"], "role": "query", **options})
