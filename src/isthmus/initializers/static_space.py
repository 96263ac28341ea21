"""Static vectors of tokens from the company they keep in text."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from isthmus.bridge.candidates import Ints
from isthmus.bridge.embed import unit_rows
from isthmus.errors import MissingExtraError

WINDOW = 5
SMOOTHING = 0.75
# Below this many tokens a full decomposition is as fast as a truncated one, and takes any dimension.
DENSE = 1000
BATCH = 1_000_000
# gensim ignores what comes after this many tokens of one text.
LONGEST = 10_000


def ppmi_vectors(documents: Sequence[Ints], seen: Ints, dim: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Vectors by truncated SVD of positive pointwise mutual information.

    Our stand-in for fastText where no package is wanted: skip-gram with negative sampling factorises a shifted version
    of the same matrix (Levy & Goldberg, NeurIPS 2014). As Levy, Goldberg & Dagan (TACL 2015) recommend, context counts
    are raised to 0.75 and vectors are U sqrt(S). Unlike fastText it looks at no character n-grams, and it draws
    nothing: the seed only says where the SVD starts.

    Args:
        documents: Token ids of each text.
        seen: Distinct ids to make vectors of, ascending; other tokens keep their place but pair with nothing.
        dim: Largest dimension of the vectors.
        seed: Of the first vector of the iteration.

    Returns:
        Unit vectors of shape (seen, at most dim), zero for tokens that are by themselves everywhere.
    """
    counts = pair_counts(documents, seen)
    rows = np.asarray(counts.sum(axis=1)).ravel()
    contexts = np.asarray(counts.sum(axis=0)).ravel() ** SMOOTHING
    entries = counts.tocoo()
    ratio = entries.data * contexts.sum() / (rows[entries.row] * contexts[entries.col])
    keep = ratio > 1
    matrix = csr_matrix((np.log(ratio[keep]), (entries.row[keep], entries.col[keep])), shape=counts.shape)
    if len(seen) <= max(DENSE, dim):
        left, values, _ = np.linalg.svd(matrix.toarray())
        left, values = left[:, :dim], values[:dim]
    else:
        start = np.random.default_rng(seed).standard_normal(len(seen))
        left, values, _ = svds(matrix, k=dim, v0=start, solver="arpack")
    # Directions and rows that are zero come out as rounding noise, which must not be scaled up to unit length.
    values = np.where(values > values.max(initial=0) * len(seen) * np.finfo(np.float64).eps, values, 0)
    vectors = left * np.sqrt(values)
    vectors[np.diff(matrix.indptr) == 0] = 0
    return unit_rows(vectors)


def pair_counts(documents: Sequence[Ints], seen: Ints) -> csr_matrix:
    """How often tokens stand within five places of each other, the nearer the heavier (5/5 to 1/5, as in word2vec).

    Args:
        documents: Token ids of each text.
        seen: Distinct ids to count, ascending.

    Returns:
        Symmetric counts, shape (seen, seen).
    """
    counts = csr_matrix((len(seen), len(seen)))
    for stream in _streams(documents):
        places = np.searchsorted(seen, stream)
        places[places == len(seen)] = 0
        places[seen[places] != stream] = -1
        for distance in range(1, WINDOW + 1):
            left, right = places[:-distance], places[distance:]
            both = (left >= 0) & (right >= 0)
            weights = np.full(int(both.sum()), (WINDOW + 1 - distance) / WINDOW)
            counts = counts + csr_matrix((weights, (left[both], right[both])), shape=counts.shape)
    return counts + counts.T


def fasttext_vectors(
    documents: Sequence[Ints], seen: Ints, dim: int, raws: Sequence[str], *, min_count: int, epochs: int, seed: int = 0
) -> NDArray[np.float32]:
    """Vectors by fastText, with the settings of FOCUS's released code (deepfocus): CBOW, 10 negative samples.

    gensim's fastText is used because Facebook's own package needs a compiler. It runs in one thread, so that a seed
    fixes the result.

    Args:
        documents: Token ids of each text.
        seen: Distinct ids to make vectors of, ascending; other tokens are left out.
        dim: Dimension.
        raws: Raw tokens by id, whose character n-grams it learns.
        min_count: Tokens that come less often are left out.
        epochs: Passes over the texts.
        seed: Of everything drawn.

    Returns:
        Unit vectors of shape (seen, dim); zero for tokens that were left out.

    Raises:
        MissingExtraError: If gensim is not installed.
    """
    try:
        models = importlib.import_module("gensim.models")
    except ImportError as error:
        raise MissingExtraError("gensim", "focus") from error
    wanted = set(seen.tolist())
    sentences = []
    for ids in documents:
        tokens = [raws[id] for id in ids.tolist() if id in wanted]
        sentences += [tokens[first : first + LONGEST] for first in range(0, len(tokens), LONGEST)]
    # What gensim sets otherwise than fastText itself is set to fastText's values.
    model = models.FastText(
        sentences, vector_size=dim, min_count=min_count, epochs=epochs, seed=seed, workers=1, sg=0, negative=10,
        window=WINDOW, alpha=0.05, sample=1e-4,
    )  # fmt: skip
    known = model.wv.key_to_index
    vectors = np.zeros((len(seen), dim))
    for row, id in enumerate(seen.tolist()):
        if raws[id] in known:
            vectors[row] = model.wv[raws[id]]
    return unit_rows(vectors)


def _streams(documents: Sequence[Ints]) -> Iterator[Ints]:
    """The documents end to end, about a million tokens at a time, with gaps that no pair reaches across."""
    gap = np.full(WINDOW, -1, dtype=np.int64)
    part: list[Ints] = []
    size = 0
    for document in itertools.chain(documents, [None]):
        if document is not None:
            part += [document, gap]
            size += len(document)
        if part and (document is None or size >= BATCH):
            yield np.concatenate(part)
            part, size = [], 0
