"""Put the fast vocabulary head into a sparse encoder, and take it out again.

The decoder hands its input through, so what reaches the pooling are hidden states instead of logits, and the pooling
computes the maxima of :mod:`isthmus.modules.max_head`. Classes and parameters stay as they are: a fused encoder saves
as the plain encoder that it is.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from isthmus.modules.column_scale import ColumnScale
from isthmus.modules.lexical import Lexical
from isthmus.modules.max_head import active_maxima, max_head
from isthmus.modules.trim import Trim

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


class FusedHead:
    """What a fused ``SpladePooling`` runs instead of its own ``forward``.

    Attributes:
        decoder: The linear layer from hidden states to logits.
        pooling: The pooling it stands in for.
        dense: Give a (texts, vocabulary) tensor, as sentence-transformers expects; else :class:`ActiveEntries`, without
            gradient.
    """

    def __init__(self, decoder: torch.nn.Linear, pooling: Any, *, dense: bool = True) -> None:
        self.decoder = decoder
        self.pooling = pooling
        self.dense = dense
        if pooling.embedding_dimension is None:
            pooling.embedding_dimension = decoder.out_features

    def __call__(self, features: dict[str, Any]) -> dict[str, Any]:
        """Pool ``token_embeddings``, which hold hidden states here, to ``sentence_embedding``."""
        hidden, lengths = real_tokens(features)
        if self.dense:
            pooled = max_head(hidden, self.decoder.weight, self.decoder.bias, lengths)
            features["sentence_embedding"] = self._activate(pooled)
        else:
            active = active_maxima(hidden, self.decoder.weight, self.decoder.bias, lengths)
            features["sentence_embedding"] = active._replace(values=self._activate(active.values))
        return features

    def _activate(self, logits: Tensor) -> Tensor:
        """What comes after the maximum: one or two ``log1p``, on values above zero."""
        activated = logits.log1p()
        return activated.log1p() if self.pooling.activation_function == "log1p_relu" else activated


def fuse_head(encoder: SparseEncoder, *, dense: bool = True) -> int:
    """Let an encoder compute its vocabulary head the fast way, in place; for training or its own ``encode``.

    Works for every masked language model whose logits are the output of one linear decoder, which is tried out on a
    token, followed by SPLADE max pooling, at any depth of a ``Router``. Other parts stay as they are. While fused, the
    model's own logits are not available. Not for ``torch.nn.DataParallel``; its successor works.

    Args:
        encoder: The encoder to change.
        dense: As for :class:`FusedHead`.

    Returns:
        Number of heads fused; 0 leaves an encoder as it was.
    """
    count = 0
    for transformer, pooling in _pairs(encoder):
        if is_fused(pooling):
            pooling.__dict__["forward"].dense = dense
        elif _fits(transformer, pooling):
            decoder = transformer.auto_model.get_output_embeddings()
            decoder.__dict__["forward"] = _hand_through
            pooling.__dict__["forward"] = FusedHead(decoder, pooling, dense=dense)
        else:
            continue
        count += 1
    return count


def count_fusable(encoder: SparseEncoder) -> int:
    """Number of heads that :func:`fuse_head` would fuse."""
    return sum(is_fused(pooling) or _fits(transformer, pooling) for transformer, pooling in _pairs(encoder))


def unfuse_head(encoder: SparseEncoder) -> None:
    """Undo :func:`fuse_head`; an encoder that is not fused stays as it is."""
    for _, pooling in _pairs(encoder):
        if is_fused(pooling):
            del pooling.__dict__["forward"].decoder.__dict__["forward"], pooling.__dict__["forward"]


def is_fused(pooling: torch.nn.Module) -> bool:
    """Whether a pooling runs a :class:`FusedHead`."""
    return isinstance(pooling.__dict__.get("forward"), FusedHead)


def fused_view(encoder: SparseEncoder) -> SparseEncoder | None:
    """A fused encoder that gives :class:`ActiveEntries` and shares parameters and tokenizer with ``encoder``.

    Args:
        encoder: Stays as it is.

    Returns:
        None where no head can be fused, or where modules follow it that need a tensor.
    """
    if not _stays_sparse(encoder):
        return None
    shared = [*encoder.parameters(), *encoder.buffers()]
    shared += [part for module in encoder.modules() for part in _preprocessors(module)]
    view: SparseEncoder = copy.deepcopy(encoder, {id(part): part for part in shared})
    return view if fuse_head(view, dense=False) else None


def _hand_through(hidden: Tensor) -> Tensor:
    return hidden


def _preprocessors(module: torch.nn.Module) -> list[Any]:
    return [part for name in ("processor", "tokenizer") if (part := getattr(module, name, None)) is not None]


def _pairs(encoder: SparseEncoder) -> Iterator[tuple[Any, Any]]:
    """A masked language model and the max pooling right behind it, wherever they are."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    for parent in encoder.modules():
        for first, second in itertools.pairwise(parent.children()):
            if isinstance(first, Transformer) and type(second) is SpladePooling:
                yield first, second


def _stays_sparse(encoder: SparseEncoder) -> bool:
    """Whether nothing comes after any pooling, in a route or behind the ``Router``, but what takes active entries."""
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    modules = _without_tail(encoder)
    if not isinstance(modules[-1], Router):
        return isinstance(modules[-1], SpladePooling)
    routes = [_without_tail(route) for route in modules[-1].sub_modules.values()]
    return not any(isinstance(part, SpladePooling) for route in routes for part in route[:-1])


def _without_tail(modules: torch.nn.Module) -> list[Any]:
    """The modules of a sequence up to the last one that takes no active entries."""
    found = list(modules.children())
    while len(found) > 1 and isinstance(found[-1], (ColumnScale, Trim, Lexical)):
        found.pop()
    return found


def _fits(transformer: Any, pooling: Any) -> bool:
    if pooling.pooling_strategy != "max" or transformer.transformer_task != "fill-mask":
        return False
    if transformer.backend != "torch" or transformer.query_expansion is not None:
        return False
    decoder = transformer.auto_model.get_output_embeddings()
    return type(decoder) is torch.nn.Linear and "forward" not in decoder.__dict__ and _ends_in(transformer, decoder)


def _ends_in(transformer: Any, decoder: torch.nn.Linear) -> bool:
    """Whether the model's logits are what its decoder gives, no more and no less."""
    seen: list[Tensor] = []
    handle = decoder.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        with torch.no_grad():
            model = transformer.auto_model
            token = torch.zeros(1, 1, dtype=torch.int64, device=decoder.weight.device)
            logits = model(input_ids=token, attention_mask=torch.ones_like(token)).logits
    finally:
        handle.remove()
    return len(seen) == 1 and torch.equal(seen[0], logits)


def real_tokens(features: dict[str, Any]) -> tuple[Tensor, list[int]]:
    """Hidden states without padding, end to end, and the number of tokens of each text."""
    hidden = features["token_embeddings"]
    if "cu_seq_lens_q" in features:
        return hidden.squeeze(0), features["cu_seq_lens_q"].diff().tolist()
    mask = features["attention_mask"].bool()
    return hidden[mask], mask.sum(dim=1).tolist()


__all__ = ["FusedHead", "count_fusable", "fuse_head", "fused_view", "is_fused", "real_tokens", "unfuse_head"]
