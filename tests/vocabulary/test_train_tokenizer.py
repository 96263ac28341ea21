"""Tokenizers from raw text: spelling by script, what is measured on lines kept out, hostile text."""

import hashlib
import itertools
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from isthmus.errors import InputError
from isthmus.vocabulary import ROLES, Vocabulary, check_target, train_tokenizer
from isthmus.vocabulary.script import alphabet, main_script, normalizer_of
from isthmus.vocabulary.train_tokenizer import SPECIALS, assemble, unknown_characters

GERMAN = [
    "Die schöne Straße führt zur Hütte.",
    "Ärger über die Straßen in Köln, schon wieder!",
    "Das Haus steht schon.",
]
BENGALI = ["বাংলা ভাষা একটি সুন্দর ভাষা।", "আমি বাংলায় কথা বলি।", "ভাষার কথা বলি, নদীর কথা বলি।"]
HINDI = ["हिन्दी में किताब पढ़ना अच्छा है।", "यह किताब हिन्दी की है।"]
CHINESE = ["北京是中国的首都。", "中国的首都在北京。", "中文很美。"]
ARABIC = ["كَتَبَ الطالبُ الدرسَ", "الكتـــاب في البيت", "كتب الطالب في البيت"]


def train(texts, size=200, **options):
    return train_tokenizer(texts, vocabulary_size=size, show_progress_bar=False, **options)


def words(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("texts", [GERMAN, BENGALI, HINDI, CHINESE, ARABIC])
def test_the_result_is_a_target_that_transformers_opens(tmp_path, texts):
    tokenizer, report = train(texts * 5)
    tokenizer.save_pretrained(str(tmp_path))
    report.save(tmp_path)
    opened = AutoTokenizer.from_pretrained(str(tmp_path))
    vocabulary = Vocabulary.from_tokenizer(opened)
    check_target(opened, vocabulary)
    assert vocabulary.family == "wordpiece"
    assert {role: vocabulary.role(role).raw for role in ROLES} == {
        role: SPECIALS[f"{role}_token"] for role in ("cls", "sep", "pad", "unk", "mask")
    }
    assert len(vocabulary) == vocabulary.size == report.vocabulary_size == len(opened)
    assert opened(texts[0])["input_ids"] == tokenizer(texts[0])["input_ids"]
    assert words(opened, texts[0]).count("[UNK]") == 0
    assert opened.decode(opened("")["input_ids"]) == "[CLS] [SEP]"


def test_umlauts_stay_and_case_goes():
    tokenizer, report = train(GERMAN * 5)
    assert words(tokenizer, "SCHÖN schon straße") != words(tokenizer, "schon schon strase")
    assert "straße" in tokenizer.get_vocab()
    assert (
        words(tokenizer, "HÜTTE")
        == words(tokenizer, "hütte")
        == words(tokenizer, unicodedata.normalize("NFD", "Hütte"))
    )
    assert report.script == "Latin"
    assert not [token for token in tokenizer.get_vocab() if token not in SPECIALS.values() and token != token.lower()]


def test_case_stays_on_request():
    tokenizer, report = train(GERMAN * 5, lowercase=False)
    assert {"Haus", "Die"} <= set(tokenizer.get_vocab())
    assert not report.lowercase
    assert "read in the case it has" in str(report)


def test_marks_that_belong_to_the_spelling_stay():
    for texts, word in ((BENGALI, "ভাষা"), (HINDI, "किताब")):
        tokenizer, _ = train(texts * 5)
        assert words(tokenizer, word) == [word]
        # য় has no composed form under NFC: both ways of writing it are one.
        assert words(tokenizer, unicodedata.normalize("NFD", word)) == [word]


def test_marks_that_writers_leave_out_go():
    tokenizer, report = train(ARABIC * 5)
    assert report.script == "Arabic"
    assert words(tokenizer, "كَتَبَ") == words(tokenizer, "كتب") == ["كتب"]
    assert words(tokenizer, "الكتـــاب") == words(tokenizer, "الكتاب")
    hebrew = normalizer_of("HEBREW")
    assert hebrew.normalize_str("שָׁלוֹם־עֹלָם") == "שלום־עולם".replace("עולם", "עלם")


def test_chinese_characters_are_words():
    tokenizer, report = train(CHINESE * 5)
    assert words(tokenizer, "中国北京") == list("中国北京")
    assert report.script == "CJK"
    assert not [token for token in tokenizer.get_vocab() if token.startswith("##")]


@pytest.mark.parametrize(
    ("language", "expected"), [("tr", "ılık istanbul"), ("az-Latn", "ılık istanbul"), ("de", None)]
)
def test_the_dotless_i_of_turkish(language, expected):
    found = normalizer_of("LATIN", language=language).normalize_str("ILIK İstanbul")
    assert (found == expected) == (expected is not None)
    assert normalizer_of("LATIN", lowercase=False, language=language).normalize_str("ILIK") == "ILIK"


def test_thai_is_split_into_words_without_markers():
    assert normalizer_of("THAI").normalize_str("น้ำ") == "น้ำ"
    texts = ["ฉันดื่มน้ำ", "น้ำเย็นมาก", "ฉันเย็น", "เธอดื่ม เย็นมาก"] * 30
    tokenizer, report = train(texts)
    assert (report.model, report.per_character, report.warnings) == ("BPE", True, report.warnings)
    assert "tokens per character" in str(report)
    assert words(tokenizer, "เธอเย็น") == ["เธอ", "เย็น"]
    # A phrase of any length is read, and a word is the same token wherever it stands.
    assert "[UNK]" not in words(tokenizer, "น้ำ" * 60)
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    check_target(tokenizer, vocabulary)
    token = next(token for token in vocabulary.tokens if token.raw == "เธอ")
    assert (token.surface, token.word_start) == ("เธอ", True)
    again, _ = train(texts)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_japanese_is_told_from_chinese():
    assert main_script(["東京都の人口", "カタカナ"]) == "HIRAGANA"
    assert main_script(["東京都人口統計調査東京都人口統計調査の"]) == "CJK"


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        (GERMAN, "LATIN"),
        (BENGALI, "BENGALI"),
        (["Python 3 documentation overview ভাষা ভাষা ভাষা"], "BENGALI"),
        (["a long English text that quotes ν"], "LATIN"),
        (["123 !?", "🙂"], ""),
        ([], ""),
        (["ΑΒΓ"], "GREEK"),
    ],
)
def test_the_script_is_that_of_most_letters_but_latin(texts, script):
    assert main_script(texts) == script


