"""The model card: what the folder of an encoder can tell a stranger."""

import json

import pytest
from sentence_transformers import SparseEncoder

from isthmus.diagnostics.model_card import EXAMPLES, made_of, write_card
from isthmus.encoders.cards import read_front_matter
from isthmus.token_map import TokenMap
from isthmus.transferring import transfer_encoder
from tests.tiny_encoders import splade
from tests.tokenizers import wordpiece

KOREAN = ("집", "학교", "전쟁", "물|불", "##의", "school", "the", "house", ".", "?", "1")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("card")
    source = splade(root / "backbone")
    result, report = transfer_encoder(
        source, wordpiece(KOREAN, pad_id=3, max_length=24, lowercase=False), method="mean", language="ko"
    )
    folder = root / "ko"
    result.save_pretrained(str(folder))
    report.save(folder)
    return folder


def test_the_card_says_what_the_folder_holds(saved):
    row = {"collection": "kor|quad", "documents": 7, "queries": 3, "ndcg@10": 0.5, "recall@100": 1.0}
    write_card(saved, SparseEncoder(str(saved)), evaluations=[row], section="## How it was trained\n\nWith care.")
    text = (saved / "README.md").read_text()
    head = read_front_matter(text)
    assert head["language"] == ["ko"]
    assert "isthmus" in head["tags"]
    counts = json.loads((saved / "transfer_report.json").read_text())["fates"]
    for fate, count in counts.items():
        assert (f"| {fate} | {count} |" in text) == bool(count)
    assert EXAMPLES["ko"][0] in text
    assert "| kor\\|quad | 7 | 3 | 0.500 | 1.000 |" in text
    assert "With care." in text
    assert "- ok: weights: all weights are finite" in text
    # Every code block is closed, and nothing of sentence-transformers' own card is left.
    assert text.count("```") % 2 == 0
    assert "sentence_transformers_model_id" not in text
    assert "sparse_encoder_model_id" not in text
    # Twice is the same.
    write_card(saved, SparseEncoder(str(saved)), evaluations=[row], section="## How it was trained\n\nWith care.")
    assert (saved / "README.md").read_text() == text


def test_tokens_are_shown_with_what_they_are_made_of():
    names = ["[PAD]", *(f"단어{'가' * number}" for number in range(30))]
    token_map = TokenMap.__new__(TokenMap)
    object.__setattr__(token_map, "target_tokens", tuple(names))
    object.__setattr__(token_map, "rows", lambda *fates: range(1, 31))
    object.__setattr__(token_map, "explain", lambda row, top_k: [("house", 0.75), ("home", 0.25)])
    found = made_of(token_map, 10)
    assert len({token for token, _ in found}) == 10
    assert found[0] == ("단어", "house 0.75, home 0.25")


def test_every_example_asks_and_answers():
    for language, (query, passage) in EXAMPLES.items():
        assert query != passage, language
        assert query
        assert passage
