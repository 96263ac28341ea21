"""A tokenizer over other ids splits text as it did, and never gives a token of the source."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from isthmus import assets
from isthmus.collections import load
from isthmus.encoders.fingerprint import token_texts
from isthmus.errors import TokenizerError
from isthmus.vocabulary import Vocabulary, match
from isthmus.vocabulary.renumber import renumber
from tests.tiny_encoders import FAMILIES
from tests.tokenizers import byte_bpe, byte_fallback_bpe, unigram, with_added, with_holes, wordpiece

WORDS = ["das", "haus", "house", "the", ".", "s", "집"]
TEXTS = ["Das Haus, the house.", "집 house  s 1", " war ##s [unused0] <pad> naïve\n\ttab", "of", "", "▁house Ġhouse"]


def real_unigram():
    tokenizer = unigram([f"▁{word}" for word in WORDS] + list("adehostu"), byte_fallback=True, lowercase=True)
    return with_added(tokenizer, ["haus-house"])


TARGETS = {
    "wordpiece": lambda: wordpiece([*WORDS, "##es", "##s"], pad_id=5),
    "holes": with_holes,
    "byte-bpe": lambda: byte_bpe(corpus=["das haus the house"] * 4, vocab_size=270, pad_id=3),
    "modernbert": lambda: byte_bpe(["Ġhouse", "haus"], style="modernbert", pad_id=100),
    "unigram": lambda: unigram([f"▁{word}" for word in WORDS] + list("adehostu")),
    "unigram, bytes, added": real_unigram,
    "bpe, bytes": lambda: byte_fallback_bpe(["▁house", "haus"]),
    "built in": lambda: AutoTokenizer.from_pretrained(assets.resolve_model("isthmus/tokenizer-ko")),
}


def renumbered(source, target):
    vocabularies = [Vocabulary.from_tokenizer(tokenizer) for tokenizer in (target, source)]
    overlap = match(*vocabularies)
    return renumber(target, *vocabularies, overlap), overlap, vocabularies


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-r", "modernbert"])
def test_text_is_split_as_before(family, name, tmp_path):
    source, target = FAMILIES[family][0](), TARGETS[name]()
    texts = [*TEXTS, *load("demo", language="ko").queries.values()]
    before = [target(text)["input_ids"] for text in texts]
    made, overlap, (_, english) = renumbered(source, target)
    made.tokenizer.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    for tokenizer in (made.tokenizer, opened):
        assert [tokenizer(text)["input_ids"] for text in texts] == [made.ids[ids].tolist() for ids in before]
        assert (tokenizer.pad_token_id, tokenizer.unk_token) == (made.roles["pad"], target.unk_token)
    # What has an id of the source copies that very token.
    for id, new in enumerate(made.ids.tolist()):
        assert new >= english.size or new == overlap.source_ids[id]
    assert made.roles["pad"] == source.pad_token_id
    assert opened.get_vocab() == {name: id for id, name in enumerate(made.names)}
    assert len(opened.get_vocab()) == len(made.names) == english.size + (made.ids >= english.size).sum()


def test_columns_have_the_names_that_the_source_gives_them():
    source = FAMILIES["bert"][0]()
    made, _, _ = renumbered(source, TARGETS["unigram"]())

    class Encoder:
        tokenizer = made.tokenizer

        def modules(self):
            return ()

    names = token_texts(Encoder(), len(source))
    special = set(source.all_special_ids)
    assert [name for id, name in enumerate(names) if id not in special] == [
        token for token, id in sorted(source.get_vocab().items(), key=lambda entry: entry[1]) if id not in special
    ]


def test_the_cost_of_unknown_characters_stays():
    target = TARGETS["unigram"]()
    made, _, _ = renumbered(FAMILIES["bert"][0](), target)
    lowest = [
        min(score for _, score in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"])
        for tokenizer in (target, made.tokenizer)
    ]
    assert lowest[0] == lowest[1]


def test_the_tokenizer_stays_as_it_is():
    target = TARGETS["unigram, bytes, added"]()
    before = target.backend_tokenizer.to_str()
    renumbered(FAMILIES["bert"][0](), target)
    assert target.backend_tokenizer.to_str() == before


def test_a_tokenizer_that_does_not_split_at_spaces_is_refused():
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "house": 2}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.NFC()
    backend.add_special_tokens([AddedToken("[PAD]"), AddedToken("[UNK]")])
    target = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    with pytest.raises(TokenizerError, match="must split text at spaces where the source's vocabulary is written"):
        renumbered(FAMILIES["bert"][0](), target)
