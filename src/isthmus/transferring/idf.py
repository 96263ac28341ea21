"""IDF weights of inference-free query encoders."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, TokenizerError
from isthmus.vocabulary import Kind, Vocabulary

_BATCH = 256


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
