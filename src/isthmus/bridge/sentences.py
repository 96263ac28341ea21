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
from isthmus.bridge.options import BridgeOptions

RIDGE = 0.003
STEPS = 60
MAX_LENGTH = 64
LEAST_FACTOR = 0.1


def add_sentences(
    vectors: BridgeVectors, bridge: Any | str | Path, options: BridgeOptions | None = None, **changes: Any
) -> BridgeVectors:
    """Embed sentences beside the tokens, for :func:`isthmus.bridge.refine_vectors` to learn from.

    Args:
        vectors: Token vectors by the same bridge.
        bridge: As for :func:`isthmus.bridge.embed_vocabularies`.
        options: With the texts of one language or both; None has none.
        **changes: Fields of ``options`` to replace.

    Raises:
        InputError: If there are too few texts.
        BridgeError: If the bridge cannot be opened or gives no finite dense vectors.
    """
    options = BridgeOptions.of(options, **changes)
    if not options.has_texts:
        return vectors
    chosen = options.sentences
    model = open_bridge(bridge, trust_remote_code=options.trust_remote_code)
    source, target = (
        None if texts is None else Sentences(texts, _embed(model, texts, vectors.identity, options)) for texts in chosen
    )
    return replace(vectors, sentences=(source, target))


def _embed(model: Any, texts: list[str], identity: str, options: BridgeOptions) -> NDArray[np.float32]:
    """Vectors of sentences, with the model's own prompt for queries."""
    prompt = (getattr(model, "prompts", None) or {}).get("query") or ""
    path = None
    if options.cache:
        path = disk.path_for(disk.folder_for(options), identity, [prompt, str(MAX_LENGTH), *texts])
    rows = None if path is None else disk.read(path, len(texts))
    if rows is None:
        longest = getattr(model, "max_seq_length", None)
        # Static embeddings have no limit, and take none.
        shortened = longest is not None and MAX_LENGTH < longest < math.inf
        try:
            if shortened:
                model.max_seq_length = MAX_LENGTH
            rows = encode_texts(model, texts, prompt, 128, options.show_progress_bar)
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
