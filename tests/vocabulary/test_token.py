"""What the entries of every family are read as."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from isthmus._lookup import byte_alphabet, spell_in_byte_alphabet
from isthmus.errors import InputError, TokenizerError, UnknownNameError
from isthmus.vocabulary import ROLES, Kind, Token, Vocabulary
from tests.tokenizers import (
    BYTE_ALPHABET,
    byte_bpe,
    byte_fallback_bpe,
    byte_spelling,
    unigram,
    with_added,
    with_holes,
    without_unk,
    wordpiece,
)


def by_raw(tokenizer):
    return {token.raw: token for token in Vocabulary.from_tokenizer(tokenizer).tokens}


def read(token):
    return token.surface, token.canonical, token.kind


FAMILIES = {
    "wordpiece": wordpiece(["house", "##ing", "집", ".", "2015", "##15"]),
    "byte-bpe": byte_bpe(["Ġhouse", "ing", byte_spelling(" 집"), ".", "Ġ2015", "15"]),
    "modernbert": byte_bpe(["Ġhouse", "ing", byte_spelling(" 집"), ".", "Ġ2015", "15"], style="modernbert", pad_id=200),
    "unigram": unigram(["▁house", "ing", "▁집", ".", "▁2015", "15"]),
    "bpe": byte_fallback_bpe(["▁house", "ing", "▁집", ".", "▁2015", "15"]),
    "no-unk": without_unk(["▁house", "ing", "▁집", ".", "▁2015", "15"]),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_same_words_read_the_same_in_every_family(name):
    found = {read(token) for token in Vocabulary.from_tokenizer(FAMILIES[name]).tokens}
    assert ("house", "▁house", Kind.WORD_START) in found
    assert ("ing", "ing", Kind.CONTINUATION) in found
    assert ("집", "▁집", Kind.WORD_START) in found
    assert (".", ".", Kind.SYMBOL) in found
    assert ("2015", "▁2015", Kind.SYMBOL) in found
    assert ("15", "15", Kind.SYMBOL) in found


@pytest.mark.parametrize("name", FAMILIES)
def test_ids_follow_the_tokenizer(name):
    tokenizer = FAMILIES[name]
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    assert {token.raw: token.id for token in vocabulary.tokens} == tokenizer.get_vocab()
    assert vocabulary.size == len(vocabulary) == len(tokenizer)
    assert [token.id for token in vocabulary.tokens] == list(range(len(tokenizer)))
    assert vocabulary.raw_tokens() == tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))


@pytest.mark.parametrize(
    ("name", "family", "expected"),
    [
        ("wordpiece", "wordpiece", {"cls": 2, "sep": 3, "pad": 0, "unk": 1, "mask": 4}),
        ("byte-bpe", "byte-bpe", {"cls": 0, "sep": 2, "pad": 1, "unk": 3, "mask": 4}),
        ("modernbert", "byte-bpe", {"cls": 1, "sep": 2, "pad": 200, "unk": 0, "mask": 3}),
        ("unigram", "unigram", {"cls": 0, "sep": 2, "pad": 1, "unk": 3, "mask": 10}),
        ("bpe", "bpe", {"cls": 1, "sep": 2, "pad": 3, "unk": 0}),
        ("no-unk", "bpe", {"cls": 0, "sep": 1, "pad": 3}),
    ],
)
def test_roles_and_family(name, family, expected):
    vocabulary = Vocabulary.from_tokenizer(FAMILIES[name])
    assert vocabulary.family == family
    found = {role: vocabulary.role(role) for role in ROLES}
    assert {role: token.id for role, token in found.items() if token is not None} == expected
    for role, token in found.items():
        if token is not None:
            assert (token.kind, token.role) == (Kind.SPECIAL, role)
            assert token.surface == token.canonical == token.raw


def test_bos_beside_cls_has_its_role_but_does_not_displace_it():
    tokenizer = wordpiece(["house"])
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    assert vocabulary.role("cls").raw == "[CLS]"
    assert {token.raw: token.role for token in vocabulary.tokens if token.raw in ("<s>", "</s>")} == {
        "<s>": "cls",
        "</s>": "sep",
    }


def test_one_token_with_two_roles_answers_for_both():
    tokenizer = byte_fallback_bpe(["▁house"], pad_id=None)
    tokenizer.pad_token = "</s>"
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    assert vocabulary.role("pad").id == vocabulary.role("sep").id == 2
    assert vocabulary.role("pad").role == "sep"


def test_role_must_be_known():
    with pytest.raises(UnknownNameError, match="role must be one of cls, mask, pad, sep, unk; got 'bos'"):
        Vocabulary.from_tokenizer(FAMILIES["unigram"]).role("bos")


@pytest.mark.parametrize("raw", ["[unused7]", "<unused7>", "madeupword0001", "[UNUSED_3]"])
def test_reserved_places_are_unused(raw):
    token = by_raw(wordpiece(["house", raw]))[raw]
    assert read(token) == (raw, raw, Kind.UNUSED)


@pytest.mark.parametrize("raw", ["unused", "[unused]", "words7", "[7]"])
def test_words_that_only_look_reserved_are_not(raw):
    assert by_raw(wordpiece(["house", raw]))[raw].kind is not Kind.UNUSED


@pytest.mark.parametrize(
    ("raw", "surface", "canonical", "kind"),
    [
        ("Ġ", " ", "▁", Kind.SYMBOL),
        ("ĠĠ", "  ", "▁ ", Kind.SYMBOL),
        ("Ċ", "\n", "\n", Kind.SYMBOL),
        ("Ġ(", "(", "▁(", Kind.SYMBOL),
        ("A", "A", "A", Kind.CONTINUATION),
        ("Ġcaf" + byte_spelling("é"), "café", "▁café", Kind.WORD_START),
        (byte_spelling("집"), "집", "집", Kind.CONTINUATION),
        ("ìķ", "", "<0xEC><0x95>", Kind.CONTINUATION),
        ("Ġì", "", "▁<0xEC>", Kind.WORD_START),
        ("½", "", "<0xBD>", Kind.BYTE),
        ("ì", "", "<0xEC>", Kind.BYTE),
        ("Ā", "", "<0x00>", Kind.BYTE),
    ],
)
def test_byte_level_spelling(raw, surface, canonical, kind):
    token = by_raw(byte_bpe(["ĠĠ", "Ġ(", "Ġcaf" + byte_spelling("é"), byte_spelling("집"), "ìķ", "Ġì"]))[raw]
    assert read(token) == (surface, canonical, kind)


def test_byte_alphabet_is_that_of_the_tokenizers_package():
    assert sorted(byte_alphabet()) == BYTE_ALPHABET
    for text in ("집 é\n", "".join(map(chr, range(128)))):
        assert bytes(byte_alphabet()[character] for character in byte_spelling(text)).decode() == text
        assert spell_in_byte_alphabet(text) == byte_spelling(text)


def test_single_bytes_in_byte_level_bpe():
    tokens = by_raw(byte_bpe())
    found = {token.byte for token in tokens.values() if token.kind is Kind.BYTE}
    # Control characters that are white space to Python (0x09-0x0D, 0x1C-0x1F) are text.
    assert found == {*range(0x80, 0x100), *range(0x00, 0x09), *range(0x0E, 0x1C), 0x7F}
    assert all(token.byte is None for token in tokens.values() if token.kind is not Kind.BYTE)
    assert all("�" not in token.surface + token.canonical for token in tokens.values())


@pytest.mark.parametrize(
    "tokenizer", [byte_fallback_bpe(["▁a"]), unigram(["▁a"], byte_fallback=True)], ids=["bpe", "unigram"]
)
def test_byte_fallback_tokens_are_bytes(tokenizer):
    bytes_ = {token.byte: token for token in Vocabulary.from_tokenizer(tokenizer).tokens if token.kind is Kind.BYTE}
    assert sorted(bytes_) == list(range(256))
    assert read(bytes_[0xE2]) == ("", "<0xE2>", Kind.BYTE)
    assert bytes_[0xE2].raw == "<0xE2>"


def test_byte_spelling_is_text_in_wordpiece():
    assert by_raw(wordpiece(["<0xE2>"]))["<0xE2>"].kind is Kind.WORD_START


def test_sentencepiece_white_space():
    tokens = by_raw(unigram(["▁", "▁▁", "a▁b", "▁New▁York"]))
    assert read(tokens["▁"]) == (" ", "▁", Kind.SYMBOL)
    assert read(tokens["▁▁"]) == ("  ", "▁ ", Kind.SYMBOL)
    assert read(tokens["a▁b"]) == ("a b", "a b", Kind.CONTINUATION)
    assert read(tokens["▁New▁York"]) == ("New York", "▁New York", Kind.WORD_START)


@pytest.mark.parametrize(
    ("raw", "surface", "canonical", "kind"),
    [
        ("##.", ".", ".", Kind.SYMBOL),
        ("...", "...", "...", Kind.SYMBOL),
        ("€", "€", "€", Kind.SYMBOL),
        ("##½", "½", "½", Kind.SYMBOL),
        ("##", "##", "##", Kind.SYMBOL),
        ("3rd", "3rd", "▁3rd", Kind.WORD_START),
        ("##中", "中", "中", Kind.CONTINUATION),
        ("中", "中", "▁中", Kind.WORD_START),
    ],
)
def test_wordpiece_spelling(raw, surface, canonical, kind):
    token = by_raw(wordpiece([".", "##.", "...", "€", "##½", "##", "3rd", "##中", "中"]))[raw]
    assert read(token) == (surface, canonical, kind)
    assert token.word_start is canonical.startswith("▁")


@pytest.mark.parametrize(
    "build", [lambda: wordpiece(["house"]), lambda: byte_bpe(["Ġhouse"]), lambda: unigram(["▁house"])]
)
def test_added_tokens_are_ordinary_text(build):
    tokenizer = with_added(build(), ["New York", "Übung"])
    tokens = by_raw(tokenizer)
    assert read(tokens["New York"]) == ("New York", "▁New York", Kind.WORD_START)
    assert read(tokens["Übung"]) == ("Übung", "▁Übung", Kind.WORD_START)
    assert tokens["New York"].id == tokenizer.get_vocab()["New York"]


def test_added_special_tokens_have_no_role():
    tokenizer = wordpiece(["house"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<query>"]})
    token = by_raw(tokenizer)["<query>"]
    assert (token.kind, token.role) == (Kind.SPECIAL, None)


def test_holes_are_absent():
    vocabulary = Vocabulary.from_tokenizer(with_holes(["house", "##s"], holes=[6, 8]))
    assert (vocabulary.size, len(vocabulary)) == (11, 9)
    assert vocabulary.get(6) is None
    assert vocabulary.get(8) is None
    assert vocabulary.get(11) is None
    assert vocabulary.get(-1) is None
    assert vocabulary.get(9).raw == "house"
    assert vocabulary.raw_tokens()[6:10] == ["", "[unused1]", "", "house"]
    assert vocabulary.bridge_texts(strip_marker=True)[6:10] == ["", "[unused1]", "", "house"]
    assert vocabulary.bridge_texts(strip_marker=True, as_released=True)[8:10] == ["", "house"]
    assert not vocabulary.is_decodable(6)


def test_unigram_duplicates_keep_both_ids():
    vocabulary = [("<pad>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁a", -2.0)]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=1))
    tokens = Vocabulary.from_tokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
    ).tokens
    assert [token.canonical for token in tokens] == ["<pad>", "<unk>", "▁a", "▁a"]


def test_wordlevel_and_end_of_word_suffix():
    wordlevel = Tokenizer(models.WordLevel({"[UNK]": 0, "house": 1, "Ġx": 2}, unk_token="[UNK]"))
    vocabulary = Vocabulary.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=wordlevel, unk_token="[UNK]"))
    assert vocabulary.family == "wordlevel"
    assert [token.canonical for token in vocabulary.tokens] == ["[UNK]", "▁house", "▁Ġx"]
    suffix = Tokenizer(models.BPE({"house</w>": 0, "hou": 1}, [], end_of_word_suffix="</w>"))
    tokens = Vocabulary.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=suffix)).tokens
    assert [token.canonical for token in tokens] == ["▁house", "hou"]


def test_byte_level_is_seen_in_the_pre_tokenizer_alone():
    backend = Tokenizer(models.BPE({"Ġhouse": 0}, []))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()])
    vocabulary = Vocabulary.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert (vocabulary.family, vocabulary.tokens[0].canonical) == ("byte-bpe", "▁house")


def test_bridge_texts_strip_or_keep_the_marker():
    vocabulary = Vocabulary.from_tokenizer(wordpiece(["house", "##ing", ".", "##.", "##15"], unused=1))
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]"]
    assert vocabulary.bridge_texts(strip_marker=True) == [*specials, "house", "ing", ".", ".", "15"]
    assert vocabulary.bridge_texts(strip_marker=False) == [*specials, "house", "##ing", ".", "##.", "##15"]
    assert vocabulary.bridge_texts(strip_marker=True, as_released=True) == [
        *specials, "house", "##ing", ".", "##.", "##15",
    ]  # fmt: skip


@pytest.mark.parametrize("strip_marker", [True, False])
def test_bridge_texts_of_bytes_never_hold_a_replacement_character(strip_marker):
    for tokenizer in (byte_bpe(["ìķ", "Ġhouse", byte_spelling("집")]), byte_fallback_bpe(["▁house", "집"])):
        texts = Vocabulary.from_tokenizer(tokenizer).bridge_texts(strip_marker=strip_marker)
        assert all(text and "�" not in text for text in texts)
        assert {"house", "집", "<0xE2>"} <= set(texts)


@pytest.mark.parametrize("name", FAMILIES)
def test_released_bridge_texts_are_the_decoded_ids(name):
    tokenizer = FAMILIES[name]
    texts = Vocabulary.from_tokenizer(tokenizer).bridge_texts(strip_marker=True, as_released=True)
    for id, text in enumerate(texts):
        decoded = tokenizer.decode(id).strip()
        bracketed = decoded.startswith("[") and decoded.endswith("]")
        assert text == (tokenizer.convert_ids_to_tokens(id) if not decoded or bracketed else decoded)
    if name in ("byte-bpe", "bpe"):
        assert "�" in texts


def test_released_bridge_texts_need_the_tokenizer():
    vocabulary = Vocabulary((Token(0, "a", "a", "▁a", Kind.WORD_START),), "unigram", {})
    assert vocabulary.bridge_texts(strip_marker=True) == ["a"]
    with pytest.raises(InputError, match="from_tokenizer"):
        vocabulary.bridge_texts(strip_marker=True, as_released=True)


def test_is_decodable():
    tokenizer = byte_bpe(["ìķ", "Ġhouse", byte_spelling("�")])
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    ids = tokenizer.get_vocab()
    decodable = {
        raw: vocabulary.is_decodable(ids[raw]) for raw in ("ìķ", "Ġhouse", byte_spelling("�"), "ì", "Ġ", "A", ".")
    }
    assert [raw for raw, answer in decodable.items() if answer] == ["Ġhouse", "A", "."]
    assert not vocabulary.is_decodable(10_000)


class Slow:
    """A tokenizer without a backend."""


@pytest.mark.parametrize("tokenizer", [Slow(), None, "bert-base-uncased"])
def test_tokenizer_must_have_a_backend(tokenizer):
    with pytest.raises(TokenizerError, match=r"tokenizers backend, got (Slow|NoneType|str); convert it"):
        Vocabulary.from_tokenizer(tokenizer)


@pytest.mark.parametrize("ids", [(), (1, 1), (2, 1), (-1, 0)])
def test_ids_must_ascend(ids):
    with pytest.raises(TokenizerError, match="ascending ids"):
        Vocabulary(tuple(Token(id, "a", "a", "▁a", Kind.WORD_START) for id in ids), "unigram", {})


def test_empty_tokenizer_is_refused():
    with pytest.raises(TokenizerError, match="at least one"):
        Vocabulary.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())))


class Misnamed:
    """A tokenizer whose cls token is not in its vocabulary: the id falls back to that of the unknown token."""

    def __init__(self, tokenizer):
        self._wrapped = tokenizer

    def __getattr__(self, name):
        return {"cls_token": "<cls>", "cls_token_id": self._wrapped.unk_token_id}.get(name) or getattr(
            self._wrapped, name
        )


def test_a_role_whose_token_does_not_exist_is_no_role():
    vocabulary = Vocabulary.from_tokenizer(Misnamed(wordpiece(["house"])))
    assert vocabulary.role("cls") is None
    assert vocabulary.role("unk").raw == "[UNK]"
    assert vocabulary.role("unk").role == "unk"


def test_added_text_is_plain_in_byte_level_bpe_and_spelled_in_sentencepiece():
    assert by_raw(with_added(byte_bpe(), ["a▁b"]))["a▁b"].surface == "a▁b"
    assert by_raw(with_added(unigram(["▁"]), ["▁a▁b"]))["▁a▁b"].surface == "a b"
    assert by_raw(with_added(wordpiece([]), ["##ab"]))["##ab"].canonical == "ab"


class BertJapaneseTokenizer:
    """Stands for the one of transformers, which needs MeCab."""


class PhobertTokenizer:
    """Likewise, for Vietnamese split by VnCoreNLP."""


@pytest.mark.parametrize("kind", [BertJapaneseTokenizer, PhobertTokenizer])
def test_tokenizers_whose_words_a_program_finds(kind) -> None:
    words = rf"got {kind.__name__}; a program finds its words first.* \(--target-text\)"
    with pytest.raises(TokenizerError, match=words):
        Vocabulary.from_tokenizer(kind())
