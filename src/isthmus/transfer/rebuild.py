"""Taking a sparse encoder apart and putting it together over another vocabulary."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

from isthmus.errors import EncoderError
from isthmus.transfer.heads import SUPPORTED, Head, find_head


@dataclass(frozen=True)
class Parts:
    """What a transfer replaces in an encoder.

    Attributes:
        transformers: The fill-mask modules; usually one.
        heads: Their vocabulary tensors.
        statics: Static query sides (IDF weights) of a Router.
        tokenizer: The one tokenizer they share.
    """

    transformers: tuple[Any, ...]
    heads: tuple[Head, ...]
    statics: tuple[Any, ...]
    tokenizer: Any


def take_apart(encoder: Any) -> Parts:
    """Find the modules with a vocabulary, those of a Router included.

    Raises:
        EncoderError: If ``encoder`` is no SparseEncoder on the torch backend, has no fill-mask Transformer, mixes
            tokenizers, or has another module with a vocabulary dimension.
    """
    if not isinstance(encoder, SparseEncoder):
        raise EncoderError(
            f"encoder must be a sentence-transformers SparseEncoder, got {type(encoder).__name__}; "
            "load a SPLADE model with SparseEncoder(...)"
        )
    modules = list(_modules(encoder))
    transformers = [module for module in modules if isinstance(module, Transformer)]
    statics = [module for module in modules if isinstance(module, SparseStaticEmbedding)]
    if any(getattr(module, "backend", "torch") != "torch" for module in transformers):
        raise EncoderError("encoder must use the torch backend, got ONNX or OpenVINO; load it with backend='torch'")
    others = [module for module in transformers if module.transformer_task != "fill-mask"]
    if not transformers or others:
        found = f"the task {others[0].transformer_task!r}" if others else "no Transformer module"
        raise EncoderError(
            f"encoder must have an MLM head (a Transformer module with the task 'fill-mask'), got {found}; use a "
            f"SPLADE encoder over {SUPPORTED}"
        )
    tokenizers = [module.tokenizer for module in (*transformers, *statics)]
    vocabularies = [tokenizer.get_vocab() for tokenizer in tokenizers]
    if any(vocabulary != vocabularies[0] for vocabulary in vocabularies):
        raise EncoderError(
            "encoder must use one tokenizer for queries and documents, got different vocabularies; transfer each side "
            "alone"
        )
    heads = tuple(find_head(module.model) for module in transformers)
    for module in modules:
        if not isinstance(module, (Transformer, SparseStaticEmbedding)):
            _check_no_vocabulary(module, {head.rows for head in heads})
    for module in statics:
        if len(module.weight) != len(vocabularies[0]):
            raise EncoderError(
                f"encoder must have one query weight per token, got {len(module.weight)} weights for "
                f"{len(vocabularies[0])} tokens; save it again with weights of that size"
            )
    return Parts(tuple(transformers), heads, tuple(statics), tokenizers[0])


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
        models: New model by the id() of the fill-mask module it goes into.
        weights: New query weights by the id() of the static module they go into.
        size: Size of the target vocabulary.
        card: Model card data of the result.

    Returns:
        A SparseEncoder with ``dot`` similarity on the same device.
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
    modules = copy.deepcopy(list(encoder.children()), memo)
    result = SparseEncoder(
        modules=modules,
        device=str(encoder.device),
        prompts=dict(encoder.prompts),
        default_prompt_name=encoder.default_prompt_name,
        similarity_fn_name="dot",
        max_active_dims=encoder.max_active_dims,
        model_card_data=card,
    )
    result.module_kwargs = copy.deepcopy(encoder.module_kwargs)
    for module in _modules(result):
        if isinstance(module, Transformer):
            # The source's own lower-casing is not the target tokenizer's.
            module.do_lower_case = False
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
