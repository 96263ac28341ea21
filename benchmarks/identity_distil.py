"""An echo taught to the rows: a plain encoder learns the scores that its own echo gives to snippets of raw text.

Snippets, left in their passages, are the queries, their passages the positives and the best others of BM25 the
negatives; the student is trained on the teacher's score margins (MarginMSE, arXiv 2010.02666) with the settings of the
study, and its last step is kept: no label is seen.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from study_arms import TRAINING, transferred
from training_pairs import training_rows

from isthmus.lexical import add_lexical
from isthmus.modules.lexical import KNOWN_SHARE
from isthmus.reading.storage import atomic_folder, atomic_write
from isthmus.training import TrainOptions, pairs_from_text, train
from isthmus.training.self_supervised import with_negatives
from isthmus.training.teacher import SAMPLE, with_scores
from isthmus.training.text_options import TAUGHT

PAIRS = replace(TAUGHT, max_pairs=TRAINING.batch_size * (TRAINING.steps or 0), passage_words=48)


def _run_folder(name: str, language: str, rate: float, work: Path, known: Collection[int]) -> Path:
    """Of its own for everything that decides what is learnt."""
    made_of = taught_by() | {"known": len(known), "known_share": KNOWN_SHARE["echo"], "training": TRAINING.identity()}
    key = hashlib.blake2b(json.dumps(made_of, sort_keys=True, default=str).encode(), digest_size=4).hexdigest()
    return work / f"{language}.{name}.distilled.{rate:g}.{key}"


def taught_by() -> dict[str, Any]:
    """Everything about the teacher and its rows that decides what is learnt."""
    return {"map": "the student's", "lexical": "echo", "pairs": asdict(PAIRS), "checkpoint": "last"}


def distilled(name: str, language: str, rate: float, data: Path, work: Path, known: Collection[int]) -> Path:
    """The folder of the student that starts as a method's encoder; trained unless it has been."""
    run = _run_folder(name, language, rate, work, known)
    result, start, rows = run / "trained", run / "start", run / "rows.jsonl"
    if (result / "training_report.json").is_file():
        return result
    if not rows.exists():
        encoder = transferred(name, language, 0, data)
        with atomic_folder(start, overwrite=True) as folder:
            encoder.save_pretrained(str(folder))
        passages = [row["passage"] for row in training_rows(data, language)]
        lines = [json.dumps(row, ensure_ascii=False) for row in taught(encoder, passages, known, run / "corpus.jsonl")]
        atomic_write(rows, ("\n".join(lines) + "\n").encode())
        del encoder
        gc.collect()
    settings: TrainOptions = replace(TRAINING, learning_rate=rate, seed=0, loss="margin-mse")
    train(start, rows, result, settings, language=language, overwrite=True)
    gc.collect()
    return result


def taught(encoder: Any, passages: list[str], known: Collection[int], corpus: Path) -> list[dict[str, Any]]:
    """Training rows with the scores of the encoder's echo, which reads as much as a student will.

    Args:
        encoder: The student before training.
        passages: Unlabelled text.
        known: Ids of tokens that the transfer kept.
        corpus: Where the passages are written.
    """
    lines = [json.dumps({"id": str(i), "text": text}, ensure_ascii=False) for i, text in enumerate(passages)]
    atomic_write(corpus, ("\n".join(lines) + "\n").encode())
    data, _ = with_negatives(pairs_from_text(corpus, PAIRS, seed=0), encoder.tokenizer, PAIRS.negatives)
    encoder.max_seq_length = TRAINING.max_length
    # Fitted on whole passages, as a user would; the command knows only those that it made pairs of.
    teacher = add_lexical(encoder, passages, "echo", known=known, max_texts=SAMPLE, dtype="bfloat16")
    data = with_scores(data, teacher, encoder, dtype="bfloat16")
    return [
        {column: texts[i] for column, texts in data.texts.items()} | {"scores": scores}
        for i, scores in enumerate(data.scores or [])
    ]
