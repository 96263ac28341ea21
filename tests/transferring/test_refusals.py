"""What a transfer refuses, and that each refusal says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

from isthmus.bridge import BridgeVectors
from isthmus.errors import BridgeError, EncoderError, InputError, NotFoundError, TokenizerError, UnknownNameError
from isthmus.transferring import transfer, transfer_encoder
from tests.tiny_encoders import WORDS, masked_lm, save_masked_lm, splade
from tests.tokenizers import byte_fallback_bpe, with_added, wordpiece

MakeVectors = Callable[..., BridgeVectors]


@pytest.fixture
def encoder(tmp_path: Path) -> SparseEncoder:
    return splade(tmp_path / "source")


def test_no_mlm_head(tmp_path: Path, korean: Any) -> None:
    folder = save_masked_lm(tmp_path / "model", *masked_lm("bert"))
    transformer = Transformer(str(folder), transformer_task="feature-extraction")
    with pytest.raises(EncoderError, match="SparseEncoder or SentenceTransformer, got Transformer; load a SPLADE"):
        transfer_encoder(transformer, korean, method="mean")
    headless = SparseEncoder(modules=[transformer, Pooling(16), SparseAutoEncoder(16, 32)], device="cpu")
    with pytest.raises(EncoderError, match="got the task 'feature-extraction'; use a SPLADE encoder over BERT"):
        transfer_encoder(headless, korean, method="mean")


def test_another_module_with_a_vocabulary(encoder: SparseEncoder, korean: Any) -> None:
    class Weighting(torch.nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(size))

    encoder.add_module("2", Weighting(len(encoder.tokenizer)))
    with pytest.raises(EncoderError, match="got Weighting with weight of shape"):
        transfer_encoder(encoder, korean, method="mean")


def test_ids_beyond_the_rows(encoder: SparseEncoder, korean: Any) -> None:
    with_added(encoder.tokenizer, ["zebra", "yak"])
    with pytest.raises(EncoderError, match=r"22 rows and none for zebra \(22\), yak \(23\); remove these added tokens"):
        transfer_encoder(encoder, korean, method="mean")


def test_nan_weights(encoder: SparseEncoder, korean: Any) -> None:
    with torch.no_grad():
        encoder.transformers_model.bert.encoder.layer[0].output.dense.bias[3] = float("inf")
    with pytest.raises(EncoderError, match=r"NaN or infinity in bert.encoder.layer.0.output.dense.bias; download"):
        transfer_encoder(encoder, korean, method="mean")


def test_adapters(encoder: SparseEncoder, korean: Any) -> None:
    encoder.transformers_model._hf_peft_config_loaded = True
    with pytest.raises(EncoderError, match="merge_and_unload"):
        transfer_encoder(encoder, korean, method="mean")


def test_target_without_pad_or_unk(encoder: SparseEncoder, korean: Any) -> None:
    with pytest.raises(TokenizerError, match=r"must have a pad token, got none; set tokenizer\.pad_token"):
        transfer_encoder(encoder, byte_fallback_bpe(["▁집"], pad_id=None), method="mean")
    korean.unk_token = None
    with pytest.raises(TokenizerError, match="must have an unknown token"):
        transfer_encoder(encoder, korean, method="mean")


def test_unreachable_tokens(encoder: SparseEncoder) -> None:
    with pytest.raises(TokenizerError, match="normalizer that makes 3 of 3 sampled word tokens unreachable"):
        transfer_encoder(encoder, wordpiece(["Haus", "Schule", "Wasser"], lowercase=True), method="mean")


def test_methods_and_bridges(encoder: SparseEncoder, korean: Any, vectors_for: MakeVectors) -> None:
    with pytest.raises(UnknownNameError, match=r"method must be one of .*sembridge; got 'sembrigde'"):
        transfer_encoder(encoder, korean, method="sembrigde")
    with pytest.raises(BridgeError, match=r"sembridge must have a bridge, got None; pass bridge= .* gaussian, mean"):
        transfer_encoder(encoder, korean)
    with pytest.raises(InputError, match="bridge must be a SentenceTransformer, got 'BAAI/bge-m3'; open it"):
        transfer_encoder(encoder, korean, bridge="BAAI/bge-m3")
    with pytest.raises(InputError, match=r"vectors must be BridgeVectors, got str; read a file with"):
        transfer_encoder(encoder, korean, vectors="vectors.npz")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"options of mean must be among none .* got temperature"):
        transfer_encoder(encoder, korean, method="mean", temperature=2)
    with pytest.raises(UnknownNameError, match="bias must be one of matched, mixed, position, zero; got 'kept'"):
        transfer_encoder(encoder, korean, method="mean", bias="kept")  # type: ignore[arg-type]
    good = vectors_for(encoder.tokenizer, korean)
    with pytest.raises(BridgeError, match=r"one row per id, 22 source and .* target, got 21"):
        transfer_encoder(encoder, korean, vectors=BridgeVectors(good.source[1:], good.target, "short"))


def test_vectors_from_a_file(tmp_path: Path, encoder: SparseEncoder, korean: Any, vectors_for: MakeVectors) -> None:
    korean.save_pretrained(tmp_path / "korean")
    good = vectors_for(encoder.tokenizer, korean)
    save_file({"source": good.source, "target": good.target}, tmp_path / "good.safetensors")
    save_file({"source": good.source, "target": good.target[:-1]}, tmp_path / "bad.safetensors")
    arguments: dict[str, Any] = {"target_tokenizer": tmp_path / "korean"}
    result, report = transfer(str(tmp_path / "source"), vectors=tmp_path / "good.safetensors", **arguments)
    same, _ = transfer_encoder(encoder, korean, vectors=good)
    assert report.counts["bridged"] > 0
    found, expected = (model.encode(["집"], show_progress_bar=False).to_dense() for model in (result, same))
    assert torch.allclose(found, expected, atol=1e-5)
    with pytest.raises(BridgeError, match="one row per id"):
        transfer(tmp_path / "source", vectors=tmp_path / "bad.safetensors", **arguments)
    with pytest.raises(NotFoundError, match=r"missing.safetensors does not exist"):
        transfer(tmp_path / "source", vectors=tmp_path / "missing.safetensors", **arguments)


def test_paths_and_names(tmp_path: Path, encoder: SparseEncoder, korean: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    korean.save_pretrained(tmp_path / "korean")
    (tmp_path / "empty").mkdir()
    arguments: dict[str, Any] = {"target_tokenizer": tmp_path / "korean", "method": "mean"}
    with pytest.raises(NotFoundError, match="nowhere does not exist; give a folder"):
        transfer(tmp_path / "nowhere", **arguments)
    with pytest.raises(NotFoundError, match="nowhere does not exist; give a folder"):
        transfer(tmp_path / "source", target_tokenizer=str(tmp_path / "nowhere"), method="mean")
    with pytest.raises(UnknownNameError, match="built-in asset must be one of"):
        transfer("isthmus/no-such-model", **arguments)
    with pytest.raises(EncoderError, match=r"must be a folder that transformers opens, got .*empty"):
        transfer(tmp_path / "empty", **arguments)
    with pytest.raises(TokenizerError, match=r"target_tokenizer must be a folder that transformers opens, got .*empty"):
        transfer(tmp_path / "source", target_tokenizer=tmp_path / "empty", method="mean")

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr("sentence_transformers.util.load_file_path", lambda *_: None)
    monkeypatch.setattr("sentence_transformers.SentenceTransformer.__init__", unreachable)
    with pytest.raises(NotFoundError, match=r"'nobody/nothing', which is no folder and could not be downloaded .*;"):
        transfer("nobody/nothing", **arguments)


def test_remote_code_is_asked_for_and_passed_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    seen = []

    def remember(name: str, **options: Any) -> Any:
        seen.append(options["trust_remote_code"])
        if not options["trust_remote_code"]:
            raise ValueError("the repository contains custom code: pass trust_remote_code=True")
        return wordpiece(WORDS, pad_id=3)

    splade(tmp_path / "source")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", remember)
    monkeypatch.setattr(
        "isthmus.transferring.pipeline.load_encoder", lambda name, **given: seen.append(given["trust_remote_code"])
    )
    arguments: dict[str, Any] = {"target_tokenizer": tmp_path / "tokenizer", "method": "mean"}
    with pytest.raises(TokenizerError, match="brings its own code; read it, then pass trust_remote_code=True"):
        transfer(tmp_path / "source", **arguments)
    with pytest.raises(AttributeError):
        transfer(tmp_path / "source", trust_remote_code=True, **arguments)
    assert seen == [False, False, True, True]


def test_vectors_that_are_zero_become_background(encoder: SparseEncoder, korean: Any, vectors_for: MakeVectors) -> None:
    good = vectors_for(encoder.tokenizer, korean)
    target = good.target.copy()
    house = korean.convert_tokens_to_ids("집")
    target[house] = 0.0
    _, report = transfer_encoder(encoder, korean, vectors=BridgeVectors(good.source, target, "with a gap"))
    assert report.token_map.fate(house).value == "background"
    assert np.isfinite(report.best_similarity or 0.0)
