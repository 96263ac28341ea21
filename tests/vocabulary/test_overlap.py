"""Which source token a target token copies, and why."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.token_map import COPIES, FATES, Fate
from isthmus.vocabulary import Kind, Token, Vocabulary, match
from tests import released
from tests.tokenizers import (
    byte_bpe,
    byte_fallback_bpe,
    byte_spelling,
    unigram,
    with_added,
    with_holes,
    without_unk,
    wordpiece,
)


def overlap(target, source, **switches):
    """Raw target token -> (raw source token or None, fate)."""
    target, source = Vocabulary.from_tokenizer(target), Vocabulary.from_tokenizer(source)
    found = match(target, source, **switches)
    assert found.source_ids.shape == found.fates.shape == (target.size,)
    assert (found.source_ids.dtype, found.fates.dtype) == (np.int64, np.uint8)
    return {
        token.raw: (None if id < 0 else source.get(id).raw, FATES[found.fates[token.id]])
        for token in target.tokens
        for id in [int(found.source_ids[token.id])]
    }


BUILD = {
    "wordpiece": lambda: wordpiece(["house", "##house", "ing", "##ing", ".", "##.", "2015", "집"]),
    "byte-bpe": lambda: byte_bpe(["Ġhouse", "house", "Ġing", "ing", "Ġ.", "Ġ2015", byte_spelling(" 집")], pad_id=7),
    "modernbert": lambda: byte_bpe(["Ġhouse", "house", "Ġing", "ing", "Ġ.", "Ġ2015"], style="modernbert", pad_id=100),
    "unigram": lambda: unigram(["▁house", "house", "▁ing", "ing", ".", "▁.", "▁2015", "▁집"], pad_id=3),
    "bpe": lambda: byte_fallback_bpe(["▁house", "house", "▁ing", "ing", ".", "▁.", "▁2015", "▁집"]),
    "no-unk": lambda: without_unk(["▁house", "house", "▁ing", "ing", "."]),
    "added": lambda: with_added(wordpiece(["house", "##house", "ing", "##ing", "."]), ["New York"]),
    "holes": lambda: with_holes(["house", "##house", "ing", "##ing", "."], holes=[6, 9]),
}
PAIRS = list(itertools.product(BUILD, repeat=2))


@pytest.mark.parametrize(("target", "source"), PAIRS)
def test_words_match_across_every_pair_of_families(target, source):
    target, source = (Vocabulary.from_tokenizer(BUILD[name]()) for name in (target, source))
    found = match(target, source)
    wanted = {"▁house": "▁house", "house": "house", "▁ing": "▁ing", "ing": "ing"}
    for token in target.tokens:
        if token.canonical in wanted and token.kind in (Kind.WORD_START, Kind.CONTINUATION):
            assert source.get(int(found.source_ids[token.id])).canonical == wanted.pop(token.canonical)
            assert FATES[found.fates[token.id]] is Fate.EXACT
    assert not wanted


@pytest.mark.parametrize(("target", "source"), PAIRS)
@pytest.mark.parametrize("as_released", [False, True])
def test_every_id_gets_exactly_one_fate(target, source, as_released):
    target, source = (Vocabulary.from_tokenizer(BUILD[name]()) for name in (target, source))
    found = match(target, source, as_released=as_released)
    for id in range(target.size):
        fate, copied = FATES[found.fates[id]], int(found.source_ids[id])
        if target.get(id) is None:
            assert (fate, copied) == (Fate.BACKGROUND, -1)
        elif fate in COPIES:
            assert source.get(copied) is not None
        else:
            assert (fate, copied) == (Fate.BRIDGED, -1)
    assert sum(found.counts().values()) == (found.source_ids >= 0).sum()


@pytest.mark.parametrize("name", BUILD)
def test_a_vocabulary_matches_itself_id_by_id(name):
    vocabulary = Vocabulary.from_tokenizer(BUILD[name]())
    found = match(vocabulary, vocabulary)
    for token in vocabulary.tokens:
        assert found.source_ids[token.id] == (-1 if token.kind is Kind.UNUSED else token.id), token


@pytest.mark.parametrize(("target", "source"), PAIRS)
@pytest.mark.parametrize("switch", [True, False])
def test_special_tokens_match_by_role_whatever_the_switches(target, source, switch):
    target, source = (Vocabulary.from_tokenizer(BUILD[name]()) for name in (target, source))
    found = match(target, source, exact=switch, fuzzy=switch, symbol=switch)
    for role in ("cls", "sep", "pad", "unk", "mask"):
        token, twin = target.role(role), source.role(role)
        if token is not None:
            expected = (-1, Fate.BRIDGED) if twin is None else (twin.id, Fate.SPECIAL)
            assert (int(found.source_ids[token.id]), FATES[found.fates[token.id]]) == expected


def test_unused_tokens_match_nothing():
    assert overlap(wordpiece([], unused=1), wordpiece([], unused=3))["[unused0]"] == (None, Fate.BRIDGED)


def test_a_pad_token_that_also_ends_texts_copies_the_end():
    tokenizer = byte_fallback_bpe(["▁house"], pad_id=None)
    tokenizer.pad_token = "</s>"
    assert overlap(tokenizer, wordpiece(["house"]))["</s>"] == ("[SEP]", Fate.SPECIAL)


def test_two_tokens_of_one_role():
    tokenizer = wordpiece(["house"])
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    assert overlap(tokenizer, wordpiece(["house"]))["<s>"] == ("[CLS]", Fate.SPECIAL)
    assert overlap(tokenizer, tokenizer)["<s>"] == ("<s>", Fate.SPECIAL)


def test_special_tokens_without_role_match_by_spelling_when_symbols_do():
    target, source = wordpiece([]), wordpiece(["<extra>"])
    target.add_special_tokens({"additional_special_tokens": ["<Query>", "<doc>", "<extra>"]})
    source.add_special_tokens({"additional_special_tokens": ["<query>", "<DOC>", "<doc>"]})
    found = overlap(target, source)
    assert found["<Query>"] == ("<query>", Fate.SYMBOL)
    assert found["<doc>"] == ("<doc>", Fate.SYMBOL)
    assert found["<extra>"] == (None, Fate.BRIDGED)
    assert overlap(target, source, symbol=False)["<Query>"] == (None, Fate.BRIDGED)


# Source ids ascend in the order given.
@pytest.mark.parametrize(
    ("token", "source", "expected"),
    [
        ("▁house", ["house", "▁house"], ("▁house", Fate.EXACT)),
        ("house", ["▁house", "house"], ("house", Fate.EXACT)),
        ("▁house", ["house", "▁House"], ("▁House", Fate.FUZZY)),
        ("house", ["▁house", "House"], ("House", Fate.FUZZY)),
        ("▁house", ["▁HOUSE", "▁House"], ("▁HOUSE", Fate.FUZZY)),
        ("▁house", ["▁House", "▁HOUSE"], ("▁House", Fate.FUZZY)),
        ("▁house", ["House", "house"], ("House", Fate.FUZZY)),
        ("▁House", ["▁house", "▁houses"], ("▁house", Fate.FUZZY)),
        ("▁ÜBUNG", ["▁übung"], ("▁übung", Fate.FUZZY)),
        ("▁집", ["▁house"], (None, Fate.BRIDGED)),
        ("▁2015", ["2015", "▁2015"], ("▁2015", Fate.SYMBOL)),
        ("2015", ["▁2015", "2015"], ("2015", Fate.SYMBOL)),
        ("2015", ["▁2015"], ("▁2015", Fate.SYMBOL)),
        ("▁(", ["("], ("(", Fate.SYMBOL)),
        ("▁", ["▁"], ("▁", Fate.SYMBOL)),
        ("▁▁", ["▁"], (None, Fate.BRIDGED)),
        ("½", ["▁½"], ("▁½", Fate.SYMBOL)),
        ("▁ⅳ", ["▁Ⅳ"], ("▁Ⅳ", Fate.SYMBOL)),
    ],
)
def test_preferences(token, source, expected):
    assert overlap(unigram([token]), unigram(source))[token] == expected


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ("", {}),
        ("exact", {"▁house": Fate.EXACT, "▁2015": Fate.EXACT}),
        ("fuzzy", {"▁house": Fate.FUZZY, "▁home": Fate.FUZZY, "▁2015": Fate.FUZZY, "▁.": Fate.FUZZY}),
        ("symbol", {"▁2015": Fate.SYMBOL, "▁.": Fate.SYMBOL}),
        ("exact fuzzy", {"▁house": Fate.EXACT, "▁home": Fate.FUZZY, "▁2015": Fate.EXACT, "▁.": Fate.FUZZY}),
        ("exact symbol", {"▁house": Fate.EXACT, "▁2015": Fate.SYMBOL, "▁.": Fate.SYMBOL}),
        ("fuzzy symbol", {"▁house": Fate.FUZZY, "▁home": Fate.FUZZY, "▁2015": Fate.SYMBOL, "▁.": Fate.SYMBOL}),
        (
            "exact fuzzy symbol",
            {"▁house": Fate.EXACT, "▁home": Fate.FUZZY, "▁2015": Fate.SYMBOL, "▁.": Fate.SYMBOL},
        ),
    ],
)
@pytest.mark.parametrize("as_released", [False, True])
def test_switches(switches, expected, as_released):
    words = ["▁house", "▁home", "▁2015", "▁.", "▁집"]
    on = {name: name in switches.split() for name in ("exact", "fuzzy", "symbol")}
    found = overlap(unigram(words), unigram(["▁house", "Home", "▁2015", "."]), as_released=as_released, **on)
    for word in words:
        assert found[word][1] == expected.get(word, Fate.BRIDGED), word


SYMBOL_SPELLINGS = [
    (wordpiece([".", "##."]), "."),
    (byte_bpe(["Ġ."]), "."),
    (unigram([".", "▁."]), "."),
    (byte_fallback_bpe([".", "▁."]), "."),
]


@pytest.mark.parametrize(("target", "source"), list(itertools.product(SYMBOL_SPELLINGS, repeat=2)))
def test_punctuation_matches_the_plain_spelling_across_families(target, source):
    assert overlap(target[0], source[0])[target[1]] == (source[1], Fate.SYMBOL)


def test_marked_punctuation():
    source = wordpiece([".", "##."])
    assert overlap(byte_bpe(["Ġ."]), source)["Ġ."] == (".", Fate.SYMBOL)
    assert overlap(unigram(["▁."]), source)["▁."] == (".", Fate.SYMBOL)
    assert overlap(byte_bpe(["Ġ."]), unigram([".", "▁."]))["Ġ."] == ("▁.", Fate.SYMBOL)
    assert overlap(source, source)["##."] == ("##.", Fate.SYMBOL)


def test_chinese_continuations_of_wordpiece_are_never_copied_by_another_family():
    source = wordpiece(["##中", "中", "##国"])
    found = overlap(unigram(["中", "▁中", "国"]), source)
    assert found["中"] == ("中", Fate.EXACT)
    assert found["▁中"] == ("中", Fate.EXACT)
    assert found["国"] == ("##国", Fate.EXACT)
    assert overlap(wordpiece(["##中", "中"]), source)["##中"] == ("##中", Fate.EXACT)


def test_added_tokens_match_as_text():
    found = overlap(with_added(wordpiece([]), ["New York"]), unigram(["▁New▁York"]))
    assert found["New York"] == ("▁New▁York", Fate.EXACT)


def test_identical_raw_token_comes_before_a_lower_id():
    tokenizer = with_added(byte_bpe(["Ġhouse"]), ["house"])
    assert overlap(tokenizer, tokenizer)["house"] == ("house", Fate.EXACT)
    assert overlap(unigram(["▁house"]), tokenizer)["▁house"] == ("Ġhouse", Fate.EXACT)


@pytest.mark.parametrize("switch", [True, False])
def test_bytes_match_byte_to_byte_across_schemes(switch):
    level, fallback = byte_bpe(), byte_fallback_bpe([])
    switches = {"exact": switch, "fuzzy": switch, "symbol": switch}
    to_fallback, to_level = overlap(level, fallback, **switches), overlap(fallback, level, **switches)
    for value in range(0x80, 0x100):
        (raw,) = (character for character in to_fallback if _byte(character) == value)
        assert to_fallback[raw] == (f"<0x{value:02X}>", Fate.BYTE)
        assert to_level[f"<0x{value:02X}>"] == (raw, Fate.BYTE)
    assert to_level["<0x41>"] == ("A", Fate.BYTE)
    assert to_level["<0x0A>"] == ("Ċ", Fate.BYTE)
    assert to_level["<0x20>"] == ("Ġ", Fate.BYTE)
    assert to_fallback["Ċ"] == ("<0x0A>", Fate.BYTE)
    assert to_fallback["Ā"] == ("<0x00>", Fate.BYTE)
    assert to_fallback["A"] == ("<0x41>", Fate.BYTE)


def _byte(character):
    """GPT-2's byte alphabet above ASCII, restated: Latin-1 as it is, the other bytes numbered from U+0100 on."""
    if len(character) != 1:
        return None
    if "¡" <= character <= "¬" or "®" <= character <= "ÿ":
        return ord(character)
    others = [*range(0x21), *range(0x7F, 0xA1), 0xAD]
    return others[ord(character) - 256] if 256 <= ord(character) < 256 + len(others) else None


