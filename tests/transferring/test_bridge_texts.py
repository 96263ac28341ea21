"""What a transfer does with the bridge: centred, taught by sentences, told in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isthmus.bridge import BridgeVectors
from isthmus.errors import InputError
from isthmus.transferring import transfer, transfer_encoder
from isthmus.vocabulary import Vocabulary
from tests.bridge.test_embed import static_bridge
from tests.tiny_encoders import splade

LETTERS = "abcdefghijklmnopqrstuvwxyz집학교전쟁물수도한국서울의는에"
KOREAN = [
    f"{a}{b} {c}" for a in "집물의" for b in "학교수도한국서울" for c in "집학교전쟁물수도한국서울의는에" for _ in "x"
]
TEXTS = [f"{first} {number}" for number in range(5) for first in KOREAN]


@pytest.fixture
def bridge() -> Any:
    """A bridge whose vectors share a direction, as those of sentence models do."""
    model = static_bridge(letters=LETTERS, dim=32)
    with torch.no_grad():
        model[0].embedding.weight += 2
    return model


def test_the_report_says_what_was_done(tmp_path: Path, korean: Any, bridge: Any) -> None:
    encoder = splade(tmp_path)
    _, refined = transfer_encoder(encoder, korean, bridge=bridge)
    record = json.loads(json.dumps(refined.to_dict()))["bridge_refinement"]
    assert record.keys() == {"centred", "mean", "spread", "refined_spread", "texts"}
    assert record["texts"] is None
    assert "bridge centred" in str(refined)
    _, plain = transfer_encoder(encoder, korean, bridge=bridge, refine=False)
    assert plain.to_dict()["bridge_refinement"] is None
    _, released = transfer_encoder(encoder, korean, bridge=bridge, as_released=True)
    assert released.to_dict()["bridge_refinement"] is None
    assert (refined.token_map.weights != plain.token_map.weights).nnz
    _, mean = transfer_encoder(encoder, korean, method="mean")
    assert mean.to_dict()["bridge_refinement"] is None


@pytest.mark.parametrize("keep_source", [False, True])
def test_texts_teach_the_side_they_are_of(tmp_path: Path, korean: Any, bridge: Any, keep_source: bool) -> None:
    encoder = splade(tmp_path)
    _, plain = transfer_encoder(encoder, korean, bridge=bridge, keep_source=keep_source)
    _, taught = transfer_encoder(encoder, korean, bridge=bridge, keep_source=keep_source, bridge_texts=TEXTS)
    distinct = len(dict.fromkeys(TEXTS))
    assert taught.to_dict()["bridge_refinement"]["texts"] == {"target": distinct}
    assert f"taught by {distinct:,} target sentences" in str(taught)
    assert (taught.token_map.weights != plain.token_map.weights).nnz


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refine": False}, "bridge_texts must come with refine"),
        ({"as_released": True}, "bridge_texts must come with refine"),
        ({"method": "mean"}, "must come with a bridge that reads them"),
        ({"bridge_texts": ["one", "two"]}, "at least 1,000 distinct ones a language, got 2"),
    ],
)
def test_texts_that_teach_nothing_are_refused(
    tmp_path: Path, korean: Any, bridge: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        transfer_encoder(splade(tmp_path), korean, bridge=bridge, **({"bridge_texts": TEXTS} | options))


def test_texts_beside_vectors_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must come with a bridge that reads them, without vectors"):
        transfer("nowhere", target_tokenizer="nowhere", vectors=tmp_path / "none.npz", bridge_source_texts=TEXTS)


def test_a_flat_bridge_is_told_of(tmp_path: Path, korean: Any) -> None:
    encoder = splade(tmp_path)
    sizes = [Vocabulary.from_tokenizer(tokenizer).size for tokenizer in (encoder.tokenizer, korean)]
    rows = [np.random.default_rng(size).standard_normal((size, 32)) + 4 for size in sizes]
    unit = [(matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32) for matrix in rows]
    flat = BridgeVectors(*unit, "flat")
    _, refined = transfer_encoder(encoder, korean, vectors=flat)
    (warning,) = [warning for warning in refined.warnings if "flat" in warning]
    assert "0.94 on average" in warning
    assert "--bridge-texts and --bridge-source-texts" in warning
    _, plain = transfer_encoder(encoder, korean, vectors=flat, refine=False)
    (warning,) = [warning for warning in plain.warnings if "flat" in warning]
    assert "leave out as_released and no-refine" in warning
    # Of many dimensions, cosines of unlike tokens lie close together too, but around nothing.
    for dim in (32, 1024):
        rows = [np.random.default_rng(size).standard_normal((size, dim)).astype(np.float32) for size in sizes]
        good = BridgeVectors(*[matrix / np.linalg.norm(matrix, axis=1, keepdims=True) for matrix in rows], "good")
        assert not any("flat" in warning for warning in transfer_encoder(encoder, korean, vectors=good)[1].warnings)
