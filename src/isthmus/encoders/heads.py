"""Where a model keeps its vocabulary.

A masked language model has input embeddings, a decoder and its bias; the model inside a dense encoder has input
embeddings alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from isthmus.errors import EncoderError

SUPPORTED = "BERT, DistilBERT, RoBERTa, XLM-R, ModernBERT, or another text model with plain token embeddings"


@dataclass(frozen=True)
class Positions:
    """A table of learned positions that counts from the pad id, as RoBERTa has it.

    Attributes:
        names: State-dict names of the table.
        padding_idx: Row of pad tokens; the first token of a text has row ``padding_idx + 1``.
        rows: Rows of the table, those below ``padding_idx + 1`` included.
    """

    names: tuple[str, ...]
    padding_idx: int
    rows: int

    @property
    def usable(self) -> int:
        """The longest text, in tokens."""
        return self.rows - self.padding_idx - 1


@dataclass(frozen=True)
class Head:
    """State-dict names of everything with a vocabulary dimension.

    Attributes:
        inputs: Input embeddings, shape (rows, dim); also the decoder where the two are tied.
        decoder: Decoder weight, shape (rows, dim); empty where tied, or where the model has no decoder.
        bias: Decoder biases, shape (rows,); empty where there is none.
        rows: Rows of the embeddings; at least the size of the source vocabulary.
        positions: The positions that count from the pad id, or None.
    """

    inputs: tuple[str, ...]
    decoder: tuple[str, ...]
    bias: tuple[str, ...]
    rows: int
    positions: Positions | None

    @property
    def tied(self) -> bool:
        """Whether there is no decoder beside the input embeddings."""
        return not self.decoder


def find_head(model: Any, *, needs_decoder: bool = True) -> Head:
    """Find the vocabulary tensors of a model.

    Args:
        model: A transformers model.
        needs_decoder: Refuse a model without an MLM head; False takes it, with its input embeddings alone.

    Raises:
        EncoderError: If there are no token embeddings, or no MLM head where one is needed, or they have no common
            vocabulary dimension, or the model carries adapters.
    """
    name = type(model).__name__
    if getattr(model, "_hf_peft_config_loaded", False) or hasattr(model, "peft_config"):
        raise EncoderError(f"encoder must hold plain weights, got {name} with adapters; merge_and_unload() them first")
    inputs, outputs = _ask(model, "get_input_embeddings"), _ask(model, "get_output_embeddings")
    weight, decoder = getattr(inputs, "weight", None), getattr(outputs, "weight", None)
    if needs_decoder and (weight is None or decoder is None):
        raise EncoderError(f"encoder must have an MLM head, got {name} without one; use {SUPPORTED}")
    if weight is None or weight.ndim != 2 or not weight.is_floating_point():
        found = "none" if weight is None else f"{tuple(weight.shape)} {weight.dtype}"
        raise EncoderError(
            f"encoder must have floating-point token embeddings, got {name} with {found}; use {SUPPORTED}"
        )
    if decoder is not None and (decoder.ndim != 2 or len(weight) != len(decoder)):
        raise EncoderError(
            f"encoder must have embeddings and a decoder of the same vocabulary, got {name} with "
            f"{tuple(weight.shape)} and {tuple(decoder.shape)}; use {SUPPORTED}"
        )
    parameters = dict(model.named_parameters(remove_duplicate=False))
    inputs_names, positions = _names(parameters, weight), find_positions(model, parameters)
    if decoder is None:
        return Head(inputs_names, (), (), len(weight), positions)
    decoder_names = tuple(key for key in _names(parameters, decoder) if key not in inputs_names)
    head = next(key for key, module in model.named_modules() if module is outputs).rpartition(".")[0]
    # RoBERTa and BERT keep the bias beside the decoder too: left alone, the old one comes back when weights are tied.
    beside = parameters.get(f"{head}.bias" if head else "bias")
    biases = [bias for bias in (getattr(outputs, "bias", None), beside) if bias is not None]
    bias_names = dict.fromkeys(key for bias in biases if len(bias) == len(weight) for key in _names(parameters, bias))
    return Head(inputs_names, decoder_names, tuple(bias_names), len(weight), positions)


def check_rows(head: Head, source_tokens: Sequence[str]) -> None:
    """Check that every source token has a row.

    Raises:
        EncoderError: If the tokenizer has ids beyond the embeddings; names the tokens.
    """
    beyond = [f"{token} ({id})" for id, token in enumerate(source_tokens) if id >= head.rows and token]
    if beyond:
        shown = ", ".join(beyond[:5]) + (f" and {len(beyond) - 5} more" if len(beyond) > 5 else "")
        raise EncoderError(
            f"encoder must have an embedding row for every token of its tokenizer, got {head.rows} rows and none for "
            f"{shown}; remove these added tokens from its tokenizer, or call resize_token_embeddings and train them"
        )


def check_finite(model: Any) -> None:
    """Check that no weight is NaN or infinite.

    Raises:
        EncoderError: If one is; names the tensor.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise EncoderError(
                f"encoder must have finite weights, got NaN or infinity in {name}; "
                "download the checkpoint again, or load it in float32"
            )


def _ask(model: Any, method: str) -> Any:
    """What a getter of transformers returns; None where an architecture does not have it."""
    try:
        return getattr(model, method)()
    except (NotImplementedError, AttributeError):
        return None


def _names(parameters: Mapping[str, torch.Tensor], tensor: torch.Tensor) -> tuple[str, ...]:
    return tuple(name for name, other in parameters.items() if other is tensor)


def find_positions(model: Any, parameters: Mapping[str, torch.Tensor]) -> Positions | None:
    """Find the table of learned positions that counts from the pad id, if the model has one.

    Args:
        model: A transformers model.
        parameters: All its parameters by name, shared ones under each of their names.
    """
    for module in model.modules():
        table: Any = getattr(module, "position_embeddings", None)
        counted = isinstance(table, torch.nn.Embedding) and table.padding_idx is not None
        if counted and isinstance(getattr(module, "padding_idx", None), int):
            return Positions(_names(parameters, table.weight), int(module.padding_idx), table.num_embeddings)
    return None
