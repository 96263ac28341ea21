"""OFA: mixtures of the nearest source tokens in a space of multilingual word vectors (arXiv 2311.08849)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.bridge.candidates import top_sources
from isthmus.bridge.embed import BridgeVectors
from isthmus.errors import InputError
from isthmus.initializers.base import (
    RowProblem,
    assemble,
    bridged_ids,
    candidate_ids,
    check_count,
    require_tokenize,
    require_vectors,
)
from isthmus.initializers.word_vectors import check_file, subword_vectors
from isthmus.options import Options, option
from isthmus.token_map import Sampling, TokenMap


@dataclass(frozen=True)
class OFA(Options):
    """Weights are softmax(cosine / temperature) over the nearest readable source tokens.

    Tokens without a vector are drawn with the source rows' mean and variance. OFA's factorised embeddings are left out.

    Attributes:
        word_vectors: File of multilingual word vectors in fastText's text format (``.vec``, also ``.gz`` and ``.xz``);
            a token's vector is the mean of the words that contain it. None takes the bridge's token vectors.
        source_word_vectors: File of the source language's words where they are apart from those of the target language,
            as fastText's aligned vectors are; it must share their space. None: ``word_vectors`` holds both.
        neighbours: How many source tokens make a row, at least 1; 10 is the default of OFA's code.
        temperature: Above 0; 0.1 is the default of OFA's code.
    """

    word_vectors: str | Path | None = option(None, help="Multilingual word vectors, .vec", panel="Method", kind=Path)
    source_word_vectors: str | Path | None = option(
        None, help="Those of the source language, where they are apart", panel="Method", kind=Path
    )
    neighbours: int = option(10, help="Source tokens per row", panel="Method", at_least=1)
    temperature: float = option(0.1, help="Temperature of the softmax", panel="Method", above=0)

    name: ClassVar[str] = "ofa"
    summary: ClassVar[str] = "softmax mixture of the nearest source tokens by word vectors, or the bridge's"
    needs_bridge: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("neighbours", self.neighbours)
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"temperature must be finite and above 0, got {self.temperature}")
        if self.word_vectors is None and self.source_word_vectors is not None:
            raise InputError("source_word_vectors must come with word_vectors, got None; pass word_vectors= too")
        for name in ("word_vectors", "source_word_vectors"):
            path = getattr(self, name)
            if path is not None:
                # A frozen dataclass has no other way to normalise its fields.
                object.__setattr__(self, name, check_file(name, path))
        object.__setattr__(self, "needs_bridge", self.word_vectors is None)

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Mix the row of every readable token with a vector, and draw the others."""
        read = self.word_vectors is not None
        vectors = self._read(problem) if read else require_vectors(self.name, problem)
        known = replace(problem, vectors=vectors)
        ids = bridged_ids(known, vectors)
        weights = nearest_weights(
            vectors.target[ids],
            vectors.source,
            self.neighbours,
            self.temperature,
            candidates=candidate_ids(known, "clean"),
            show_progress_bar=problem.show_progress_bar,
        )
        made = assemble(self, problem, mixed=(ids, weights), sampling=Sampling("gaussian", seed=problem.seed))
        return replace(made, info=made.info | {"word_vectors": vectors.identity}) if read else made

    def _read(self, problem: RowProblem) -> BridgeVectors:
        source = (require_tokenize(self.name, problem.tokenize_source, "source"), problem.source.size)
        target = (require_tokenize(self.name, problem.tokenize_target, "target"), problem.target.size)
        show = problem.show_progress_bar
        path, apart = Path(str(self.word_vectors)), self.source_word_vectors
        if apart is None:
            rows = subword_vectors(path, [source, target], show_progress_bar=show)
        else:
            rows = [
                *subword_vectors(Path(apart), [source], show_progress_bar=show),
                *subword_vectors(path, [target], show_progress_bar=show),
            ]
        if rows[0].shape[1] != rows[1].shape[1]:
            raise InputError(
                f"word_vectors and source_word_vectors must share their dimension, got {rows[1].shape[1]} and "
                f"{rows[0].shape[1]}; give vectors that were aligned with each other"
            )
        for name, matrix in (
            ("source_word_vectors" if apart else "word_vectors", rows[0]),
            ("word_vectors", rows[1]),
        ):
            if not matrix.any():
                raise InputError(
                    f"{name} must hold words that a tokenizer can split, got none with a vector that is not zero; "
                    "choose a file of the right language"
                )
        digest = hashlib.blake2b(digest_size=16)
        for matrix in rows:
            digest.update(np.ascontiguousarray(matrix).data)
        return BridgeVectors(rows[0], rows[1], digest.hexdigest())


def nearest_weights(
    target: NDArray[np.float32],
    source: NDArray[np.float32],
    neighbours: int,
    temperature: float,
    *,
    candidates: NDArray[np.int64],
    show_progress_bar: bool | None = None,
) -> csr_matrix:
    """Softmax of cosine / temperature over the nearest source tokens of every target row.

    Args:
        target: Vectors of the target tokens, shape (rows, dim).
        source: Vectors of the source tokens, shape (source, dim).
        neighbours: Source tokens per row; all candidates where there are fewer.
        temperature: Above 0.
        candidates: Distinct source ids that may get weight.
        show_progress_bar: None shows a bar when stderr is a terminal.

    Returns:
        Weights, shape (rows, source); every row sums to one.
    """
    ids, cosines = top_sources(target, source, neighbours, candidates=candidates, show_progress_bar=show_progress_bar)
    shares = np.exp((cosines - cosines[:, :1]) / temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    starts = np.arange(len(ids) + 1) * ids.shape[1]
    weights = csr_matrix((shares.ravel(), ids.ravel(), starts), shape=(len(target), len(source)))
    # At a low temperature the farther ones vanish.
    weights.eliminate_zeros()
    return weights
