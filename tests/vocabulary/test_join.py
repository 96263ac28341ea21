"""One tokenizer for a source language and others: the source's ids stay, the others' words split as theirs do."""

import functools
import itertools
import json
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from isthmus import assets
from isthmus.collections import load
from isthmus.errors import InputError, TokenizerError
from isthmus.vocabulary import Kind, Vocabulary, join_tokenizers
from isthmus.vocabulary.charsmap import every_character, probe
from tests.tokenizers import byte_bpe, byte_fallback_bpe, unigram, with_added, with_holes, wordpiece

LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
SCRIPTS = {"ar": "ARABIC", "hi": "DEVANAGARI", "ko": "HANGUL", "ru": "CYRILLIC", "zh": "CJK"}
SETS = [*((language,) for language in LANGUAGES), LANGUAGES]
KOREAN = ["집", "학교", "수도", "##에", "##는", "서울"]
RUSSIAN = ["дом", "река", "мир", "##а", "##й"]
ENGLISH = ["house", "home", "##s", "e", "2015", "."]


@functools.cache
def built_in(name):
    return AutoTokenizer.from_pretrained(assets.resolve_model(f"isthmus/{name}"))


def english():
    return built_in("mini-splade-en")


def of(language):
    return built_in(f"tokenizer-{language}")


@functools.cache
def joined(*languages):
    return join_tokenizers(english(), [of(language) for language in languages])


def texts_of(language):
    collection = load("demo", language=language)
    return [*collection.corpus.values(), *collection.queries.values()]


def ids(tokenizer, texts):
    return tokenizer(texts, add_special_tokens=False, truncation=False, padding=False, verbose=False)["input_ids"]


def script(character):
    return unicodedata.name(character, "").replace("-", " ").split(" ")[0]


def korean(words=KOREAN, **options):
    return wordpiece(words, strip_accents=False, **options)


def state(tokenizer):
    return tokenizer.backend_tokenizer.to_str(), tokenizer.special_tokens_map, len(tokenizer)


# The source language


@pytest.mark.parametrize("languages", SETS, ids="-".join)
def test_english_keeps_its_ids(languages):
    texts = texts_of("en")
    assert len(texts) > 100
    assert ids(joined(*languages).tokenizer, texts) == ids(english(), texts)


others = st.characters(exclude_categories=["Cs"])
western = st.one_of(
    st.characters(max_codepoint=0x7F),
    st.characters(min_codepoint=0x80, max_codepoint=0x24F),
    st.characters(min_codepoint=0x300, max_codepoint=0x3FF),
    st.characters(min_codepoint=0x1E00, max_codepoint=0x2BFF),
    st.sampled_from("🙂👍🏽🇩🇪👩\u200d👧\ufe0f\u20e3\ufeff\ufffd\uffff\ue000"),
)


@settings(deadline=None, max_examples=300)
@given(st.text(western, max_size=40))
@example("A\u20e3 A🏽 É\u20e3 i\u0307\u0323 e\u200b\u0301 \r\n\tｔｈｅ nº ℓ ˇ Å ﬁ")
def test_western_text_keeps_its_ids(text):
    wanted = ids(english(), [text])
    for languages in SETS:
        assert ids(joined(*languages).tokenizer, [text]) == wanted


@settings(deadline=None, max_examples=300)
@given(st.text(st.one_of(others, western), max_size=20))
def test_text_that_no_target_owns_keeps_its_ids(text):
    for languages in SETS:
        own = joined(*languages).scripts
        if not any(script(character) in own for character in text + unicodedata.normalize("NFC", text)):
            assert ids(joined(*languages).tokenizer, [text]) == ids(english(), [text])


def test_composition_is_nothing_to_the_source():
    """The joined normalizer composes first; the source must not notice."""
    normalizer, compose = english().backend_tokenizer.normalizer, normalizers.NFC()
    every = every_character()
    forms = [unicodedata.normalize("NFD", character) for character in every]
    assert sum(form != character for form, character in zip(forms, every, strict=True)) > 10_000
    for texts in (every, forms):
        assert probe(normalizer, probe(compose, texts)) == probe(normalizer, texts)


def test_everything_but_words_is_the_source():
    source, tokenizer = english(), joined(*LANGUAGES).tokenizer
    first, second = "The house " * 200, "What is a house?"
    for options in ({}, {"truncation": True}, {"padding": "max_length", "max_length": 300}, {"return_tensors": "np"}):
        ours, theirs = tokenizer(first, second, **options), source(first, second, **options)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert tokenizer.decode(ids(tokenizer, ["it isn't 3.5"])[0]) == source.decode(ids(source, ["it isn't 3.5"])[0])
    assert tokenizer.special_tokens_map == source.special_tokens_map
    assert tokenizer.model_max_length == source.model_max_length == 256
    assert tokenizer.tokenize("a [MASK] b") == ["a", "[MASK]", "b"]


