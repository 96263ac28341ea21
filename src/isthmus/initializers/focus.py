"""FOCUS: mixtures of overlapping tokens that behave alike in target text (arXiv 2305.14481)."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus._progress import progress
from isthmus.bridge.entmax import bridge_weights
from isthmus.errors import InputError, MissingExtraError
from isthmus.initializers.base import (
    RowProblem,
    assemble,
    check_choice,
    check_count,
    is_text,
    open_ids,
    require_tokenize,
)
from isthmus.initializers.static_space import fasttext_vectors, ppmi_vectors
from isthmus.initializers.word_vectors import check_file
from isthmus.options import Options, option
from isthmus.reading.lines import read_lines
from isthmus.reading.texts import check_text, read_samples
from isthmus.token_map import Sampling, TokenMap

Space = Literal["fasttext", "ppmi"]
BATCH = 1024


@dataclass(frozen=True)
class Focus(Options):
    """Weights are the sparsemax of cosines with the overlapping tokens, in a space learnt from target text alone.

    Readable tokens that the text does not hold often enough are drawn with the source rows' mean and variance; so are
    all where it holds no overlapping token.

    Attributes:
        texts: Texts in the target language, or a UTF-8 file with one a line (also ``.gz`` and ``.xz``); must be given.
        space: ``fasttext``, FOCUS's own, needs the extra ``focus`` (gensim); ``ppmi``, our stand-in, needs nothing.
        dim: Dimension of the space; 100 is the default of FOCUS's code.
        min_count: Tokens that come less often have no vector; 10 is the default of FOCUS's code.
        epochs: Passes of ``fasttext`` over the texts; 3 is the default of FOCUS's code.
    """

    texts: Sequence[str] | str | Path | None = option(
        None,
        help="Target text to learn the space from; a file like --sample-texts",
        panel="Method",
        kind=Path,
        read=read_samples,
        check=check_text,
    )
    space: Space = option("fasttext", help="Space of tokens, fasttext needs the extra `focus`", panel="Method")
    dim: int = option(100, help="Dimension of that space", panel="Method", at_least=1)
    min_count: int = option(10, help="Rarer tokens are drawn", panel="Method", at_least=1)
    epochs: int = 3

    name: ClassVar[str] = "focus"
    summary: ClassVar[str] = "sparse mixture of the overlapping tokens that behave alike in target text (needs texts)"
    needs_bridge: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice("space", self.space, Space)
        for name in ("dim", "min_count", "epochs"):
            check_count(name, getattr(self, name))
        if self.texts is None:
            raise InputError("focus must have texts, got None; pass texts= (a file or a list of target texts)")
        if isinstance(self.texts, (str, Path)):
            # A frozen dataclass has no other way to normalise its fields.
            object.__setattr__(self, "texts", check_file("texts", self.texts))
        elif not isinstance(self.texts, (list, tuple)) or not all(isinstance(text, str) for text in self.texts):
            raise InputError(
                f"texts must be a file, or a list or tuple of strings, got {type(self.texts).__name__}; put them into "
                "a list"
            )
        if self.space == "fasttext" and importlib.util.find_spec("gensim") is None:
            raise MissingExtraError("gensim", "focus")

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Mix the row of every readable token that the text holds, and draw the others."""
        space = self.token_vectors(problem)
        known: NDArray[np.bool_] = np.any(space, axis=1)
        ids = open_ids(problem)
        ids = ids[known[ids]]
        anchors = np.flatnonzero((problem.overlap.source_ids >= 0) & known)
        sampling = Sampling("gaussian", seed=problem.seed)
        if len(anchors) == 0:
            return assemble(self, problem, sampling=sampling)
        weights = bridge_weights(space[ids], space[anchors], 2.0, show_progress_bar=problem.show_progress_bar)
        # Several anchors may copy one source token, whose weight is then their sum.
        columns = problem.overlap.source_ids[anchors][weights.indices]
        mixed = csr_matrix((weights.data, columns, weights.indptr), shape=(len(ids), problem.source.size))
        mixed.sum_duplicates()
        return assemble(self, problem, mixed=(ids, mixed), sampling=sampling)

    def token_vectors(self, problem: RowProblem) -> NDArray[np.float32]:
        """Unit vectors of the target tokens, shape (target.size, dim or less); zero where the text says too little.

        Raises:
            InputError: If the text holds no token often enough.
        """
        tokenize = require_tokenize(self.name, problem.tokenize_target, "target")
        documents = []
        for batch in progress(_batches(self.texts), desc="tokenize", show=problem.show_progress_bar):
            documents += [np.asarray(ids, dtype=np.int64) for ids in tokenize(batch)]
        counts = np.zeros(problem.target.size, dtype=np.int64)
        for ids in documents:
            np.add.at(counts, ids, 1)
        readable = [token.id for token in problem.target.tokens if is_text(problem.target, token.id)]
        seen = np.array([id for id in readable if counts[id] >= self.min_count], dtype=np.int64)
        if len(seen) == 0:
            raise InputError(
                f"texts must hold tokens of the target tokenizer at least min_count={self.min_count} times, got none; "
                "pass more text or lower min_count"
            )
        if self.space == "ppmi":
            rows = ppmi_vectors(documents, seen, self.dim, seed=problem.seed)
        else:
            rows = fasttext_vectors(
                documents, seen, self.dim, problem.target.raw_tokens(), min_count=self.min_count, epochs=self.epochs,
                seed=problem.seed,
            )  # fmt: skip
        vectors = np.zeros((problem.target.size, rows.shape[1]), dtype=np.float32)
        vectors[seen] = rows
        return vectors


def _batches(texts: Sequence[str] | str | Path | None) -> Iterator[list[str]]:
    found = (line for _, line in read_lines(texts)) if isinstance(texts, Path) else iter(texts or ())
    remaining = (text for text in found if text.strip())
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch
