"""Languages in the Latin script beside English: its words stay, theirs are read with their letters."""

import lzma
import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from isthmus import assets
from isthmus.errors import TokenizerError
from isthmus.vocabulary import Vocabulary, join_tokenizers, train_tokenizer
from isthmus.vocabulary.protected import english_words, shadowing, unchanged_share
from tests.tokenizers import with_holes, wordpiece

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
ENGLISH = [*LETTERS, *(f"##{letter}" for letter in LETTERS), "house", "##s", "cafe", "ha", "##us", "fur", "1", ",", "-"]
GERMAN = [
    *LETTERS, *(f"##{letter}" for letter in LETTERS), "ä", "ö", "ü", "ß", "##ä", "##ö", "##ü", "##ß", "für", "haus",
    "straße", "schön", "##en", "##ung", "über", "wagen", "café", "é", "##é", "hauses1",
]  # fmt: skip
WORDS = ("house", "houses", "hausfrau", "café", "opens", "schon")


@pytest.fixture
def few_words(monkeypatch):
    monkeypatch.setattr("isthmus.vocabulary.join.english_words", lambda: WORDS)
    monkeypatch.setattr("isthmus.vocabulary.protected.english_words", lambda: WORDS)
    return WORDS


@pytest.fixture
def source():
    return wordpiece(ENGLISH)


def german(words=GERMAN):
    return wordpiece(words, strip_accents=False)


def ids(tokenizer, texts):
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def test_english_words_stay_and_german_words_are_read(few_words, source, tmp_path):
    found = join_tokenizers(source, [german()])
    texts = [*few_words, "Café", "CAFE\u0301", "Houses hausfrau, opens!", "haus1 xhaus"]
    assert ids(found.tokenizer, texts) == ids(source, texts)
    assert set(found.letters) == set("äöüßé")
    read = found.tokenizer.tokenize
    assert read("Für STRASSE Straße über") == ["für", *source.tokenize("strasse"), "straße", "über"]
    # haus would split hausfrau anew, and is no English word: it matches alone.
    assert read("Haus, haus-haus") == ["haus", ",", "haus", "-", "haus"]
    assert read("schönung") == ["schön", "##ung"]
    # ##en is in opens.
    assert read("schönen") == ["schön", "##e", "##n"]
    found.tokenizer.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert ids(opened, ["Das Haus für die Straße"]) == ids(found.tokenizer, ["Das Haus für die Straße"])
    assert opened.get_vocab() == found.tokenizer.get_vocab()


def test_counts_and_ids(few_words, source):
    found = join_tokenizers(source, [german(), wordpiece(["дом", "##а"], strip_accents=False)])
    vocabulary = Vocabulary.from_tokenizer(found.tokenizer)
    size = Vocabulary.from_tokenizer(source).size
    assert vocabulary.tokens[:size] == Vocabulary.from_tokenizer(source).tokens
    assert vocabulary.size == size + sum(found.added) == len(found.known)
    # Whole words come last, for the model does not have them.
    assert vocabulary.raw_tokens()[-1] == "haus"
    assert found.known[-1]
    assert found.left_out[0] == len({"café", "##en", "hauses1"})


def test_words_of_given_texts_stay_too(few_words, source):
    given = ["a wagenburg"]
    assert ids(join_tokenizers(source, [german()]).tokenizer, given) != ids(source, given)
    found = join_tokenizers(source, [german()], texts=given)
    assert ids(found.tokenizer, given) == ids(source, given)
    assert (found.unchanged, found.checked) == (1, 1)


def test_a_source_that_keeps_accents_needs_no_exceptions(few_words):
    source = wordpiece([*ENGLISH, "é", "##é"], strip_accents=False)
    found = join_tokenizers(source, [german()])
    assert ids(found.tokenizer, ["café"]) == ids(source, ["café"])


def test_several_latin_languages(few_words, source):
    turkish = wordpiece([*LETTERS, "ş", "ı", "##ı", "##ş", "kış", "ağ", "ğ", "##ğ"], strip_accents=False)
    read = join_tokenizers(source, [german(), turkish]).tokenizer.tokenize
    assert read("kış für schön") == ["kış", "für", "schön"]


def test_two_languages_of_one_script():
    russian = wordpiece(["дом", "река", "мир", "##а"], strip_accents=False)
    ukrainian = wordpiece(["дім", "річка", "##и"], strip_accents=False)
    found = join_tokenizers(wordpiece(ENGLISH), [russian, ukrainian])
    assert found.added == (4, 3)
    assert found.tokenizer.tokenize("дом дім річка мира") == ["дом", "дім", "річка", "мир", "##а"]


def test_holes_are_left_alone(few_words):
    source = with_holes(ENGLISH, holes=[6, 9])
    found = join_tokenizers(source, [german()])
    vocabulary = Vocabulary.from_tokenizer(found.tokenizer)
    assert vocabulary.get(6) is None
    assert vocabulary.size == len(found.known)
    assert ids(found.tokenizer, ["hausfrau"]) == ids(source, ["hausfrau"])


def test_a_language_with_nothing_to_add_is_refused(few_words, source):
    with pytest.raises(TokenizerError, match=r"targets\[0\] must have tokens that text can give and that split no"):
        join_tokenizers(source, [wordpiece([*LETTERS, "house"])])


def test_pieces_that_split_a_word_anew(source):
    model = source.backend_tokenizer.model
    pieces = {"haus", "hause", "##usf", "##sf", "##fra", "##f", "x"}
    assert shadowing(pieces, ["hausfrau"], model, "##") == {"haus", "##usf", "##fra"}
    assert shadowing(pieces, ["house", "ж"], model, "##") == set()


def test_the_english_list():
    words = english_words()
    assert len(words) > 100_000
    assert {"house", "café", "javascript"} <= set(words)
    assert all(word == word.lower() for word in words)


@pytest.mark.assets
@pytest.mark.data
@pytest.mark.skipif("ISTHMUS_DATA" not in os.environ, reason="ISTHMUS_DATA is not set")
def test_real_german_and_english():
    data = Path(os.environ["ISTHMUS_DATA"])
    with lzma.open(data / "parallel" / "en-de.tsv.xz", "rt", encoding="utf-8") as stream:
        lines = [line.rstrip("\n").split("\t")[2] for line in stream][-12_000:]
    with lzma.open(data / "text" / "en.txt.xz", "rt", encoding="utf-8") as stream:
        english = [line for line in stream][::20]
    target, _ = train_tokenizer(lines, vocabulary_size=8000, language="de", show_progress_bar=False)
    source = AutoTokenizer.from_pretrained(assets.resolve("isthmus/mini-splade-en"))
    found = join_tokenizers(source, [target])
    assert found.unchanged >= 0.9999
    assert unchanged_share(english, source, found.tokenizer) >= 0.995
    own, joined = (sum(map(len, ids(tokenizer, lines[::20]))) for tokenizer in (target, found.tokenizer))
    assert joined <= 1.15 * own