# The target languages


@pytest.mark.parametrize("languages", SETS, ids="-".join)
def test_words_split_as_in_their_language(languages):
    for language in languages:
        target, found = of(language), joined(*languages)
        own = {name for name, index in found.scripts.items() if languages[index] == language}
        assert SCRIPTS[language] in own
        words = sorted({run for text in texts_of(language) for run in runs(text, own)})
        assert len(words) > 300
        assert encode(found.tokenizer, words) == encode(target, words)


def test_pieces_of_the_source_stay():
    target = wordpiece([*RUSSIAN, "иван", "##ови", "##ч"])
    assert target.tokenize("иванович") == ["иван", "##ови", "##ч"]
    found = join_tokenizers(wordpiece([*ENGLISH, "##ович"]), [target])
    assert found.tokenizer.tokenize("иванович") == ["иван", "##ович"]


def runs(text, scripts):
    grouped = itertools.groupby(text, lambda character: script(character) in scripts)
    return ["".join(run) for own, run in grouped if own]


def encode(tokenizer, words):
    return [tokenizer.convert_ids_to_tokens(one) for one in ids(tokenizer, words)]


@pytest.mark.parametrize("languages", [("ko",), LANGUAGES], ids="-".join)
def test_decomposed_korean(languages):
    tokenizer, texts = joined(*languages).tokenizer, texts_of("ko")
    decomposed = [unicodedata.normalize("NFD", text) for text in texts]
    assert decomposed != texts
    assert ids(tokenizer, decomposed) == ids(tokenizer, texts)


def test_characters_are_normalised_by_their_owner():
    tokenizer = joined(*LANGUAGES).tokenizer
    assert tokenizer.tokenize("한국어") == ["한국어"]
    assert tokenizer.tokenize("कि") != tokenizer.tokenize("क")
    assert tokenizer.tokenize("мой") == ["мой"] != tokenizer.tokenize("мои")
    assert tokenizer.tokenize("и\u0306") == ["й"]
    assert tokenizer.tokenize("МОСКВА") == ["москва"]
    assert tokenizer.tokenize("مُحَمَّد") == ["محمد"]
    assert tokenizer.tokenize("É") == tokenizer.tokenize("e\u0301") == ["e"]
    assert tokenizer.tokenize("中国house") == ["中", "国", "house"]
    assert tokenizer.tokenize("Русский house, 한국어!") == ["русский", "house", ",", "한국어", "!"]


def test_a_language_without_tokenizer_is_read_as_by_the_source():
    for languages, text in ((("ko",), "Мой дом, कि 中国"), (("ru",), "한국어 कि 中国"), (("hi",), "한국어 мой 中国")):
        assert ids(joined(*languages).tokenizer, [text]) == ids(english(), [text])


def test_case_is_the_owners_too():
    tokenizer = join_tokenizers(wordpiece(ENGLISH), [wordpiece(["Дом", *RUSSIAN], lowercase=False)]).tokenizer
    assert tokenizer.tokenize("Дом дом HOUSE") == ["Дом", "дом", "house"]


def test_ideographs_stand_alone_only_where_their_owner_says_so():
    target = wordpiece(["中国", "##中", "中", "。"])
    apart = join_tokenizers(wordpiece(ENGLISH), [target])
    assert apart.tokenizer.tokenize("中中house") == ["中", "中", "house"]
    assert (apart.added, apart.left_out) == ((1,), (3,))
    target.backend_tokenizer.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
    together = join_tokenizers(wordpiece(ENGLISH), [target])
    assert together.tokenizer.tokenize("中国中 HOUSE") == ["中国", "##中", "house"]
    assert (together.added, together.left_out) == ((3,), (1,))


@pytest.mark.parametrize("normalizer", [None, normalizers.BertNormalizer(lowercase=False), normalizers.NFD()])
def test_a_source_that_tells_composed_letters_apart(normalizer):
    source = wordpiece(["é", "e\u0301", "E", "e", "##\u0301"])
    source.backend_tokenizer.normalizer = normalizer
    tokenizer = join_tokenizers(source, [korean()]).tokenizer
    texts = ["é", "e\u0301", "E", "E\u0301 A\u20e3"]
    assert ids(tokenizer, texts) == ids(source, texts)
    assert tokenizer.tokenize("학교에") == ["학교", "##에"]


# What is in it


