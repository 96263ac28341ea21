"""Checks of what surrounds the model: similarity, length, pooling, tokenizer."""

from __future__ import annotations

from typing import Any

from torch.nn import Embedding

from isthmus.diagnostics.finding import Finding, some
from isthmus.diagnostics.inspected import InspectedParts
from isthmus.encoders.heads import Head
from isthmus.vocabulary import Vocabulary

# Below this, most passages lose their end.
SHORT_LENGTH = 64
# Tokenizers that know no limit say 10^30.
NO_LENGTH = 10**9
ROLES = ("pad", "unk", "cls", "sep")


def check_settings(parts: InspectedParts) -> list[Finding]:
    """Check the settings of an encoder; reads no weights but their shapes."""
    findings = [_similarity(parts), *_pooling(parts)]
    for module, head in zip(parts.transformers, parts.heads, strict=True):
        findings.append(_length(module, head))
    if parts.vocabulary is None:
        findings.append(
            Finding(
                "vocabulary",
                "note",
                f"the tokenizer ({type(parts.tokenizer).__name__}) cannot be read entry by entry: not checked",
                "use a fast tokenizer, one with tokenizer.json",
            )
        )
        return findings
    for module in parts.transformers:
        findings.append(_rows(parts.vocabulary, module))
    return [*findings, _specials(parts)]


def _similarity(parts: InspectedParts) -> Finding:
    name = parts.encoder.similarity_fn_name
    if parts.sparse and name != "dot":
        return Finding(
            "similarity",
            "warning",
            f"vectors are compared by {name}, sparse encoders are trained for and indexes compute the dot product",
            'set encoder.similarity_fn_name = "dot" and save it again',
        )
    return Finding("similarity", "ok", f"vectors are compared by {name}")


def _pooling(parts: InspectedParts) -> list[Finding]:
    if parts.sparse and not parts.splade:
        found = some(type(module).__name__ for module in parts.encoder.children())
        if any(module.transformer_task == "fill-mask" for module in parts.transformers):
            return [
                Finding(
                    "pooling",
                    "error",
                    f"no SpladePooling behind the masked language model, only {found}",
                    'append SpladePooling("max") to its modules and save it again',
                )
            ]
        return [
            Finding(
                "pooling",
                "note",
                f"not a SPLADE encoder ({found}): its columns are not taken for tokens",
                "nothing, if this is meant",
            )
        ]
    if not parts.sparse and parts.transformers and not parts.pooling:
        return [
            Finding(
                "pooling",
                "error",
                "no Pooling module behind the Transformer: there is no vector per text",
                'append Pooling(dimension, "mean") to its modules and save it again',
            )
        ]
    if not parts.sparse:
        modes = some(str(module.pooling_mode) for module in parts.pooling) or "none"
        return [Finding("pooling", "ok", f"pooling over tokens: {modes}")]
    return [_splade_pooling(parts, pooling) for pooling in parts.splade]


def _splade_pooling(parts: InspectedParts, pooling: Any) -> Finding:
    rows = {head.rows for head in parts.heads if head is not None}
    columns = pooling.embedding_dimension
    if columns is not None and rows and columns not in rows:
        return Finding(
            "pooling",
            "error",
            f"SpladePooling announces {columns} columns, the decoder has {some(map(str, sorted(rows)))}",
            "set embedding_dimension in its config.json to the decoder's rows",
            columns,
        )
    kind = f"{pooling.pooling_strategy} pooling with {pooling.activation_function}"
    if pooling.pooling_strategy != "max":
        return Finding(
            "pooling",
            "note",
            f"{kind}: long texts get larger weights, and the fast head does not apply",
            'nothing, if it was trained so; else SpladePooling("max")',
        )
    return Finding("pooling", "ok", kind)


