"""A teacher's scores for pairs from unlabelled text: the encoder itself with its words back, or another encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluation.models import encode, load_model
from isthmus.modules.lexical import LexicalMode
from isthmus.search.encode import DType
from isthmus.search.identity import check_sparse
from isthmus.search.lexical import add_lexical
from isthmus.training.data import TrainingData
from isthmus.training.unlabelled import OWN_TEACHERS

# Texts that the strength of an echo, and the student's own scale, are measured on.
SAMPLE = 500


def load_teacher(teacher: str | Path, *, trust_remote_code: bool = False) -> Any:
    """Load a teacher; ``echo`` and ``hybrid`` stay what they are, for they are made of the student.

    Raises:
        NotFoundError: If there is nothing under this name.
        EncoderError: If what is there is no encoder.
        InputError: If it is BM25.
    """
    if teacher in OWN_TEACHERS:
        return teacher
    if str(teacher).lower() == "bm25":
        raise InputError("teacher must be an encoder, echo or hybrid, got 'bm25'; hybrid has BM25's weights of the words")
    return load_model(str(teacher), trust_remote_code=trust_remote_code)


def with_scores(
    data: TrainingData,
    teacher: Any,
    student: Any,
    *,
    max_length: int | None = None,
    dtype: DType = "float32",
    batch_size: int = 32,
    show_progress_bar: bool | None = None,
) -> TrainingData:
    """Rows with the scores that a teacher gives to their positives and negatives.

    The scores are brought to the student's own scale: the margins of positives over negatives spread as far as the
    student's do. Otherwise a SPLADE encoder first learns to be large, and fills its vectors.

    Args:
        data: Rows with at least one negative.
        teacher: A SparseEncoder or SentenceTransformer; or ``echo`` or ``hybrid``, the student as it is with that
            lexical part, fitted on the positives.
        student: The SparseEncoder that will be trained; not modified.
        max_length: Tokens per text that the student reads in training, and its own echo with it; None is its limit.
        dtype: As for :func:`isthmus.search.encode_texts`.
        batch_size: Texts per encoding step.
        show_progress_bar: None shows it on a terminal.

    Raises:
        EncoderError: If the student is not sparse or cannot have an echo, or the teacher is no encoder.
        InputError: If there are too few rows for an echo, or teacher or student score all margins alike.
    """
    check_sparse(student)
    options: dict[str, Any] = {"dtype": dtype, "batch_size": batch_size, "show_progress_bar": show_progress_bar}
    some = {column: texts[:SAMPLE] for column, texts in data.texts.items()}
    limit = student.max_seq_length
    student.max_seq_length = max_length or limit
    try:
        own = _scores(student, some, **options)
        if isinstance(teacher, str):
            positives = list(dict.fromkeys(data.texts["positive"]))
            mode = cast(LexicalMode, teacher)
            teacher = add_lexical(student, positives, mode, max_texts=SAMPLE, **options)
    finally:
        student.max_seq_length = limit
    scores = _scores(teacher, data.texts, **options)
    spreads = {"teacher": _spread(scores), "student": _spread(own)}
    for name, value in spreads.items():
        if not (np.isfinite(value) and value > 0):
            raise InputError(
                f"{name} must tell positives and negatives apart, got margins that do not differ in {len(data)} "
                "rows; see what isthmus doctor says about it"
            )
    scores *= spreads["student"] / spreads["teacher"]
    return replace(data, scores=np.round(scores, 4).tolist())


def _scores(model: Any, texts: dict[str, list[str]], **options: Any) -> NDArray[np.float64]:
    """Scores of every query with its positive and its negatives, shape (rows, 1 + negatives)."""
    columns = [column for column in texts if column != "query"]
    distinct = list(dict.fromkeys(text for column in columns for text in texts[column]))
    places = {text: row for row, text in enumerate(distinct)}
    queries = encode(model, texts["query"], role="query", **options)
    passages = encode(model, distinct, role="document", **options)
    found = []
    for column in columns:
        chosen = passages[[places[text] for text in texts[column]]]
        product = queries * chosen if isinstance(queries, np.ndarray) else queries.multiply(chosen)
        found.append(np.asarray(product.sum(axis=1), dtype=np.float64).ravel())
    return np.stack(found, axis=1)


def _spread(scores: NDArray[np.float64]) -> float:
    """Standard deviation of how far positives are ahead of negatives."""
    return float((scores[:, :1] - scores[:, 1:]).std())