def test_the_same_text_gives_the_same_tokenizer_in_another_process():
    code = (
        "import hashlib; from isthmus.vocabulary import train_tokenizer; "
        "from tests.vocabulary.test_train_tokenizer import GERMAN, BENGALI; "
        "t, _ = train_tokenizer((GERMAN + BENGALI) * 3, vocabulary_size=230, show_progress_bar=False); "
        "print(hashlib.sha256(t.backend_tokenizer.to_str().encode()).hexdigest())"
    )
    own, _ = train((GERMAN + BENGALI) * 3, size=230)
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert found == {hashlib.sha256(own.backend_tokenizer.to_str().encode()).hexdigest() + "\n"}


def test_every_nth_line_is_kept_out_and_measured_on():
    seen = [f"house {'water' if i % 2 else 'school'}" for i in range(99)]
    texts = [*seen, "Жук zebra"]
    _, report = train(texts, held_out_every=100)
    assert (report.lines, report.held_out_lines) == (100, 1)
    assert report.unknown_characters == 1.0, "neither the beetle nor z is in the alphabet"
    assert report.fertility == 1.0
    assert any("100.0% of the held-out characters are unknown" in warning for warning in report.warnings)
    _, report = train(texts, held_out_every=0)
    assert (report.held_out_lines, report.fertility, report.unknown_characters) == (0, None, None)
    assert "nothing measured" in str(report)


def test_characters_are_counted_by_those_of_unknown_words():
    tokenizer, _ = train(["house water"] * 3)
    assert unknown_characters(tokenizer, ["house жук", "water"]) == pytest.approx(3 / 13)
    assert unknown_characters(tokenizer, ["  "]) == 0
    assert unknown_characters(tokenizer, ["½"]) == 1, "of which NFKC makes three words"


def test_a_text_that_supports_fewer_entries_is_told():
    tokenizer, report = train(GERMAN * 5, size=20_000)
    assert report.vocabulary_size == len(tokenizer) < 200
    assert report.warnings[0].startswith(f"the text supports {len(tokenizer)} of the 20000 entries")
    rare, _ = train(GERMAN * 5, size=20_000, min_frequency=6)
    assert len(rare) < len(tokenizer)


def test_reading_stops_and_says_so():
    def endless():
        yield from itertools.cycle(GERMAN)

    _, report = train(endless(), max_characters=1000)
    assert 1000 <= report.characters < 1100
    assert any("only the first" in warning and "max_characters" in warning for warning in report.warnings)
    _, report = train(["ab", "cd"], max_characters=4)
    assert not any("only the first" in warning for warning in report.warnings)