@pytest.mark.parametrize("languages", SETS, ids="-".join)
def test_ids_and_counts(languages):
    found, source = joined(*languages), Vocabulary.from_tokenizer(english())
    vocabulary = Vocabulary.from_tokenizer(found.tokenizer)
    assert vocabulary.tokens[: source.size] == source.tokens
    assert (found.source_size, len(vocabulary)) == (30_522, vocabulary.size)
    assert vocabulary.size == 30_522 + sum(found.added) == len(found.tokenizer)
    assert found.known.shape == (vocabulary.size,)
    assert found.known.dtype == np.bool_
    targets = [Vocabulary.from_tokenizer(of(language)) for language in languages]
    theirs = {token.raw for target in targets for token in target.tokens}
    assert {token.raw for token in vocabulary.tokens if found.known[token.id]} == theirs & set(vocabulary.raw_tokens())
    assert found.known[30_522:].all()
    assert not found.known[:30_522].all()
    have = set(vocabulary.raw_tokens())
    for target, left_out in zip(targets, found.left_out, strict=True):
        assert left_out == sum(
            token.kind not in (Kind.SPECIAL, Kind.UNUSED) and token.raw not in have for token in target.tokens
        )
    start = 30_522
    for index, count in enumerate(found.added):
        for token in vocabulary.tokens[start : start + count]:
            assert any(found.scripts.get(script(character)) == index for character in token.surface), token
        start += count


def test_added_tokens_can_be_produced():
    tokenizer, size = joined(*LANGUAGES).tokenizer, joined(*LANGUAGES).source_size
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    # The Hindi vocabulary has one that is longer than the words it splits.
    starts = [t for t in vocabulary.tokens[size:] if not t.raw.startswith("##") and len(t.surface) <= 100]
    assert len(starts) > 50_000
    assert ids(tokenizer, [token.surface for token in starts]) == [[token.id] for token in starts]


def test_the_order_of_targets_is_the_order_of_ids():
    for words in ((KOREAN, RUSSIAN), (RUSSIAN, KOREAN)):
        found = join_tokenizers(wordpiece(ENGLISH), [korean(one) for one in words])
        assert Vocabulary.from_tokenizer(found.tokenizer).raw_tokens()[found.source_size :] == [*words[0], *words[1]]
        assert found.added == (len(words[0]), len(words[1]))
        assert found.scripts == {"HANGUL" if words[i] is KOREAN else "CYRILLIC": i for i in (0, 1)}


def test_tokens_that_two_targets_have():
    both = "는я"
    found = join_tokenizers(
        wordpiece([*ENGLISH, "집"]), [korean([*KOREAN, both, "мир", "house", "кот"]), korean([*RUSSIAN, both, "집"])]
    )
    raws = Vocabulary.from_tokenizer(found.tokenizer).raw_tokens()
    assert raws[found.source_size :] == [*(word for word in KOREAN if word != "집"), both, *RUSSIAN]
    assert (found.added, found.left_out) == ((6, 5), (1, 0))
    known = {raw for raw, is_known in zip(raws, found.known, strict=True) if is_known}
    assert {"house", "집", both, "[CLS]"} <= known
    assert not known & {"home", "##s"}


def test_latin_and_changed_tokens_are_left_out():
    target = korean([*KOREAN, "the", "7", "SK는", "sk는", "é는", "집 집", "집."], lowercase=False)
    found = join_tokenizers(wordpiece(ENGLISH), [target])
    assert (found.added, found.left_out) == ((len(KOREAN) + 1,), (6,))
    assert found.tokenizer.tokenize("SK는") == ["sk는"]


def test_a_script_goes_to_the_larger_vocabulary_and_ties_to_the_first():
    source = wordpiece([*ENGLISH, "дом", "мир"])
    assert join_tokenizers(source, [korean([*KOREAN, "кот", "пес"])]).scripts == {"HANGUL": 0}
    three = korean([*KOREAN, "кот", "пес", "еж"])
    assert join_tokenizers(source, [three]).scripts == {"HANGUL": 0, "CYRILLIC": 0}
    assert join_tokenizers(source, [korean(["घर", "##й", "мир", "дом"]), three]).scripts == {
        "HANGUL": 1, "CYRILLIC": 0, "DEVANAGARI": 0,
    }  # fmt: skip


def test_symbols_named_after_nothing_are_the_sources():
    target = korean([*KOREAN, "ℓ", "ʰ", "ª", "µ", "ｗ", "𝐀", "¼"])
    found = join_tokenizers(wordpiece(ENGLISH), [target])
    assert found.scripts == {"HANGUL": 0}
    assert found.added == (len(KOREAN),)


