"""The encoders of ``identity.py``, and their vectors with and without the words of the texts themselves."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from identity_distil import SAMPLE, distilled
from scipy.sparse import csr_matrix, hstack, vstack
from study import cut
from study_arms import ENCODER, METHODS, TOKENIZER, fine_tuned, transferred

import isthmus
from isthmus.encoders.encoding import encode_texts
from isthmus.evaluation.models import load_model
from isthmus.initializers import INITIALIZERS, RowProblem, SemBridge
from isthmus.lexical.adding import add_lexical
from isthmus.lexical.statistics import lexical_vectors
from isthmus.modules.lexical import KNOWN_SHARE, MODES, LexicalMode
from isthmus.token_map import FATES, Fate, TokenMap

MAPS = ("shuffled", "sembridge", "sembridge-own", "mean", "gaussian")
VOCABULARIES = ("target", "keep-source")
# Entries of the encoder's own, of a question and of a passage, beside its words: about as many postings as BM25 has.
TRIM = (8, 16)
# Tokens of a text that an encoder reads: all that it has positions for, since BM25 reads the whole text.
MAX_LENGTH = 512
DTYPE: Literal["bfloat16"] = "bfloat16"
Role = Literal["query", "document"]
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


INITIALIZERS["shuffled"] = Shuffled
METHODS["shuffled"] = {"method": "shuffled"}
for _method in MAPS:
    METHODS[f"{_method}-keep-source"] = METHODS[_method] | {"keep_source": True}


def has_trimmed(token_map: str, stage: str) -> bool:
    """Whether the trimmed arms are measured: of sembridge and of shuffled rows."""
    return token_map in ("shuffled", "sembridge") and stage != "distilled"


def method_name(token_map: str, vocabulary: str) -> str:
    """Name of a transfer among the methods of the study."""
    return token_map if vocabulary == "target" else f"{token_map}-keep-source"


def encoder_of(
    language: str, token_map: str, vocabulary: str, stage: str, *, rate: float | None, data: Path, work: Path
) -> Any:
    """The encoder of a cell, trained unless it has been: ``fine-tuned`` as in ``study.py``, or ``distilled``."""
    name = method_name(token_map, vocabulary)
    if stage == "zero-shot":
        return transferred(name, language, 0, data)
    if rate is None:
        raise SystemExit(f"{name} has no learning rate; run study.py --only tune first")
    if stage == "distilled":
        return load_model(str(distilled(name, language, rate, data, work, kept_tokens(language, vocabulary))))
    folder, _ = fine_tuned(name, language, 0, rate, data, work)
    return load_model(str(folder))


@cache
def kept_tokens(language: str, vocabulary: str) -> list[int]:
    """Ids of English tokens in the vocabulary that keeps them, whatever the map; none in one that does not."""
    if vocabulary == "target":
        return []
    _, report = isthmus.transfer(
        ENCODER, target_tokenizer=TOKENIZER.format(language=language), method="mean", keep_source=True
    )
    found: list[int] = report.token_map.rows(Fate.KEPT).tolist()
    return found


class Vectors:
    """An encoder and the vectors of its texts, each encoded once however many pools hold it."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        encoder.max_seq_length = MAX_LENGTH
        self.rows: dict[Role, dict[str, int]] = {"query": {}, "document": {}}
        self.made: dict[Role, list[csr_matrix]] = {"query": [], "document": []}

    def __call__(self, texts: list[str], role: Role) -> csr_matrix:
        """Shape (texts, columns)."""
        rows = self.rows[role]
        missing = [text for text in dict.fromkeys(texts) if text not in rows]
        if missing:
            self.made[role].append(encode_texts(self.encoder, missing, role=role, dtype=DTYPE))
            rows |= {text: len(rows) + i for i, text in enumerate(missing)}
        return csr_matrix(vstack(self.made[role], format="csr")[[rows[text] for text in texts]])


def arms_of(
    made: Vectors, queries: list[str], documents: list[str], known: Collection[int], *, trimmed: bool = False
) -> dict[str, Sides]:
    """Query and document vectors of every arm.

    The encoder runs once; what calibration, echo and hybrid make of its vectors is computed beside it, and compared
    with what the encoder gives that :func:`isthmus.lexical.add_lexical` returns.

    Args:
        made: By an encoder as transferred or trained.
        queries: Of the pool.
        documents: Of the pool; calibration, IDF and strength are fitted on them too.
        known: Ids of tokens that the transfer kept.
        trimmed: Measure echo and hybrid with few entries of the encoder's own, too.

    Raises:
        RuntimeError: If the two differ.
    """
    encoder = made.encoder
    plain = (made(queries, "query"), made(documents, "document"))
    fitted = add_lexical(encoder, documents, "hybrid", known=known, max_texts=SAMPLE, dtype=DTYPE)
    scale, lexical = list(fitted.children())[-2:]
    factors = scale.scale.numpy()
    calibrated = tuple(csr_matrix(vectors.multiply(factors)) for vectors in plain)
    words = {}
    for mode in MODES:
        weighing = copy.copy(lexical)
        weighing.known_share = KNOWN_SHARE[mode]
        words[mode] = tuple(
            lexical_vectors(encoder, weighing, texts, role, 64, own)
            for role, texts, own in (("query", queries, plain[0]), ("document", documents, plain[1]))
        )
    arms = {"plain": plain, "calibrated": calibrated} | {mode: joined(mode, calibrated, words[mode]) for mode in MODES}
    if trimmed:
        few = tuple(cut(vectors, dims) for vectors, dims in zip(calibrated, TRIM, strict=True))
        arms |= {f"{mode}-trimmed": joined(mode, few, words[mode]) for mode in MODES}
    for role, texts, vectors in (("query", queries, arms["hybrid"][0]), ("document", documents, arms["hybrid"][1])):
        _check(fitted, role, texts[:16], vectors[:16])
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
