"""How often each token, and each pair of neighbours, occurs in each text of a batch, from the ids the encoder read."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

# Pairs of neighbours share so many columns; in two texts of a hundred tokens, hardly one pair meets another by chance.
PAIR_COLUMNS = 2**18
# Odd and far apart, so that "a b" and "b a" are two pairs.
_FIRST, _SECOND = 1_000_003, 7_919


class TokenCounts(NamedTuple):
    """Occurrences by text and then by token; what a text does not hold is not there.

    Attributes:
        texts: int64, shape (entries,), ascending.
        tokens: Vocabulary ids, or columns of pairs, int64, shape (entries,), ascending within a text.
        counts: How often the token occurs in the text, int64, shape (entries,), at least 1.
        lengths: Tokens counted in each text, int64, shape (texts,).
    """

    texts: Tensor
    tokens: Tensor
    counts: Tensor
    lengths: Tensor


def count_tokens(features: dict[str, Any], left_out: Tensor) -> TokenCounts:
    """Count the tokens of a batch, without padding and without the prompt where its length is known.

    Args:
        features: What a sentence-transformers module is given: ``input_ids`` with ``attention_mask``, shape (texts,
            length), or flattened inputs with ``cu_seq_lens_q``.
        left_out: Ids that do not count, as a mask of shape (vocabulary,).
    """
    texts, ids, number = _kept(features, left_out)
    return _counted(texts, ids, len(left_out), torch.bincount(texts, minlength=number))


def count_pairs(features: dict[str, Any], left_out: Tensor) -> TokenCounts:
    """Count pairs of neighbouring tokens, each under one of :data:`PAIR_COLUMNS` columns that its hash tells.

    Args:
        features: As for :func:`count_tokens`.
        left_out: Likewise; the neighbours of such a token are neighbours of each other.
    """
    texts, ids, number = _kept(features, left_out)
    columns = (ids[:-1] * _FIRST + ids[1:] * _SECOND) % PAIR_COLUMNS
    within = texts[:-1] == texts[1:]
    return _counted(texts[:-1][within], columns[within], PAIR_COLUMNS, torch.bincount(texts, minlength=number))


def _kept(features: dict[str, Any], left_out: Tensor) -> tuple[Tensor, Tensor, int]:
    texts, ids, number = _tokens_of(features)
    kept = ~left_out[ids]
    return texts[kept], ids[kept], number


def _counted(texts: Tensor, columns: Tensor, size: int, lengths: Tensor) -> TokenCounts:
    keys, counts = torch.unique(texts * size + columns, return_counts=True)
    return TokenCounts(keys // size, keys % size, counts, lengths)


def _tokens_of(features: dict[str, Any]) -> tuple[Tensor, Tensor, int]:
    """The text of each token that is neither padding nor prompt, its id, and the number of texts."""
    prompt = features.get("prompt_length", 0)
    # While training it is a column of the batch.
    prompt = int(prompt.flatten()[0]) if isinstance(prompt, Tensor) else int(prompt or 0)
    # Ids of no token at all come as floats.
    ids = features["input_ids"].long()
    if "cu_seq_lens_q" in features:
        ends = features["cu_seq_lens_q"].long()
        lengths = ends.diff()
        texts = torch.repeat_interleave(torch.arange(len(lengths), device=ids.device), lengths)
        ids = ids.flatten()
        beyond = torch.arange(len(ids), device=ids.device) - ends[texts] >= prompt
        return texts[beyond], ids[beyond], len(lengths)
    mask = features["attention_mask"].bool()
    # Positions count from the first real token, whichever side is padded.
    mask = mask & (mask.cumsum(dim=1) > prompt)
    return mask.nonzero()[:, 0], ids[mask], len(ids)


__all__ = ["PAIR_COLUMNS", "TokenCounts", "count_pairs", "count_tokens"]
