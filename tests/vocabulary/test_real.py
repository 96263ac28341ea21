"""Published vocabularies, where they are at hand."""

import os
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from isthmus import assets
from isthmus.errors import TokenizerError
from isthmus.token_map import FATES, Fate
from isthmus.vocabulary import Kind, Vocabulary, check_target, coverage, match
from tests.tokenizers import unigram


def published(name, *, lowercase):
    folder = os.environ.get("ISTHMUS_DATA")
    if not folder:
        pytest.skip("ISTHMUS_DATA is not set: no published vocabularies")
    path = Path(folder) / "vocab" / f"{name}.txt"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    ids = {}
    for id, token in enumerate(path.read_text(encoding="utf-8").split("\n")):
        if token:
            ids.setdefault(token, id)
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    names = {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "pad", "unk", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def minilm():
    """all-MiniLM-L6-v2's tokenizer, which is BERT's: the built-in encoder carries it."""
    return AutoTokenizer.from_pretrained(assets.resolve("isthmus/mini-splade-en"))


@pytest.mark.data
def test_bert_english_and_chinese():
    source = Vocabulary.from_tokenizer(published("bert-base-uncased", lowercase=True))
    tokenizer = published("bert-base-chinese", lowercase=True)
    target = Vocabulary.from_tokenizer(tokenizer)
    check_target(tokenizer, target)
    assert (source.size, target.size) == (30_522, 21_128)
    assert {role: source.roles[role] for role in sorted(source.roles)} == {
        "cls": 101, "mask": 103, "pad": 0, "sep": 102, "unk": 100,
    }  # fmt: skip
    found = match(target, source)
    ids = {token.raw: token.id for token in target.tokens}
    for raw, fate in {
        "the": Fate.EXACT,
        "##s": Fate.EXACT,
        "。": Fate.SYMBOL,
        "2015": Fate.SYMBOL,
        "[CLS]": Fate.SPECIAL,
    }.items():
        assert FATES[found.fates[ids[raw]]] is fate, raw
        assert source.get(int(found.source_ids[ids[raw]])).raw == raw
    assert FATES[found.fates[ids["龙"]]] is Fate.EXACT or "龙" not in {token.raw for token in source.tokens}
    copied = found.counts()
    assert copied["special"] == 5
    assert copied["byte"] == 0
    assert 0.15 < sum(copied.values()) / len(target) < 0.35


@pytest.mark.data
def test_chinese_characters_of_english_bert_come_from_the_trained_row():
    source = Vocabulary.from_tokenizer(published("bert-base-uncased", lowercase=True))
    target = Vocabulary.from_tokenizer(unigram(["中", "▁中"]))
    found = match(target, source)
    assert {source.get(int(found.source_ids[token.id])).raw for token in target.tokens if "中" in token.surface} == {
        "中"
    }


@pytest.mark.data
def test_korean_is_refused_under_an_uncased_normalizer_only():
    cased, uncased = (published("koelectra", lowercase=lowercase) for lowercase in (False, True))
    vocabulary = Vocabulary.from_tokenizer(cased)
    check_target(cased, vocabulary)
    with pytest.raises(TokenizerError, match="sampled word tokens unreachable"):
        check_target(uncased, vocabulary)
    assert coverage(cased, ["수도는 어디인가"]).unk_rate == 0


def test_minilm_is_english_bert():
    vocabulary = Vocabulary.from_tokenizer(minilm())
    assert (vocabulary.size, vocabulary.family) == (30_522, "wordpiece")
    assert vocabulary.get(2003).canonical == "▁is"
    assert vocabulary.role("mask").id == 103
    assert sum(token.kind is Kind.UNUSED for token in vocabulary.tokens) >= 990
    found = match(vocabulary, vocabulary)
    moved = [token for token in vocabulary.tokens if found.source_ids[token.id] != token.id]
    assert {token.kind for token in moved} == {Kind.UNUSED}


def test_minilm_coverage():
    assert coverage(minilm(), ["the house is old"] * 3).fertility == 1.0


def test_a_quarter_of_a_million_ids():
    tokenizer = unigram([f"▁w{index}" if index % 2 else f"w{index}" for index in range(250_000)])
    # Quadratic work would take hours.
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    assert vocabulary.size == 250_005
