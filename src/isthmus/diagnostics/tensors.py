"""Checks of the weights: the MLM head, ties, biases, finite numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from isthmus.diagnostics.finding import Finding, some
from isthmus.diagnostics.inspected import SILENCED, InspectedParts, biases
from isthmus.encoders.heads import Head
from isthmus.vocabulary.token import TEXT_KINDS, Token

# The biases of published masked language models and SPLADE encoders stay within a few units; logits too.
LARGE_BIAS = 20.0
RELOAD = "download the checkpoint again, or load it in float32"
BACKBONE = "start from a checkpoint with a trained MLM head (its architecture ends in ForMaskedLM)"


def check_weights(parts: InspectedParts, folder: Path | None = None) -> list[Finding]:
    """Check everything that needs the weights alone.

    Args:
        parts: The encoder.
        folder: Where it was loaded from, to see which tensors were stored there; None to do without.
    """
    findings = [_finite(parts)]
    if not parts.lexical:
        return findings
    stored = None if folder is None else stored_names(folder)
    for module, head, fault in zip(parts.transformers, parts.heads, parts.faults, strict=True):
        findings.append(_head(module, head, fault, stored))
        if head is not None:
            findings += [_tied(module.model, head), _bias(parts, module.model, head)]
    return findings


def stored_names(folder: Path) -> set[str] | None:
    """Names of the tensors in the safetensors files under ``folder``; None where there is none or one is damaged."""
    found: set[str] = set()
    for path in sorted(folder.rglob("*.safetensors")):
        if path.name.startswith("token_map"):
            continue
        try:
            with safe_open(path, framework="np") as file:
                found.update(file.keys())
        except (OSError, SafetensorError):
            return None
    # Checkpoints converted from TensorFlow still call the two parts of a LayerNorm by their Greek names.
    return {_modern(name) for name in found} or None


def _modern(name: str) -> str:
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _finite(parts: InspectedParts) -> Finding:
    bad = [
        name
        for name, tensor in parts.encoder.state_dict().items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if bad:
        return Finding("weights", "error", f"NaN or infinity in {some(bad)}", RELOAD, len(bad))
    return Finding("weights", "ok", "all weights are finite", value=0)


def _head(module: Any, head: Head | None, fault: str, stored: set[str] | None) -> Finding:
    model, task = module.model, module.transformer_task
    if task != "fill-mask":
        return Finding(
            "head",
            "error",
            f"the Transformer module is loaded for {task!r}, SPLADE pooling needs the logits of 'fill-mask'",
            "set transformer_task to fill-mask in sentence_bert_config.json, over a model with an MLM head",
        )
    if head is None:
        message, _, remedy = fault.partition("; ")
        return Finding("head", "error", message, remedy or BACKBONE)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    decoder = parameters[(head.decoder or head.inputs)[0]].detach()
    if not bool(decoder.any()):
        return Finding("head", "error", "the decoder is all zero: every token gets the same logit", BACKBONE)
    if bool((decoder == decoder[0]).all()):
        return Finding("head", "error", "all rows of the decoder are equal: tokens cannot be told apart", BACKBONE)
    own = _own_parameters(model, head, parameters)
    missing = [] if stored is None else [name for name in own if _modern(name) not in stored]
    if missing:
        return Finding(
            "head",
            "error",
            f"the checkpoint does not hold {some(missing)}: this part is random",
            BACKBONE,
            len(missing),
        )
    if _untrained(own):
        return Finding(
            "head", "error", "the MLM head is as it was initialised: its norms are all 1, its biases all 0", BACKBONE
        )
    return Finding("head", "ok", f"{type(model).__name__} has an MLM head over {head.rows} rows")


def _own_parameters(model: Any, head: Head, parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters between the last layer and the decoder, and an untied decoder: what only a head's training sets."""
    base = {id(parameter) for parameter in model.base_model.parameters()} if model.base_model is not model else set()
    aside = {*head.inputs, *head.bias, *head.decoder[1:]}
    return {name: part for name, part in parameters.items() if id(part) not in base and name not in aside}


def _untrained(own: dict[str, Any]) -> bool:
    """Whether every vector of a head's transform has the value that it is initialised with; training moves them all."""
    vectors = [part.detach() for part in own.values() if part.ndim == 1]
    return bool(vectors) and all(bool((part == 0).all()) or bool((part == 1).all()) for part in vectors)


def _tied(model: Any, head: Head) -> Finding:
    if head.tied:
        return Finding("tied", "ok", "input embeddings and decoder are one tensor")
    if getattr(model.config, "tie_word_embeddings", False):
        return Finding(
            "tied",
            "warning",
            "the config says that input embeddings and decoder are tied, the checkpoint holds two: what ties them on "
            "loading loses the decoder",
            "set tie_word_embeddings to false in config.json",
        )
    return Finding(
        "tied",
        "note",
        "input embeddings and decoder are two tensors, as the config says",
        "nothing, if this is meant; else set tie_word_embeddings and train again",
    )


def _bias(parts: InspectedParts, model: Any, head: Head) -> Finding:
    found = biases(model, head)
    if not found:
        return Finding("bias", "ok", "the decoder has no bias")
    bias = found[0]
    if not bool(torch.isfinite(bias).all()):
        return Finding("bias", "error", "the decoder bias holds NaN or infinity", RELOAD)
    silenced = bias <= SILENCED
    share = float(silenced.float().mean())
    rest = bias[~silenced]
    if not len(rest):
        message = f"the decoder bias is below {SILENCED:.0f} everywhere: no column is ever active"
        return Finding("bias", "error", message, "set the bias of the columns to write to 0", share)
    span = f"decoder bias from {rest.min():.2f} to {rest.max():.2f}"
    large = int((rest > LARGE_BIAS).sum())
    if large:
        return Finding(
            "bias",
            "warning",
            f"{span}; {large} above {LARGE_BIAS:.0f} keep their columns active whatever the text says",
            f"set these entries to the median of all, {float(rest.median()):.2f}",
            float(rest.max()),
        )
    if share:
        columns = silenced.nonzero().flatten().tolist()
        message = f"{span}; {len(columns)} columns ({share:.1%}) are silenced by a bias below {SILENCED:.0f}"
        if parts.vocabulary is not None and not any(_is_text(parts.vocabulary.get(id)) for id in columns):
            return Finding("bias", "ok", f"{message}, all of special or unused tokens", value=share)
        return Finding(
            "bias",
            "note",
            f"{message}, as a transfer with keep_source does",
            "nothing, if these tokens are to be read only; else transfer with output='both'",
            share,
        )
    return Finding("bias", "ok", f"{span}; no column is silenced", value=share)


def _is_text(token: Token | None) -> bool:
    return token is not None and token.kind in TEXT_KINDS
