"""Documents and an encoder of words that needs no model, for what does not depend on one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.encoders.fingerprint import Fingerprint
from isthmus.index.encoded_files import Encode
from isthmus.index.workers import Recipe
from isthmus.reading.corpus import Document

SIZE = 40
IDENTITY = Fingerprint("weights", "tokenizer", "made-up")


def encode(texts: Sequence[str]) -> csr_matrix:
    """Words are numbers below SIZE; each counts with a weight that depends on it."""
    matrix = np.zeros((len(texts), SIZE), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.split():
            matrix[row, int(word)] += 0.25 + int(word) / 17
    return csr_matrix(matrix)


@dataclass(frozen=True)
class WordRecipe(Recipe):
    """Gives workers :func:`encode`, so that they need not load torch."""

    dying: bool = False

    def encode(self, threads: int | None = None) -> Encode:
        """Encode, or die."""
        return (lambda texts: os._exit(1)) if self.dying else encode


def documents(count: int, seed: int = 0, first: int = 0) -> list[Document]:
    """Random words; every seventh document is empty, languages and numbers as metadata."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(first, first + count):
        words = "" if number % 7 == 6 else " ".join(map(str, rng.integers(0, SIZE, rng.integers(1, 12))))
        metadata: dict[str, Any] = {"language": ("en", "ko", "zh")[number % 3], "year": 2000 + number % 2}
        if number % 2:
            metadata |= {"public": True, "tags": ["a"], "source": None}
        made.append(Document(f"d{number}", words, metadata=metadata))
    return made


def rows(found: Sequence[Document]) -> list[dict[str, Any]]:
    """Documents as a file has them."""
    return [{"id": one.id, "text": one.text, **one.metadata} for one in found]
