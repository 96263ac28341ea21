"""Static query sides of inference-free encoders: one weight per token, the IDF of target text or what the map makes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.encoders.parts import Parts
from isthmus.errors import InputError, TokenizerError
from isthmus.token_map import Fate, TokenMap
from isthmus.transferring.options import TransferOptions
from isthmus.transferring.swap import mix
from isthmus.vocabulary import Kind, Vocabulary

_BATCH = 256


def check_statics(parts: Parts, target: Vocabulary, options: TransferOptions) -> None:
    """Refuse a vocabulary with holes for them, and texts where there are none.

    Raises:
        InputError: If ``idf_texts`` are given for an encoder without one.
    """
    if parts.statics:
        check_without_holes(target)
    elif options.idf_texts is not None:
        raise InputError(
            "idf_texts must be None for an encoder without a static query side, got texts; leave them out, or pass "
            "them as sample_texts"
        )


def query_weights(
    parts: Parts, tokenizer: Any, target: Vocabulary, token_map: TokenMap, options: TransferOptions
) -> dict[int, Any]:
    """New weights by the id() of each static module: the statistic of target text if given, else the map."""
    if not parts.statics:
        return {}
    if options.idf_texts is None:
        return {id(module): mix(token_map, module.weight) for module in parts.statics}
    idf = torch.from_numpy(idf_from_texts(tokenizer, target, options.idf_texts))
    kept = torch.from_numpy(token_map.rows(Fate.KEPT))
    weights = {}
    for module in parts.statics:
        weight = idf.to(module.weight.device, module.weight.dtype, copy=True)
        # Texts of the new language say nothing about the source's tokens.
        weight[kept] = module.weight.detach()[kept]
        weights[id(module)] = weight
    return weights


def idf_from_texts(tokenizer: Any, vocabulary: Vocabulary, texts: Iterable[str]) -> NDArray[np.float32]:
    """Weigh every token by how rare it is in target text: ``log(1 + (N - df + 0.5) / (df + 0.5))``.

    N is the number of texts and df the number of those that contain the token (the IDF of BM25 as Lucene computes it).
    Tokens that never occur get the largest weight; special tokens get zero.

    Args:
        tokenizer: The target tokenizer.
        vocabulary: What was read from it.
        texts: Documents or passages in the target language.

    Returns:
        Weights of shape (vocabulary.size,).

    Raises:
        InputError: If ``texts`` is a single string or empty.
    """
    if isinstance(texts, str):
        raise InputError("idf_texts must be an iterable of strings, got one string; put it into a list")
    frequency = np.zeros(vocabulary.size, dtype=np.int64)
    count = 0
    remaining = iter(texts)
    while batch := list(itertools.islice(remaining, _BATCH)):
        encoded = tokenizer(batch, add_special_tokens=False, truncation=False, padding=False, verbose=False)
        for ids in encoded["input_ids"]:
            frequency[np.unique(np.asarray(ids, dtype=np.int64))] += 1
        count += len(batch)
    if count == 0:
        raise InputError("idf_texts must hold at least one text, got none; pass documents of the target language")
    weights = np.log1p((count - frequency + 0.5) / (frequency + 0.5))
    weights[[token.id for token in vocabulary.tokens if token.kind is Kind.SPECIAL]] = 0.0
    return weights.astype(np.float32)


def check_without_holes(vocabulary: Vocabulary) -> None:
    """Check that a static query side can be saved over this vocabulary.

    sentence-transformers rebuilds its weights with one row per token, so an id beyond the number of tokens has none.

    Raises:
        TokenizerError: If ids are missing.
    """
    holes = vocabulary.size - len(vocabulary.tokens)
    if holes:
        raise TokenizerError(
            "target tokenizer must have no gaps in its ids for an encoder with a static query side, got "
            f"{holes} missing ids; fill them with added tokens, or transfer an encoder without a Router"
        )
