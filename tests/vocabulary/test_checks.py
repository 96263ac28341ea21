"""Which tokenizers are refused as targets, and how coverage is counted."""

import pytest
from tokenizers import normalizers

from isthmus.errors import InputError, TokenizerError
from isthmus.vocabulary import Vocabulary, check_target, coverage
from isthmus.vocabulary.coverage import unreachable
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

KOREAN = ["집", "학교", "수도", "사람", "서울", "어디", "있다", "나라", "물", "책"]
HINDI = ["घर", "किताब", "पानी", "स्कूल", "दुनिया", "राजधानी", "भाषा", "नदी", "लोग", "समय"]
LATIN = ["maïs", "über", "café", "niño", "garçon", "søster", "čeština", "řeka", "żółw", "été"]
ARABIC = ["بيت", "كتاب", "ماء", "مدرسة", "عالم"]


def check(tokenizer):
    check_target(tokenizer, Vocabulary.from_tokenizer(tokenizer))


def lost(tokenizer):
    return [surface for surface, _ in unreachable(tokenizer, Vocabulary.from_tokenizer(tokenizer))[1]]


@pytest.mark.parametrize(
    "build",
    [
        lambda: wordpiece(["house", "집", "中"], lowercase=False),
        lambda: wordpiece(["house", "home"]),
        lambda: wordpiece(ARABIC),
        lambda: wordpiece(KOREAN, strip_accents=False),
        lambda: byte_bpe(["ĠHouse", byte_spelling(" 집")]),
        lambda: byte_bpe(["ĠHouse"], style="modernbert", pad_id=9),
        lambda: unigram(["▁House", "▁집", "▁über"]),
        lambda: byte_fallback_bpe(["▁House", "▁집", "▁über"]),
        lambda: without_unk(),
        lambda: with_added(wordpiece(["new"]), ["New York"]),
        lambda: with_holes(),
        lambda: wordpiece([]),
    ],
)
def test_sound_tokenizers_pass(build):
    check(build())


@pytest.mark.parametrize(
    ("words", "example"),
    [
        (KOREAN, "'집' becomes"),
        (HINDI, "'स्कूल' becomes 'सकल'"),
        (LATIN, "'maïs' becomes 'mais'"),
        (["The", "House"], "'The' becomes 'the'"),
    ],
)
def test_an_uncased_normalizer_over_its_victims_is_refused(words, example):
    with pytest.raises(TokenizerError, match=example) as refusal:
        check(wordpiece(words))
    assert "do_lower_case=False, strip_accents=False" in str(refusal.value)
    check(wordpiece(words, lowercase=False))


def test_only_rewritten_and_lost_words_are_counted():
    assert lost(wordpiece(["house", "Home", "über", "집"])) == ["Home", "über", "집"]
    # "Ｈouse" is rewritten, but to a text that yields the same token only in the second case.
    assert lost(unigram(["▁Ｈouse"])) == ["Ｈouse"]
    tokenizer = unigram(["▁house"])
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    assert lost(tokenizer) == []


def test_a_word_that_its_own_merges_never_make_is_not_the_normalizers_fault():
    # "a" and "b" are merged first, and no merge joins "▁" and "ab".
    tokenizer = byte_fallback_bpe(["ab", "▁ab"])
    assert "▁ab" not in tokenizer.tokenize("ab")
    assert lost(tokenizer) == []


def test_a_rewritten_word_that_is_still_produced_is_not_lost():
    tokenizer = wordpiece(["집"], lowercase=False)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("집", "집 .")
    tried, missing = unreachable(tokenizer, Vocabulary.from_tokenizer(tokenizer))
    assert (tried, missing) == (1, [])


@pytest.mark.parametrize(("cased", "refused"), [(10, False), (11, True)])
def test_the_limit_is_a_tenth(cased, refused):
    tokenizer = wordpiece([*(f"a{index}" for index in range(100 - cased)), *(f"B{index}" for index in range(cased))])
    if refused:
        with pytest.raises(TokenizerError, match="11 of 100 sampled word tokens unreachable"):
            check(tokenizer)
    else:
        check(tokenizer)


def test_byte_level_words_are_tried_with_their_space():
    tokenizer = byte_bpe(["Ġhouse", "ĠHome"], style="modernbert")
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert lost(tokenizer) == ["Home"]
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("house", "house!")
    assert lost(tokenizer) == []


def test_the_sample_is_spread_evenly():
    tokenizer = wordpiece([*(f"a{index}" for index in range(500)), *(f"B{index}" for index in range(500))])
    tried, missing = unreachable(tokenizer, Vocabulary.from_tokenizer(tokenizer), sample=100)
    assert (tried, len(missing)) == (100, 50)


def test_pad_is_needed():
    with pytest.raises(TokenizerError, match=r"must have a pad token, got none; set tokenizer\.pad_token"):
        check(byte_fallback_bpe(["▁house"], pad_id=None))


def test_unknown_or_all_bytes_are_needed():
    with pytest.raises(TokenizerError, match="got no unknown token and 0 byte tokens"):
        check(unigram(["▁house"], unk=False))
    check(byte_fallback_bpe(["▁house"], unk=False))
    tokenizer = byte_bpe(["Ġhouse"])
    tokenizer.unk_token = None
    check(tokenizer)


def test_coverage_by_hand():
    # house | home + ##s | [UNK]
    found = coverage(wordpiece(["house", "home", "##s"]), ["house homes", "", "집"])
    assert (found.words, found.tokens, found.per_character) == (3, 4, False)
    assert found.fertility == pytest.approx(4 / 3)
    assert found.unk_rate == pytest.approx(1 / 4)


def test_coverage_counts_chinese_and_japanese_by_character():
    found = coverage(wordpiece(["中", "国", "の"]), ["中国 abc中", "の"])
    assert (found.words, found.per_character) == (5, True)
    assert (found.tokens, found.unk_rate) == (5, pytest.approx(1 / 5))
    assert not coverage(wordpiece(["중"], strip_accents=False), ["중국 중"]).per_character


def test_coverage_without_unknown_token():
    found = coverage(without_unk(["▁house"]), ["house ☃"])
    # ▁house, ▁, three bytes
    assert (found.words, found.tokens, found.unk_rate) == (2, 5, 0.0)


def test_coverage_reads_iterators_and_ignores_truncation():
    tokenizer = wordpiece(["house"], max_length=4)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=8)
    found = coverage(tokenizer, ("house " * 5 for _ in range(600)))
    assert (found.words, found.tokens, found.fertility, found.unk_rate) == (3000, 3000, 1.0, 0.0)


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_coverage_needs_words(texts):
    with pytest.raises(InputError, match="at least one word"):
        coverage(wordpiece(["house"]), texts)


def test_coverage_refuses_a_single_string():
    with pytest.raises(InputError, match="put it into a list"):
        coverage(wordpiece(["house"]), "house")
