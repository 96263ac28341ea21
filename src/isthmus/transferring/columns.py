"""The tokenizer of the result, and which of its columns an encoder writes.

Nothing is cut out of the model: a column that must not be written gets a decoder bias that no logit outweighs, so the
encoder stays one that sentence-transformers opens by itself, with input and output tied. Columns that say the same are
folded into one: where rows are mixed, a transfer is linear, and tokens with equal rows get equal weights on every text.
Dozens of inflections of a word then crowd out everything else, without telling more than one of them does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity, vstack

from isthmus.encoders.heads import Head
from isthmus.encoders.parts import Parts
from isthmus.errors import EncoderError, InputError
from isthmus.initializers import RowProblem
from isthmus.token_map import FATES, Fate, TokenMap
from isthmus.transferring.options import Output, TransferOptions
from isthmus.vocabulary import Vocabulary, check_target
from isthmus.vocabulary.join import Joined, foreign_letters, join_tokenizers
from isthmus.vocabulary.renumber import renumber

# Far below any logit, and far from the end of half precision (65504) even when logits are added to it.
UNWRITTEN = -1e4
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class TargetTokenizer:
    """What a transfer leads to; the masks of its ids are None where it replaces the source's vocabulary.

    Attributes:
        tokenizer: The tokenizer of the result.
        kept: The source's own tokens, which stay.
        foreign: Tokens of the source with letters of other scripts; None where they are as good as others.
        unwritten: Columns that must not be written.
        english_unchanged: Share of texts of the source's language that get the ids they had, 0..1.
        english_checked: How many texts that was found on.
    """

    tokenizer: Any
    kept: NDArray[np.bool_] | None = None
    foreign: NDArray[np.bool_] | None = None
    unwritten: NDArray[np.bool_] | None = None
    english_unchanged: float | None = None
    english_checked: int | None = None


def make_target(
    parts: Parts, tokenizers: Sequence[Any], names: Sequence[str], options: TransferOptions
) -> TargetTokenizer:
    """Join the target tokenizers to the source's if that is wanted.

    Args:
        parts: The source encoder.
        tokenizers: The target tokenizers.
        names: What error messages call them.
        options: How to transfer.

    Raises:
        InputError: If there is none, there are several and the source is not kept, or a dense encoder is to write a
            vocabulary.
    """
    if not tokenizers:
        raise InputError("target tokenizers must be at least one, got none; pass the tokenizer of the new language")
    for name, tokenizer in zip(names, tokenizers, strict=True):
        check_target(tokenizer, Vocabulary.from_tokenizer(tokenizer), name)
    for module, head in zip(parts.transformers, parts.heads, strict=True):
        check_all_written(module.model, head)
        if parts.sparse and options.silences:
            check_can_mask(head)
    if not parts.sparse and (options.output is not None or options.fold is not None):
        raise InputError(
            f"output and fold must be None for a dense encoder, which writes no vocabulary, got {options.output!r} "
            f"and {options.fold}"
        )
    if not options.keep_source:
        if len(tokenizers) != 1:
            raise InputError(
                f"target tokenizers must be one unless keep_source is set, got {len(tokenizers)}; set keep_source, or "
                "transfer to each alone"
            )
        if not options.reads_beside:
            return TargetTokenizer(tokenizers[0])
        return TargetTokenizer(tokenizers[0], foreign=foreign_letters(Vocabulary.from_tokenizer(parts.tokenizer)))
    joined = join_tokenizers(parts.tokenizer, tokenizers, names, options.source_texts or ())
    kept = (np.arange(len(joined.known)) < joined.source_size) & ~joined.handed_over
    unwritten = unwritten_columns(options.output_in_effect, joined)
    return TargetTokenizer(joined.tokenizer, kept, joined.foreign, unwritten, joined.unchanged, joined.checked)


def read_beside(
    made: TargetTokenizer, problem: RowProblem, token_map: TokenMap, options: TransferOptions
) -> tuple[TargetTokenizer, TokenMap, Mapping[str, int]]:
    """Put what the target tokenizer reads beside the columns that the source writes.

    Args:
        made: The target tokenizer.
        problem: What the map was made of.
        token_map: Map of shape (target, source).
        options: Whether that is wanted.

    Returns:
        The same tokenizer over the ids of both, the map of all these ids, and the ids of the special roles; as they are
        where it is not wanted.
    """
    if not options.reads_beside:
        return made, token_map, problem.target.roles
    size = problem.source.size
    placed = renumber(made.tokenizer, problem.target, problem.source, problem.overlap)
    added = np.flatnonzero(placed.ids >= size)
    whole = replace(
        token_map,
        weights=vstack([identity(size), token_map.weights[added]], format="csr"),
        fates=np.concatenate([np.full(size, FATES.index(Fate.KEPT), dtype=np.uint8), token_map.fates[added]]),
        target_tokens=placed.names,
    )
    unwritten = np.arange(len(placed.names)) >= size
    return replace(made, tokenizer=placed.tokenizer, unwritten=unwritten), whole, placed.roles


def fold_columns(
    token_map: TokenMap, unwritten: NDArray[np.bool_] | None, options: TransferOptions
) -> tuple[TokenMap, NDArray[np.bool_]]:
    """Leave out columns that say the same as another one.

    Returns:
        The map, which notes in ``info["written_as"]`` what is written on behalf of what, and the mask of all columns
        that must not be written.
    """
    if unwritten is None:
        unwritten = np.zeros(token_map.shape[0], dtype=np.bool_)
    if options.fold_in_effect == 1:
        return token_map, unwritten
    stands_for = representatives(token_map.weights, ~unwritten, options.fold_in_effect)
    folded = stands_for != np.arange(len(stands_for))
    tokens = token_map.target_tokens
    aliases = {tokens[id]: tokens[stands_for[id]] for id in np.flatnonzero(folded).tolist()}
    return replace(token_map, info=token_map.info | {"written_as": aliases}), unwritten | folded


def unwritten_columns(output: Output, joined: Joined) -> NDArray[np.bool_]:
    """Columns that an output leaves out, as a mask of shape (size,).

    ``source`` writes the source's tokens but those handed over to a target tokenizer, ``target`` those that a target
    tokenizer has, ``both`` all.
    """
    if output == "source":
        return (np.arange(len(joined.known)) >= joined.source_size) | joined.handed_over
    return ~joined.known if output == "target" else np.zeros(len(joined.known), dtype=np.bool_)


def check_all_written(model: Any, head: Head) -> None:
    """Check that no column is silenced: new columns would be made of silenced ones, and be silent too.

    Raises:
        EncoderError: If one is.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    silent = max((int((parameters[name] <= UNWRITTEN / 2).sum()) for name in head.bias), default=0)
    if silent:
        raise EncoderError(
            f"encoder must write its whole vocabulary, got {silent} columns that an earlier transfer silenced; start "
            "again from the encoder that it came from, with all target tokenizers at once"
        )


