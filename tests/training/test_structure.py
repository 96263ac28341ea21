import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.training.near_duplicates import NearDuplicates
from isthmus.training.structure import Block, WordPlaces, blocks, take_out, units

CHINESE = "比特币由世界各地的所有比特币用户控制。开发人员正在改进软件，但他们不能强迫改变规则。"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain\ntext", [(None, "plain\ntext")]),
        ("# One\n\na\n\n## Two ##\nb", [("One", "a"), ("Two", "b")]),
        ("lead\n\nOne\n===\na\n\nTwo\n---\nb", [(None, "lead"), ("One", "a"), ("Two", "b")]),
        ("Title\n~~~~~\n\na\n\nLong title\n^^^\nb", [("Title", "a\n\nLong title\n^^^\nb")]),
        ("=====\nTitle\n=====\n\na", [("Title", "a")]),
        ("---\ntitle: x\nlang: ko\n---\n# One\na", [("One", "a")]),
        ("# One\n```\n# a comment\n```\n# Two\nb", [("One", "```\n# a comment\n```"), ("Two", "b")]),
        ("# One\n````\n```\n# no\n````\nend", [("One", "````\n```\n# no\n````\nend")]),
        ("```code``` in a line\n# One\na", [(None, "```code``` in a line"), ("One", "a")]),
        ("~~~\n# no\n~~~\n# One\na", [(None, "~~~\n# no\n~~~"), ("One", "a")]),
        ("two lines\nof text\n---\nmore", [(None, "two lines\nof text\n---\nmore")]),
        ("text\n\n---\n\nmore", [(None, "text\n\n---\n\nmore")]),
        ("#hashtag and\n#another", [(None, "#hashtag and\n#another")]),
        ("# C#\na\n# C # #\nb\n# #\nc", [("C#", "a"), ("C #", "b"), ("", "c")]),
        ("# 제목\n본문\n## 둘째\n내용", [("제목", "본문"), ("둘째", "내용")]),
        ("# One\n## Two\na", [("One", ""), ("Two", "a")]),
        ("", []),
        ("\n\n", []),
    ],
)
def test_texts_are_cut_at_their_headings(text, expected):
    assert blocks(text) == [Block(heading, below) for heading, below in expected]


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        ("one two, three", ["one", "two,", "three"], 3),
        ("比特币用户", ["比", "特", "币", "用", "户"], 2),
        ("在Python中 读取", ["在", "Python", "中", "读", "取"], 3),
        ("กินข้าว", ["กิ", "น", "ข้", "า", "ว"], 2),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"], 2),
        ("مرحبا بالعالم", ["مرحبا", "بالعالم"], 2),
        ("한국어 문장", ["한국어", "문장"], 2),
        ("かが\u3099", ["か", "が\u3099"], 1),
        (" \u3000\n", [], 0),
    ],
)
def test_scripts_without_spaces_are_counted_by_characters(text, expected, words):
    assert units(text) == expected
    assert len(WordPlaces(text)) == words


@pytest.mark.parametrize(
    "text", [" ".join(f"w{i}" for i in range(12)), CHINESE, "在Python中 read csv 读取 the data 文件"]
)
def test_drawn_pieces_lie_everywhere_and_have_their_length(text):
    words, generator = WordPlaces(text), random.Random(0)
    pieces = {words.draw(3, generator) for _ in range(500)}
    # A word at the end of a piece may come whole where half of it was wanted.
    assert {len(WordPlaces(text[start:end])) for start, end in pieces} <= {3, 4}
    assert all(text[start:end] == text[start:end].strip() for start, end in pieces)
    assert min(start for start, _ in pieces) == 0
    assert max(end for _, end in pieces) == len(text)
    assert len(pieces) > 4


def test_passages_hold_all_words_and_end_with_sentences():
    sentences = [f"This is sentence number {i} of the text." for i in range(30)]
    passages = list(WordPlaces(" ".join(sentences)).passages(40, 12))
    assert " ".join(passages) == " ".join(sentences)
    assert len(passages) > 4
    assert all(passage.endswith(".") for passage in passages)
    assert all(12 <= len(WordPlaces(passage)) <= 52 for passage in passages)


def test_passages_of_text_without_spaces_or_sentences():
    text = "字" * 1000
    passages = list(WordPlaces(text).passages(50, 12))
    assert "".join(passages) == text
    assert [len(passage) for passage in passages] == [100] * 10
    chinese = list(WordPlaces(CHINESE * 10).passages(40, 12))
    assert "".join(chinese) == CHINESE * 10
    assert sum(passage.endswith(("。", "，")) for passage in chinese) >= len(chinese) - 1


@pytest.mark.parametrize(
    ("text", "piece", "expected"),
    [
        ("one two three four", "two three", "one four"),
        ("one two", "one", "two"),
        ("one two", "two", "one"),
        ("一二三四", "二三", "一四"),
        ("one\n\ntwo three", "two", "one three"),
    ],
)
def test_pieces_are_taken_out(text, piece, expected):
    start = text.index(piece)
    assert take_out(text, start, start + len(piece)) == expected


@given(st.text(max_size=300), st.integers(12, 30))
def test_no_text_breaks_anything_or_loses_a_word(text, length):
    assert all(block.text == block.text.strip() for block in blocks(text))
    words = WordPlaces(text)
    passages = list(words.passages(length, 12))
    assert [unit for passage in passages for unit in units(passage)] == units(text)
    if len(words):
        start, end = words.draw(1, random.Random(0))
        assert 0 <= start < end <= len(text)
        assert set(units(take_out(text, start, end))) <= {*units(text), *units(text[:start] + text[end:])}


def test_long_lines_take_no_longer():
    for line in ("# " + " " * 200_000 + "x", "# " + " #" * 100_000, "=" * 200_000 + "x", "`" * 200_000):
        assert len(blocks(f"{line}\n{line}")) in (1, 2)
    assert len(list(WordPlaces("x " * 100_000).passages(12, 12))) > 8000


WORDS = [f"word{i}" for i in range(60)]


def test_near_duplicates_are_found():
    seen = NearDuplicates()
    assert seen.add(" ".join(WORDS))
    assert not seen.add(" ".join(WORDS))
    assert not seen.add(", ".join(WORDS).upper() + "!")
    assert not seen.add(" ".join([*WORDS[:30], "other", *WORDS[31:]]))
    assert seen.add(" ".join(reversed(WORDS)))
    assert seen.add(" ".join(f"another{i}" for i in range(60)))
    assert seen.add(CHINESE)
    assert not seen.add(CHINESE.replace("。", "！"))
    assert seen.add("आज का मौसम बहुत अच्छा है")
    assert seen.add("आज का मौसम बहुत बुरा था")


def test_texts_with_a_template_in_common_are_no_duplicates():
    generator, seen = random.Random(0), NearDuplicates()
    template = " ".join(WORDS[:30])
    texts = [" ".join([template, *(f"own{generator.randrange(10**6)}" for _ in range(30))]) for _ in range(1500)]
    # About a third of what two of them say is the same.
    assert all(map(seen.add, texts))
    # One word is another: the text is still found, whatever came between.
    changed = [text.replace(text.split()[45], "other") for text in texts[:200]]
    assert sum(not seen.add(text) for text in changed) > 180
    assert not any(map(seen.add, texts))


def test_short_texts_are_duplicates_only_when_equal():
    seen = NearDuplicates()
    assert seen.add("ab")
    assert seen.add("ac")
    assert not seen.add("AB.")
    assert seen.add("")
    assert not seen.add("...")
