"""BM25 as sparse vectors: against the formula, and against bm25s's own scores."""

from __future__ import annotations

from math import log
from pathlib import Path

import bm25s
import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from isthmus.errors import InputError, NotFoundError, UnknownNameError
from isthmus.evaluation import BM25
from isthmus.evaluation.bm25 import default_tokenizer
from isthmus.index import search
from tests.tokenizers import unigram, wordpiece

WORDS = ["house", "water", "fire", "##s", "stone"]
DOCUMENTS = ["house water", "water water fires", "stone", "zzz", "[CLS]"]


@pytest.fixture(scope="module")
def model() -> BM25:
    return BM25(wordpiece(WORDS))


def test_scores_follow_the_formula(model: BM25) -> None:
    """Lucene: idf = ln(1 + (N - n + .5) / (n + .5)), tf / (tf + k1 (1 - b + b length / mean length))."""
    scores = (model.encode_queries(["water"]) @ model.encode_documents(DOCUMENTS).T).toarray()[0]
    mean_length = (2 + 4 + 1 + 0 + 0) / 5

    def weight(tf: int, length: int) -> float:
        return log(1 + (5 - 2 + 0.5) / (2 + 0.5)) * tf / (tf + 1.5 * (0.25 + 0.75 * length / mean_length))

    np.testing.assert_allclose(scores, [weight(1, 2), weight(2, 4), 0, 0, 0], rtol=1e-5)


def test_dot_products_equal_bm25s(model: BM25) -> None:
    queries = ["water fire water", "stones", "house zzz", ""]
    scorer = bm25s.BM25()
    tokens = [list(map(str, ids)) for ids in model.token_ids(DOCUMENTS)]
    scorer.index(tokens, show_progress=False)
    found = (model.encode_queries(queries) @ model.encode_documents(DOCUMENTS).T).toarray()
    for row, query in zip(found, queries, strict=True):
        known = [str(i) for i in model.token_ids([query])[0] if str(i) in scorer.vocab_dict]
        expected = scorer.get_scores(known) if known else np.zeros(len(DOCUMENTS))
        np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_special_and_unknown_tokens_are_left_out(model: BM25) -> None:
    assert model.token_ids(["zzz [SEP] water"]) == [[model.tokenizer.convert_tokens_to_ids("water")]]
    indices, _ = search(model.encode_queries(["zzz"]), model.encode_documents(DOCUMENTS))
    assert (indices == -1).all()


def test_long_texts_are_not_cut(model: BM25) -> None:
    assert len(model.token_ids(["water " * 500])[0]) == 500


@pytest.mark.parametrize("make", [wordpiece, unigram])
def test_the_bare_tokenizer_of_a_static_encoder_reads_alike(make) -> None:
    whole = make(WORDS)
    bare = Tokenizer.from_str(whole.backend_tokenizer.to_str())
    bare.enable_truncation(3)
    texts = [*DOCUMENTS, "zzz [SEP] water ☃", "water " * 50]
    found, wanted = BM25(bare), BM25(whole)
    assert found.token_ids(texts) == wanted.token_ids(texts)
    assert any(map(len, wanted.token_ids(texts)))
    assert (found.encode_documents(texts) != wanted.encode_documents(texts)).nnz == 0
    assert bare.truncation["max_length"] == 3
    assert found.settings()["tokenizer"] == "Tokenizer"


def test_an_unknown_token_that_nobody_added_is_left_out() -> None:
    bare = Tokenizer(WordLevel({"[UNK]": 0, "water": 1}, unk_token="[UNK]"))
    bare.pre_tokenizer = Whitespace()
    assert BM25(bare).token_ids(["water fire water"]) == [[1, 1]]


def test_another_kind_of_tokenizer_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"tokenizer must be one of transformers or a tokenizers.Tokenizer, got object"
    ):
        BM25(object())


def test_corpus_without_tokens(model: BM25) -> None:
    assert model.encode_documents(["zzz", "zzz"]).nnz == 0
    assert model.encode_documents([]).shape[0] == 0


def test_settings_state_the_parameters(model: BM25) -> None:
    assert {**model.settings(), "tokenizer": ""} == {"tokenizer": "", "bm25_method": "lucene", "k1": 1.5, "b": 0.75}
    assert bm25s.BM25().k1 == 1.5
    assert bm25s.BM25().b == 0.75


def test_tokenizer_from_a_folder(tmp_path: Path, model: BM25) -> None:
    model.tokenizer.save_pretrained(tmp_path)
    loaded = BM25(tmp_path)
    assert loaded.token_ids(DOCUMENTS) == model.token_ids(DOCUMENTS)
    assert loaded.settings()["tokenizer"] == str(tmp_path)


def test_tokenizer_of_a_language() -> None:
    assert default_tokenizer("zh-Hant") == "isthmus/tokenizer-zh"
    assert BM25.for_language("ko").token_ids(["수도는 어디인가"])[0]
    with pytest.raises(InputError, match="tokenizer must be given for BM25 in 'th'"):
        default_tokenizer("th")
    with pytest.raises(InputError, match=r"language \(or tokenizer\) must be given"):
        default_tokenizer(None)
    with pytest.raises(UnknownNameError):
        BM25("isthmus/tokenizer-xx")


def test_refuses_parameters_out_of_range(model: BM25) -> None:
    with pytest.raises(InputError, match=r"got -1 and 0\.75"):
        BM25(model.tokenizer, k1=-1)


def test_a_tokenizer_that_is_not_there(tmp_path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(NotFoundError, match="tokenizer must be a built-in name"):
        BM25(tmp_path)