def test_text_characters_come_before_their_bytes():
    assert overlap(byte_bpe(), byte_fallback_bpe(["A"]))["A"] == ("A", Fate.EXACT)


def test_pieces_of_several_bytes_match_only_the_same_bytes():
    found = overlap(byte_bpe(["ìķ", "ìĸ", "Ġìķ"]), byte_bpe(["ìķ"], style="modernbert"))
    assert found["ìķ"] == ("ìķ", Fate.EXACT)
    assert found["ìĸ"] == (None, Fate.BRIDGED)
    assert found["Ġìķ"] == (None, Fate.BRIDGED)


def test_bytes_do_not_match_words():
    found = overlap(byte_fallback_bpe([]), wordpiece(["A", "<0xE2>"]))
    assert found["<0xE2>"] == found["<0x41>"] == (None, Fate.BRIDGED)


class TestAsReleased:
    """The released code of arXiv 2605.26002."""

    def test_special_tokens_match_by_spelling_not_by_role(self):
        found = overlap(wordpiece([]), unigram(["▁a"]), as_released=True)
        assert found["[CLS]"] == (None, Fate.BRIDGED)
        assert overlap(byte_bpe(), unigram(["▁a"]), as_released=True)["<mask>"] == ("<mask>", Fate.SYMBOL)

    def test_unused_tokens_match_by_spelling(self):
        assert overlap(wordpiece([]), wordpiece([]), as_released=True)["[unused0]"] == ("[unused0]", Fate.EXACT)

    # Source ids ascend in the order given.
    @pytest.mark.parametrize(
        ("token", "source", "expected"),
        [
            ("house", ["##house", "house", "HOUSE"], ("house", Fate.EXACT)),
            ("##a", ["a", "##a", "A"], ("##a", Fate.EXACT)),
            # No candidate's canonical form is "house": the lowest id.
            ("House", ["house", "hOuse", "##HOUSE"], ("house", Fate.FUZZY)),
            ("House", ["##HOUSE", "hOuse", "house"], ("##HOUSE", Fate.FUZZY)),
            # "##house" goes in front wherever it stands.
            ("House", ["##house", "house"], ("##house", Fate.FUZZY)),
            ("House", ["house", "##house"], ("##house", Fate.FUZZY)),
            ("##HOUSE", ["HOUSE", "##house", "house", "hOuse"], ("##house", Fate.FUZZY)),
            # Punctuation without marker starts a word as well.
            ("##.", ["."], (".", Fate.SYMBOL)),
            ("##2", ["2", "##2"], ("##2", Fate.SYMBOL)),
            # Not ASCII: no symbol there.
            ("。", ["。"], ("。", Fate.EXACT)),
        ],
    )
    def test_preferences(self, token, source, expected):
        assert overlap(wordpiece([token]), wordpiece(source), as_released=True)[token] == expected

    def test_undecodable_bytes_match_each_other_and_the_highest_id_wins(self):
        source = byte_bpe(["ìķ", "ìĸ", "Ġìķ"], style="modernbert")
        found = overlap(byte_bpe(["Ġìĸ"]), source, as_released=True)
        assert found["ì"] == found["½"] == ("ìĸ", Fate.EXACT)
        assert found["Ġìĸ"] == ("Ġìķ", Fate.EXACT)
        # Without a word start among them, those in lower case and no word start are in front, the last first.
        source = byte_bpe(["ìķ", "ìĸ"], style="modernbert")
        assert overlap(byte_bpe(["Ġìĸ"]), source, as_released=True)["Ġìĸ"] == ("ìĸ", Fate.FUZZY)

    def test_bytes_that_are_written_out_match_themselves_alone(self):
        source = byte_fallback_bpe(["▁a"])
        found = overlap(byte_bpe(), source, as_released=True)
        assert found["ì"] == found["B"] == (None, Fate.BRIDGED)
        assert overlap(source, source, as_released=True)["<0xEC>"] == ("<0xEC>", Fate.EXACT)

    @pytest.mark.parametrize("source", [wordpiece(["a"]), unigram(["▁a"])], ids=["wordpiece", "unigram"])
    def test_bytes_of_white_space_match_nothing(self, source):
        found = overlap(byte_bpe(), source, as_released=True)
        for byte in "\t\n\v\f\r\x1c\x1d\x1e\x1f":
            assert found[byte_spelling(byte)] == (None, Fate.BRIDGED), ascii(byte)

    def test_punctuation_of_wordpiece_is_a_word_start(self):
        found = overlap(wordpiece([".", "##."]), unigram(["▁.", "."]), as_released=True, symbol=False, fuzzy=False)
        assert found["."] == ("▁.", Fate.EXACT)
        assert found["##."] == (".", Fate.EXACT)

    def test_needs_a_tokenizer(self):
        vocabulary = Vocabulary((Token(0, "a", "a", "▁a", Kind.WORD_START),), "unigram", {})
        with pytest.raises(InputError, match=r"use Vocabulary\.from_tokenizer"):
            match(vocabulary, vocabulary, as_released=True)

    @pytest.mark.parametrize(("target", "source"), PAIRS)
    def test_against_the_rule_retold(self, target, source):
        assert_as_released(BUILD[target](), BUILD[source]())


