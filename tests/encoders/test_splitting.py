"""Passages: they fit, they end where sentences do, and nothing of a text is lost."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from isthmus.encoders.splitting import Splitter, halves, sentences
from isthmus.encoders.truncation import truncation_note
from isthmus.errors import InputError
from isthmus.options import EncodeOptions
from isthmus.reading.corpus import Document

LIMIT = 24


class Tokenizer:
    """Four letters of a word are a token, and so is every sign; two special ones stand around a text."""

    def __call__(self, texts: list[str], **switches: Any) -> dict[str, list[list[int]]]:
        assert switches["truncation"] is False
        return {"input_ids": [[0] * len(re.findall(r"\w{1,4}|[^\w\s]", text)) for text in texts]}

    def num_special_tokens_to_add(self, *, pair: bool) -> int:
        return 2


class Encoder:
    """As much of an encoder as splitting looks at."""

    def __init__(self, limit: int | None = LIMIT) -> None:
        self.module = SimpleNamespace(tokenizer=Tokenizer(), max_seq_length=limit)
        self.prompts: dict[str, str] = {}
        self.default_prompt_name = None

    def __getitem__(self, place: int) -> Any:
        return self.module


def split(text: str, *, title: str = "", limit: int | None = LIMIT, prompt: str = "") -> list[Document]:
    splitter = Splitter(Encoder(limit), EncodeOptions(document_prompt=prompt))
    return list(splitter([Document("d", text, title, {"year": 1})]))


SCRIPTS = {
    "Latin": "The cat sat on the mat. Dr. Who was not there! Was it approx. ten? “It was.” He left 3.14 hours ago. ",
    "Chinese": "我们去看海。海很大！你来吗？“我来。”他说了很多话。",
    "Arabic": "ذهبنا إلى البحر. هل تأتي معنا؟ نعم، سآتي غدا. ",
    "Hindi": "हम समुद्र देखने गए। क्या तुम आओगे? हाँ, मैं आऊँगा। ",
    "Thai": "เราไปดูทะเลกัน ทะเลกว้างมาก คุณจะมาไหม ",
    "Urdu": "ہم سمندر گئے۔ کیا تم آؤ گے؟ ",
    "no sentences": "word " * 60,
    "one word": "x" * 700,
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("title", ["", "A title"])
def test_every_passage_fits_and_nothing_is_lost(script: str, title: str) -> None:
    text = f" {SCRIPTS[script] * 9}"
    passages = split(text, title=title)
    assert len(passages) > 2
    lengths = [len(ids) + 2 for ids in Tokenizer()([one.content for one in passages], truncation=False)["input_ids"]]
    assert max(lengths) <= LIMIT
    assert min(lengths[:-1]) > LIMIT // 3
    covered = set[int]()
    for number, one in enumerate(passages):
        assert one.passage is not None
        assert (one.id, one.document_id, one.title, one.metadata) == (f"d#p{number}", "d", title, {"year": 1})
        assert (one.passage.number, one.passage.of) == (number, len(passages))
        assert one.text == text[one.passage.start : one.passage.end]
        covered |= set(range(one.passage.start, one.passage.end))
    assert not "".join(text[place] for place in range(len(text)) if place not in covered).strip()


@pytest.mark.parametrize("script", ["Latin", "Chinese", "Arabic", "Hindi", "Thai", "Urdu"])
def test_passages_end_where_sentences_do_and_overlap(script: str) -> None:
    text = SCRIPTS[script] * 9
    ends = {end for _, end in sentences(text)}
    spans = [one.passage for one in split(text) if one.passage is not None]
    assert {span.end for span in spans} <= ends
    short = split(text, limit=60)
    spans = [one.passage for one in short if one.passage is not None]
    assert any(behind.start < before.end for before, behind in pairwise(spans))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Dr. who came at 3.14. He left.", ["Dr. who came at 3.14.", "He left."]),
        ("“It was.” He left", ["“It was.”", "He left"]),
        ("好。很好！", ["好。", "很好！"]),
        ("a line\n\n another", ["a line", "another"]),
        ("ทะเล กว้าง sea wide", ["ทะเล", "กว้าง sea wide"]),
        ("   ", []),
    ],
)
def test_sentences(text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == found


def test_a_character_is_not_torn_apart() -> None:
    assert halves("กี่กี่", 0, 6) == [(0, 3), (3, 6)]
    assert halves("क्षक्ष", 0, 6) == [(0, 3), (3, 6)]
    assert halves("one two", 0, 7) == [(0, 3), (4, 7)]


def test_what_fits_is_one_passage() -> None:
    (only,) = split(" short ", title="T")
    assert (only.text, only.passage) == (" short ", (("d", 0, 1, 0, 7)))
    assert len(split("", title="")) == 1
    assert len(split("word " * 999, limit=None)) == 1


def test_a_long_title_becomes_text_and_a_prompt_takes_room() -> None:
    passages = split("text " * 20, title="title " * 12)
    assert {one.title for one in passages} == {""}
    assert passages[0].text.startswith("title title")
    assert len(split("text " * 160, prompt="a prompt of some length ")) > len(split("text " * 160))
    with pytest.raises(InputError, match="document_prompt must leave room"):
        split("text", prompt="word " * 30)


def test_what_is_said_of_texts_that_lose_their_end() -> None:
    assert truncation_note({"query": 0, "document": 0}, "help") is None
    assert truncation_note({"document": 1}, "split them") == (
        "1 document is longer than the encoder reads, what is beyond counts for nothing; split them"
    )
    assert truncation_note({"query": 2, "document": 1000}, "split them") == (
        "2 queries and 1,000 documents are longer than the encoder reads, what is beyond counts for nothing; split them"
    )
    assert truncation_note({"query": 2}, "split them") == (
        "2 queries are longer than the encoder reads, what is beyond counts for nothing"
    )
