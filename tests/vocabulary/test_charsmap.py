"""Normalizers by table: every character becomes what the table says, whatever stands beside it."""

import json
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers

from isthmus.errors import InputError
from isthmus.vocabulary.charsmap import build_charsmap, every_character, probe, table_normalizers

BERT = normalizers.BertNormalizer(lowercase=True)
KEYCAP, TONE, VISARGA, ACUTE, JOINER = "\u20e3", "\U0001f3fd", "\u0903", "\u0301", "\u200d"
# The table's wedge of last resort.
NONCHARACTER = "\uffff"

characters = st.one_of(
    st.sampled_from(f"AaBbÀé\r\n\t |ЙйΩ가각가中🙂🇩🇪{KEYCAP}{TONE}{VISARGA}{ACUTE}{JOINER}\u0488\uff9e\u0e33\u110bd"),
    st.characters(exclude_categories=["Cs"], exclude_characters="\0" + NONCHARACTER),
)
texts = st.text(characters, max_size=20)
tables = st.dictionaries(characters, st.text(characters, max_size=4), max_size=30)


def by_table(table, text):
    return "".join(table.get(character, character) for character in text)


@settings(deadline=None, max_examples=200)
@given(tables, texts)
def test_a_charsmap_replaces_single_characters(table, text):
    table = {key: value for key, value in table.items() if value}
    normalizer = normalizers.Precompiled(build_charsmap(table))
    for character in [*table, *text]:
        assert normalizer.normalize_str(character) == table.get(character, character)


@settings(deadline=None, max_examples=60)
@given(tables, st.lists(texts, min_size=1, max_size=8), st.data())
@example({"A": "a"}, [f"A{KEYCAP}A{TONE}A{VISARGA}A{ACUTE}"], None)
@example({"A": "a", ACUTE: ""}, [f"A{ACUTE}{KEYCAP}{ACUTE}A{KEYCAP}{KEYCAP}"], None)
@example({"\r": " ", "\n": " "}, ["\r\n\n\r"], None)
@example({KEYCAP: "k", "A": "a", "\x01": ""}, [f"A{KEYCAP}{VISARGA}\x01"], None)
@example({"A": "\x01", "\x01": ""}, [f"A{KEYCAP}"], None)
def test_a_table_is_followed_in_any_context(table, samples, data):
    if data is not None and table:
        # Random text rarely meets a random table.
        samples = [*samples, data.draw(st.text(st.one_of(st.sampled_from(sorted(table)), characters), max_size=20))]
    normalizer = normalizers.Sequence(table_normalizers(table))
    for text in samples:
        assert normalizer.normalize_str(text) == by_table(table, text)


def test_precompiled_alone_would_lose_what_follows():
    """Why table_normalizers takes clusters apart; if this fails, it need not any more."""
    assert normalizers.Precompiled(build_charsmap({"A": "a"})).normalize_str(f"A{KEYCAP}") == "a"


def test_the_steps_survive_saving():
    backend = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Sequence(table_normalizers({"A": "b", "é": "", "\t": " ", "\x02": ""}))
    text = backend.to_str()
    assert [step["type"] for step in json.loads(text)["normalizer"]["normalizers"]] == [
        "Replace", "Replace", "Precompiled", "Replace",
    ]  # fmt: skip
    reopened = Tokenizer.from_str(text).normalizer
    assert reopened.normalize_str(f"xA{KEYCAP}\té\x02.") == f"xb{KEYCAP} ."


def test_the_whole_of_bert():
    every = every_character()
    table = dict(zip(every, probe(BERT, every), strict=True))
    normalizer = normalizers.Sequence(table_normalizers(table))
    assert probe(normalizer, every) == list(table.values())
    text = "Ünïcode — A\u20e3 i\u0307 가각 中文 और \u200bÅngström\u00a0Ω🏽"
    assert normalizer.normalize_str(text) == BERT.normalize_str(text)


def test_many_entries():
    keys = every_character()[0x3400 : 0x3400 + 120_000]
    table = {key: f"{index:x}" for index, key in enumerate(keys)}
    normalizer = normalizers.Precompiled(build_charsmap(table))
    assert probe(normalizer, keys) == list(table.values())
    assert normalizer.normalize_str("a\u33ff") == "a\u33ff"


def test_nothing_to_do():
    assert table_normalizers({}) == []
    assert table_normalizers({"a": "a"}) == []
    assert normalizers.Precompiled(build_charsmap({})).normalize_str("aé中") == "aé中"
    assert len(table_normalizers({"a": ""})) == 1


def test_nothing_left_that_joins():
    marks = dict.fromkeys((c for c in every_character() if unicodedata.category(c)[0] not in "LN" or c > "\uf000"), "")
    marks |= dict.fromkeys("\u0e33\u0eb3\uff9e\uff9f", "")
    steps = table_normalizers({"A": "a", **marks})
    assert normalizers.Sequence(steps).normalize_str(f"A{KEYCAP}{TONE}A\n") == "aa"
    assert len(steps) == 2


@pytest.mark.parametrize(("key", "value"), [("ab", "c"), ("", "c"), ("a", ""), ("\0", "a"), ("a", "b\0")])
def test_what_the_format_cannot_hold_is_refused(key, value):
    with pytest.raises(InputError, match="single characters by non-empty texts"):
        build_charsmap({"x": "y", key: value})


def test_every_character_is_every_character():
    every = every_character()
    assert len(every) == len(set(every)) == 0x110000 - 0x800
    assert not any(unicodedata.category(character) == "Cs" for character in every)


def test_probe_reads_texts_alone():
    samples = ["É", "|", "a|b", "", "\uff5c", "e\u0301", "\u0301", *"xyz" * 3000]
    for normalizer in (BERT, normalizers.NFKC(), normalizers.Strip(), normalizers.Replace("a|b", "c")):
        assert probe(normalizer, samples) == [normalizer.normalize_str(text) for text in samples]
    assert probe(None, samples) == samples
    assert probe(BERT, []) == []
