"""Encoders that read a target tokenizer alone and write the source's columns: one index with the source encoder's."""

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
from isthmus.errors import EncoderError, InputError
from isthmus.token_map import Fate
from isthmus.transferring import transfer_encoder
from isthmus.transferring.columns import UNWRITTEN
from tests.tiny_encoders import inference_free, splade
from tests.tokenizers import wordpiece
from tests.transferring.linearity import assert_linear
from tests.transferring.test_pipeline import ALONE, ENCODERS, TARGETS, TEXTS, sparse

MakeVectors = Callable[..., BridgeVectors]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ENCODERS)
def test_proof_after_save_and_reload(name: str, target: str, tmp_path: Path, vectors_for: MakeVectors) -> None:
    source, tokenizer = splade(tmp_path / "source", **ENCODERS[name]), TARGETS[target]()
    vectors = vectors_for(source.tokenizer, tokenizer)
    result, report = transfer_encoder(source, tokenizer, vectors=vectors, output="source")
    result.save_pretrained(str(tmp_path / "result"))
    opened = SparseEncoder(str(tmp_path / "result"), device="cpu")
    size = len(source.tokenizer)
    models = source.transformers_model, opened.transformers_model
    assert_linear(*models, report.token_map, columns=np.arange(size))
    # The source's rows, decoder and bias are the source's own, bit by bit.
    for names in zip(*(vocabulary_tensors(model) for model in models), strict=True):
        before, after = (model.state_dict()[key] for model, key in zip(models, names, strict=True))
        assert torch.equal(after[:size], before)
    assert find_head(models[1]).tied == find_head(models[0]).tied
    assert models[1].config.pad_token_id == opened.tokenizer.pad_token_id == source.tokenizer.pad_token_id
    assert getattr(models[1].config, "max_position_embeddings", 0) == models[0].config.max_position_embeddings
    found = sparse(opened, TEXTS)
    assert found.shape[1] == opened.get_embedding_dimension() == report.target_tokens > size
    assert found[:, :size].any(axis=1).all()
    assert not found[:, size:].any()
    assert np.array_equal(sparse(result, TEXTS), found)
    # What is read is what the target tokenizer reads, mixed as where the vocabulary is replaced.
    tokens = [tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in TEXTS]
    ids = [opened.tokenizer(text)["input_ids"] for text in TEXTS]
    assert [opened.tokenizer.convert_ids_to_tokens(text) for text in ids] == tokens


def vocabulary_tensors(model: Any) -> tuple[str, ...]:
    head = find_head(model)
    return (*head.inputs, *head.decoder, *head.bias)


