"""Taking an encoder, sparse or dense, apart and putting it together over another vocabulary."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import InputModule, Router, Transformer
from sentence_transformers.sentence_transformer.modules import WordWeights
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

from isthmus.encoders.heads import SUPPORTED, Head, find_head
from isthmus.errors import EncoderError


@dataclass(frozen=True)
class Parts:
    """What a transfer replaces in an encoder.

    Attributes:
        transformers: The Transformer modules; usually one.
        heads: Their vocabulary tensors.
        statics: Static query sides (IDF weights) of a Router.
        tokenizer: The one tokenizer they share.
        sparse: Whether the encoder is a SparseEncoder, whose models decode; else it is a SentenceTransformer.
    """

    transformers: tuple[Any, ...]
    heads: tuple[Head, ...]
    statics: tuple[Any, ...]
    tokenizer: Any
    sparse: bool


def take_apart(encoder: Any) -> Parts:
    """Find the modules with a vocabulary, those of a Router included.

    Raises:
        EncoderError: If ``encoder`` is neither a SparseEncoder nor a SentenceTransformer, is not on the torch backend,
            has no Transformer of the task that its kind needs, reads more than text, mixes tokenizers, or has another
            module with a vocabulary.
    """
    sparse = isinstance(encoder, SparseEncoder)
    if not sparse and not isinstance(encoder, SentenceTransformer):
        raise EncoderError(
            "encoder must be a sentence-transformers SparseEncoder or SentenceTransformer, got "
            f"{type(encoder).__name__}; load a SPLADE model with SparseEncoder(...), a dense one with "
            "SentenceTransformer(...)"
        )
    modules = list(_modules(encoder))
    transformers = [module for module in modules if isinstance(module, Transformer)]
    statics = [module for module in modules if sparse and isinstance(module, SparseStaticEmbedding)]
    others = [module for module in modules if module not in transformers and module not in statics]
    for module in others:
        if isinstance(module, (InputModule, WordWeights)):
            raise EncoderError(
                f"encoder must keep its vocabulary in Transformer modules, got {type(module).__name__}, which has one "
                f"of its own; use an encoder over {SUPPORTED}"
            )
    _check_transformers(transformers, sparse)
    tokenizers = [module.tokenizer for module in (*transformers, *statics)]
    vocabularies = [tokenizer.get_vocab() for tokenizer in tokenizers]
    if any(vocabulary != vocabularies[0] for vocabulary in vocabularies):
        raise EncoderError(
            "encoder must use one tokenizer for queries and documents, got different vocabularies; transfer each side "
            "alone"
        )
    heads = tuple(find_head(module.model, needs_decoder=sparse) for module in transformers)
    for module in others:
        _check_no_vocabulary(module, {head.rows for head in heads})
    for module in statics:
        if len(module.weight) != len(vocabularies[0]):
            raise EncoderError(
                f"encoder must have one query weight per token, got {len(module.weight)} weights for "
                f"{len(vocabularies[0])} tokens; save it again with weights of that size"
            )
    return Parts(tuple(transformers), heads, tuple(statics), tokenizers[0], sparse)


def put_together(
    encoder: Any,
    parts: Parts,
    tokenizer: Any,
    models: Mapping[int, Any],
    weights: Mapping[int, torch.Tensor],
    size: int,
    card: Any,
) -> Any:
    """Build the transferred encoder; everything that has no vocabulary is copied from ``encoder``.

    Args:
        encoder: The source encoder; not modified.
        parts: What :func:`take_apart` found in it.
        tokenizer: The target tokenizer; not modified.
        models: New model by the id() of the Transformer module it goes into.
        weights: New query weights by the id() of the static module they go into.
        size: Size of the target vocabulary.
        card: Model card data of the result.

    Returns:
        On the same device, a SparseEncoder with ``dot`` similarity or a SentenceTransformer with that of the source.
    """
    # Whatever refers to an old part refers to the new one in the copy: modules shared by routes, input formatters.
    memo: dict[int, Any] = {}
    for module, head in zip(parts.transformers, parts.heads, strict=True):
        memo[id(module.model)] = models[id(module)]
        usable = head.positions.usable if head.positions is not None else None
        fitted = _fit(tokenizer, module.tokenizer, usable)
        memo[id(module.processor)] = memo[id(module.tokenizer)] = fitted
    for module in parts.statics:
        # Both sides may share one tokenizer, which then has the length that the document side can take.
        if id(module.tokenizer) not in memo:
            memo[id(module.tokenizer)] = _fit(tokenizer, module.tokenizer, None)
        memo[id(module.weight)] = torch.nn.Parameter(weights[id(module)], requires_grad=module.weight.requires_grad)
    shared: dict[str, Any] = {
        # Named as in the source, since module_kwargs goes by name.
        "modules": copy.deepcopy(OrderedDict(encoder.named_children()), memo),
        "device": str(encoder.device),
        "prompts": dict(encoder.prompts),
        "default_prompt_name": encoder.default_prompt_name,
        "model_card_data": card,
    }
    if parts.sparse:
        result = SparseEncoder(**shared, similarity_fn_name="dot", max_active_dims=encoder.max_active_dims)
    else:
        dense = {"similarity_fn_name": encoder.similarity_fn_name, "truncate_dim": encoder.truncate_dim}
        result = SentenceTransformer(**shared, **dense)
    result.module_kwargs = copy.deepcopy(encoder.module_kwargs)
    for module in _modules(result):
        if isinstance(module, Transformer):
            # The source's own lower-casing is not the target tokenizer's.
            module.do_lower_case = False
            # Lengths in source tokens, which pooling without the prompt would go by.
            module._prompt_length_mapping = {}
            module._chat_template_suffix_cache = {}
            # Assigning it makes the module look anew whether its model can do without padding.
            module.unpad_inputs = module.unpad_inputs
        elif isinstance(module, SpladePooling):
            module.embedding_dimension = size
        elif isinstance(module, SparseStaticEmbedding):
            module.num_dimensions = size
    return result.eval()


def _modules(encoder: Any) -> Any:
    for module in encoder.children():
        if isinstance(module, Router):
            seen: dict[int, Any] = {}
            for route in module.sub_modules.values():
                seen.update({id(part): part for part in route})
            yield from seen.values()
        else:
            yield module


def _check_transformers(transformers: Sequence[Any], sparse: bool) -> None:
    if any(getattr(module, "backend", "torch") != "torch" for module in transformers):
        raise EncoderError("encoder must use the torch backend, got ONNX or OpenVINO; load it with backend='torch'")
    task = "fill-mask" if sparse else "feature-extraction"
    others = [module for module in transformers if module.transformer_task != task]
    if not transformers or others:
        found = f"the task {others[0].transformer_task!r}" if others else "no Transformer module"
        if sparse:
            raise EncoderError(
                f"encoder must have an MLM head (a Transformer module with the task 'fill-mask'), got {found}; use a "
                f"SPLADE encoder over {SUPPORTED}"
            )
        raise EncoderError(
            f"encoder must have a Transformer module with the task 'feature-extraction', got {found}; use a dense "
            f"encoder over {SUPPORTED}"
        )
    for module in transformers:
        # A chat template is text too.
        if "text" not in module.modalities or not {"text", "message"}.issuperset(module.modalities):
            found = ", ".join(kind if isinstance(kind, str) else " with ".join(kind) for kind in module.modalities)
            raise EncoderError(
                f"encoder must read text alone, got {type(module.model).__name__} for {found}; use an encoder over "
                f"{SUPPORTED}"
            )


def _check_no_vocabulary(module: Any, rows: set[int]) -> None:
    for name, tensor in module.state_dict().items():
        if rows.intersection(tensor.shape):
            raise EncoderError(
                "encoder must keep its vocabulary in Transformer, SpladePooling and SparseStaticEmbedding modules, "
                f"got {type(module).__name__} with {name} of shape {tuple(tensor.shape)}; remove that module"
            )


def _fit(tokenizer: Any, source: Any, usable: int | None) -> Any:
    """A copy of the target tokenizer with the lengths, padding side and inputs that the encoder knows."""
    fitted = copy.deepcopy(tokenizer)
    length = source.model_max_length
    fitted.model_max_length = length if usable is None else min(length, usable)
    fitted.padding_side = source.padding_side
    fitted.truncation_side = source.truncation_side
    fitted.model_input_names = list(source.model_input_names)
    return fitted
