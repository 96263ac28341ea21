"""Sources that are not WordPiece, joined with languages in other scripts."""

import pytest
from transformers import AutoTokenizer

from isthmus import assets
from isthmus.collections import load
from isthmus.errors import TokenizerError
from isthmus.vocabulary import Vocabulary, join_tokenizers
from tests.tokenizers import byte_bpe, byte_fallback_bpe, unigram, wordpiece

ENGLISH = ["▁house", "▁home", "s", "e", "▁of", "."]
KOREAN = ["집", "학교", "수도", "##에", "##는", "##에는", "서울", "sk는"]
SOURCES = {
    "byte-bpe": lambda: byte_bpe([word.replace("▁", "Ġ") for word in ENGLISH]),
    "unigram": lambda: unigram(ENGLISH),
}
TEXTS = ["houses of home.", "The café — naïve £5 ½ ê Ī 中国 кот 🙂", "E\u0301 e", ""]


def ids(tokenizer, texts):
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def surfaces(tokenizer, text):
    tokens = {token.id: token for token in Vocabulary.from_tokenizer(tokenizer).tokens}
    return [tokens[id].surface for id in ids(tokenizer, text)]


@pytest.mark.parametrize("family", SOURCES)
def test_the_source_stays_and_the_target_is_read(family, tmp_path):
    source = SOURCES[family]()
    found = join_tokenizers(source, [wordpiece(KOREAN, strip_accents=False)])
    assert ids(found.tokenizer, TEXTS) == ids(source, TEXTS)
    assert found.unchanged == 1
    vocabulary = Vocabulary.from_tokenizer(found.tokenizer)
    assert vocabulary.tokens[: found.source_size] == Vocabulary.from_tokenizer(source).tokens
    assert vocabulary.size == found.source_size + sum(found.added) == len(found.known)
    assert surfaces(found.tokenizer, "house 집에는 서울 학교에")[-5:] == ["집", "에는", "서울", "학교", "에"]
    found.tokenizer.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert ids(opened, ["house 집에는 서울"]) == ids(found.tokenizer, ["house 집에는 서울"])


@pytest.mark.parametrize("family", SOURCES)
def test_a_real_vocabulary_needs_few_pieces(family):
    source, korean = SOURCES[family](), AutoTokenizer.from_pretrained(assets.resolve("isthmus/tokenizer-ko"))
    demo = load("demo", language="ko")
    texts = list(demo.corpus.values())
    found = join_tokenizers(source, [korean])
    own, joined = (sum(map(len, ids(tokenizer, texts))) for tokenizer in (korean, found.tokenizer))
    hangul = sum("가" <= character <= "힣" for text in texts for character in text)
    # Foreign words and numbers are spelled by the tiny sources, letter by letter.
    letters = sum(character.isascii() and character.isalnum() for text in texts for character in text)
    assert joined - letters < 1.35 * own < hangul * 1.35


def test_case_is_the_targets_in_its_script():
    russian = wordpiece(["дом", "река", "##а"], strip_accents=False)
    found = join_tokenizers(SOURCES["byte-bpe"](), [russian])
    assert surfaces(found.tokenizer, " Дом РЕКА") == ["дом", "река"]


def test_characters_that_are_words_have_no_marker():
    found = join_tokenizers(SOURCES["byte-bpe"](), [wordpiece(["中", "国", "家"])])
    assert surfaces(found.tokenizer, " house 中国") == ["house", " ", "中", "国"]


@pytest.mark.parametrize("family", SOURCES)
def test_a_latin_language_is_refused_with_what_is_possible(family):
    with pytest.raises(TokenizerError, match=r"targets\[0\] must be of a language in another.*--output source without"):
        join_tokenizers(SOURCES[family](), [wordpiece(["haus", "straße", "und", "##en"])])


def test_other_sources_are_refused_with_what_is_possible():
    with pytest.raises(TokenizerError, match=r"source must be a WordPiece .* got bpe; .*--output source without"):
        join_tokenizers(byte_fallback_bpe(ENGLISH), [wordpiece(KOREAN, strip_accents=False)])
