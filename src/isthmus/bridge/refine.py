"""A bridge made fit to judge single tokens: what all its vectors share is taken off.

A sentence model gives any two tokens nearly the same direction: multilingual-e5-small puts all cosines between .7 and
1, where the largest are those of hubs. What is shared says nothing about meaning, and differs by language and script,
so the mean of each is taken off on both sides (all-but-the-top, arXiv 1702.01417; the mean of a language, arXiv
1911.03310).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.candidates import cosine_moments, known_rows
from isthmus.bridge.embed import BridgeVectors
from isthmus.bridge.sentences import learn_vectors
from isthmus.vocabulary import Vocabulary
from isthmus.vocabulary.script import letter_script
from isthmus.vocabulary.token import TEXT_KINDS

Tokenize = Callable[[Sequence[str]], Sequence[Sequence[int]]]
# Tokens of a script, from which on it has a mean of its own.
LEAST_TOKENS = 200
# Mean cosine of unlike tokens, from which on vectors are centred: less is not worth what centring takes away.
SHARED = 0.2


@dataclass(frozen=True)
class Refinement:
    """What was done to the vectors of a bridge.

    Attributes:
        centred: Scripts of each side that lost a mean of their own, most tokens first; "other" has no letter or is of a
            small script. The rest lost the mean of its side. Empty where tokens share too little to be centred.
        mean: Mean cosine of a target and a source token, before.
        spread: Standard deviation of these cosines, before.
        refined_spread: The same, after.
        texts: Sentences that token vectors were learned from, by side; None where there were none.
    """

    centred: dict[str, list[str]]
    mean: float
    spread: float
    refined_spread: float
    texts: dict[str, int] | None = None

    def describe(self) -> str:
        """In a few words, for people; nothing where nothing was done."""
        if self.texts is None:
            return "bridge centred" if self.centred else ""
        sides = " and ".join(f"{count:,} {side}" for side, count in self.texts.items())
        return f"bridge centred, taught by {sides} sentences"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def refine_vectors(
    vectors: BridgeVectors,
    source: Vocabulary,
    target: Vocabulary,
    tokenize_source: Tokenize | None = None,
    tokenize_target: Tokenize | None = None,
) -> tuple[BridgeVectors, Refinement]:
    """Take the mean of each script off the vectors of both vocabularies, and learn from sentences where there are any.

    A bridge whose tokens share hardly anything (a mean cosine below 0.2) and that has no sentences stays as it is.

    Args:
        vectors: As a bridge gives them; they are not changed.
        source: The encoder's vocabulary.
        target: The new vocabulary.
        tokenize_source: Token ids of texts, for the sentences of the source side.
        tokenize_target: Likewise of the target side.

    Returns:
        Vectors of unit length, zero where they were, and what was done.
    """
    mean, spread = cosine_moments(known_rows(vectors.target), known_rows(vectors.source))
    texts: dict[str, int] = {}
    if mean < SHARED and vectors.sentences == (None, None):
        return vectors, Refinement({}, round(mean, 4), round(spread, 4), round(spread, 4))
    made, centred = [], {}
    for side, matrix, vocabulary, tokenize, sentences in (
        ("source", vectors.source, source, tokenize_source, vectors.sentences[0]),
        ("target", vectors.target, target, tokenize_target, vectors.sentences[1]),
    ):
        scripts = _scripts(vocabulary)
        rows, centred[side] = centre(matrix, scripts)
        if sentences is not None and tokenize is not None:
            wanted, _ = centre(sentences.vectors, [letter_script(text) for text in sentences.texts])
            # What is learned has a mean of its own.
            rows, _ = centre(learn_vectors(rows, tokenize(sentences.texts), wanted), scripts)
            texts[side] = len(sentences.texts)
        made.append(rows)
    refined = cosine_moments(known_rows(made[1]), known_rows(made[0]))[1]
    done = Refinement(centred, round(mean, 4), round(spread, 4), round(refined, 4), texts or None)
    return BridgeVectors(made[0], made[1], vectors.identity), done


def centre(matrix: NDArray[np.float32], scripts: Sequence[str | None]) -> tuple[NDArray[np.float32], list[str]]:
    """Take the mean of each script off its rows.

    Args:
        matrix: Shape (rows, dim), zero rows where the bridge knows nothing.
        scripts: Of each row; None without a letter.

    Returns:
        Rows of unit length, zero where they were or where nothing but the mean was, and the scripts that have a mean of
        their own. What has no letter, and scripts of fewer than 200 rows, are "other"; where these are fewer than 200
        too, they lose the mean of all rows.
    """
    known = matrix.any(axis=1)
    counts = Counter(scripts[row] for row in np.flatnonzero(known).tolist())
    large = {script for script, count in counts.items() if script is not None and count >= LEAST_TOKENS}
    labels = np.array([script if script in large else "other" for script in scripts])
    rows = matrix.astype(np.float64)
    centred = rows.copy()
    if known.sum() > 1:
        centred[known] -= rows[known].mean(axis=0)
    own = [label for label, count in Counter(labels[known].tolist()).most_common() if count >= LEAST_TOKENS]
    for label in own:
        group = known & (labels == label)
        centred[group] = rows[group] - rows[group].mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(lengths > 1e-6, lengths, np.inf), dtype=np.float32), own


def _scripts(vocabulary: Vocabulary) -> list[str | None]:
    """The script of every id that stands for text with a letter."""
    scripts: list[str | None] = [None] * vocabulary.size
    for token in vocabulary.tokens:
        if token.kind in TEXT_KINDS:
            scripts[token.id] = letter_script(token.surface)
    return scripts
