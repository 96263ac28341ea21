"""Tiny sparse encoders with the published architectures, tokenizer pipelines, dtypes and ties; only sizes are shrunk.

Weights are random but large enough that rows, biases and positions all show in the logits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from tests.tokenizers import byte_bpe, unigram, wordpiece

WORDS = ("the", "house", "home", "war", "water", "school", "capital", "of", "korea", "##s", "##ing", ".", "?", "1", "2")
LENGTH = 24


def bert_tokenizer() -> Any:
    """BERT base uncased: WordPiece, pad at id 0."""
    return wordpiece(WORDS, max_length=LENGTH)


def roberta_tokenizer() -> Any:
    """RoBERTa: byte-level BPE, pad at id 1."""
    return byte_bpe([word.replace("##", "") if "##" in word else f"Ġ{word}" for word in WORDS], max_length=LENGTH)


def xlmr_tokenizer() -> Any:
    """XLM-R: Unigram, pad at id 1."""
    pieces = [word.replace("##", "") if "##" in word else f"▁{word}" for word in WORDS]
    return unigram([*pieces, *"abcdefghijklmnopqrstuvwxyz"], max_length=LENGTH)


def modernbert_tokenizer() -> Any:
    """ModernBERT: byte-level BPE, pad neither first nor second (50,283 in the published one)."""
    words = [word.replace("##", "") if "##" in word else f"Ġ{word}" for word in WORDS]
    return byte_bpe(words, style="modernbert", pad_id=260, max_length=LENGTH)


def bert_model(tokenizer: Any, **options: Any) -> Any:
    """naver/splade-v3 and prithivida/Splade_PP_en_v1: BertForMaskedLM, tied."""
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
        max_position_embeddings=LENGTH, type_vocab_size=2, pad_token_id=tokenizer.pad_token_id, layer_norm_eps=1e-12,
        **options,
    )  # fmt: skip
    return BertForMaskedLM(config)


def distilbert_model(tokenizer: Any, **options: Any) -> Any:
    """The document side of opensearch-neural-sparse-encoding-doc-v2/v3: DistilBertForMaskedLM, tied."""
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=16, n_layers=2, n_heads=2, hidden_dim=20, max_position_embeddings=LENGTH,
        pad_token_id=tokenizer.pad_token_id, **options,
    )  # fmt: skip
    return DistilBertForMaskedLM(config)


def roberta_model(tokenizer: Any, **options: Any) -> Any:
    """ibm-granite/granite-embedding-30m-sparse: RobertaForMaskedLM, tied, positions from pad + 1."""
    config = RobertaConfig(**_roberta_sizes(tokenizer), **options)
    return RobertaForMaskedLM(config)


def xlmr_model(tokenizer: Any, **options: Any) -> Any:
    """XLM-R: as RoBERTa, another vocabulary."""
    config = XLMRobertaConfig(**_roberta_sizes(tokenizer), **options)
    return XLMRobertaForMaskedLM(config)


def modernbert_model(tokenizer: Any, **options: Any) -> Any:
    """ModernBERT: rotary positions, tied, decoder with a bias of its own."""
    roles = {"pad": "pad", "cls": "cls", "bos": "cls", "sep": "sep", "eos": "sep"}
    config = ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
        max_position_embeddings=LENGTH, local_attention=8,
        **{f"{name}_token_id": getattr(tokenizer, f"{role}_token_id") for name, role in roles.items()}, **options,
    )  # fmt: skip
    return ModernBertForMaskedLM(config)


FAMILIES: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
    "bert": (bert_tokenizer, bert_model),
    "distilbert": (bert_tokenizer, distilbert_model),
    "roberta": (roberta_tokenizer, roberta_model),
    "xlm-r": (xlmr_tokenizer, xlmr_model),
    "modernbert": (modernbert_tokenizer, modernbert_model),
}


def masked_lm(
    family: str, *, tied: bool = True, dtype: torch.dtype = torch.float32, seed: int = 0, **options: Any
) -> tuple[Any, Any]:
    """A random model of ``FAMILIES`` in evaluation mode, and its tokenizer.

    Args:
        family: Key of ``FAMILIES``.
        tied: Whether decoder and input embeddings are one tensor.
        dtype: Dtype of the weights.
        seed: Seed of the weights.
        options: More settings of the config.
    """
    tokenizer_of, model_of = FAMILIES[family]
    tokenizer = tokenizer_of()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_of(tokenizer, tie_word_embeddings=tied, **options)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                spread = 0.5 if "embeddings" in name or "decoder" in name else 0.25
                parameter.normal_(1.0 if "orm.weight" in name else 0.0, spread)
    return model.to(dtype).eval(), tokenizer


def save_masked_lm(folder: Path, model: Any, tokenizer: Any, *, claim_tied: bool = False) -> Path:
    """Save as transformers does; ``claim_tied`` leaves an untied checkpoint with a config that says tied."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if claim_tied:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True}))
    return folder


def splade(
    folder: Path,
    family: str = "bert",
    *,
    activation: str = "relu",
    pooling: str = "max",
    prompts: dict[str, str] | None = None,
    claim_tied: bool = False,
    **options: Any,
) -> SparseEncoder:
    """A SPLADE encoder: fill-mask Transformer and SpladePooling.

    Args:
        folder: Empty folder to keep the checkpoint in.
        family: Key of ``FAMILIES``.
        activation: ``relu`` or ``log1p_relu``.
        pooling: ``max`` or ``sum``.
        prompts: Prompts by name.
        claim_tied: See :func:`save_masked_lm`.
        options: Passed on to :func:`masked_lm`.
    """
    modules = _splade_modules(folder, family, activation, pooling, claim_tied, options)
    return SparseEncoder(modules=modules, prompts=prompts, device="cpu", similarity_fn_name="dot")


def inference_free(
    folder: Path, family: str = "distilbert", *, activation: str = "log1p_relu", **options: Any
) -> SparseEncoder:
    """Document side SPLADE, query side IDF, as opensearch-neural-sparse-encoding-doc-v2/v3; see :func:`splade`."""
    document = _splade_modules(folder, family, activation, "max", False, options)
    tokenizer = FAMILIES[family][0]()
    weight = torch.linspace(0.5, 4.0, len(tokenizer))
    weight[tokenizer.all_special_ids] = 0.0
    query = SparseStaticEmbedding(tokenizer, weight=weight, frozen=True)
    router = Router.for_query_document(query_modules=[query], document_modules=document)
    return SparseEncoder(modules=[router], device="cpu", similarity_fn_name="dot")


def _splade_modules(
    folder: Path, family: str, activation: str, pooling: str, claim_tied: bool, options: dict[str, Any]
) -> Sequence[Any]:
    model, tokenizer = masked_lm(family, **options)
    save_masked_lm(folder, model, tokenizer, claim_tied=claim_tied)
    transformer = Transformer(str(folder), transformer_task="fill-mask")
    return [transformer, SpladePooling(pooling, activation_function=activation, embedding_dimension=len(tokenizer))]


def _roberta_sizes(tokenizer: Any) -> dict[str, Any]:
    pad = tokenizer.pad_token_id
    return {
        "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 20, "max_position_embeddings": LENGTH + pad + 1, "type_vocab_size": 1,
        "pad_token_id": pad, "bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id,
        "layer_norm_eps": 1e-5,
    }  # fmt: skip
