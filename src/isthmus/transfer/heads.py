"""Where a model keeps its vocabulary, and how to give it another one.

A masked language model has input embeddings, a decoder and its bias; the model inside a dense encoder has input
embeddings alone.

The model is not edited in place: a second one is built from a changed config and filled from the state dict of the
first. What ``from_pretrained`` would build is therefore what comes out, ties and non-persistent buffers included, and
the source stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from isthmus.errors import EncoderError, UnknownNameError
from isthmus.token_map import Fate, TokenMap
from isthmus.transfer.rows import add_own_directions, restore_norm
from isthmus.transfer.settings import Bias, Norm

BIASES: tuple[Bias, ...] = ("mixed", "zero", "position", "matched")
SUPPORTED = "BERT, DistilBERT, RoBERTa, XLM-R, ModernBERT, or another text model with plain token embeddings"
# A config names the same role twice where an architecture knows both spellings (ModernBERT: cls and bos).
CONFIG_ROLES = {
    "pad_token_id": "pad",
    "cls_token_id": "cls",
    "bos_token_id": "cls",
    "sep_token_id": "sep",
    "eos_token_id": "sep",
    "mask_token_id": "mask",
    "unk_token_id": "unk",
}


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
    inputs_names, positions = _names(parameters, weight), _find_positions(model, parameters)
    if decoder is None:
        return Head(inputs_names, (), (), len(weight), positions)
    decoder_names = tuple(key for key in _names(parameters, decoder) if key not in inputs_names)
    head = next(key for key, module in model.named_modules() if module is outputs).rpartition(".")[0]
    # RoBERTa and BERT keep the bias beside the decoder too: left alone, the old one comes back when weights are tied.
    beside = parameters.get(f"{head}.bias" if head else "bias")
    biases = [bias for bias in (getattr(outputs, "bias", None), beside) if bias is not None]
    bias_names = dict.fromkeys(key for bias in biases if len(bias) == len(weight) for key in _names(parameters, bias))
    return Head(inputs_names, decoder_names, tuple(bias_names), len(weight), positions)


def check_bias(bias: Bias) -> Bias:
    """Return ``bias``, or raise UnknownNameError when it is none of ``BIASES``."""
    if bias not in BIASES:
        raise UnknownNameError("bias", bias, BIASES)
    return bias


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


def swap_vocabulary(
    model: Any,
    token_map: TokenMap,
    roles: Mapping[str, int],
    *,
    bias: Bias = "mixed",
    norm: Norm = "mixed",
    own_direction: float = 0.0,
    seed: int = 0,
) -> Any:
    """Build the same model over the target vocabulary.

    Input embeddings and an untied decoder become ``W @ rows`` in float64, rounded to the checkpoint's dtype, and then
    what ``norm`` and ``own_direction`` make of them; a model without a decoder has input embeddings alone, and whether
    its encoder needs one is not asked here. Where positions count from the pad id and that changes, the position rows
    move along: every token keeps the row it had.

    Args:
        model: A transformers model; not modified.
        token_map: Map of shape (target, source).
        roles: Target id of each special role the target tokenizer has ("pad" at least).
        bias: Decoder bias: ``mixed`` is ``W @ bias``, ``zero`` is zero, ``matched`` starts as ``mixed``. ``position``
            is what transformers' ``resize_token_embeddings`` leaves, and so the released code of arXiv 2605.26002:
            target token k keeps the bias of source token k, and ids beyond the source have none where decoder and
            input embeddings are tied, the mean bias where they are not.
        norm: ``restored`` scales mixed rows to the mean length of those they are made of.
        own_direction: Length of a random direction that is added to every mixed row, as a multiple of the row's own;
            then the row is scaled back to that.
        seed: Seed of these directions.

    Returns:
        A model of the same class, in evaluation mode, its weights in the same dtypes and on the same devices.

    Raises:
        EncoderError: If the model has no token embeddings, too few rows, non-finite weights, or its config does not
            rebuild it.
        UnknownNameError: If ``bias`` is none of the four.
    """
    check_bias(bias)
    head = find_head(model, needs_decoder=False)
    check_rows(head, token_map.source_tokens)
    check_finite(model)
    state = dict(model.state_dict())
    kept = set(state).difference(head.inputs, head.decoder, head.bias)
    result = {name: state[name].clone() for name in kept}
    for names in (head.inputs, head.decoder):
        if names:
            rows = mix(token_map, state[names[0]])
            if norm == "restored":
                rows = restore_norm(token_map, rows, state[names[0]])
            if own_direction:
                rows = add_own_directions(token_map, rows, own_direction, seed)
            result.update({name: rows.clone() for name in names})
    for name in head.bias:
        result[name] = mix_bias(token_map, state[name], bias, tied=head.tied)
    config = _target_config(model.config, token_map.shape[0], roles, tied=head.tied)
    if head.positions is not None:
        shift = roles["pad"] - head.positions.padding_idx
        config.max_position_embeddings = head.positions.rows + shift
        for name in head.positions.names:
            result[name] = _shift_rows(state[name], head.positions.padding_idx, roles["pad"])
    return _build(model, config, result, roles["pad"])


def mix(token_map: TokenMap, tensor: torch.Tensor) -> torch.Tensor:
    """``W @ tensor`` in the tensor's dtype and on its device; rows beyond the source vocabulary are left out."""
    exact = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    rows = tensor.detach()[: token_map.shape[1]].to("cpu", exact).numpy()
    return torch.from_numpy(token_map.apply(rows)).to(tensor.device, tensor.dtype)


