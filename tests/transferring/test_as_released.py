"""``as_released`` (arXiv 2605.26002) against a plain retelling, token by token; the bias as transformers leaves it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from entmax import entmax_bisect
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models

from isthmus.transferring import transfer_encoder
from tests import released
from tests.tiny_encoders import splade
from tests.tokenizers import byte_bpe, byte_spelling, unigram, wordpiece

WORDS = ["House", "##house", "HOME", "##S", "집", "##집", "학교", "물", "2", "##2", "½", "!", "."]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789[]#<>/.?!\ufffd집학교물"


def bridge() -> SentenceTransformer:
    """One vector per letter, U+FFFD among them."""
    weights = np.random.default_rng(0).standard_normal((len(LETTERS), 6)).astype(np.float32)
    backend = Tokenizer(models.BPE(vocab={letter: id for id, letter in enumerate(LETTERS)}, merges=[]))
    return SentenceTransformer(modules=[StaticEmbedding(backend, embedding_weights=weights)], device="cpu")


def bridge_text(tokenizer: Any, id: int) -> str:
    text: str = tokenizer.decode([id]).strip()
    return tokenizer.convert_ids_to_tokens(id) if not text or (text[0] == "[" and text[-1] == "]") else text


TARGETS: dict[str, Callable[[], Any]] = {
    "wordpiece": lambda: wordpiece(WORDS, pad_id=3, lowercase=False),
    "byte-bpe": lambda: byte_bpe(["ĠHouse", "HOME", byte_spelling(" 집"), byte_spelling("집")[:2]], pad_id=2),
    "unigram": lambda: unigram(["▁House", "HOME", "▁집", "집", "▁2", "▁.", "!"], pad_id=2),
}


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_row_and_bias(target: str, family: str, tmp_path: Path) -> None:
    encoder, tokenizer, model = splade(tmp_path, family), TARGETS[target](), bridge()
    source = encoder.tokenizer
    copies = released.overlap(tokenizer, source)
    old = encoder.transformers_model.get_input_embeddings().weight.detach().double()
    texts = [[bridge_text(side, id) for id in range(len(side))] for side in (source, tokenizer)]
    left, right = (torch.from_numpy(model.encode(part)).double() for part in texts)
    known = left.any(dim=1)
    expected = torch.full((len(tokenizer), old.shape[1]), torch.nan, dtype=torch.float64)
    for id in range(len(tokenizer)):
        if id in copies:
            expected[id] = old[copies[id]]
        elif right[id].any():
            cosines = torch.nn.functional.cosine_similarity(right[id][None], left[known])
            expected[id] = entmax_bisect(cosines, 4.0, n_iter=200) @ old[known]
    # What the bridge cannot read at all has no cosine; the released code's bridges read everything.
    readable = ~expected.isnan().any(dim=1)
    result, report = transfer_encoder(encoder, tokenizer, bridge=model, as_released=True)
    rows = result.transformers_model.get_input_embeddings().weight.detach().double()
    torch.testing.assert_close(rows[readable], expected[readable], atol=1e-4, rtol=1e-4)
    assert report.counts["bridged"] == int(readable.sum()) - len(copies)
    assert report.counts["bridged"] > 0
    resized = copy.deepcopy(encoder.transformers_model)
    resized.resize_token_embeddings(len(tokenizer))
    left_there, after = (side.get_output_embeddings().bias for side in (resized, result.transformers_model))
    assert torch.equal(after, left_there)


def test_other_methods_take_the_pool_of_the_released_code(tmp_path: Path) -> None:
    _, report = transfer_encoder(
        splade(tmp_path), TARGETS["wordpiece"](), bridge=bridge(), method="nearest", as_released=True
    )
    assert report.token_map.info["options"]["pool"] == "all"
