"""The encoders of ``exact_matching.py``, and their vectors with and without the words of the texts themselves."""

from __future__ import annotations

import copy
import gc
import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_matrix, hstack

import isthmus
from benchmarks.encoding import Encoded, Role, cut
from benchmarks.harness import ENCODER, TOKENIZER, Row
from benchmarks.pairs import training_rows
from benchmarks.suites.study import METHODS, MINI, RATE, TRAINING, fine_tuned
from isthmus.encoders.encoding import encode_texts
from isthmus.evaluation.models import load_model
from isthmus.initializers import INITIALIZERS, RowProblem, SemBridge
from isthmus.lexical.adding import add_lexical
from isthmus.lexical.statistics import lexical_vectors
from isthmus.modules.lexical import KNOWN_SHARE, MODES, LexicalMode
from isthmus.reading.storage import atomic_folder, atomic_write
from isthmus.token_map import FATES, Fate, TokenMap
from isthmus.training import pairs_from_text, train
from isthmus.training.self_supervised import with_negatives
from isthmus.training.teacher import SAMPLE, with_scores
from isthmus.training.text_options import TAUGHT

MAPS = ("shuffled", "sembridge", "sembridge-own", "mean", "gaussian")
VOCABULARIES = ("target", "keep-source")
# Entries of the encoder's own, of a question and of a passage, beside its words: about as many postings as BM25 has.
TRIM = (8, 16)
# Tokens of a text that an encoder reads: all that it has positions for, since BM25 reads the whole text.
MAX_LENGTH = 512
DTYPE: Literal["bfloat16"] = "bfloat16"
# What a student of an echo learns from.
TAUGHT_PAIRS = replace(TAUGHT, max_pairs=TRAINING.batch_size * (TRAINING.steps or 0), passage_words=48)
# Vectors of the questions and of the passages.
Sides = tuple[csr_matrix, ...]


