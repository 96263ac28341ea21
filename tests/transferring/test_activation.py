"""Matched biases: mixed columns are active as often as what they are made of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers.processors import TemplateProcessing

from isthmus.encoders.heads import find_head
from isthmus.errors import EncoderError, InputError
from isthmus.token_map import Fate
from isthmus.transferring import transfer_encoder
from isthmus.transferring.columns import UNWRITTEN
from isthmus.transferring.rows import MAX_TEXTS, threshold_shift
from isthmus.vocabulary.join import join_tokenizers
from tests.tiny_encoders import FAMILIES, inference_free, masked_lm, save_masked_lm, splade

MakeVectors = Callable[..., Any]
WORDS = ("집", "학교", "전쟁", "물", "수도", "한국", "서울", "school", "the", "house", ".", "1")
TEXTS = [" ".join(np.random.default_rng(i).choice(WORDS, 1 + i % 9)) for i in range(40)]


def logits(model: Any, tokenizer: Any, texts: list[str], decoder: Any | None = None) -> np.ndarray:
    """Largest logits of every text alone, without padding; by another decoder over the same hidden states if given."""
    own = model.get_output_embeddings()
    rows = []
    for text in texts:
        seen: list[torch.Tensor] = []
        hook = own.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        with torch.no_grad():
            model(**tokenizer(text, return_tensors="pt"))
            rows.append((decoder or own)(seen[0])[0].amax(dim=0).numpy())
        hook.remove()
    return np.stack(rows)


def bias_of(encoder: Any) -> np.ndarray:
    found: np.ndarray = encoder.transformers_model.get_output_embeddings().bias.detach().numpy().copy()
    return found


def test_a_shift_leaves_the_wanted_share_above_zero() -> None:
    maxima = np.array([[3.0, -1.0], [1.0, -2.0], [-1.0, -3.0], [-5.0, -4.0]], dtype=np.float32)
    expected = {0.0: [-3.01, 0.0], 0.25: [-2.0, 1.5], 0.5: [0.0, 2.5], 1.0: [5.01, 4.01]}
    for rate, shifts in expected.items():
        shift = threshold_shift(maxima, np.full(2, rate))
        np.testing.assert_allclose(shift, shifts, rtol=1e-6)
        assert ((maxima + shift > 0).mean(axis=0) == rate).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_columns_are_active_as_often_as_their_parts(
    family: str, tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = splade(tmp_path, family)
    before = source.transformers_model.get_output_embeddings()
    vectors = vectors_for(source.tokenizer, korean)
    plain, _ = transfer_encoder(source, korean, vectors=vectors, alpha=1.5)
    result, report = transfer_encoder(source, korean, vectors=vectors, alpha=1.5, bias="matched", sample_texts=TEXTS)
    mixed = report.token_map.rows(Fate.BRIDGED)
    assert len(mixed) >= 7
    others = np.setdiff1d(np.arange(report.token_map.shape[0]), mixed)
    np.testing.assert_array_equal(bias_of(result)[others], bias_of(plain)[others])
    rates = (logits(result.transformers_model, korean, TEXTS, before) > 0).mean(axis=0)
    wanted = np.rint(report.token_map.weights[mixed] @ rates[: report.token_map.shape[1]] * len(TEXTS))
    found = (logits(result.transformers_model, korean, TEXTS) > 0).sum(axis=0)[mixed]
    assert np.abs(found - wanted).max() <= 1
    assert (found == wanted).mean() >= 0.8
    assert not np.array_equal(bias_of(result)[mixed], bias_of(plain)[mixed])
    assert report.settings["bias"] == "matched"
    names = find_head(result.transformers_model).bias
    parameters = dict(result.transformers_model.named_parameters(remove_duplicate=False))
    for name in names:
        np.testing.assert_array_equal(parameters[name].detach().numpy(), bias_of(result))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_half_precision_and_untied_decoders_are_matched(
    dtype: torch.dtype, tied: bool, tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = splade(tmp_path, "roberta", dtype=dtype, tied=tied)
    options: dict[str, Any] = {"vectors": vectors_for(source.tokenizer, korean), "alpha": 1.5, "sample_texts": TEXTS}
    plain, _ = transfer_encoder(source, korean, **options)
    result, report = transfer_encoder(source, korean, bias="matched", **options)
    biases = [encoder.transformers_model.get_output_embeddings().bias.detach() for encoder in (plain, result)]
    assert biases[1].dtype == dtype
    changed = np.flatnonzero((biases[0] != biases[1]).numpy())
    assert len(changed)
    assert set(changed) <= set(report.token_map.rows(Fate.BRIDGED))
    sides = [dict(encoder.transformers_model.named_parameters(remove_duplicate=False)) for encoder in (plain, result)]
    for name in find_head(result.transformers_model).bias:
        np.testing.assert_array_equal(np.flatnonzero((sides[0][name] != sides[1][name]).numpy()), changed)


def test_embeddings_with_spare_rows_are_matched(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    vectors = vectors_for(source.tokenizer, korean)
    options: dict[str, Any] = {"vectors": vectors, "alpha": 1.5, "bias": "matched", "norm": "restored"}
    before = bias_of(transfer_encoder(source, korean, sample_texts=TEXTS, **options)[0])
    source[0].model.resize_token_embeddings(len(source.tokenizer) + 9, mean_resizing=False)
    after = bias_of(transfer_encoder(source, korean, sample_texts=TEXTS, **options)[0])
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_texts_without_a_token_count_for_nothing(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    bare = copy.deepcopy(korean)
    bare.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    options: dict[str, Any] = {"vectors": vectors_for(source.tokenizer, bare), "bias": "matched", "alpha": 1.5}
    first, second = (
        bias_of(transfer_encoder(source, bare, sample_texts=texts, **options)[0])
        for texts in (TEXTS, ["", *TEXTS, " "])
    )
    np.testing.assert_array_equal(first, second)


def test_document_sides_of_inference_free_encoders_are_matched(
    tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = inference_free(tmp_path)
    vectors = vectors_for(source[0].sub_modules["query"][0].tokenizer, korean)
    options: dict[str, Any] = {"vectors": vectors, "sample_texts": TEXTS}
    plain, _ = transfer_encoder(source, korean, **options)
    result, report = transfer_encoder(source, korean, bias="matched", **options)
    biases = [encoder[0].sub_modules["document"][0].model.get_output_embeddings().bias for encoder in (plain, result)]
    changed = np.flatnonzero((biases[0] != biases[1]).numpy())
    assert len(changed)
    assert set(changed) <= set(report.token_map.rows(Fate.BRIDGED))


def test_columns_that_are_not_written_stay_so(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    joined = join_tokenizers(source.tokenizer, [korean]).tokenizer
    options: dict[str, Any] = {"keep_source": True, "output": "target", "fold": 1.0, "sample_texts": TEXTS}
    options["vectors"] = vectors_for(source.tokenizer, joined)
    plain, result = (
        bias_of(transfer_encoder(source, korean, bias=bias, **options)[0]) for bias in ("mixed", "matched")
    )
    silent = plain <= UNWRITTEN / 2
    assert silent.any()
    np.testing.assert_array_equal(result[silent], plain[silent])
    assert not np.array_equal(result, plain)


def test_many_texts_are_drawn_by_the_seed(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    many = [" ".join(np.random.default_rng(i).choice(WORDS, 3)) for i in range(MAX_TEXTS + 40)]
    options: dict[str, Any] = {"vectors": vectors_for(source.tokenizer, korean), "bias": "matched", "alpha": 1.5}
    first, again, other = (
        bias_of(transfer_encoder(source, korean, sample_texts=many, seed=seed, **options)[0]) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": "matched"}, "sample_texts must be 10 or more with bias 'matched', got None"),
        ({"bias": "matched", "sample_texts": TEXTS[:9]}, "sample_texts must be 10 or more with bias 'matched', got 9"),
        ({"bias": "matched", "sample_texts": TEXTS, "seed": -1}, "seed must be 0 or more, got -1"),
        (
            {"bias": "matched", "sample_texts": TEXTS, "method": "mean", "vectors": None},
            "bias 'matched' must come with a method that mixes rows, got 'mean', which mixed none",
        ),
        (
            {"bias": "matched", "sample_texts": TEXTS, "keep_source": True},
            "output must be 'target' or 'both' with bias 'matched' and keep_source, got 'source'",
        ),
    ],
)
def test_what_cannot_be_matched_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = splade(tmp_path)
    with pytest.raises(InputError, match=message):
        transfer_encoder(source, korean, **({"vectors": vectors_for(source.tokenizer, korean)} | options))


def test_both_transformers_of_a_router_are_matched(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    sides = {task: splade(tmp_path / task, seed=seed) for seed, task in enumerate(("query", "document"))}
    router = Router.for_query_document(
        query_modules=list(sides["query"].children()), document_modules=list(sides["document"].children())
    )
    source = SparseEncoder(modules=[router], device="cpu", similarity_fn_name="dot")
    options: dict[str, Any] = {"vectors": vectors_for(sides["query"].tokenizer, korean), "alpha": 1.5}
    plain, _ = transfer_encoder(source, korean, **options)
    result, _ = transfer_encoder(source, korean, bias="matched", sample_texts=TEXTS, **options)
    for task in sides:
        biases = [encoder[0].sub_modules[task][0].model.get_output_embeddings().bias for encoder in (plain, result)]
        assert not torch.equal(*biases)


def test_an_inference_free_encoder_may_keep_its_source(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = inference_free(tmp_path)
    tokenizer = source[0].sub_modules["query"][0].tokenizer
    vectors = vectors_for(tokenizer, join_tokenizers(tokenizer, [korean], ["target"]).tokenizer)
    options: dict[str, Any] = {"vectors": vectors, "keep_source": True, "sample_texts": TEXTS}
    _, report = transfer_encoder(source, korean, bias="matched", **options)
    assert (report.settings["bias"], report.settings["output"]) == ("matched", "both")


def test_other_heads_are_refused(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path / "without", "modernbert", decoder_bias=False)
    vectors = vectors_for(source.tokenizer, korean)
    with pytest.raises(EncoderError, match="must have a decoder with a bias for bias 'matched'"):
        transfer_encoder(source, korean, vectors=vectors, bias="matched", sample_texts=TEXTS)
    source = splade(tmp_path / "sum", pooling="sum")
    vectors = vectors_for(source.tokenizer, korean)
    with pytest.raises(EncoderError, match="must have SPLADE max pooling over the logits of a linear decoder"):
        transfer_encoder(source, korean, vectors=vectors, bias="matched", sample_texts=TEXTS)
    source = SentenceTransformer(modules=[Transformer(str(save_masked_lm(tmp_path / "dense", *masked_lm("bert")))),
                                          Pooling(64)], device="cpu")  # fmt: skip
    vectors = vectors_for(source.tokenizer, korean)
    with pytest.raises(InputError, match="bias must not be 'matched' for a dense encoder"):
        transfer_encoder(source, korean, vectors=vectors, bias="matched", sample_texts=TEXTS)