def assert_as_released(target, source):
    ours = [Vocabulary.from_tokenizer(tokenizer) for tokenizer in (target, source)]
    for exact, fuzzy in itertools.product([True, False], repeat=2):
        copied = match(*ours, exact=exact, fuzzy=fuzzy, symbol=False, as_released=True).source_ids
        expected = released.overlap(target, source, exact=exact, fuzzy=fuzzy)
        assert {id: int(copied[id]) for id in np.flatnonzero(copied >= 0).tolist()} == expected
    # Symbols, where words match as well, are words.
    everything, words = (match(*ours, symbol=symbol, as_released=True).source_ids for symbol in (True, False))
    assert np.array_equal(everything, words)


SPELLED = {
    "wordpiece": lambda words: wordpiece([("" if start else "##") + text for start, text in words], lowercase=False),
    "unigram": lambda words: unigram(["▁" * start + text for start, text in words]),
    "byte-bpe": lambda words: byte_bpe([byte_spelling(" " * start + text) for start, text in words]),
    "byte pieces": lambda words: byte_bpe([byte_spelling(" " * start + text)[:2] for start, text in words]),
    "bpe": lambda words: byte_fallback_bpe(["▁" * start + text for start, text in words]),
}
tricky = st.lists(
    st.tuples(st.booleans(), st.text(alphabet="aAbBßſİiK2½.。#집中", min_size=1, max_size=2)),
    min_size=1,
    max_size=25,
    unique=True,
)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(SPELLED)), st.sampled_from(sorted(SPELLED)), tricky, tricky)
def test_as_released_against_the_rule_retold(target, source, target_words, source_words):
    assert_as_released(SPELLED[target](target_words), SPELLED[source](source_words))