def test_a_perturbed_row_is_noticed(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    made = vectors_for(source.tokenizer, korean)
    result, report = transfer_encoder(source, korean, vectors=made, output="source")
    columns = np.arange(len(source.tokenizer))
    assert_linear(source[0].model, result[0].model, report.token_map, columns=columns)
    with torch.no_grad():
        result[0].model.get_output_embeddings().bias[10] += 0.01
    with pytest.raises(AssertionError, match="not linear"):
        assert_linear(source[0].model, result[0].model, report.token_map, columns=columns)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-r"])
def test_a_copied_word_has_the_same_columns_in_both(
    family: str, target: str, tmp_path: Path, vectors_for: MakeVectors
) -> None:
    source, tokenizer = splade(tmp_path, family), TARGETS[target]()
    made = vectors_for(source.tokenizer, tokenizer)
    result, _ = transfer_encoder(source, tokenizer, vectors=made, output="source")
    texts = ["house", "the school 1 2", "the house the"]
    size = len(source.tokenizer)
    english, other = sparse(source, texts), sparse(result, texts)
    assert english.any(axis=1).all()
    np.testing.assert_allclose(other[:, :size], english, rtol=1e-4, atol=1e-5)
    # A text of the new language scores with English ones by the source's columns.
    korean = sparse(result, ["집"])
    assert (korean[:, :size] @ english.T).any()
    np.testing.assert_allclose(korean @ other.T, korean[:, :size] @ english.T, rtol=1e-4)


def test_rows_are_those_of_a_replaced_vocabulary(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    made = vectors_for(source.tokenizer, korean)
    replaced, _ = transfer_encoder(source, korean, vectors=made)
    result, report = transfer_encoder(source, korean, vectors=made, output="source")
    rows = [encoder[0].model.get_input_embeddings().weight for encoder in (replaced, result)]
    for token, id in korean.get_vocab().items():
        if not token.startswith("[unused"):
            assert torch.equal(rows[0][id], rows[1][result.tokenizer.get_vocab()[token]]), token
    names = report.token_map.target_tokens
    assert list(names) == [result.tokenizer.convert_ids_to_tokens(id) for id in range(len(names))]
    assert report.token_map.rows(Fate.KEPT).tolist() == list(range(len(source.tokenizer)))
    assert report.token_map.explain("집") == transfer_encoder(source, korean, vectors=made)[1].token_map.explain("집")


def test_sentence_transformers_alone_gives_the_same_vectors(
    tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = splade(tmp_path / "source", "roberta")
    made = vectors_for(source.tokenizer, korean)
    result, _ = transfer_encoder(source, korean, vectors=made, output="source")
    result.save_pretrained(str(tmp_path / "result"))
    arguments = [sys.executable, "-c", ALONE, str(tmp_path / "result"), json.dumps(TEXTS), str(tmp_path / "alone.npy")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(arguments, check=True, cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    assert np.array_equal(np.load(tmp_path / "alone.npy")[0], sparse(result, TEXTS))


def test_the_report_says_what_is_read_and_written(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    made = vectors_for(source.tokenizer, korean)
    replaced = transfer_encoder(source, korean, vectors=made)[1].to_dict()
    _, report = transfer_encoder(source, korean, vectors=made, output="source")
    told, size = report.to_dict(), len(source.tokenizer)
    assert (told["source_tokens"], told["kept"], told["output"], told["read"]) == (size, size, "source", len(korean))
    assert told["target_tokens"] == report.token_map.shape[0]
    for name in ("copied", "bridged", "background", "support_mean", "best_similarity", "indistinguishable_pairs"):
        assert told[name] == replaced[name], name
    assert told["copied"] + told["bridged"] + told["background"] == len(korean) == replaced["read"]
    assert str(report).startswith(f"Transferred to {len(korean)} target tokens read and {size} source tokens written")


def test_letters_of_other_scripts_are_made_anew(
    tmp_path: Path, vectors_for: MakeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.tiny_encoders import FAMILIES

    words = ["the", "house", "war", "##s", "д", "."]
    monkeypatch.setitem(FAMILIES, "bert", (lambda: wordpiece(words, max_length=24), FAMILIES["bert"][1]))
    source, russian = splade(tmp_path), wordpiece(["дом", "д", "вода", "house"], strip_accents=False)
    made = vectors_for(source.tokenizer, russian)
    result, report = transfer_encoder(source, russian, vectors=made, output="source")
    letter = source.tokenizer.get_vocab()["д"]
    vocabulary = result.tokenizer.get_vocab()
    assert vocabulary["д"] >= len(source.tokenizer)
    assert vocabulary["house"] == source.tokenizer.get_vocab()["house"]
    assert report.token_map.fate(vocabulary["д"]) is Fate.BRIDGED
    mixed = report.token_map.weights[report.token_map.rows(Fate.BRIDGED)]
    assert mixed.nnz
    assert not mixed[:, letter].nnz


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_silent_columns_are_safe_in_half_precision(
    dtype: torch.dtype, tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = splade(tmp_path, dtype=dtype)
    made = vectors_for(source.tokenizer, korean)
    result, report = transfer_encoder(source, korean, vectors=made, output="source")
    with torch.no_grad():
        logits = result[0].model(**result.tokenizer(TEXTS, return_tensors="pt", padding=True)).logits
    assert torch.isfinite(logits).all()
    assert (logits[..., report.kept :] < UNWRITTEN / 2).all()
    assert (logits[..., : report.kept] > UNWRITTEN / 2).all()


def test_refusals(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path / "source")
    made: dict[str, Any] = {"vectors": vectors_for(source.tokenizer, korean), "output": "source"}
    for wrong, message in (
        ({"fold": 0.9}, "fold must be None where the source vocabulary is written"),
        ({"as_released": True}, "as_released must be False and pool 'clean' or 'kind' with output='source'"),
        ({"bias": "matched", "sample_texts": ["집"] * 20}, "output must be 'target' with bias 'matched'"),
    ):
        with pytest.raises(InputError, match=message):
            transfer_encoder(source, korean, **made, **wrong)
    with pytest.raises(InputError, match="must be one unless keep_source is set, got 2"):
        transfer_encoder(source, [korean, korean], **made)
    with pytest.raises(InputError, match="for an inference-free encoder"):
        transfer_encoder(inference_free(tmp_path / "free", "bert"), korean, **made)
    result, _ = transfer_encoder(source, korean, **made)
    with pytest.raises(EncoderError, match="columns that an earlier transfer silenced; start again"):
        transfer_encoder(result, korean, method="mean")
    silent = splade(tmp_path / "silent")
    silent[0].model.cls.predictions.decoder.bias = None
    silent[0].model.cls.predictions.bias = None
    with pytest.raises(EncoderError, match=r"must have a decoder with a bias.*leave output out"):
        transfer_encoder(silent, korean, **made)
