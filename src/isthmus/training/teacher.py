"""A teacher's scores for pairs from unlabelled text: the encoder itself with its words back, or another encoder."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.encoders.load import load_encoder, local_folder, stored_as_sparse
from isthmus.errors import EncoderError, InputError
from isthmus.evaluation.models import encode
from isthmus.lexical.adding import add_lexical, check_encoder
from isthmus.lexical.options import LexicalOptions
from isthmus.modules.lexical import LexicalMode
from isthmus.options import EncodeOptions
from isthmus.training.data import TrainingData
from isthmus.training.text_options import OWN_TEACHERS, ScoreOptions

# Texts that the strength of an echo is measured on, and rows that both scales are.
SAMPLE = 500


def load_teacher(teacher: str | Path, *, trust_remote_code: bool = False) -> Any:
    """Load a teacher; ``echo`` and ``hybrid`` stay what they are, for they are made of the student.

    Raises:
        NotFoundError: If there is nothing under this name.
        EncoderError: If what is there is no encoder.
    """
    if teacher in OWN_TEACHERS:
        return teacher
    return load_encoder(teacher, trust_remote_code=trust_remote_code, argument="teacher", besides="'echo', 'hybrid', ")


def check_stored(model: str | Path) -> None:
    """Refuse a folder with a dense encoder as the student of a teacher, without loading it.

    Hub ids pass: nobody knows what they are, or whether they are, before they are loaded.

    Raises:
        EncoderError: If it is stored as one.
        NotFoundError: If ``model`` is a path that does not exist.
    """
    folder = local_folder(model)
    try:
        sparse = folder is None or stored_as_sparse(str(folder))
    except (OSError, ValueError, KeyError):
        # What cannot be read is explained where it is loaded.
        return
    if not sparse:
        raise _dense(f"the dense encoder {str(model)!r}")


def check_student(student: Any, teacher: Any) -> None:
    """Refuse a student that a teacher, as :func:`load_teacher` gives it, cannot teach.

    Raises:
        EncoderError: If it is not sparse, or cannot have the lexical part that its own teacher is.
    """
    from sentence_transformers import SparseEncoder

    if not isinstance(student, SparseEncoder):
        raise _dense(type(student).__name__)
    if isinstance(teacher, str):
        check_encoder(student, LexicalOptions(cast(LexicalMode, teacher)))


def _dense(got: str) -> EncoderError:
    return EncoderError(
        f"model must be a SparseEncoder to learn from a teacher, got {got}; take a sparse encoder, or "
        "leave the teacher out"
    )


def with_scores(
    data: TrainingData,
    teacher: Any,
    student: Any,
    options: ScoreOptions | None = None,
    *,
    known: Collection[int] = (),
    **changes: Any,
) -> TrainingData:
    """Rows with the scores that a teacher gives to their positives and negatives.

    The scores are brought to the student's own scale: the margins of positives over negatives spread as far as the
    student's do, on rows drawn from all. Otherwise a SPLADE encoder first learns to be large, and fills its vectors.

    Args:
        data: Rows with at least one negative.
        teacher: A SparseEncoder or SentenceTransformer; or ``echo`` or ``hybrid``, the student as it is with that
            lexical part, fitted on the positives.
        student: The SparseEncoder that will be trained; not modified.
        options: How they are scored; None takes the defaults.
        known: Ids of tokens that a transfer to the student kept, for its own lexical part.
        **changes: Fields of ``options`` to replace.

    Raises:
        EncoderError: If the student is not sparse or cannot have an echo, or the teacher is no encoder.
        InputError: If there are too few rows for an echo, or teacher or student score all margins alike.
    """
    check_student(student, teacher)
    options = ScoreOptions.of(options, **changes)
    # Not the first: a corpus may be sorted by topic, and margins differ from one to the next.
    drawn = sorted(random.Random(options.seed).sample(range(len(data)), min(SAMPLE, len(data))))
    some = {column: [texts[row] for row in drawn] for column, texts in data.texts.items()}
    limit = student.max_seq_length
    student.max_seq_length = options.max_length or limit
    try:
        own = _scores(student, some, options)
        if isinstance(teacher, str):
            positives = list(dict.fromkeys(data.texts["positive"]))
            mode = cast(LexicalMode, teacher)
            teacher = add_lexical(
                student,
                positives,
                mode,
                known=known,
                max_texts=SAMPLE,
                seed=options.seed,
                dtype=options.dtype,
                batch_size=options.batch_size,
                show_progress_bar=options.show_progress_bar,
            )
    finally:
        student.max_seq_length = limit
    scores = _scores(teacher, data.texts, options)
    spreads = {"teacher": _spread(scores[drawn]), "student": _spread(own)}
    for name, value in spreads.items():
        if not (np.isfinite(value) and value > 0):
            raise InputError(
                f"{name} must tell positives and negatives apart, got margins that do not differ in {len(drawn)} "
                "rows; see what isthmus doctor says about it"
            )
    scores *= spreads["student"] / spreads["teacher"]
    return replace(data, scores=np.round(scores, 4).tolist())


def _scores(model: Any, texts: dict[str, list[str]], options: EncodeOptions) -> NDArray[np.float64]:
    """Scores of every query with its positive and its negatives, shape (rows, 1 + negatives)."""
    columns = [column for column in texts if column != "query"]
    distinct = list(dict.fromkeys(text for column in columns for text in texts[column]))
    places = {text: row for row, text in enumerate(distinct)}
    queries = encode(model, texts["query"], options, role="query")
    passages = encode(model, distinct, options, role="document")
    found = []
    for column in columns:
        chosen = passages[[places[text] for text in texts[column]]]
        product = queries * chosen if isinstance(queries, np.ndarray) else queries.multiply(chosen)
        found.append(np.asarray(product.sum(axis=1), dtype=np.float64).ravel())
    return np.stack(found, axis=1)


def _spread(scores: NDArray[np.float64]) -> float:
    """Standard deviation of how far positives are ahead of negatives."""
    return float((scores[:, :1] - scores[:, 1:]).std())