words = st.lists(
    st.builds(
        lambda start, text: ("▁" if start else "") + text,
        st.booleans(),
        st.text(alphabet="abAB집中1.", min_size=1, max_size=2),
    ),
    min_size=1,
    max_size=20,
    unique=True,
)


@settings(deadline=None, max_examples=150)
@given(words, words, st.booleans(), st.booleans(), st.booleans())
def test_against_the_definition_by_search(target_words, source_words, exact, fuzzy, symbol):
    target, source = (Vocabulary.from_tokenizer(unigram(words)) for words in (target_words, source_words))
    found = match(target, source, exact=exact, fuzzy=fuzzy, symbol=symbol)
    texts = (Kind.WORD_START, Kind.CONTINUATION, Kind.SYMBOL)
    for token in target.tokens:
        if token.kind not in texts:
            continue
        is_symbol = symbol and token.kind is Kind.SYMBOL
        ranked = []
        for candidate in source.tokens:
            if candidate.kind not in texts:
                continue
            if candidate.canonical == token.canonical and (exact or is_symbol):
                ranked.append((0, 0, candidate.id))
            elif candidate.surface.lower() == token.surface.lower() and (fuzzy or is_symbol):
                ranked.append((1, int(candidate.word_start != token.word_start), candidate.id))
        if ranked:
            step, _, id = min(ranked)
            fate = Fate.SYMBOL if is_symbol else (Fate.EXACT, Fate.FUZZY)[step]
            assert (int(found.source_ids[token.id]), FATES[found.fates[token.id]]) == (id, fate)
        else:
            assert (int(found.source_ids[token.id]), FATES[found.fates[token.id]]) == (-1, Fate.BRIDGED)


@settings(deadline=None, max_examples=60)
@given(words, words)
def test_renumbering_the_source_only_breaks_ties(target_words, source_words):
    """Reversing the source's order changes which of equals is copied, never whether or why."""
    target = Vocabulary.from_tokenizer(unigram(target_words))
    first, second = (
        match(target, Vocabulary.from_tokenizer(unigram(words))) for words in (source_words, source_words[::-1])
    )
    assert np.array_equal(first.fates, second.fates)


def test_whole_vocabularies_match():
    def vocabulary(size, offset):
        tokens = (
            Token(id, f"w{id + offset}", f"w{id + offset}", f"▁w{id + offset}", Kind.WORD_START) for id in range(size)
        )
        return Vocabulary(tuple(tokens), "unigram", {})

    target, source = vocabulary(32_000, 0), vocabulary(30_000, 1_000)
    # Pair by pair this would be 10^9 comparisons and would not end.
    found = match(target, source)
    assert (found.source_ids >= 0).sum() == 30_000
    assert found.source_ids[1_000] == 0