def mix_bias(token_map: TokenMap, tensor: torch.Tensor, bias: Bias, *, tied: bool) -> torch.Tensor:
    """Target bias of shape (target,) from a source bias of shape (rows,); see :func:`swap_vocabulary`."""
    if bias in ("mixed", "matched"):
        return mix(token_map, tensor)
    target, old = token_map.shape[0], tensor.detach()
    result = torch.zeros(target, dtype=old.dtype, device=old.device)
    if bias == "zero":
        own = torch.from_numpy(token_map.rows(Fate.KEPT)).to(old.device)
        result[own] = old[own]
        return result
    if not tied:
        result += old.float().mean()
    kept = min(target, len(old))
    result[:kept] = old[:kept]
    return result


def _ask(model: Any, method: str) -> Any:
    """What a getter of transformers returns; None where an architecture does not have it."""
    try:
        return getattr(model, method)()
    except (NotImplementedError, AttributeError):
        return None


def _names(parameters: Mapping[str, torch.Tensor], tensor: torch.Tensor) -> tuple[str, ...]:
    return tuple(name for name, other in parameters.items() if other is tensor)


def _find_positions(model: Any, parameters: Mapping[str, torch.Tensor]) -> Positions | None:
    for module in model.modules():
        table: Any = getattr(module, "position_embeddings", None)
        counted = isinstance(table, torch.nn.Embedding) and table.padding_idx is not None
        if counted and isinstance(getattr(module, "padding_idx", None), int):
            return Positions(_names(parameters, table.weight), int(module.padding_idx), table.num_embeddings)
    return None


def _shift_rows(table: torch.Tensor, source_pad: int, target_pad: int) -> torch.Tensor:
    """Move the rows from ``source_pad`` on to ``target_pad``; rows before it are never looked up and become zero."""
    kept = table[source_pad:]
    return torch.cat([torch.zeros(target_pad, table.shape[1], dtype=table.dtype, device=table.device), kept])


def _target_config(config: Any, size: int, roles: Mapping[str, int], *, tied: bool) -> Any:
    changed = copy.deepcopy(config)
    changed.vocab_size = size
    for attribute, role in CONFIG_ROLES.items():
        if role == "pad" or getattr(config, attribute, None) is not None:
            setattr(changed, attribute, roles.get(role))
    if not tied:
        # A checkpoint may hold its own decoder although its config says tied; the result must not repeat the claim.
        changed.tie_word_embeddings = False
    return changed


def _build(source: Any, config: Any, state: dict[str, torch.Tensor], pad: int) -> Any:
    name = type(source).__name__
    try:
        with torch.random.fork_rng(devices=[]):
            model = type(source)(config)
        for part in dict(model.named_children()):
            if getattr(source, part, None) is None:
                # No config remembers that a model was loaded without its pooler.
                setattr(model, part, None)
        model.load_state_dict(state, strict=True, assign=True)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().replace("\n", " ")
        raise EncoderError(
            f"encoder must be a model that its config rebuilds, got {name}: {reason}; use {SUPPORTED}"
        ) from error
    model.tie_weights()
    positions = _find_positions(model, dict(model.named_parameters(remove_duplicate=False)))
    if positions is not None and positions.padding_idx != pad:
        raise EncoderError(
            f"target tokenizer must have its pad token at id {positions.padding_idx} because {name} counts positions "
            f"from there, got id {pad}; give it that pad id, or use an encoder of another family"
        )
    return model.eval()
