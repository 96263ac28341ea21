"""A model over another vocabulary.

The model is not edited in place: a second one is built from a changed config and filled from the state dict of the
first. What ``from_pretrained`` would build is therefore what comes out, ties and non-persistent buffers included, and
the source stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from isthmus.encoders.heads import SUPPORTED, check_finite, check_rows, find_head, find_positions
from isthmus.errors import EncoderError
from isthmus.token_map import Fate, TokenMap
from isthmus.transferring.options import Bias, TransferOptions
from isthmus.transferring.rows import add_own_directions, restore_norm

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


def swap_vocabulary(
    model: Any,
    token_map: TokenMap,
    roles: Mapping[str, int],
    options: TransferOptions | None = None,
    **changes: Any,
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
        options: What becomes of bias and rows; None takes the defaults. With the bias ``position``, which
            transformers' ``resize_token_embeddings`` leaves, and so the released code of arXiv 2605.26002, target
            token k keeps the bias of source token k, and ids beyond the source have none where decoder and input
            embeddings are tied, the mean bias where they are not. ``matched`` starts as ``mixed``.
        **changes: Fields of ``options`` to replace.

    Returns:
        A model of the same class, in evaluation mode, its weights in the same dtypes and on the same devices.

    Raises:
        EncoderError: If the model has no token embeddings, too few rows, non-finite weights, or its config does not
            rebuild it.
    """
    options = TransferOptions.of(options, **changes)
    head = find_head(model, needs_decoder=False)
    check_rows(head, token_map.source_tokens)
    check_finite(model)
    state = dict(model.state_dict())
    kept = set(state).difference(head.inputs, head.decoder, head.bias)
    result = {name: state[name].clone() for name in kept}
    for names in (head.inputs, head.decoder):
        if names:
            rows = mix(token_map, state[names[0]])
            if options.norm_in_effect == "restored":
                rows = restore_norm(token_map, rows, state[names[0]])
            if options.own_direction_in_effect:
                rows = add_own_directions(token_map, rows, options)
            result.update({name: rows.clone() for name in names})
    for name in head.bias:
        result[name] = mix_bias(token_map, state[name], options.bias_in_effect, tied=head.tied)
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
    positions = find_positions(model, dict(model.named_parameters(remove_duplicate=False)))
    if positions is not None and positions.padding_idx != pad:
        raise EncoderError(
            f"target tokenizer must have its pad token at id {positions.padding_idx} because {name} counts positions "
            f"from there, got id {pad}; give it that pad id, or use an encoder of another family"
        )
    return model.eval()