def check_can_mask(head: Head) -> None:
    """Check that columns can be left out.

    Raises:
        EncoderError: If the decoder has no bias.
    """
    if not head.bias:
        raise EncoderError(
            "encoder must have a decoder with a bias, by which columns are silenced, got none; pass output='both' with "
            "keep_source, leave output out without, and pass fold=1"
        )


def silence(model: Any, head: Head, columns: NDArray[np.bool_]) -> None:
    """Give ``columns`` of a model's decoder, in place, a bias that no logit outweighs."""
    chosen = torch.from_numpy(np.flatnonzero(columns))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name in head.bias:
            parameters[name][chosen.to(parameters[name].device)] = UNWRITTEN


def representatives(weights: csr_matrix, written: NDArray[np.bool_], threshold: float) -> NDArray[np.int64]:
    """Find for every column the one that stands for it.

    Args:
        weights: The token map, shape (tokens, source); empty rows stand for themselves.
        written: Mask of the tokens whose columns are written; the others stand for themselves.
        threshold: Cosine of two rows above which the one with the higher id is folded into the other.

    Returns:
        The id of its representative for every token, shape (tokens,): the most similar of those with a lower id that
        stand for themselves, or the token itself.
    """
    result = np.arange(weights.shape[0], dtype=np.int64)
    ids = np.flatnonzero(written & (np.diff(weights.indptr) > 0))
    rows = csr_matrix(weights[ids], dtype=np.float64)
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    rows.data /= np.repeat(norms, np.diff(rows.indptr))
    columns = rows.T.tocsc()
    own = np.ones(len(ids), dtype=np.bool_)
    for start in range(0, len(ids), _BLOCK):
        stop = min(start + _BLOCK, len(ids))
        cosines = (rows[start:stop] @ columns[:, :stop]).tocsr()
        cosines.sort_indices()
        for row in range(start, stop):
            part = slice(cosines.indptr[row - start], cosines.indptr[row - start + 1])
            others, close = cosines.indices[part], cosines.data[part]
            fit = (others < row) & own[others] & (close > threshold)
            if fit.any():
                result[ids[row]] = ids[others[fit][close[fit].argmax()]]
                own[row] = False
    return result
