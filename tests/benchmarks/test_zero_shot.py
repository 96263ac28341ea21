"""The zero-shot benchmark and its tables from end to end, on a tiny encoder, bridge and collection."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from benchmarks import encoding, tables
from benchmarks.harness import Results
from benchmarks.suites import zero_shot
from tests.tiny_encoders import splade
from tests.tokenizers import wordpiece

RUSSIAN = ["дом", "война", "вода", "школа", "столица", "house", "##а", ".", "?", "1"]
TRANSFERRED = {
    "nearest-any-kind",
    "random", "mean", "gaussian", "multivariate-gaussian", "nearest", "sembridge-released", "sembridge",
}  # fmt: skip


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A data folder with XQuAD in Russian and English and distractors, tiny models, and the options that name them."""
    monkeypatch.setenv("ISTHMUS_DATA", "unset")
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    texts = {"ru": ["дом вода", "война", "школа 1", "столица дом"], "en": ["house water", "war", "school 1", "capital"]}
    (tmp_path / "data" / "retrieval").mkdir(parents=True)
    (tmp_path / "data" / "distractors").mkdir()
    for language, contexts in texts.items():
        paragraphs = [
            {"context": context, "qas": [{"id": f"q{i}", "question": context.split()[0] + " ?"}]}
            for i, context in enumerate(contexts)
        ]
        content = json.dumps({"data": [{"paragraphs": paragraphs}]})
        (tmp_path / "data" / "retrieval" / f"xquad.{language}.json").write_text(content)
        with lzma.open(tmp_path / "data" / "distractors" / f"{language}.jsonl.xz", "wt") as stream:
            for i in range(6):
                stream.write(json.dumps({"id": f"x{i}", "text": f"{contexts[i % 4]} . {i}"}) + "\n")
    splade(tmp_path / "parts").save_pretrained(str(tmp_path / "encoder"))
    wordpiece(RUSSIAN, strip_accents=False).save_pretrained(tmp_path / "tokenizer-ru")
    words = wordpiece([*RUSSIAN, "home", "war", "water", "school"]).backend_tokenizer
    weights = np.random.default_rng(0).standard_normal((words.get_vocab_size(), 8)).astype(np.float32)
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_weights=weights)]).save_pretrained(
        str(tmp_path / "bridge")
    )
    return [
        "--data", str(tmp_path / "data"), "--output", str(tmp_path / "results" / "zero_shot.json"),
        "--encoder", str(tmp_path / "encoder"), "--bridge", str(tmp_path / "bridge"),
        "--tokenizer", str(tmp_path / "tokenizer-{language}"),
    ]  # fmt: skip


def read(tmp_path: Path) -> Results:
    return Results(tmp_path / "results" / "zero_shot.json")


def compared(tmp_path: Path) -> list[dict[str, Any]]:
    results = read(tmp_path)
    return [results.by_name[name] for name in results.content["order"]]


def test_from_cells_to_tables(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*options, "--languages", "ru", "--distractors", "3"]
    zero_shot.main(arguments)
    assert "20 cells to measure" in capsys.readouterr().err

    results = read(tmp_path)
    cell = results.by_name["ru.xquad.distractors-3.sembridge"]
    assert (cell["queries"], cell["documents"], cell["arm"]) == (4, 7, "sembridge")
    assert cell["ndcg@10_interval"][0] <= cell["ndcg@10"] <= cell["ndcg@10_interval"][1]
    assert cell["settings"]["distractors"] == 3
    assert cell["transfer"]["target_tokens"] == cell["transfer"]["copied"] + cell["transfer"]["bridged"] + (
        cell["transfer"]["background"] + cell["transfer"]["sampled"]
    )
    assert results.scores()["ru.xquad.alone.bm25"]["ndcg"].tolist() == [1, 1, 1, 1]

    comparisons = results.content["comparisons"]
    assert {cell["arm"] for cell in compared(tmp_path)} == {"bm25", "base", *TRANSFERRED}
    # Two pools; nine arms against each of two references.
    assert len(comparisons) == 2 * 2 * 9
    assert {test["reference"] for test in comparisons} == {"sembridge", "bm25"}

    page = tmp_path / "page.md"
    markers = "".join(f"<!-- table:{name} -->\n<!-- /table -->\n" for name in ("zero-shot", "zero-shot-cost"))
    page.write_text(f"Before\n{markers}after\n")
    at = [str(page), "--results", str(tmp_path / "results")]
    assert tables.main([*at, "--check"]) == 1
    assert tables.main(at) == 0
    assert tables.main([*at, "--check"]) == 0
    written = page.read_text()
    assert "| XQuAD ru | 4 | 4 | " in written
    assert "| XQuAD ru | 7 | 4 | " in written
    assert written.startswith("Before\n<!-- table:zero-shot -->\n| collection |")
    assert written.endswith("<!-- /table -->\nafter\n")


def test_only_what_is_missing_is_measured(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*options, "--languages", "ru", "--methods", "bm25", "base"]
    zero_shot.main(arguments)
    before = compared(tmp_path)
    path = tmp_path / "results" / "zero_shot.json"
    content = json.loads(path.read_text())
    content["cells"] = [cell for cell in content["cells"] if cell["cell"] != "ru.xquad.alone.base"]
    path.write_text(json.dumps(content))
    for expected in (1, 0):
        capsys.readouterr()
        zero_shot.main(arguments)
        assert f"{expected} cells to measure" in capsys.readouterr().err
    assert [cell["ndcg@10"] for cell in compared(tmp_path)] == [cell["ndcg@10"] for cell in before]
    zero_shot.main([*arguments, "--max-queries", "2", "--methods", "bm25"])
    said = capsys.readouterr().err
    assert "1 cells to measure" in said
    assert "1 of other runs left out" in said
    assert [cell["queries"] for cell in compared(tmp_path)] == [2]


def test_english_to_english(options: list[str], tmp_path: Path) -> None:
    """Without a target tokenizer only the untouched encoder and the baselines; with one, transfers too."""
    wordpiece(["house", "war", "water", "school", "capital", "?", "town"]).save_pretrained(tmp_path / "english")
    arguments = [*options, "--languages", "en", "--methods", "bm25", "base", "mean", "sembridge"]
    zero_shot.main(arguments)
    assert [cell["arm"] for cell in compared(tmp_path)] == ["bm25", "base"]
    zero_shot.main([*arguments, "--english-tokenizer", str(tmp_path / "english")])
    assert [cell["arm"] for cell in compared(tmp_path)] == ["bm25", "base", "mean", "sembridge"]


def test_pools_share_their_encodings(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []

    def counted(model: Any, texts: list[str], **arguments: Any) -> Any:
        encoded.append(len(texts))
        return encode(model, texts, **arguments)

    encode = encoding.encode
    monkeypatch.setattr(encoding, "encode", counted)
    zero_shot.main([*options, "--languages", "ru", "--distractors", "6", "--methods", "base"])
    assert encoded == [4, 4 + 6]
