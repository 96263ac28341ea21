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
from isthmus.reading.storage import atomic_write
from isthmus.training.data import TrainingData
from isthmus.training.settings import check_ranks

# Candidates looked at per query; what is ranked below is no hard negative.
DEPTH = 100
# The best ranked are often answers that nobody marked, and so is what scores nearly like the positive.
SKIP, MAX_SCORE = 1, 0.95


def mine(
    model: Any,
    data: TrainingData,
    *,
    negatives: int = 5,
    skip: int = SKIP,
    last_rank: int | None = None,
    max_score: float | None = MAX_SCORE,
    batch_size: int = 32,
    seed: int = 0,
    show_progress_bar: bool | None = None,
) -> list[dict[str, str]]:
    """Find negatives of every query among the positives of the others and the negatives already there.

    Args:
        model: A SparseEncoder or SentenceTransformer.
        data: Rows with queries and positives.
        negatives: Number per query; rows with fewer candidates are left out, so that columns stay even.
        skip: Leave out this many of the best ranked, which are often answers that nobody marked.
        last_rank: Draw the negatives from the ranks after ``skip`` up to this one; None takes the first of them. Ranks
            are among the candidates that ``max_score`` leaves, without the query's own answers.
        max_score: Take only candidates that score below this share of the query's worst positive; None takes all.
        batch_size: Texts per encoding step.
        seed: Of the draw.
        show_progress_bar: None shows it on a terminal.

    Returns:
        Rows of ``query``, ``positive``, ``negative_1``... , hardest first.

    Raises:
        EncoderError: If ``model`` is of another kind.
        InputError: If an argument does not fit, or no row has enough candidates.
    """
    passages = list(dict.fromkeys(text for column, texts in data.texts.items() if column != "query" for text in texts))
    found = find_negatives(
        model,
        data.texts["query"],
        data.texts["positive"],
        passages,
        negatives=negatives,
        skip=skip,
        last_rank=last_rank,
        max_score=max_score,
        batch_size=batch_size,
        seed=seed,
        show_progress_bar=show_progress_bar,
    )
    rows = [
        {"query": query, "positive": positive, **{f"negative_{i}": text for i, text in enumerate(found[query], 1)}}
        for query, positive in zip(data.texts["query"], data.texts["positive"], strict=True)
        if len(found[query]) == negatives
    ]
    if not rows:
        raise InputError(
            f"negatives must be few enough for {len(passages)} passages, got {negatives} after skip={skip}: no query "
            "has as many candidates; lower them, or raise max_score"
        )
    return rows


def find_negatives(
    model: Any,
    anchors: Sequence[str],
    positives: Sequence[str],
    candidates: Sequence[str],
    *,
    negatives: int,
    skip: int,
    max_score: float | None,
    batch_size: int,
    show_progress_bar: bool | None,
    roles: tuple[Role, Role] = ("query", "document"),
    last_rank: int | None = None,
    seed: int = 0,
) -> dict[str, list[str]]:
    """Negatives of every anchor, hardest first and at most ``negatives``; other arguments as for :func:`mine`.

    Args:
        model: A SparseEncoder or SentenceTransformer.
        anchors: Texts to find negatives for.
        positives: One positive per anchor; an anchor that comes again has several.
        candidates: Distinct texts to choose from, all positives among them.
        negatives: Number per anchor.
        skip: As for :func:`mine`.
        max_score: As for :func:`mine`.
        batch_size: As for :func:`mine`.
        show_progress_bar: As for :func:`mine`.
        roles: What anchors and candidates are to the encoder.
        last_rank: As for :func:`mine`.
        seed: As for :func:`mine`.

    Raises:
        EncoderError: If ``model`` is of another kind.
        InputError: If an argument does not fit.
    """
    for name, value, least in (("negatives", negatives, 1), ("skip", skip, 0), ("batch_size", batch_size, 1)):
        if value < least:
            raise InputError(f"{name} must be {least} or more, got {value}")
    if max_score is not None and not max_score > 0:
        raise InputError(f"max_score must be above 0, got {max_score}; None takes all candidates")
    check_ranks(negatives, skip, last_rank)
    answers: dict[str, list[str]] = {anchor: [] for anchor in anchors}
    for anchor, positive in zip(anchors, positives, strict=True):
        answers[anchor].append(positive)
    options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    vectors = [
        encode(model, texts, role=role, **options)
        for texts, role in zip((list(answers), candidates), roles, strict=True)
    ]
    sparse, last = is_sparse(model), skip + negatives if last_rank is None else last_rank
    depth = max(DEPTH, last) + max(map(len, answers.values())) + 1
    indices, _ = (search if sparse else search_dense)(vectors[0], vectors[1], depth)
    place = {candidate: row for row, candidate in enumerate(candidates)}
    found = {}
    for row, anchor in enumerate(answers):
        ids = indices[row][indices[row] >= 0]
        own = [place[answer] for answer in answers[anchor]]
        bound = math.inf if max_score is None else max_score * float(_products(vectors, row, own).min())
        # A positive that shares nothing with its anchor bounds nothing.
        below = _products(vectors, row, ids) < (bound if bound > 0 else math.inf)
        taken = [candidates[id] for id in ids[below] if id not in own and candidates[id] != anchor]
        window = taken[skip:last]
        if len(window) > negatives:
            # By the anchor too, so that the draw does not depend on the order of the rows.
            places = random.Random(f"{seed}:{anchor}").sample(range(len(window)), negatives)
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