def _length(module: Any, head: Head | None) -> Finding:
    length, model = module.max_seq_length, module.model
    named = getattr(model.config, "max_position_embeddings", None)
    usable = head.positions.usable if head is not None and head.positions is not None else named
    if length is None or length > NO_LENGTH:
        return Finding(
            "length",
            "warning",
            "no max_seq_length: texts are not cut, and those beyond the positions fail or are read badly",
            f"set encoder.max_seq_length{f' = {usable}' if usable else ''} and save it again",
        )
    if usable is not None and length > usable:
        # A table of positions ends; rotary positions only were not trained beyond their number.
        table = any(isinstance(getattr(part, "position_embeddings", None), Embedding) for part in model.modules())
        return Finding(
            "length",
            "error" if table else "warning",
            f"max_seq_length is {length}, the model has positions for {usable} tokens: longer texts "
            + ("fail" if table else "are read badly"),
            f"set encoder.max_seq_length = {usable} and save it again",
            length,
        )
    if length < SHORT_LENGTH:
        return Finding(
            "length",
            "note",
            f"max_seq_length is {length} tokens: of longer texts the rest is not read",
            f"nothing, for short texts; else raise encoder.max_seq_length, {usable or 'more'} is possible",
            length,
        )
    known = f", positions for {usable} tokens" if usable is not None else ""
    return Finding("length", "ok", f"max_seq_length is {length}{known}", value=length)


def _rows(vocabulary: Vocabulary, module: Any) -> Finding:
    try:
        weight = getattr(module.model.get_input_embeddings(), "weight", None)
    except NotImplementedError:
        weight = None
    if weight is None:
        return Finding(
            "vocabulary", "error", "the model has no token embeddings", "use a text model with plain token embeddings"
        )
    rows = len(weight)
    beyond = [f"{token.raw} ({token.id})" for token in vocabulary.tokens if token.id >= rows]
    if beyond:
        return Finding(
            "vocabulary",
            "error",
            f"{rows} embedding rows, none for {some(beyond)}: texts with these tokens fail",
            "take these tokens out of the tokenizer, or call resize_token_embeddings and train them",
            len(beyond),
        )
    if rows > vocabulary.size:
        return Finding(
            "vocabulary",
            "note",
            f"{rows} embedding rows for {vocabulary.size} token ids: {rows - vocabulary.size} belong to no token",
            "nothing, if they pad the table; else resize_token_embeddings to the tokenizer",
            rows - vocabulary.size,
        )
    return Finding("vocabulary", "ok", f"every one of {len(vocabulary)} tokens has an embedding row", value=0)


def _specials(parts: InspectedParts) -> Finding:
    vocabulary, tokenizer = parts.vocabulary, parts.tokenizer
    if vocabulary is None or not parts.transformers:
        return Finding("special-tokens", "ok", "no Transformer that would need them")
    found = {role: token for role in ROLES if (token := vocabulary.role(role)) is not None}
    if "pad" not in found:
        return Finding(
            "special-tokens",
            "error",
            "the tokenizer has no pad token: texts of different length cannot share a batch",
            "set tokenizer.pad_token to a token of its vocabulary",
        )
    pad = getattr(parts.transformers[0].model.config, "pad_token_id", None)
    if pad is not None and pad != found["pad"].id:
        return Finding(
            "special-tokens",
            "warning",
            f"the tokenizer pads with id {found['pad'].id}, the config of the model says {pad}",
            "set pad_token_id in config.json to the tokenizer's, and check that they belong together",
        )
    reads_all = vocabulary.family == "byte-bpe" or sum(token.byte is not None for token in vocabulary.tokens) >= 256
    absent = [role for role in ROLES if role not in found and not (role == "unk" and reads_all)]
    if absent:
        return Finding(
            "special-tokens",
            "warning",
            f"the tokenizer has no token for {some(absent)}",
            f"set {some(f'tokenizer.{role}_token' for role in absent)}, if the model was trained with it",
            len(absent),
        )
    if not tokenizer.num_special_tokens_to_add(pair=False):
        return Finding(
            "special-tokens",
            "warning",
            f"the tokenizer has {found['cls'].raw} and {found['sep'].raw} but puts neither around a text",
            "restore the post-processor in tokenizer.json (TemplateProcessing)",
        )
    return Finding("special-tokens", "ok", some(f"{role} {token.raw} ({token.id})" for role, token in found.items()))
