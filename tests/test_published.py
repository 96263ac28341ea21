"""Published models that ``make models`` unpacked: they open, and a transfer between them works with the defaults."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer, SparseEncoder
from transformers import AutoTokenizer

from isthmus import assets
from isthmus.errors import NotFoundError
from isthmus.transferring import transfer, transfer_encoder
from tests.tokenizers import wordpiece

E5, TINY = "published/multilingual-e5-small", "published/splade-tiny"
WORDS = {"дом": "house", "школа": "school", "вода": "water", "война": "war", "врач": "doctor", "собака": "dog"}
FOLDER = assets.published_folder()
unpacked = pytest.mark.skipif(
    not all((FOLDER / name / "modules.json").is_file() for name in ("multilingual-e5-small", "splade-tiny")),
    reason=f"no published models in {FOLDER}; run: make models",
)


def test_a_name_that_is_not_unpacked_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    with pytest.raises(NotFoundError, match="which has none; run: make models"):
        assets.resolve_model(E5)
    place = tmp_path / "published" / "splade-tiny"
    place.mkdir(parents=True)
    (place / "modules.json").write_text("[]", encoding="utf-8")
    assert assets.resolve_model(TINY) == str(place)
    for name in (E5, "published/..", "published/", "published/splade-tiny/.."):
        with pytest.raises(NotFoundError, match="which has published/splade-tiny"):
            assets.resolve_model(name)


def test_blocks_of_four_bits_are_read() -> None:
    sys.path.insert(0, os.fspath(Path(__file__).parent.parent / "recipes"))
    try:
        from published_models import BLOCK, BlockFile
    finally:
        sys.path.pop(0)
    block = np.zeros(2, BLOCK)
    block["scale"] = [0.5, 2.0]
    # Value i of a block is the low half of byte i, value 16 + i the high one; 8 stands for zero.
    block["nibbles"][0] = [i | (15 - i) << 4 for i in range(16)]
    block["nibbles"][1] = 8 | 9 << 4
    file = BlockFile.__new__(BlockFile)
    file._data, file._tensors = block.tobytes(), {"m": (0, 64)}
    matrix = file.matrix("m", 2, 32).numpy()
    np.testing.assert_array_equal(matrix[0], [(i - 8) / 2 for i in range(16)] + [(7 - i) / 2 for i in range(16)])
    np.testing.assert_array_equal(matrix[1], [0.0] * 16 + [2.0] * 16)


@unpacked
def test_e5_knows_translations() -> None:
    model = SentenceTransformer(assets.resolve_model(E5), device="cpu")
    assert model.prompts == {"query": "query: ", "document": "passage: "}
    english = ["Where is the library?", "It rained all night.", "The price of bread rose again."]
    others = ["도서관이 어디에 있나요?", "Дождь шёл всю ночь.", "मूल्य फिर बढ़ गया, रोटी महँगी हुई।"]
    scores = model.similarity(*(model.encode(texts, prompt="query: ") for texts in (english, others))).numpy()
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]
    assert scores.min() > 0.6, "e5 puts all cosines close together"


@pytest.fixture
def russian(tmp_path: Path) -> Path:
    """A tokenizer of a few Russian words."""
    wordpiece(list(WORDS), lowercase=False).save_pretrained(tmp_path / "russian")
    return tmp_path / "russian"


@unpacked
def test_a_published_encoder_takes_another_vocabulary(russian: Path) -> None:
    encoder, report = transfer(TINY, target_tokenizer=russian, bridge="isthmus/mini-bridge")
    assert isinstance(encoder, SparseEncoder)
    best = [report.token_map.explain(word)[0][0] for word in WORDS]
    assert sum(found == english for found, english in zip(best, WORDS.values(), strict=True)) >= 5, best
    assert not any("flat" in warning for warning in report.warnings)


@unpacked
@pytest.mark.long
def test_defaults_serve_a_published_bridge(tmp_path: Path, russian: Path) -> None:
    # A thousand frequent words stand for an English vocabulary, so that the bridge has little to embed.
    frequent = AutoTokenizer.from_pretrained(assets.resolve_model(TINY)).convert_ids_to_tokens(range(2000, 4000))
    english = wordpiece(sorted({*WORDS.values(), *(word for word in frequent if word.isalpha())}))
    encoder = transfer(TINY, target_tokenizer=_saved(english, tmp_path), method="mean")[0]
    made, report = transfer_encoder(
        encoder,
        AutoTokenizer.from_pretrained(russian),
        bridge=SentenceTransformer(assets.resolve_model(E5), device="cpu"),
    )
    best = [report.token_map.explain(word)[0][0] for word in WORDS]
    assert sum(found == english for found, english in zip(best, WORDS.values(), strict=True)) >= 5, best
    assert isinstance(made, SparseEncoder)
    assert report.refinement is not None
    assert report.refinement.mean > 0.7
    assert any("flat" in warning for warning in report.warnings)


def _saved(tokenizer: Any, folder: Path) -> Path:
    tokenizer.save_pretrained(folder / "english")
    return folder / "english"
