"""An echo taught to the rows: a plain encoder learns the scores that sembridge's echo gives to snippets of raw text.

No label is read. Snippets, left in their passages, are the queries, their passages the positives and the best others
of BM25 the negatives; the student is trained on the teacher's score margins (MarginMSE, arXiv 2010.02666) with the
settings of the study.
"""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from dev_pairs import sections
from numpy.typing import NDArray
from study_arms import TRAINING, transferred
from training_pairs import training_rows

from isthmus._files import atomic_write
from isthmus.search import add_lexical, encode_texts
from isthmus.training import PairSettings, TrainingSettings, pairs_from_text, train
from isthmus.training.self_supervised import with_negatives

TEACHER = "sembridge"
NEGATIVES = 2
SAMPLE = 500


def distilled(name: str, language: str, rate: float, data: Path, work: Path) -> Path:
    """The folder of the student that starts as a method's encoder; trained unless it has been."""
    run = work / f"{language}.{name}.distilled.{rate:g}"
    result, start = run / "trained", run / "start"
    if (result / "training_report.json").is_file():
        return result
    if not start.exists():
        transferred(name, language, 0, data).save_pretrained(str(run / "start.part"))
        (run / "start.part").rename(start)
        gc.collect()
    rows = write_rows(language, data, work)
    settings: TrainingSettings = replace(TRAINING, learning_rate=rate, seed=0, loss="margin-mse")
    pool = sections(data, language, 80, 0)
    train(start, rows, result, settings, development=pool, language=language, overwrite=True)
    gc.collect()
    return result


def write_rows(language: str, data: Path, work: Path) -> Path:
    """The teacher's rows, the same for all students of a language."""
    folder = work / f"{language}.{TEACHER}.echo"
    rows = folder / "rows.jsonl"
    if not rows.exists():
        folder.mkdir(parents=True, exist_ok=True)
        encoder = transferred(TEACHER, language, 0, data)
        passages = [row["passage"] for row in training_rows(data, language)]
        lines = [json.dumps(row, ensure_ascii=False) for row in taught(encoder, passages, folder / "corpus.jsonl")]
        atomic_write(rows, ("\n".join(lines) + "\n").encode())
        gc.collect()
    return rows


def taught(encoder: Any, passages: list[str], corpus: Path) -> list[dict[str, Any]]:
    """Training rows with the scores of the encoder's echo, which reads as much as a student will."""
    lines = [json.dumps({"id": str(i), "text": text}, ensure_ascii=False) for i, text in enumerate(passages)]
    atomic_write(corpus, ("\n".join(lines) + "\n").encode())
    wanted = TRAINING.batch_size * (TRAINING.steps or 0)
    pairs = PairSettings(kinds=("snippet",), keep_snippet=1.0, max_pairs=wanted, passage_words=48)
    data, _ = with_negatives(pairs_from_text(corpus, pairs, seed=0), encoder.tokenizer, NEGATIVES)
    encoder.max_seq_length = TRAINING.max_length
    teacher = add_lexical(encoder, passages, "echo", max_texts=SAMPLE, dtype="bfloat16")
    scores = scores_of(teacher, data.texts)
    # On the student's own scale, or it would first learn to be large, by filling its vectors.
    some = {column: texts[:SAMPLE] for column, texts in data.texts.items()}
    scores *= spread(scores_of(encoder, some)) / spread(scores)
    return [
        {column: texts[i] for column, texts in data.texts.items()} | {"scores": np.round(scores[i], 4).tolist()}
        for i in range(len(data))
    ]


def scores_of(model: Any, texts: dict[str, list[str]]) -> NDArray[np.float64]:
    """Dot products of every query with its positive and its negatives, shape (rows, 1 + negatives)."""
    queries = encode_texts(model, texts["query"], role="query", dtype="bfloat16")
    found = []
    for column in [column for column in texts if column != "query"]:
        passages = encode_texts(model, texts[column], role="document", dtype="bfloat16")
        found.append(np.asarray(queries.multiply(passages).sum(axis=1), dtype=np.float64).ravel())
    return np.stack(found, axis=1)


def spread(scores: NDArray[np.float64]) -> float:
    """Standard deviation of how far positives are ahead of negatives."""
    return float((scores[:, :1] - scores[:, 1:]).std())
