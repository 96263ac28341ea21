"""Whole audits on a tiny parallel collection."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

import isthmus
from isthmus.auditing import AuditResult, audit, audit_model, audit_models
from isthmus.auditing.measures import METRICS, SPLIT
from isthmus.auditing.wording import COLUMNS, rules, sentences, shares, table
from isthmus.collections import ParallelCollection
from isthmus.collections.parallel import with_distractors
from isthmus.encoders.prompts import prompt_name
from isthmus.errors import EncoderError, InputError, UnknownNameError
from isthmus.evaluation import BM25, bootstrap_interval
from isthmus.evaluation.models import encode
from tests.tiny_encoders import splade
from tests.tokenizers import wordpiece

CONTRACT = {
    "model", "pool", "query_language", "pool_languages", "documents", "golds", "max@r", "max@r_norm", "complete@10",
    "ndcg@10", "english_first", "language_share",
}  # fmt: skip
# English and "Korean" words of the same things; "and" is in most texts of both.
NOUNS = [("house", "jip"), ("water", "mul"), ("fire", "bul"), ("stone", "dol"), ("tree", "namu"), ("dog", "gae")]
WORDS = ["and", *(word for pair in NOUNS for word in pair)]


@pytest.fixture(scope="module")
def collection() -> ParallelCollection:
    """Twelve passages of two words in two languages; questions are one word that occurs in two of them."""
    passages: dict[str, dict[str, str]] = {"en": {}, "ko": {}}
    queries: dict[str, dict[str, str]] = {"en": {}, "ko": {}}
    for n, pair in enumerate(NOUNS):
        for code, word, other in zip(("en", "ko"), pair, NOUNS[n - 1], strict=True):
            passages[code][f"p{n}"] = f"{word} and {word} {word}"
            passages[code][f"r{n}"] = f"{word} and {other}"
            queries[code][f"q{n}"] = word
    return ParallelCollection("tiny", passages, queries, {f"q{n}": (f"p{n}",) for n in range(len(NOUNS))})


def translator(weight: float) -> SentenceTransformer:
    """A dense model that knows each word, and its translation by ``weight``; 1 is blind to languages."""
    tokenizer = wordpiece(WORDS).backend_tokenizer
    vocabulary = tokenizer.get_vocab()
    rows = np.eye(len(vocabulary), dtype=np.float32)
    for english, korean in NOUNS:
        rows[vocabulary[korean], vocabulary[english]] = weight
        rows[vocabulary[korean], vocabulary[korean]] = 1 - weight
    rows[vocabulary["and"]] *= 0.1
    static = StaticEmbedding(tokenizer, embedding_weights=rows)
    return SentenceTransformer(modules=[static, Normalize()], device="cpu")


@pytest.fixture(scope="module")
def result(collection: ParallelCollection) -> AuditResult:
    models = [("words", translator(0.0)), ("blind", translator(1.0))]
    return audit_models(models, collection, resamples=200)


def test_rows_keep_the_contract(result: AuditResult) -> None:
    rows = result.to_rows()
    assert len(rows) == 2 * 6
    assert {(row["pool"], row["query_language"], *row["pool_languages"]) for row in rows} == {
        ("mono-same", "en", "en"), ("mono-same", "ko", "ko"), ("mono-cross", "en", "ko"), ("mono-cross", "ko", "en"),
        ("multi", "en", "en", "ko"), ("multi", "ko", "en", "ko"),
    }  # fmt: skip
    for row in rows:
        assert row.keys() >= CONTRACT | {f"{name}_ci" for name in METRICS}
        assert json.loads(json.dumps(row, allow_nan=False)) == row
        mixed = row["pool"] == "multi"
        assert (row["documents"], row["golds"], row["queries"]) == ((24, 2.0, 6) if mixed else (12, 1.0, 6))
        assert (row["english_first"] is not None) == (row["language_preference"] is not None) == mixed
        assert sum(row["language_share"].values()) == pytest.approx(1)
        assert row["split"] is None or list(row["split"]) == list(SPLIT)


def test_a_model_that_knows_words_alone_never_finds_the_other_language(result: AuditResult) -> None:
    """Its worst gold shares nothing with the question and is ranked behind all that share nothing either."""
    for row in result.to_rows()[4:6]:
        assert row["model"] == "words"
        assert (row["max@r"], row["max@r_norm"], row["complete@10"]) == (24, 0, 0)
        assert (row["language_preference"], row["english_first"]) == (1, 0)
        assert row["split"]["right"] == 1
        assert row["recall@10"] == 0.5
    blind = result.to_rows()[10:12]
    assert [row["max@r"] for row in blind] == [2, 2]
    assert [row["complete@10_ci"] for row in blind] == [[100, 100]] * 2


def test_what_a_report_needs(result: AuditResult, collection: ParallelCollection) -> None:
    pool = result.pools[5]
    assert (pool.name, pool.query_language) == ("multi", "ko")
    words = result.of("words", pool)
    assert words.gold_ranks == ((1, 24),) * 6
    assert words.gold_languages == (("ko", "en"),) * 6
    assert words.ranks_of("en") == [24] * 6
    assert words.language_mix["ko"][0] == words.relevant_mix["ko"][0] == 1
    assert len(words.language_mix["en"]) == 20
    assert words.tied_golds == 6
    first = words.hardest[0]
    assert (first.id, first.text, first.first_rank, first.worst_rank) == ("q0", "jip", 1, 24)
    assert first.hits[0].text == "jip and jip jip"
    assert (first.hits[0].relevant, first.hits[0].language, first.hits[0].id) == (True, "ko", "p0")
    assert [(gold.rank, gold.language, gold.relevant) for gold in first.golds] == [(1, "ko", True), (24, "en", True)]
    assert [hit.rank for hit in first.hits] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in first.hits] == sorted((hit.score for hit in first.hits), reverse=True)
    # What cannot be ranked better is no hard question.
    assert result.of("blind", pool).hardest == ()
    assert result.query_ids == tuple(collection.qrels)
    assert result.settings["models"]["words"]["class"] == "SentenceTransformer"
    assert result.settings["versions"]["isthmus"] == isthmus.__version__
    assert words.intervals["ndcg@10"] == bootstrap_interval(words.per_query["ndcg@10"], 200)


def test_comparisons_are_paired_with_the_first_model(result: AuditResult) -> None:
    found = next(c for c in result.comparisons if c.pool is result.pools[5] and c.metric == "max@r")
    assert (found.baseline, found.model, found.test.difference) == ("words", "blind", -22)
    assert {c.metric for c in result.comparisons} == set(METRICS)
    alone = audit_model(translator(0.5), replace_questions(result), name="x", resamples=50)
    assert alone.comparisons == ()


def replace_questions(result: AuditResult) -> ParallelCollection:
    texts = {code: {"p": f"{word} and"} for code, word in zip(("en", "ko"), NOUNS[0], strict=True)}
    return ParallelCollection("one", texts, {code: {"q": NOUNS[0][0]} for code in texts}, {"q": ("p",)})


def test_gaps_are_english_minus_the_other_on_the_mirrored_pool(collection: ParallelCollection) -> None:
    """Half of the Korean questions are asked with a word of another passage, so that Korean loses."""
    asked = dict(collection.queries["ko"])
    for query in ("q0", "q1", "q2"):
        asked[query] = "gae"
    spoiled = replace(collection, queries={**collection.queries, "ko": asked})
    found = audit_model(translator(0.4), spoiled, pools=["mono-same", "mono-cross", "multi", "pairs"], resamples=100)
    by_pool = {result.pool.key: result for result in found.results}
    for (name, own, languages), result in by_pool.items():
        if own == "en":
            assert result.gaps == {}
            continue
        mirrored = {"mono-same": ("en",), "mono-cross": ("ko",)}.get(name, languages)
        english = by_pool[name, "en", mirrored]
        assert result.gaps.keys() == result.per_query.keys()
        for metric, gap in result.gaps.items():
            difference = english.per_query[metric] - result.per_query[metric]
            assert gap.difference == pytest.approx(np.nanmean(difference))
        assert result.gaps["ndcg@10"].difference > 0


def test_sparse_encoder_and_bm25(collection: ParallelCollection, tmp_path: Path) -> None:
    encoder = splade(tmp_path, prompts={"query": "the ", "document": "house "})
    lexical = BM25(wordpiece(WORDS))
    found = audit_models([("sparse", encoder), ("bm25", lexical)], collection, resamples=50)
    assert found.settings["models"]["bm25"]["k1"] == 1.5
    assert "max_active_dims" in found.settings["models"]["sparse"]
    multi = found.of("bm25", found.pools[5])
    assert (multi["language_preference"], multi["max@r"]) == (1, 24)
    # BM25 weighs each pool by itself: what it says about one language does not change when another is searched too.
    alone = audit_models([("bm25", BM25(wordpiece(WORDS)))], collection, pools=["mono-same"], resamples=50)
    assert alone.results[0].hardest == found.of("bm25", found.pools[0]).hardest


def test_without_english(collection: ParallelCollection) -> None:
    renamed = ParallelCollection(
        "none",
        {"ja": collection.passages["en"], "ko": collection.passages["ko"]},
        {"ja": collection.queries["en"], "ko": collection.queries["ko"]},
        collection.qrels,
    )
    found = audit_model(translator(0.0), renamed, resamples=50)
    assert all(row["english_first"] is None and row["gap"] is None for row in found.to_rows())
    assert sentences(found)[2] == "Korean questions in the pool multi: the first relevant passage is Korean in 100%."


def test_distractors_and_rules(collection: ParallelCollection) -> None:
    extended = with_distractors(collection, {"en": {"x": "house house house"}, "ko": {}})
    found = audit_model(translator(0.0), extended, resamples=50)
    row = found.to_rows()[5]
    assert row["documents"] == 25
    assert found.settings["distractors"] == {"en": 1, "ko": 0}
    assert any(line.startswith("Ties: Irrelevant") for line in rules(found))
    dropped = audit_model(translator(0.0), replace(collection, dropped_queries=2), resamples=50)
    assert rules(dropped)[-1] == "Left out: 2 questions that not every language can ask and answer."


def test_text(result: AuditResult) -> None:
    text = str(result)
    assert "tiny: 6 questions in each of en, ko; a small sample, below 300" in text
    assert all(len(line) <= 80 for line in text.splitlines() if line.startswith(("pool", "mono", "multi")))
    assert (
        "words: Korean questions in the pool multi: an irrelevant English passage comes before every relevant" in text
    )
    assert "blind against words, Korean questions in the pool multi: Complete@10 +100.0 points" in text
    for pool in result.pools:
        assert {f"{pool.name}: {pool.rule}", f"Deduplication: {pool.deduplication}", f"Ties: {pool.ties}"} <= set(
            text.splitlines()
        )


def test_median_by_hand(result: AuditResult) -> None:
    """Ranks 1, 2, 9 and 40 have mean 13 and median 5.5."""
    ranks = np.array([9.0, 1.0, 40.0, 2.0])
    found = replace(result.results[0], per_query={**result.results[0].per_query, "max@r": ranks})
    row = dict(zip(COLUMNS, table([found])[0], strict=True))
    assert (row["Max@R"], row["med."]) == ("13.0", "5.5")
    assert (found.to_dict()["max@r"], found.to_dict()["max@r_median"]) == (13, 5.5)


def test_language_shares_are_printed_for_mixed_pools(result: AuditResult) -> None:
    words = [found for found in result.results if found.model == "words"]
    given = {"en": {"en": 0.751, "ko": 0.249}, "ko": {"en": 0.1, "ko": 0.9}}
    changed = [
        replace(found, language_share=given[found.pool.query_language]) if found.pool.name == "multi" else found
        for found in words
    ]
    assert shares(changed) == ["First 10 hits of multi, asked in en: en 75%, ko 25%; in ko: en 10%, ko 90%."]
    assert shares(words)[0] in str(result)


def three_languages(collection: ParallelCollection) -> ParallelCollection:
    return replace(
        collection,
        passages={**collection.passages, "ru": {id: f"{text} and" for id, text in collection.passages["ko"].items()}},
        queries={**collection.queries, "ru": collection.queries["ko"]},
    )


@pytest.mark.parametrize(
    ("pools", "named"),
    [
        (["mono-same", "pairs", "partly-parallel"], "partly-parallel"),
        (["mono-same", "pairs"], "pairs (en+ko)"),
        (["english-distractors"], "english-distractors"),
    ],
)
def test_what_is_said_is_about_the_first_mixed_pool(
    collection: ParallelCollection, pools: list[str], named: str
) -> None:
    models = [("words", translator(0.0)), ("blind", translator(1.0))]
    found = audit_models(models, three_languages(collection), pools=pools, resamples=20)
    read, said = sentences(found)[:2], sentences(found)[2:]
    assert [text.partition(":")[0] for text in read] == ["words", "blind"]
    about = (
        f"words: Korean questions in the pool {named}: an irrelevant English passage comes before every relevant one"
    )
    assert any(text.startswith(about) for text in said)
    assert any(
        text.startswith(f"blind against words, Korean questions in the pool {named}: Complete@10") for text in said
    )
    assert all(f"pool {named.partition(' ')[0]}" in text for text in said)
    gaps = [text for text in said if "English minus Korean" in text]
    assert len(gaps) == (0 if named == "english-distractors" else 2)
    # Questions in other languages on pools without English say nothing about English.
    assert not any("ko+ru" in text for text in said)


def test_gap_sentence_holds_the_numbers_of_the_mirrored_pool(collection: ParallelCollection) -> None:
    found = audit_model(translator(0.0), collection, pools=["mono-cross"], resamples=20)
    english, korean = (
        replace(result, per_query={**result.per_query, "complete@10": np.full(6, value)})
        for result, value in zip(found.results, (75.0, 50.0), strict=True)
    )
    text = sentences(replace(found, results=(english, korean)))[1]
    assert "In the pool mono-cross, every relevant passage is among the first 10 for 75.0% of the English" in text
    assert "50.0% of the Korean questions" in text


def test_later_models_have_their_difference_from_the_first(result: AuditResult) -> None:
    rows = result.to_rows()
    assert not any("vs_first" in row for row in rows[:6])
    for row, pool in zip(rows[6:], result.pools, strict=True):
        tests = {c.metric: c.test for c in result.comparisons if c.pool is pool}
        assert row["vs_first"] == {metric: test.to_dict() for metric, test in tests.items()}
    assert rows[11]["vs_first"]["max@r"]["difference"] == -22
    assert rows[11]["vs_first"]["max@r"].keys() >= {"low", "high", "p_value"}


def test_saved_file(result: AuditResult, tmp_path: Path) -> None:
    result.save(tmp_path / "audit.json")
    saved = json.loads((tmp_path / "audit.json").read_text())
    assert saved["rows"] == result.to_rows()
    assert len(saved["comparisons"]) == len(result.comparisons)
    assert saved["settings"]["seed"] == 0
    for row, pool, info in zip(saved["rows"], saved["pools"] * 2, result.pools * 2, strict=True):
        assert (row["pool"], row["query_language"], row["documents"]) == (
            info.name,
            info.query_language,
            info.documents,
        )
        assert pool == json.loads(json.dumps(vars(info)))
        assert min(len(pool[key]) for key in ("rule", "deduplication", "ties")) > 20


def test_prompts_are_used_and_stated(collection: ParallelCollection, tmp_path: Path) -> None:
    """Saved with ``passage``, an encoder comes back with an empty ``document`` before it."""
    plain = translator(0.0)
    prompted = translator(0.0)
    prompted.prompts = {"query": "fire ", "passage": "water "}
    prompted.save_pretrained(str(tmp_path / "prompted"))
    loaded = SentenceTransformer(str(tmp_path / "prompted"), device="cpu")
    assert loaded.prompts["document"] == ""
    for role, put in (("query", "fire "), ("document", "water ")):
        expected = plain.encode([f"{put}house"], normalize_embeddings=True)
        np.testing.assert_array_equal(encode(loaded, ["house"], role=role), expected)
        assert not np.array_equal(encode(plain, ["house"], role=role), expected)
        own = getattr(plain, f"encode_{role}")(["house and jip"], normalize_embeddings=True)
        np.testing.assert_array_equal(encode(plain, ["house and jip"], role=role), own)
    found = audit_models([("plain", plain), ("loaded", loaded)], collection, pools=["multi"], resamples=20)
    assert found.settings["models"]["plain"]["prompts"] == {"query": None, "document": None}
    assert found.settings["models"]["loaded"]["prompts"] == {"query": "fire ", "document": "water "}


@pytest.mark.parametrize("stock", [False, True])
def test_sparse_encoders_take_the_prompt_that_is_not_empty(tmp_path: Path, stock: bool) -> None:
    encoder = splade(tmp_path, prompts={"query": "war ", "passage": "home "})
    assert encoder.prompts["document"] == ""
    found = encode(encoder, ["water"], role="document", stock_head=stock).toarray()
    for prompt, same in (("home ", True), ("", False)):
        expected = encoder.encode_document(["water"], prompt=prompt, convert_to_sparse_tensor=False).numpy()
        assert np.allclose(found, expected, atol=1e-5) == same


@pytest.mark.parametrize(
    ("prompts", "default", "name"),
    [
        ({"document": "", "passage": "p"}, None, "passage"),
        ({"document": "d", "passage": "p"}, None, "document"),
        ({"document": "", "corpus": ""}, "other", "document"),
        ({"other": "o"}, "other", "other"),
        ({}, None, None),
    ],
)
def test_the_prompt_of_a_role(prompts: dict[str, str], default: str | None, name: str | None) -> None:
    assert prompt_name(SimpleNamespace(prompts=prompts, default_prompt_name=default), "document") == name


def test_same_seed_same_result(collection: ParallelCollection) -> None:
    options: dict[str, Any] = {"pools": ["partly-parallel"], "seed": 5, "resamples": 50}
    first, second = (audit_model(translator(0.2), collection, **options).to_rows() for _ in range(2))
    assert first == second


def test_audit_loads_by_name(tmp_path: Path) -> None:
    translator(0.1).save_pretrained(str(tmp_path / "dense"))
    found = isthmus.audit([tmp_path / "dense", "BM25"], "demo", ["en", "ko"], max_queries=5, resamples=50)
    assert found.models == (str(tmp_path / "dense"), "BM25")
    assert found.settings["models"]["BM25"]["tokenizer"] == "isthmus/mini-bridge"
    assert (found.collection, len(found.query_ids), found.pools[0].documents) == ("demo", 5, 84)
    assert found.settings["max_queries"] == 5
    named = isthmus.audit("BM25", "demo", ["en", "ko"], names=["lexical"], max_queries=2, resamples=50)
    assert named.models == ("lexical",)


def test_refusals(collection: ParallelCollection) -> None:
    model = translator(0.0)
    with pytest.raises(EncoderError, match="model must be a SparseEncoder, a SentenceTransformer or BM25, got int"):
        audit(3, collection)
    with pytest.raises(InputError, match="must be left out for a loaded collection"):
        audit(model, collection, ["en", "ko"])
    with pytest.raises(InputError, match="must be left out for a loaded collection"):
        audit(model, collection, max_distractors=3)
    with pytest.raises(InputError, match="seed must be 0 or more, got -1"):
        audit(model, collection, seed=-1)
    with pytest.raises(InputError, match="languages must be two or more codes, got None"):
        audit(model, "demo")
    with pytest.raises(InputError, match="names must be different, one for each of 2 models, got a, a"):
        audit([model, model], collection, names=["a", "a"])
    with pytest.raises(InputError, match="models must be one or more, got none"):
        audit([], collection)
    with pytest.raises(InputError, match="models must be one or more, got none"):
        audit_models([], collection)
    with pytest.raises(InputError, match="models must have different names, got 'a' again"):
        audit_models([("a", model), ("a", model)], collection, resamples=10)
    with pytest.raises(UnknownNameError, match="pool"):
        audit(model, collection, pools=["all"])
    with pytest.raises(InputError, match="resamples must be 1 or more"):
        audit(model, collection, resamples=0)


def test_copies_are_kept_on_request(collection: ParallelCollection) -> None:
    """Two more questions for the same passage: one document when merged, and three copies that are encoded once."""
    shared = replace(
        collection,
        queries={code: {**texts, "x": texts["q0"], "y": texts["q0"]} for code, texts in collection.queries.items()},
        qrels={**collection.qrels, "x": ("p0",), "y": ("p0",)},
    )
    model = translator(1.0)
    encoded: list[str] = []
    encode_document = model.encode_document
    model.encode_document = lambda texts, **options: encoded.extend(texts) or encode_document(texts, **options)  # type: ignore
    merged, kept = (
        audit_model(model, shared, pools=["multi"], resamples=20, keep_copies=copies) for copies in (False, True)
    )
    assert len(encoded) == 2 * 24
    assert [pool.documents for pool in (*merged.pools, *kept.pools)] == [24, 24, 28, 28]
    assert [row["keep_copies"] for row in (*merged.to_rows(), *kept.to_rows())] == [False, False, True, True]
    assert {row["golds"] for row in kept.to_rows()} == {2}
    # A model blind to languages has the two merged texts first; of six copies the own ones are anywhere.
    assert merged.results[0].per_query["max@r"].tolist() == [2] * 8
    worst = kept.results[0].per_query["max@r"]
    assert worst[1:6].tolist() == [2] * 5
    assert max(worst[[0, 6, 7]]) == 6
    assert (merged.settings["keep_copies"], kept.settings["keep_copies"]) == (False, True)
    assert "a copy of its passage for each" in str(kept)
    assert "a copy of its passage for each" not in str(merged)
    assert f"Deduplication: {kept.pools[0].deduplication}" in rules(kept)
    assert "None: every question has copies of its own" in kept.pools[0].deduplication
    sparse = audit_model(BM25("isthmus/mini-bridge"), shared, pools=["multi"], resamples=20, keep_copies=True)
    assert [row["documents"] for row in sparse.to_rows()] == [28, 28]


def test_each_language_alone_stands_beside_bm25(collection: ParallelCollection) -> None:
    """Measured whatever pools are asked for; a model that knows no Korean word hardly reads Korean."""
    deaf = translator(0.0)
    rows = deaf[0].embedding.weight.data
    vocabulary = deaf.tokenizer.get_vocab()
    rows[[vocabulary[korean] for _, korean in NOUNS]] = rows[vocabulary["and"]].clone()
    models = [("deaf", deaf), ("words", translator(0.0)), ("bm25", BM25(wordpiece(WORDS)))]
    found = audit_models(models, collection, pools=["multi"], resamples=50)
    alone = audit_models(models, collection, pools=["mono-same"], resamples=50)
    assert found.own_languages == alone.own_languages
    for own in found.own_languages:
        (pool,) = (pool for pool in alone.pools if pool.query_language == own.language)
        assert own.ndcg == alone.of(own.model, pool)["ndcg@10"]
        assert own.test.difference == pytest.approx(own.ndcg - own.bm25)
    levels = {(own.model, own.language): own.level for own in found.own_languages}
    assert levels["deaf", "ko"] == "hardly"
    assert levels["deaf", "en"] == levels["words", "ko"] == levels["bm25", "ko"] == "alike"
    assert [row["own_language"]["level"] for row in found.to_rows()[:2]] == ["alike", "hardly"]
    # No merit of the deaf model: nothing is said of English before Korean.
    said = sentences(found)
    assert said[0].startswith("deaf: Reads English; hardly reads Korean. nDCG@10 in each language alone: English ")
    assert not any(text.startswith("deaf: Korean questions") for text in said)
    assert any(text.startswith("words: Korean questions") for text in said)
