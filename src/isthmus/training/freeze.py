"""Training only a part of an encoder; everything else stays equal bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isthmus.encoders.heads import find_head
from isthmus.errors import InputError, NotFoundError
from isthmus.token_map import COPIES, Fate, TokenMap
from isthmus.training.options import Freeze


@contextmanager
def frozen(encoder: Any, freeze: Freeze, folder: Path | None) -> Iterator[int]:
    """Freeze parameters while the body runs; gives the number of values left to train.

    ``all-but-embeddings`` leaves what has a vocabulary dimension: input embeddings, decoder and its bias.
    ``all-but-new`` leaves, of those, the rows that a transfer made from other rows (bridged, background, sampled), by a
    hook that sets the gradient of all other rows to zero. An optimiser without weight decay then leaves them as they
    are.

    Args:
        encoder: A SparseEncoder or SentenceTransformer; restored afterwards.
        freeze: What to freeze.
        folder: Where the token map is; needed for ``all-but-new`` alone.

    Raises:
        InputError: If the encoder has no token embeddings, or no token map, or one that does not fit or has no new row.
        EncoderError: If a model's vocabulary tensors cannot be found.
    """
    trainable = {name: parameter.requires_grad for name, parameter in encoder.named_parameters()}
    handles: list[Any] = []
    try:
        count = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
        if freeze != "none":
            chosen = _vocabulary_parameters(encoder)
            rows = _new_rows(folder) if freeze == "all-but-new" else None
            for parameter in encoder.parameters():
                parameter.requires_grad_(False)
            count = 0
            for name, parameter in chosen.items():
                parameter.requires_grad_(True)
                count += parameter.numel() if rows is None else len(rows) * parameter[0].numel()
                if rows is not None:
                    hooked: Any = parameter
                    handles.append(hooked.register_hook(_keep_rows(rows, parameter, name)))
        yield count
    finally:
        for handle in handles:
            handle.remove()
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(trainable[name])


def _vocabulary_parameters(encoder: Any) -> dict[str, torch.nn.Parameter]:
    from sentence_transformers.base.modules import Transformer

    found: dict[str, torch.nn.Parameter] = {}
    for module in encoder.modules():
        if isinstance(module, Transformer):
            model: Any = module.auto_model
            parameters = dict(model.named_parameters(remove_duplicate=False))
            head = find_head(model, needs_decoder=False)
            chosen = (*head.inputs[:1], *head.decoder[:1], *head.bias)
            by_identity = {id(parameters[name]): (name, parameters[name]) for name in chosen}
            found.update(by_identity.values())
    if not found:
        raise InputError(
            f"freeze must be 'none' for an encoder without a Transformer module, got {type(encoder).__name__}"
        )
    return found


def _new_rows(folder: Path | None) -> Tensor:
    """Ids of the rows that are no copies of source rows."""
    if folder is None:
        raise InputError("freeze='all-but-new' needs the token map beside the model, got a hub id; download it first")
    try:
        token_map = TokenMap.load(folder)
    except NotFoundError as error:
        raise InputError(
            f"freeze='all-but-new' needs the token map that a transfer leaves beside its encoder, got {folder} without "
            "one; transfer again with -o, or use freeze='all-but-embeddings'"
        ) from error
    rows = token_map.rows(*(fate for fate in Fate if fate not in COPIES))
    if not len(rows):
        raise InputError(f"freeze='all-but-new' needs rows that are not copies, got none in {folder}; use 'none'")
    return torch.from_numpy(rows)


def _keep_rows(rows: Tensor, parameter: torch.nn.Parameter, name: str) -> Any:
    if int(rows.max()) >= len(parameter):
        raise InputError(
            f"the token map must fit the encoder, got a new row {int(rows.max())} and {len(parameter)} rows in {name}; "
            "it belongs to another encoder"
        )
    old = torch.ones(len(parameter), dtype=torch.bool, device=parameter.device)
    old[rows.to(parameter.device)] = False
    old = old.reshape(-1, *[1] * (parameter.ndim - 1))

    def mask(gradient: Tensor) -> Tensor:
        nonlocal old
        old = old.to(gradient.device)
        return gradient.masked_fill(old, 0.0)

    return mask
