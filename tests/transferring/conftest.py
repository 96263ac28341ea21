from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus.bridge import BridgeVectors
from isthmus.vocabulary import Vocabulary
from tests.tokenizers import wordpiece

KOREAN = ("집", "학교", "전쟁", "물", "수도", "한국", "서울", "##의", "##는", "##에")
KOREAN += ("school", "the", "house", "##s", ".", "?", "1", "2")


@pytest.fixture
def korean() -> Any:
    """A target tokenizer whose pad token is neither at id 0 nor at 1."""
    return wordpiece(KOREAN, pad_id=7, max_length=99, lowercase=False)


@pytest.fixture
def vectors_for() -> Callable[..., BridgeVectors]:
    """Random unit vectors for two tokenizers, seeded."""

    def make(source: Any, target: Any, dim: int = 8) -> BridgeVectors:
        generator = np.random.default_rng(0)
        sizes = [Vocabulary.from_tokenizer(tokenizer).size for tokenizer in (source, target)]
        rows = [generator.standard_normal((size, dim)).astype(np.float32) for size in sizes]
        first, second = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True) for matrix in rows)
        return BridgeVectors(first, second, "random")

    return make
