"""Whole evaluations on a tiny collection."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

import isthmus
from isthmus.collections import Collection, load
from isthmus.encoders.encoding import encode_texts
from isthmus.errors import CollectionError, EncoderError, InputError, NotFoundError
from isthmus.evaluation import BM25, EvaluationResult, evaluate, evaluate_model, evaluate_vectors
from isthmus.evaluation.metrics import best_owners
from isthmus.evaluation.retrieval import split_corpus
from isthmus.options import EncodeOptions
from tests.tiny_encoders import splade
from tests.tokenizers import wordpiece

CONTRACT = {
    "ndcg@10", "mrr@10", "recall@100", "flops", "query_active_dims", "document_active_dims", "queries", "documents",
    "seconds",
}  # fmt: skip
WORDS = ["house", "water", "fire", "stone", "tree", "##s"]


@pytest.fixture(scope="module")
def collection() -> Collection:
    corpus = {f"d{i}": text for i, text in enumerate(["house stone", "water", "fire tree", "stones"])}
    return Collection("tiny", corpus, {"a": "water", "b": "tree house"}, {"a": {"d1": 1}, "b": {"d2": 1}}, "en")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SparseEncoder:
    folder = tmp_path_factory.mktemp("encoder")
    return splade(folder)


def dense_model() -> SentenceTransformer:
    tokenizer = wordpiece(WORDS).backend_tokenizer
    static = StaticEmbedding(tokenizer, embedding_weights=np.eye(tokenizer.get_vocab_size(), dtype=np.float32))
    return SentenceTransformer(modules=[static, Normalize()], device="cpu")


def test_bm25_by_hand(collection: Collection) -> None:
    """Query b meets d0 (house) and d2 (tree), equally long and equally rare: document order puts d0 first."""
    result = evaluate(BM25(wordpiece(WORDS)), collection)
    assert result.per_query["mrr@10"].tolist() == [1.0, 0.5]
    assert result["ndcg@10"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert (result["recall@100"], result.queries, result.documents, result.query_ids) == (1.0, 2, 4, ("a", "b"))
    assert (result.query_active_dims, result.document_active_dims) == (1.5, 7 / 4)
    assert result.settings["k1"] == 1.5
    assert result.model == "BM25"


def test_sparse_encoder_is_exact_search_of_its_vectors(encoder: SparseEncoder, collection: Collection) -> None:
    result = evaluate(encoder, collection)
    queries, documents = (
        encode_texts(encoder, list(texts.values()), role=role)
        for role, texts in (("query", collection.queries), ("document", collection.corpus))
    )
    scores = (queries @ documents.T).toarray()
    ranks = [1 + int((scores[row] > scores[row, gold]).sum()) for row, gold in ((0, 1), (1, 2))]
    assert result.per_query["mrr@10"].tolist() == pytest.approx([1 / rank for rank in ranks])
    assert result.document_active_dims == documents.nnz / 4
    again = evaluate_vectors(queries, documents, collection, name="vectors")
    assert again["ndcg@10"] == result["ndcg@10"]
    assert again.flops == result.flops


def test_stock_head_gives_the_same_numbers(encoder: SparseEncoder, collection: Collection) -> None:
    fast, stock = (evaluate(encoder, collection, stock_head=stock) for stock in (False, True))
    for name, values in fast.per_query.items():
        np.testing.assert_array_equal(stock.per_query[name], values)
    assert (fast.settings["stock_head"], stock.settings["stock_head"]) == (False, True)


def test_dense_model_is_scored_by_cosine(collection: Collection) -> None:
    result = evaluate_model(dense_model(), collection, name="static")
    assert result.per_query["mrr@10"].tolist() == [1.0, 0.5]
    assert (result.flops, result.query_active_dims, result.document_active_dims) == (None, None, None)
    assert json.loads(result.to_json())["flops"] is None


def test_contract_of_the_json(encoder: SparseEncoder, collection: Collection, tmp_path: Path) -> None:
    result = evaluate(encoder, collection, dtype="bfloat16", max_active_dims=5, seed=3)
    found = result.to_dict()
    assert CONTRACT <= found.keys()
    assert (found["model"], found["collection"]) == ("SparseEncoder", "tiny")
    settings = found["settings"]
    assert settings["versions"]["isthmus"] == isthmus.__version__
    assert {key: settings[key] for key in ("dtype", "max_active_dims", "stock_head", "seed", "language")} == {
        "dtype": "bfloat16", "max_active_dims": 5, "stock_head": False, "seed": 3, "language": "en",
    }  # fmt: skip
    assert settings["max_seq_length"] == encoder.max_seq_length
    assert found["document_active_dims"] <= 5
    result.save(tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text()) == found
    assert "nDCG" not in str(result).splitlines()[1]
    assert str(result).startswith("SparseEncoder on tiny: ndcg@10 ")


def test_names_and_paths(encoder: SparseEncoder, collection: Collection, tmp_path: Path) -> None:
    """A saved sparse encoder, a saved dense one and BM25 by name, on a collection by path, with distractors."""
    encoder.save_pretrained(str(tmp_path / "sparse"))
    dense_model().save_pretrained(str(tmp_path / "dense"))
    wordpiece(WORDS).save_pretrained(tmp_path / "tokenizer")
    questions = [{"id": "1", "question": "water"}]
    facts = {"data": [{"paragraphs": [{"context": "water", "qas": questions}, {"context": "fire", "qas": []}]}]}
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    (tmp_path / "more.jsonl").write_text('{"id": "x", "text": "stone"}\n{"id": "y", "text": "tree"}\n')
    pool: dict[str, Any] = {"language": "en", "distractors": tmp_path / "more.jsonl", "max_distractors": 1}
    for model, options in (("sparse", {}), ("dense", {}), ("BM25", {"tokenizer": tmp_path / "tokenizer"})):
        name = model if model == "BM25" else str(tmp_path / model)
        result = evaluate(name, tmp_path / "facts.json", **pool, **options)
        assert (result.model, result.collection, result.documents) == (name, "facts", 3)
        assert result["recall@100"] == 1.0
        assert (result.flops is None) == (model == "dense")
        assert result.settings["distractors"] == result.settings["max_distractors"] == 1


def test_bare_masked_language_model_becomes_a_sparse_encoder(tmp_path: Path, collection: Collection) -> None:
    splade(tmp_path)
    assert evaluate(tmp_path, collection).flops is not None


def test_bm25_by_name_takes_the_tokenizer_of_the_language() -> None:
    result = evaluate("bm25", "demo", language="ko")
    assert result.settings["tokenizer"] == "isthmus/tokenizer-ko"
    assert 0.2 < result["ndcg@10"] < 1
    assert result.documents == len(load("demo", language="ko").corpus)


def test_public_names() -> None:
    assert isthmus.evaluate is evaluate
    assert isthmus.EvaluationResult is EvaluationResult


def test_importing_stays_quick() -> None:
    """Neither torch nor sentence-transformers is imported before a model is."""
    code = "import sys, isthmus.evaluation, isthmus.collections; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_refusals(collection: Collection, encoder: SparseEncoder, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="model must be a SparseEncoder, a SentenceTransformer or BM25, got int"):
        evaluate(3, collection)
    with pytest.raises(InputError, match="language and distractors must be left out for a loaded collection"):
        evaluate(encoder, collection, language="en")
    with pytest.raises(NotFoundError):
        evaluate(str(tmp_path / "no" / "model"), collection)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match=r"model must be a folder that transformers opens, got .*empty"):
        evaluate(tmp_path / "empty", collection)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(CollectionError):
        evaluate(encoder, tmp_path / "bad.json")
    with pytest.raises(InputError, match=r"one row per query and passage of 'tiny' \(2 and 4\), got 1 and 1"):
        evaluate_vectors(csr_matrix((1, 3)), csr_matrix((1, 3)), collection, name="x")


def test_long_documents_are_ranked_by_their_best_part(encoder: SparseEncoder) -> None:
    long = "the house of war . " * 8
    corpus = {"a": f"{long}water schools water", "b": long, "c": "", "d": "the capital of korea"}
    queries, qrels = {"q": "water"}, {"q": {"a": 1}}
    collection = Collection("long", corpus, queries, qrels)
    whole = evaluate(encoder, collection)
    assert whole.settings["truncated"] == {"query": 0, "document": 2}
    split = evaluate(encoder, collection, split_texts=True)
    assert split.settings["truncated"] == {"query": 0, "document": 0}
    assert (split.documents, split.settings["split_texts"]) == (4, True)
    assert split.settings["passages"] > 6
    texts, owners = split_corpus(encoder, list(corpus.values()), EncodeOptions())
    assert len(texts) == split.settings["passages"]
    scores = (
        encode_texts(encoder, ["water"], role="query") @ encode_texts(encoder, texts, role="document").T
    ).toarray()
    best = [max(scores[0][owners == row], default=0) for row in range(4)]
    place = 1 + sum(best[row] > best[0] for row in (1, 3))
    assert split["mrr@10"] == pytest.approx(1 / place)


def test_every_document_stands_once() -> None:
    rows = np.array([[3, 3, 1, 3, 0, -1], [2, 2, 2, 2, 2, 2]])
    assert best_owners(rows, 2).tolist() == [[3, 1], [2, -1]]
