"""Encoders that keep the source vocabulary: what they read, what they write, what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder

from isthmus.bridge import BridgeVectors
from isthmus.encoders.heads import find_head
from isthmus.errors import EncoderError, InputError, TokenizerError, UnknownNameError
from isthmus.token_map import Fate
from isthmus.transferring import transfer, transfer_encoder
from isthmus.transferring.columns import UNWRITTEN
from isthmus.vocabulary.join import join_tokenizers
from tests.tiny_encoders import FAMILIES, inference_free, splade
from tests.tokenizers import wordpiece
from tests.transferring.linearity import assert_linear

MakeVectors = Callable[..., BridgeVectors]
RUSSIAN = ("дом", "школа", "война", "вода", "##а", "##ы", "house", ".", "1")
ENGLISH_TEXTS = ["the house of war .", "Water School, 1 2?", "wars"]
KOREAN_TEXTS = ["서울의 학교는", "집 물 전쟁 house"]


def russian() -> Any:
    return wordpiece(RUSSIAN, pad_id=3, strip_accents=False)


def vectors(encoder: Any, tokenizers: list[Any], make: MakeVectors) -> BridgeVectors:
    joined = join_tokenizers(encoder.tokenizer, tokenizers).tokenizer
    made = make(encoder.tokenizer, joined)
    # Kept tokens mean what they mean.
    target = made.target.copy()
    target[: len(made.source)] = made.source
    return BridgeVectors(made.source, target, "random")


def unfolded(output: str) -> dict[str, float]:
    return {} if output == "source" else {"fold": 1.0}


def encoded(encoder: Any, texts: list[str]) -> np.ndarray:
    result: np.ndarray = encoder.encode_document(texts, convert_to_tensor=True).to_dense().numpy()
    return result


@pytest.mark.parametrize("output", ["source", "target", "both"])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("tied", [True, False])
def test_what_is_written(
    family: str, tied: bool, output: Any, tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = splade(tmp_path / "source", family, tied=tied)
    made = vectors(source, [korean], vectors_for)
    result, report = transfer_encoder(source, korean, vectors=made, keep_source=True, output=output, **unfolded(output))
    result.save_pretrained(str(tmp_path / "result"))
    opened = SparseEncoder(str(tmp_path / "result"), device="cpu")

    size = len(source.tokenizer)
    before, after = encoded(source, ENGLISH_TEXTS), encoded(opened, ENGLISH_TEXTS)
    known = join_tokenizers(source.tokenizer, [korean]).known
    written = {"source": np.arange(len(known)) < size, "target": known, "both": known | True}[output]
    assert after.shape[1] == report.target_tokens == len(opened.tokenizer) == len(known) > size
    np.testing.assert_allclose(after[:, :size], before * written[:size], rtol=1e-5, atol=1e-6)
    assert before.any()
    new = encoded(opened, KOREAN_TEXTS)
    assert not new[:, ~written].any()
    assert new[:, written].any()
    # What is written has the same weight whatever else is written.
    whole, _ = transfer_encoder(source, korean, vectors=made, keep_source=True, output="both", fold=1.0)
    np.testing.assert_allclose(new, encoded(whole, KOREAN_TEXTS) * written, rtol=1e-5, atol=1e-6)


def test_logits_are_linear_after_save_and_reload(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path / "source", dtype=torch.float16)
    made = vectors(source, [korean, russian()], vectors_for)
    result, report = transfer_encoder(
        source, [korean, russian()], vectors=made, keep_source=True, output="both", fold=1
    )
    result.save_pretrained(str(tmp_path / "result"))
    opened = SparseEncoder(str(tmp_path / "result"), device="cpu")
    assert_linear(source[0].model, opened[0].model, report.token_map)
    kept = report.token_map.rows(Fate.KEPT)
    assert kept.tolist() == list(range(len(source.tokenizer)))
    rows = [encoder[0].model.get_input_embeddings().weight for encoder in (source, opened)]
    assert torch.equal(rows[1][: len(rows[0])], rows[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_silent_columns_are_safe_in_half_precision(
    dtype: torch.dtype, tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = splade(tmp_path, dtype=dtype)
    made = vectors(source, [korean], vectors_for)
    result, report = transfer_encoder(source, korean, vectors=made, keep_source=True, output="source")
    bias = result[0].model.get_output_embeddings().bias[report.kept :]
    assert torch.isfinite(bias).all()
    assert (bias < UNWRITTEN * 0.99).all()
    with torch.no_grad():
        logits = result[0].model(**result.tokenizer(KOREAN_TEXTS, return_tensors="pt", padding=True)).logits
    assert torch.isfinite(logits).all()
    assert (logits[..., report.kept :] < UNWRITTEN / 2).all()


def test_source_and_tokenizers_stay_as_they_are(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    texts = [tokenizer.backend_tokenizer.to_str() for tokenizer in (source.tokenizer, korean)]
    made = vectors(source, [korean], vectors_for)
    transfer_encoder(source, korean, vectors=made, keep_source=True, output="source")
    assert all(torch.equal(before[name], tensor) for name, tensor in source.state_dict().items())
    assert texts == [tokenizer.backend_tokenizer.to_str() for tokenizer in (source.tokenizer, korean)]


def test_a_dense_encoder_reads_more(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    tokenizer, model_of = FAMILIES["bert"][0](), FAMILIES["bert"][1]
    model_of(tokenizer).bert.save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    source = SentenceTransformer(str(tmp_path / "source"), device="cpu")
    made = vectors(source, [korean], vectors_for)
    result, report = transfer_encoder(source, korean, vectors=made, keep_source=True)
    assert isinstance(result, SentenceTransformer)
    result.save_pretrained(str(tmp_path / "result"))
    opened = SentenceTransformer(str(tmp_path / "result"), device="cpu")
    np.testing.assert_allclose(opened.encode(ENGLISH_TEXTS), source.encode(ENGLISH_TEXTS), rtol=1e-5, atol=1e-6)
    korean_vectors = opened.encode(["학교", "집"])
    assert np.abs(korean_vectors[0] - korean_vectors[1]).max() > 1e-3
    assert report.to_dict()["output"] is None
    with pytest.raises(InputError, match="must be None for a dense encoder"):
        transfer_encoder(source, korean, vectors=made, keep_source=True, output="both")


@pytest.mark.parametrize("output", ["target", "both"])
def test_folded_columns_are_written_as_their_representative(
    output: Any, tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = splade(tmp_path)
    made = vectors(source, [korean], vectors_for)
    # Two Korean words that the bridge cannot tell apart, and one that it cannot tell from an English one.
    ids = join_tokenizers(source.tokenizer, [korean]).tokenizer.get_vocab()
    made.target[ids["물"]] = made.target[ids["집"]]
    made.target[ids["전쟁"]] = made.source[ids["war"]]
    options: dict[str, Any] = {"vectors": made, "keep_source": True, "output": output, "alpha": 4.0, "csls": False}
    plain, _ = transfer_encoder(source, korean, fold=1.0, **options)
    result, report = transfer_encoder(source, korean, fold=0.999, **options)
    aliases = report.token_map.info["written_as"]
    expected = {"물": "집", "전쟁": "war"} if output == "both" else {"물": "집"}
    assert {token: aliases.get(token) for token in expected} == expected
    assert report.to_dict()["folded"] == len(aliases)
    before, after = encoded(plain, KOREAN_TEXTS), encoded(result, KOREAN_TEXTS)
    folded = [ids[token] for token in aliases]
    assert before[:, folded].any()
    assert not after[:, folded].any()
    np.testing.assert_allclose(np.delete(after, folded, 1), np.delete(before, folded, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(before[:, ids["물"]], before[:, ids["집"]], rtol=1e-4)


def test_what_folding_refuses(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    made = vectors(source, [korean], vectors_for)
    with pytest.raises(InputError, match=r"fold must be in 0\.\.1, got 1\.5"):
        transfer_encoder(source, korean, vectors=made, keep_source=True, output="both", fold=1.5)
    with pytest.raises(InputError, match="fold must be None where the source vocabulary is written"):
        transfer_encoder(source, korean, vectors=made, keep_source=True, fold=0.9)
    # A replaced vocabulary is folded on demand alone.
    made = vectors_for(source.tokenizer, korean)
    _, report = transfer_encoder(source, korean, vectors=made)
    assert report.to_dict()["folded"] == 0


def test_letters_of_other_scripts_are_handed_over(
    tmp_path: Path, vectors_for: MakeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["the", "house", "war", "##s", "д", "α", "."]
    monkeypatch.setitem(FAMILIES, "bert", (lambda: wordpiece(words, max_length=24), FAMILIES["bert"][1]))
    source = splade(tmp_path)
    made = vectors(source, [russian()], vectors_for)
    result, report = transfer_encoder(source, russian(), vectors=made, keep_source=True)
    vocabulary = result.tokenizer.get_vocab()
    token_map = report.token_map
    assert token_map.fate(vocabulary["д"]) is Fate.BRIDGED
    assert token_map.fate(vocabulary["α"]) is token_map.fate(vocabulary["house"]) is Fate.KEPT
    # Nothing is made of letters the English encoder hardly knows.
    mixed = token_map.weights[token_map.rows(Fate.BRIDGED)]
    assert not mixed[:, [vocabulary["д"], vocabulary["α"]]].nnz
    assert mixed[:, vocabulary["house"]].nnz
    bias = result[0].model.get_output_embeddings().bias
    assert bias[vocabulary["д"]] == UNWRITTEN
    assert bias[vocabulary["α"]] > UNWRITTEN
    assert "1 made anew" in str(report)


def test_the_report_says_what_was_kept(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    made = vectors(source, [korean], vectors_for)
    _, report = transfer_encoder(source, korean, vectors=made, keep_source=True, output="source")
    told = report.to_dict()
    size = len(source.tokenizer)
    assert (told["source_tokens"], told["kept"], told["output"]) == (size, size, "source")
    assert told["copied"] + told["bridged"] + told["background"] == told["target_tokens"] - size
    assert str(report).startswith(f"Transferred to {size} source tokens kept and {told['target_tokens'] - size} added")
    assert "copied      " in str(report)
    assert sum(report.counts.values()) == report.target_tokens


def test_refusals(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path / "source")
    made = vectors_for(source.tokenizer, korean)
    with pytest.raises(InputError, match="output must be 'target' or 'source' unless keep_source is set, got 'both'"):
        transfer_encoder(source, korean, vectors=made, output="both")
    with pytest.raises(UnknownNameError, match="output"):
        transfer_encoder(source, korean, vectors=made, keep_source=True, output="sauce")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must be one unless keep_source is set, got 2"):
        transfer_encoder(source, [korean, russian()], vectors=made)
    german = wordpiece(["haus", "straße", "##en"])
    with pytest.raises(TokenizerError, match="--output source without"):
        transfer_encoder(splade(tmp_path / "roberta", "roberta"), german, vectors=made, keep_source=True)
    silent = splade(tmp_path / "silent")
    silent[0].model.cls.predictions.decoder.bias = None
    silent[0].model.cls.predictions.bias = None
    assert not find_head(silent[0].model).bias
    with pytest.raises(EncoderError, match="must have a decoder with a bias"):
        transfer_encoder(silent, korean, vectors=made, keep_source=True, output="source")


@pytest.mark.parametrize("output", [None, "both", "target"])
def test_an_inference_free_query_finds_documents_in_the_new_language(
    output: Any, tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = inference_free(tmp_path, "distilbert")
    made = vectors(source, [korean], vectors_for)
    result, report = transfer_encoder(source, korean, vectors=made, keep_source=True, output=output)
    assert (report.to_dict()["output"], report.to_dict()["folded"]) == (output or "both", 0)
    before = source.encode_query(ENGLISH_TEXTS, convert_to_tensor=True).to_dense()
    after = result.encode_query(ENGLISH_TEXTS, convert_to_tensor=True).to_dense()
    torch.testing.assert_close(after[:, : report.kept], before)
    query = result.encode_query(["전쟁 물"], convert_to_tensor=True).to_dense()[0]
    ids = [result.tokenizer.get_vocab()[token] for token in ("전쟁", "물")]
    assert query.nonzero().flatten().tolist() == sorted(ids)
    bias = result[0].sub_modules["document"][0].model.get_output_embeddings().bias
    assert (bias[ids] > UNWRITTEN / 2).all()
    for wrong in ({"output": "source"}, {"output": "both", "fold": 0.9}):
        with pytest.raises(InputError, match="for an inference-free encoder"):
            transfer_encoder(source, korean, vectors=made, keep_source=True, **wrong)


def test_texts_of_the_new_language_do_not_weigh_english_tokens(
    tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = inference_free(tmp_path, "distilbert")
    made = vectors(source, [korean], vectors_for)
    texts = ["서울의 학교", "한국의 수도 서울", "집"]
    result, report = transfer_encoder(source, korean, vectors=made, keep_source=True, idf_texts=texts)
    weights = [encoder[0].sub_modules["query"][0].weight for encoder in (source, result)]
    torch.testing.assert_close(weights[1][: report.kept], weights[0])
    vocabulary = result.tokenizer.get_vocab()
    assert weights[1][vocabulary["서울"]] < weights[1][vocabulary["집"]]


@pytest.mark.parametrize("bias", ["zero", "position", "mixed"])
def test_kept_tokens_keep_their_bias(bias: Any, tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    made = vectors(source, [korean], vectors_for)
    result, report = transfer_encoder(source, korean, vectors=made, keep_source=True, bias=bias)
    before, after = (encoder[0].model.get_output_embeddings().bias for encoder in (source, result))
    assert torch.equal(after[: report.kept], before)


def test_silenced_columns_are_not_passed_on(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    made = vectors(source, [korean], vectors_for)
    first, _ = transfer_encoder(source, korean, vectors=made, keep_source=True)
    for options in ({}, {"keep_source": True}):
        with pytest.raises(EncoderError, match="columns that an earlier transfer silenced; start again"):
            transfer_encoder(first, russian(), method="mean", **options)
    whole, _ = transfer_encoder(source, korean, vectors=made, keep_source=True, output="both", fold=1)
    again, report = transfer_encoder(whole, russian(), method="mean", keep_source=True, output="both", fold=1)
    assert report.kept == len(whole.tokenizer)
    np.testing.assert_allclose(
        encoded(again, KOREAN_TEXTS)[:, : report.kept], encoded(whole, KOREAN_TEXTS), rtol=1e-5, atol=1e-6
    )


def test_the_released_code_keeps_nothing(tmp_path: Path, korean: Any) -> None:
    source = splade(tmp_path)
    for options in ({"as_released": True}, {"pool": "all"}):
        with pytest.raises(InputError, match="the released code replaces the vocabulary"):
            transfer_encoder(source, korean, method="mean", keep_source=True, **options)
    with pytest.raises(InputError, match="at least one, got none"):
        transfer_encoder(source, [], method="mean", keep_source=True)
    (tmp_path / "korean").mkdir()
    korean.save_pretrained(tmp_path / "korean")
    with pytest.raises(InputError, match="twice"):
        transfer(tmp_path, target_tokenizer=[tmp_path / "korean"] * 2, method="mean", keep_source=True)


def test_a_bridge_that_does_not_know_the_script_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(60)]
    syllables = [chr(0xAC00 + 28 * i) for i in range(60)]
    target = wordpiece(syllables, lowercase=False)
    monkeypatch.setitem(FAMILIES, "bert", (lambda: wordpiece(words, max_length=24), FAMILIES["bert"][1]))
    source = splade(tmp_path)
    size = join_tokenizers(source.tokenizer, [target]).tokenizer.vocab_size
    noise = np.random.default_rng(1).standard_normal((2, size, 1024)).astype(np.float32)
    # Words in pairs that mean nearly the same; syllables that mean what a word means, or nothing.
    words_of = noise[0, np.arange(len(source.tokenizer)) // 2] + 0.3 * noise[1, : len(source.tokenizer)]
    meant = words_of[np.arange(size) % len(words_of)] + 0.3 * noise[1]
    for known, rows in ((True, meant), (False, noise[1])):
        rows = np.concatenate([words_of, rows[len(words_of) :]])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        made = BridgeVectors(rows[: len(words_of)], rows, "pairs")
        _, report = transfer_encoder(source, target, vectors=made, keep_source=True)
        assert any("hardly knows the script Hangul" in warning for warning in report.warnings) != known