def test_the_stream_is_longer_than_the_alphabet_is_read_from(monkeypatch):
    monkeypatch.setattr(sys.modules["isthmus.vocabulary.train_tokenizer"], "_HEAD_CHARACTERS", 30)
    tokenizer, report = train(["house and water"] * 3 + ["a whole new word"] * 5, held_out_every=0)
    assert report.lines == 8
    assert "new" in tokenizer.get_vocab() or "##n" in tokenizer.get_vocab()
    assert "l" not in tokenizer.get_vocab(), "not in the first 30 characters"


def test_letters_that_go_on_a_word_have_their_own_entries():
    tokenizer, _ = train(["haus, 中 3"] * 3)
    backend = tokenizer.backend_tokenizer
    single, continuing = alphabet(["haus, 中 3"], backend)
    assert set(single) == set("haus,中3")
    assert set(continuing) == set("haus3")
    assert {f"##{letter}" for letter in "haus3"} <= set(tokenizer.get_vocab())
    assert words(tokenizer, "suah") != ["[UNK]"], "any order of known letters can be spelled"


@pytest.mark.parametrize("texts", [[], ["", "  ", "\n"], iter(())])
def test_no_text_is_refused(texts):
    with pytest.raises(InputError, match="at least one line that is not blank"):
        train(texts)


def test_what_is_no_text_is_refused_with_its_place():
    with pytest.raises(InputError, match="got one string 'house'"):
        train("house")
    with pytest.raises(InputError, match="got int in place 2"):
        train(["house", 3])
    with pytest.raises(InputError, match="half of a surrogate pair in place 3"):
        train(["house", "", "x\ud800"])


def test_an_error_of_the_stream_comes_through():
    def broken():
        yield "house"
        raise InputError("line 2 is broken")

    with pytest.raises(InputError, match="line 2 is broken"):
        train(broken())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": 0}, "vocabulary_size must be 1 or more, got 0"),
        ({"size": 12}, r"vocabulary_size must be at least \d+ for the letters of these texts alone, got 12"),
        ({"min_frequency": 0}, "min_frequency must be 1 or more, got 0"),
        ({"max_characters": -1}, "max_characters must be 1 or more, got -1"),
        ({"held_out_every": -1}, "held_out_every must be 0 or more, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        train(GERMAN, **options)


def test_the_size_that_is_told_is_enough():
    with pytest.raises(InputError) as refusal:
        train(GERMAN, size=12)
    least = int(str(refusal.value).split("at least ")[1].split()[0])
    tokenizer, _ = train(GERMAN, size=least)
    assert len(tokenizer) == least


def test_text_that_spells_special_tokens_makes_no_other_ones():
    tokenizer, _ = train(["[MASK] [CLS] ##a ## [UNK]"] * 5)
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    assert len(tokenizer.all_special_ids) == len(SPECIALS)
    assert sum(token.raw == "[MASK]" for token in vocabulary.tokens) == 1


def test_the_card_has_the_language_only_when_it_is_known(tmp_path):
    _, report = train(GERMAN, language="de")
    report.save(tmp_path)
    assert (tmp_path / "README.md").read_text().startswith('---\nlanguage: "de"\n---\n')
    assert '"seconds"' not in (tmp_path / "tokenizer_report.json").read_text()
    _, report = train(GERMAN)
    report.save(tmp_path)
    assert (tmp_path / "README.md").read_text().startswith("A WordPiece tokenizer")


def test_a_published_vocabulary_is_assembled_alike():
    vocabulary = {token: id for id, token in enumerate([*SPECIALS.values(), "haus", "##e"])}
    tokenizer = assemble(vocabulary, normalizer_of("LATIN"))
    assert tokenizer("Hause")["input_ids"] == [2, 5, 6, 3]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=12))
def test_any_text_gives_a_tokenizer_or_a_clear_refusal(texts):
    if not any(text.strip() for text in texts):
        with pytest.raises(InputError, match="at least one line"):
            train(texts)
        return
    tokenizer, report = train(texts, size=3000, held_out_every=2)
    assert len(tokenizer) == report.vocabulary_size <= 3000
    ids = tokenizer(texts)["input_ids"]
    assert all(0 <= id < len(tokenizer) for row in ids for id in row)
    assert report.unknown_characters is None or 0 <= report.unknown_characters <= 1
