"""The tokenizer of the result, and which of its columns are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.encoders.parts import Parts
from isthmus.errors import InputError
from isthmus.token_map import TokenMap
from isthmus.transferring.columns import check_all_written, check_can_mask, unwritten_columns
from isthmus.transferring.fold import representatives
from isthmus.transferring.options import Settings
from isthmus.vocabulary import Vocabulary, check_target
from isthmus.vocabulary.join import join_tokenizers


@dataclass(frozen=True, eq=False)
class Target:
    """What a transfer leads to; the masks of its ids are None where it replaces the source's vocabulary.

    Attributes:
        tokenizer: The tokenizer of the result.
        kept: The source's own tokens, which stay.
        foreign: Tokens of the source with letters of other scripts.
        unwritten: Columns that must not be written.
    """

    tokenizer: Any
    kept: NDArray[np.bool_] | None = None
    foreign: NDArray[np.bool_] | None = None
    unwritten: NDArray[np.bool_] | None = None


def make_target(parts: Parts, tokenizers: Sequence[Any], names: Sequence[str], settings: Settings) -> Target:
    """Join the target tokenizers to the source's if that is wanted.

    Args:
        parts: The source encoder.
        tokenizers: The target tokenizers.
        names: What error messages call them.
        settings: How to transfer.

    Raises:
        InputError: If there are several and the source is not kept, or a dense encoder is to write a vocabulary.
        TokenizerError: If a tokenizer cannot be a target, or they cannot be joined.
        EncoderError: If columns must not be written and the decoder has no bias to tell it with, or the source leaves
            columns unwritten already.
    """
    if not tokenizers:
        raise InputError("target tokenizers must be at least one, got none; pass the tokenizer of the new language")
    for name, tokenizer in zip(names, tokenizers, strict=True):
        check_target(tokenizer, Vocabulary.from_tokenizer(tokenizer), name)
    for module, head in zip(parts.transformers, parts.heads, strict=True):
        check_all_written(module.model, head)
    if parts.sparse:
        if (settings.output_in_effect != "both" and settings.keep_source) or settings.fold_in_effect < 1:
            for head in parts.heads:
                check_can_mask(head)
    elif settings.output is not None or settings.fold is not None:
        raise InputError(
            f"output and fold must be None for a dense encoder, which writes no vocabulary, got {settings.output!r} "
            f"and {settings.fold}"
        )
    if not settings.keep_source:
        if len(tokenizers) != 1:
            raise InputError(
                f"target tokenizers must be one unless keep_source is set, got {len(tokenizers)}; set keep_source, or "
                "transfer to each alone"
            )
        return Target(tokenizers[0])
    joined = join_tokenizers(parts.tokenizer, tokenizers, names)
    kept = (np.arange(len(joined.known)) < joined.source_size) & ~joined.handed_over
    return Target(joined.tokenizer, kept, joined.foreign, unwritten_columns(settings.output_in_effect, joined))


def fold_columns(
    token_map: TokenMap, unwritten: NDArray[np.bool_] | None, settings: Settings
) -> tuple[TokenMap, NDArray[np.bool_]]:
    """Leave out columns that say the same as another one.

    Returns:
        The map, which notes in ``info["written_as"]`` what is written on behalf of what, and the mask of all columns
        that must not be written.
    """
    if unwritten is None:
        unwritten = np.zeros(token_map.shape[0], dtype=np.bool_)
    if settings.fold_in_effect == 1:
        return token_map, unwritten
    stands_for = representatives(token_map.weights, ~unwritten, settings.fold_in_effect)
    folded = stands_for != np.arange(len(stands_for))
    tokens = token_map.target_tokens
    aliases = {tokens[id]: tokens[stands_for[id]] for id in np.flatnonzero(folded).tolist()}
    return replace(token_map, info=token_map.info | {"written_as": aliases}), unwritten | folded