@dataclass(frozen=True)
class Shuffled(SemBridge):
    """The rows of sembridge, each given to another token: as many source tokens, as sharp, and no meaning.

    Attributes:
        seed: Seed of the permutation.
    """

    seed: int = 0

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Permute the mixed rows; copies stay."""
        return shuffle_mixed(super().token_map(problem), self.seed)


def shuffle_mixed(token_map: TokenMap, seed: int) -> TokenMap:
    """The same map with its mixed rows permuted."""
    mixed = np.flatnonzero(token_map.fates == FATES.index(Fate.BRIDGED))
    rows = np.arange(len(token_map.fates))
    rows[mixed] = np.random.default_rng(seed).permutation(mixed)
    return replace(token_map, weights=token_map.weights[rows])


def method_of(token_map: str, vocabulary: str) -> tuple[str, Row]:
    """Name of a transfer, and its options."""
    INITIALIZERS.setdefault("shuffled", Shuffled)
    options: Row = METHODS.get(token_map, {"method": token_map})
    if vocabulary == "target":
        return token_map, options
    return f"{token_map}-keep-source", options | {"keep_source": True}


def encoder_of(language: str, token_map: str, vocabulary: str, stage: str, *, data: Path, work: Path) -> Any:
    """The encoder of a cell, trained unless it has been: ``fine-tuned`` as in the study, or ``distilled``."""
    name, options = method_of(token_map, vocabulary)
    if stage == "zero-shot":
        return MINI.transferred(name, language, 0, data, options)
    if stage == "distilled":
        known = kept_tokens(language, vocabulary)
        return load_model(str(distilled(name, language, data, work, known, options)))
    return load_model(str(fine_tuned(name, language, 0, data, work, options=options)[0]))


@cache
def kept_tokens(language: str, vocabulary: str) -> list[int]:
    """Ids of English tokens in the vocabulary that keeps them, whatever the map; none in one that does not."""
    if vocabulary == "target":
        return []
    tokenizer = TOKENIZER.format(language=language)
    _, report = isthmus.transfer(ENCODER, target_tokenizer=tokenizer, method="mean", keep_source=True)
    found: list[int] = report.token_map.rows(Fate.KEPT).tolist()
    return found


def taught_by() -> Row:
    """Everything about the teacher and its rows that decides what is learnt."""
    return {"map": "the student's", "lexical": "echo", "pairs": asdict(TAUGHT_PAIRS), "checkpoint": "last"}


def distilled(name: str, language: str, data: Path, work: Path, known: Collection[int], options: Row) -> Path:
    """The folder of a student of its own echo; trained unless it has been.

    Snippets, left in their passages, are the queries, their passages the positives and the best others of BM25 the
    negatives; the student learns the teacher's score margins (MarginMSE, arXiv 2010.02666) with the settings of the
    study, and its last step is kept: no label is seen.
    """
    made_of = taught_by() | {"known": len(known), "known_share": KNOWN_SHARE["echo"], "training": TRAINING.identity()}
    key = hashlib.blake2b(json.dumps(made_of, sort_keys=True, default=str).encode(), digest_size=4).hexdigest()
    run = work / f"{language}.{name}.distilled.{RATE:g}.{key}"
    result, start, rows = run / "trained", run / "start", run / "rows.jsonl"
    if (result / "training_report.json").is_file():
        return result
    if not rows.exists():
        encoder = MINI.transferred(name, language, 0, data, options)
        with atomic_folder(start, overwrite=True) as folder:
            encoder.save_pretrained(str(folder))
        passages = [row["passage"] for row in training_rows(data, language)]
        lines = [json.dumps(row, ensure_ascii=False) for row in taught(encoder, passages, known, run / "corpus.jsonl")]
        atomic_write(rows, ("\n".join(lines) + "\n").encode())
        del encoder
        gc.collect()
    settings = replace(TRAINING, learning_rate=RATE, seed=0, loss="margin-mse")
    train(start, rows, result, settings, language=language, overwrite=True)
    gc.collect()
    return result


def taught(encoder: Any, passages: list[str], known: Collection[int], corpus: Path) -> list[Row]:
    """Training rows with the scores of the echo of an untrained student, which reads as much as the student will.

    The passages, unlabelled text, are written to ``corpus``; ``known`` are the ids of tokens that the transfer kept.
    """
    lines = [json.dumps({"id": str(i), "text": text}, ensure_ascii=False) for i, text in enumerate(passages)]
    atomic_write(corpus, ("\n".join(lines) + "\n").encode())
    pairs = pairs_from_text(corpus, TAUGHT_PAIRS, seed=0)
    data, _ = with_negatives(pairs, encoder.tokenizer, TAUGHT_PAIRS.negatives)
    encoder.max_seq_length = TRAINING.max_length
    # Fitted on whole passages, as a user would; the command knows only those that it made pairs of.
    teacher = add_lexical(encoder, passages, "echo", known=known, max_texts=SAMPLE, dtype=DTYPE)
    data = with_scores(data, teacher, encoder, dtype=DTYPE)
    return [
        {column: texts[i] for column, texts in data.texts.items()} | {"scores": scores}
        for i, scores in enumerate(data.scores or [])
    ]


def reading_all(encoder: Any) -> Encoded:
    """The encoder, reading as much of a text as it has positions for."""
    encoder.max_seq_length = MAX_LENGTH
    return Encoded(encoder, dtype=DTYPE)


def arms_of(
    made: Encoded, queries: list[str], documents: list[str], known: Collection[int], *, trimmed: bool = False
) -> dict[str, Sides]:
    """Query and document vectors of every arm.

    The encoder runs once; what calibration, echo and hybrid make of its vectors is computed beside it, and compared
    with what the encoder gives that :func:`isthmus.lexical.add_lexical` returns. Calibration, IDF and strength are
    fitted on the documents; ``known`` are the ids of tokens that the transfer kept, and ``trimmed`` adds echo and
    hybrid with few entries of the encoder's own.

    Raises:
        RuntimeError: If the two differ.
    """
    encoder = made.model
    plain = (made("query", queries), made("document", documents))
    fitted = add_lexical(encoder, documents, "hybrid", known=known, max_texts=SAMPLE, dtype=DTYPE)
    scale, lexical = list(fitted.children())[-2:]
    calibrated = tuple(csr_matrix(vectors.multiply(scale.scale.numpy())) for vectors in plain)
    words = {}
    for mode in MODES:
        weighing = copy.copy(lexical)
        weighing.known_share = KNOWN_SHARE[mode]
        words[mode] = (
            lexical_vectors(encoder, weighing, queries, "query", 64, plain[0]),
            lexical_vectors(encoder, weighing, documents, "document", 64, plain[1]),
        )
    arms = {"plain": plain, "calibrated": calibrated} | {mode: joined(mode, calibrated, words[mode]) for mode in MODES}
    if trimmed:
        few = tuple(cut(vectors, dims) for vectors, dims in zip(calibrated, TRIM, strict=True))
        arms |= {f"{mode}-trimmed": joined(mode, few, words[mode]) for mode in MODES}
    _check(fitted, "query", queries[:16], arms["hybrid"][0][:16])
    _check(fitted, "document", documents[:16], arms["hybrid"][1][:16])
    return arms


def joined(mode: LexicalMode, own: Sides, words: Sides) -> Sides:
    """Query and document vectors with their words."""
    if mode == "echo":
        return tuple(csr_matrix(a.maximum(b)) for a, b in zip(own, words, strict=True))
    return tuple(hstack([a, b], format="csr") for a, b in zip(own, words, strict=True))


def _check(fitted: Any, role: Role, texts: list[str], expected: csr_matrix) -> None:
    found = encode_texts(fitted, texts, role=role, dtype=DTYPE)
    # Batches of other texts round differently in bfloat16, which may also empty a column that a known token needs.
    off = (abs(found - expected) > 0.05 * expected.max()).sum() / expected.nnz
    if off > 0.01:
        raise RuntimeError(f"the hybrid encoder's vectors are off in {off:.1%} of their entries")
