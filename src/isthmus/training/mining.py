"""Hard negatives: passages that an encoder ranks high for a query they do not answer.

Beside ``sentence_transformers.util.mine_hard_negatives``, which (6.2) normalises the vectors and asks for numpy arrays,
neither of which fits a SparseEncoder: here sparse encoders rank by dot product, as they search.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from isthmus.encoders.prompts import Role
from isthmus.errors import InputError
from isthmus.evaluation.models import encode, is_sparse
from isthmus.index import search, search_dense
from isthmus.options import EncodeOptions
from isthmus.reading.storage import atomic_write
from isthmus.training.data import TrainingData
from isthmus.training.mine_options import MineOptions

# Candidates looked at per query; what is ranked below is no hard negative.
DEPTH = 100


def mine(model: Any, data: TrainingData, options: MineOptions | None = None, **changes: Any) -> list[dict[str, str]]:
    """Find negatives of every query among the positives of the others and the negatives already there.

    Args:
        model: A SparseEncoder or SentenceTransformer.
        data: Rows with queries and positives.
        options: How to look for them; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Returns:
        Rows of ``query``, ``positive``, ``negative_1``... , hardest first.

    Raises:
        EncoderError: If ``model`` is of another kind.
        InputError: If an option does not fit, or no row has enough candidates.

    Example:
        >>> rows = mine(encoder, read_training_data("pairs.jsonl"), negatives=3)  # doctest: +SKIP
    """
    options = MineOptions.of(options, **changes)
    passages = list(dict.fromkeys(text for column, texts in data.texts.items() if column != "query" for text in texts))
    found = find_negatives(model, data.texts["query"], data.texts["positive"], passages, options)
    rows = [
        {"query": query, "positive": positive, **{f"negative_{i}": text for i, text in enumerate(found[query], 1)}}
        for query, positive in zip(data.texts["query"], data.texts["positive"], strict=True)
        if len(found[query]) == options.negatives
    ]
    if not rows:
        raise InputError(
            f"negatives must be few enough for {len(passages)} passages, got {options.negatives} after "
            f"skip={options.skip}: no query has as many candidates; lower them, or raise max_score"
        )
    return rows


def find_negatives(
    model: Any,
    anchors: Sequence[str],
    positives: Sequence[str],
    candidates: Sequence[str],
    options: MineOptions,
    *,
    roles: tuple[Role, Role] = ("query", "document"),
) -> dict[str, list[str]]:
    """Negatives of every anchor, hardest first and at most as many as the options say.

    Args:
        model: A SparseEncoder or SentenceTransformer.
        anchors: Texts to find negatives for.
        positives: One positive per anchor; an anchor that comes again has several.
        candidates: Distinct texts to choose from, all positives among them.
        options: How to look for them.
        roles: What anchors and candidates are to the encoder.
    """
    answers: dict[str, list[str]] = {anchor: [] for anchor in anchors}
    for anchor, positive in zip(anchors, positives, strict=True):
        answers[anchor].append(positive)
    encoding = EncodeOptions(batch_size=options.batch_size, show_progress_bar=options.show_progress_bar)
    vectors = [
        encode(model, texts, encoding, role=role)
        for texts, role in zip((list(answers), candidates), roles, strict=True)
    ]
    sparse, skip, negatives = is_sparse(model), options.skip, options.negatives
    last = skip + negatives if options.last_rank is None else options.last_rank
    depth = max(DEPTH, last) + max(map(len, answers.values())) + 1
    indices, _ = (search if sparse else search_dense)(vectors[0], vectors[1], depth)
    place = {candidate: row for row, candidate in enumerate(candidates)}
    found = {}
    for row, anchor in enumerate(answers):
        ids = indices[row][indices[row] >= 0]
        own = [place[answer] for answer in answers[anchor]]
        bound = math.inf if options.max_score is None else options.max_score * float(_products(vectors, row, own).min())
        # A positive that shares nothing with its anchor bounds nothing.
        below = _products(vectors, row, ids) < (bound if bound > 0 else math.inf)
        taken = [candidates[id] for id in ids[below] if id not in own and candidates[id] != anchor]
        window = taken[skip:last]
        if len(window) > negatives:
            # By the anchor too, so that the draw does not depend on the order of the rows.
            places = random.Random(f"{options.seed}:{anchor}").sample(range(len(window)), negatives)
            window = [window[place] for place in sorted(places)]
        found[anchor] = window
    return found


def _products(vectors: list[Any], query: int, passages: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
    """Scores of some passages for a query, by row."""
    product = vectors[1][passages] @ vectors[0][query].T
    return np.asarray(product.todense() if issparse(product) else product, dtype=np.float32).reshape(-1)


def write_rows(rows: list[dict[str, str]], path: Path) -> None:
    """Write rows as JSONL, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    atomic_write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
