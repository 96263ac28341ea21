"""Token vectors learned from sentences: a bridge is trained for these, so it is asked about these.

The vector of a sentence is close to the mean of what its tokens mean. Given unlabelled sentences, their vectors S in
the bridge, and A with the share that each token has of each sentence, the token vectors X = f P + D are sought with D
the minimum of |A (f P + D) - S|^2 + ridge |D|^2: a token moves from its vector alone, P, as far as the sentences with
it ask for, and a token that is in none stays. The factor f fits the lengths: the one with which the centred A P is
closest to S. No parallel text is needed; each language is learned by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.bridge import cache as disk
from isthmus.bridge.embed import BridgeVectors, Sentences, encode_texts, open_bridge, unit_rows
from isthmus.errors import InputError

RIDGE = 0.003
STEPS = 60
# Embedding these takes e5-small a minute on two cores; longer ones say less of each token.
MOST_SENTENCES = 12_000
MOST_CHARACTERS = 160
LEAST_SENTENCES = 1000
MAX_LENGTH = 64
LEAST_FACTOR = 0.1


def choose_sentences(texts: Sequence[str], seed: int) -> list[str]:
    """At most 12,000 distinct texts, each cut to 160 characters at a space, drawn with ``seed``.

    Raises:
        InputError: If fewer than 1,000 are left, which teach nothing.
    """
    cut = dict.fromkeys(short for text in texts if (short := _shortened(text.strip())))
    if len(cut) < LEAST_SENTENCES:
        raise InputError(
            f"bridge texts must be at least {LEAST_SENTENCES:,} distinct ones a language, got {len(cut):,}; give more, "
            "or leave them out"
        )
    found = list(cut)
    chosen = np.random.default_rng(seed).permutation(len(found))[:MOST_SENTENCES]
    return [found[place] for place in sorted(chosen.tolist())]


def add_sentences(
    vectors: BridgeVectors,
    bridge: Any | str | Path,
    source_texts: Sequence[str] | None,
    target_texts: Sequence[str] | None,
    *,
    seed: int = 0,
    cache: bool = True,
    cache_folder: Path | None = None,
    trust_remote_code: bool = False,
    show_progress_bar: bool | None = None,
) -> BridgeVectors:
    """Embed sentences beside the tokens, for :func:`isthmus.bridge.refine_vectors` to learn from.

    Args:
        vectors: Token vectors by the same bridge.
        bridge: As for :func:`isthmus.bridge.embed_vocabularies`.
        source_texts: Texts of the source language, at least 1,000 distinct ones; None for none.
        target_texts: Texts of the target languages, likewise.
        seed: Of the choice of sentences.
        cache: False neither reads nor writes the disk.
        cache_folder: As for :func:`isthmus.bridge.embed_vocabularies`.
        trust_remote_code: Allow a hub model to run its own code.
        show_progress_bar: None shows a bar when stderr is a terminal.

    Raises:
        InputError: If there are too few texts.
        BridgeError: If the bridge cannot be opened or gives no finite dense vectors.
    """
    chosen = [None if texts is None else choose_sentences(texts, seed) for texts in (source_texts, target_texts)]
    if chosen == [None, None]:
        return vectors
    model = open_bridge(bridge, trust_remote_code=trust_remote_code)
    folder = (disk.default_folder() if cache_folder is None else Path(cache_folder)) if cache else None
    embedded = [
        None if texts is None else Sentences(texts, _embed(model, texts, vectors.identity, folder, show_progress_bar))
        for texts in chosen
    ]
    return replace(vectors, sentences=(embedded[0], embedded[1]))


def _embed(model: Any, texts: list[str], identity: str, folder: Path | None, show: bool | None) -> NDArray[np.float32]:
    """Vectors of sentences, with the model's own prompt for queries."""
    prompt = (getattr(model, "prompts", None) or {}).get("query") or ""
    path = None if folder is None else disk.path_for(folder, identity, [prompt, str(MAX_LENGTH), *texts])
    rows = None if path is None else disk.read(path, len(texts))
    if rows is None:
        longest = getattr(model, "max_seq_length", None)
        # Static embeddings have no limit, and take none.
        shortened = longest is not None and MAX_LENGTH < longest < math.inf
        try:
            if shortened:
                model.max_seq_length = MAX_LENGTH
            rows = encode_texts(model, texts, prompt, 128, show)
        finally:
            if shortened:
                model.max_seq_length = longest
        if path is not None:
            disk.write(path, rows)
    return rows


def learn_vectors(
    alone: NDArray[np.float32], ids: Sequence[Sequence[int]], sentences: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Token vectors that explain the vectors of sentences.

    Args:
        alone: Vectors of the tokens alone, centred and of unit length, shape (tokens, dim); zero rows stay zero.
        ids: Token ids of each sentence.
        sentences: Vectors of the sentences, centred like the tokens, shape (sentences, dim).

    Returns:
        Vectors of unit length, shape (tokens, dim).
    """
    counts = csr_matrix(
        (
            np.ones(sum(map(len, ids)), dtype=np.float32),
            np.concatenate([np.empty(0, np.int64), *(np.asarray(row, dtype=np.int64) for row in ids)]),
            np.cumsum([0, *map(len, ids)]),
        ),
        shape=(len(ids), len(alone)),
    )
    known = alone.any(axis=1)
    # Only what the sentences hold can move.
    seen = np.flatnonzero((np.asarray(counts.sum(axis=0)).ravel() > 0) & known)
    shares = counts[:, seen]
    lengths = np.asarray(shares.sum(axis=1)).ravel()
    shares = shares[lengths > 0].multiply(1 / lengths[lengths > 0, None]).tocsr().astype(np.float32)
    wanted = sentences[lengths > 0]
    result = alone.copy()
    if len(seen):
        start = alone[seen]
        means = shares @ start
        means -= means.mean(axis=0)
        # Means of vectors alone are shorter or longer than the sentences' vectors: one factor fits them.
        factor = max(float((means * wanted).sum() / max(float((means * means).sum()), 1e-12)), LEAST_FACTOR)
        result *= factor
        result[seen] += _ridge(shares, wanted - factor * (shares @ start))
    return unit_rows(result)


def _ridge(shares: csr_matrix, missing: NDArray[np.float32]) -> NDArray[np.float32]:
    """The D with the least |A D - missing|^2 + ridge |D|^2, by conjugate gradients for all columns at once."""
    transposed = shares.T.tocsr()
    residual = transposed @ missing
    result = np.zeros_like(residual)
    direction = residual.copy()
    squares = (residual * residual).sum(axis=0)
    for _ in range(STEPS):
        product = transposed @ (shares @ direction) + np.float32(RIDGE) * direction
        step = squares / np.maximum((direction * product).sum(axis=0), 1e-20)
        result += step * direction
        residual -= step * product
        following = (residual * residual).sum(axis=0)
        direction = residual + following / np.maximum(squares, 1e-20) * direction
        squares = following
    return np.asarray(result, dtype=np.float32)


def _shortened(text: str) -> str:
    """The beginning of a text, cut at a space where there is one."""
    if len(text) <= MOST_CHARACTERS:
        return text
    head = text[:MOST_CHARACTERS]
    return head.rpartition(" ")[0] or head