def test_nothing_is_modified_and_added_tokens_keep_their_ids():
    source = with_added(wordpiece(["house", "home", "##s"]), ["New York", "집"])
    source.add_special_tokens({"extra_special_tokens": [AddedToken("<query>", lstrip=True)], "bos_token": "<bos>"})
    target = korean(max_length=12)
    before = state(source), state(target)
    found = join_tokenizers(source, [target])
    assert (state(source), state(target)) == before
    size = Vocabulary.from_tokenizer(source).size
    assert found.source_size == size
    vocabulary = Vocabulary.from_tokenizer(found.tokenizer)
    assert vocabulary.tokens[: len(Vocabulary.from_tokenizer(source))] == Vocabulary.from_tokenizer(source).tokens
    assert vocabulary.raw_tokens()[size:] == [word for word in KOREAN if word != "집"]
    texts = ["houses in New York", "a  <query>home <bos>", "[MASK] new york"]
    assert ids(found.tokenizer, texts) == ids(source, texts)
    assert found.tokenizer.extra_special_tokens == source.extra_special_tokens
    assert found.tokenizer.model_max_length == source.model_max_length == 64


def test_holes_stay_empty():
    source = with_holes(["house", "home", "##s"], holes=[6, 9])
    found = join_tokenizers(source, [korean()])
    vocabulary = Vocabulary.from_tokenizer(found.tokenizer)
    assert [id for id in range(vocabulary.size) if vocabulary.get(id) is None] == [6, 9]
    assert found.source_size == Vocabulary.from_tokenizer(source).size == 12
    assert vocabulary.raw_tokens()[12:] == KOREAN
    assert not found.known[[6, 9]].any()


@pytest.mark.parametrize(
    "config", [None, {"model_type": "bert"}, {"model_type": "bert", "transformers_version": "5.0.0"}]
)
def test_it_opens_as_an_ordinary_tokenizer(tmp_path, config):
    tokenizer = joined(*LANGUAGES).tokenizer
    tokenizer.save_pretrained(tmp_path)
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    normalizer = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["normalizer"]
    # The ideographs alone would take two megabytes.
    assert len(json.dumps(normalizer)) < 200_000
    reopened = AutoTokenizer.from_pretrained(tmp_path)
    texts = [text for language in ("en", *LANGUAGES) for text in texts_of(language)[:40]]
    assert ids(reopened, texts) == ids(tokenizer, texts)
    assert dict(reopened(texts, padding=True)) == dict(tokenizer(texts, padding=True))
    assert reopened.model_max_length == 256
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("한국어").tokens[1] == "한국어"


# Refusals


@pytest.mark.parametrize(
    ("build", "family"),
    [
        (lambda: byte_bpe(["Ġhouse"]), "byte-bpe"),
        (lambda: unigram(["▁house", "▁집"]), "unigram"),
        (lambda: byte_fallback_bpe(["▁집"]), "bpe"),
    ],
)
def test_other_families_are_refused(build, family):
    advice = "output='source' without keep_source.*any family and script"
    with pytest.raises(TokenizerError, match=rf"targets\[1\] must be a WordPiece .* got {family}; .*{advice}"):
        join_tokenizers(wordpiece(ENGLISH), [korean(), build()])


def test_another_prefix_or_pre_tokenizer_is_refused():
    target = korean()
    pipeline = json.loads(target.backend_tokenizer.to_str())
    pipeline["model"]["continuing_subword_prefix"] = "@@"
    target._tokenizer = Tokenizer.from_str(json.dumps(pipeline))
    with pytest.raises(TokenizerError, match=r"targets\[0\] must mark continuations .* '##', got '@@'; write"):
        join_tokenizers(wordpiece(ENGLISH), [target])
    target = korean()
    target.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(TokenizerError, match=r"targets\[0\] must split text .*BertPreTokenizer.*Whitespace.*write"):
        join_tokenizers(wordpiece(ENGLISH), [target])
    target.backend_tokenizer.pre_tokenizer = None
    with pytest.raises(TokenizerError, match=r"source must split text into words .*, got None"):
        join_tokenizers(target, [target])


def test_a_target_that_adds_nothing_is_refused():
    with pytest.raises(TokenizerError, match=r"targets\[1\] must have a script of its own.*HANGUL by targets\[0\]"):
        join_tokenizers(wordpiece(ENGLISH), [korean(), korean()])
    with pytest.raises(TokenizerError, match=r"targets\[1\] .*CYRILLIC by targets\[0\], .*; leave it out"):
        join_tokenizers(english(), [of("ru"), of("ru")])
    with pytest.raises(TokenizerError, match=r"targets\[0\] must have a script of its own.*HANGUL by the source"):
        join_tokenizers(wordpiece([*ENGLISH, *KOREAN]), [korean(["집", "나라"])])
    with pytest.raises(TokenizerError, match=r"targets\[0\] must have tokens that text can give"):
        join_tokenizers(wordpiece(ENGLISH), [wordpiece(KOREAN)])


def test_no_targets_are_refused():
    with pytest.raises(InputError, match="targets must hold at least one tokenizer"):
        join_tokenizers(english(), [])
