"""The benchmark that aligns a published model, from its rows to its tables, on a tiny encoder and collection."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

from benchmarks.harness import Results
from benchmarks.suites import alignment
from benchmarks.suites import alignment_published as benchmark
from benchmarks.suites import alignment_tables as tables
from tests.tokenizers import wordpiece

NOUNS = [("house", "dar"), ("water", "maa"), ("fire", "nar"), ("stone", "hajar"), ("tree", "shajara"), ("dog", "kalb")]


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """XQuAD of six passages, the first of which answers two questions; training rows of two words; a table of words."""
    monkeypatch.setenv("ISTHMUS_DATA", "unset")
    data = tmp_path / "data"
    (data / "retrieval").mkdir(parents=True)
    for side, code in enumerate(("en", "ar")):
        paragraphs = [
            {"context": f"{pair[side]} {pair[side]}", "qas": [{"id": f"q{n}", "question": pair[side]}]}
            for n, pair in enumerate(NOUNS)
        ]
        paragraphs[0]["qas"].append({"id": "again", "question": NOUNS[0][side]})  # type: ignore[attr-defined]
        content = json.dumps({"data": [{"paragraphs": paragraphs}]})
        (data / "retrieval" / f"xquad.{code}.json").write_text(content)
    pairs = [(a, b) for a in NOUNS for b in NOUNS if a != b]
    rows = [
        {
            "query_en": f"{a[0]} {b[0]}", "query": f"{a[1]} {b[1]}",
            "passage_en": f"{b[0]} {a[0]} {b[0]}", "passage": f"{b[1]} {a[1]} {b[1]}",
        }
        for a, b in pairs
    ]  # fmt: skip
    write_rows(data / "sections" / "en-ar.jsonl.xz", rows)
    write_rows(data / "sections" / "dev.en-ar.jsonl.xz", rows[::3])
    (data / "parallel").mkdir()
    with lzma.open(data / "parallel" / "en-ar.tsv.xz", "wt") as stream:
        stream.writelines(f"wmt_newstest\t{a[0]} {b[0]}\t{a[1]} {b[1]}\n" for a, b in pairs)
    tokenizer = wordpiece([word for pair in NOUNS for word in pair] + ["query", "passage", ":"]).backend_tokenizer
    weights = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 8)).astype(np.float32)
    modules = [StaticEmbedding(tokenizer, embedding_weights=weights), Normalize()]
    model = SentenceTransformer(modules=modules, prompts={"query": "query : ", "document": "passage : "}, device="cpu")
    model.save_pretrained(str(tmp_path / "model"))
    return [
        "--data", str(data), "--output", str(tmp_path / "results" / "alignment_published.json"),
        "--work", str(tmp_path / "work"), "--model", str(tmp_path / "model"), "--languages", "ar", "--seeds", "0",
        "--steps", "3", "--batch-size", "4", "--resamples", "20",
    ]  # fmt: skip


def read(tmp_path: Path) -> Results:
    return Results(tmp_path / "results" / "alignment_published.json")


@pytest.mark.long
def test_from_rows_to_tables(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [*options, "--arms", "none", "none-prompts", "infonce", "infonce-scale-1"]
    benchmark.main(arguments)
    results = read(tmp_path)
    assert set(results.by_name) == {f"ar.{arm}.0" for arm in ("none", "none-prompts", "infonce", "infonce-scale-1")}
    found = results.by_name["ar.infonce.0"]
    kinds = [(row["keep_copies"], row["pool"], row["query_language"], row["documents"]) for row in found["rows"]]
    assert sorted(kinds) == [
        (False, "mono-cross", "ar", 6), (False, "mono-cross", "en", 6), (False, "mono-same", "ar", 6),
        (False, "mono-same", "en", 6), (False, "multi", "ar", 12), (False, "multi", "en", 12),
        (True, "multi", "ar", 14), (True, "multi", "en", 14),
    ]  # fmt: skip
    assert {(row["arm"], row["loss"], row["stage"], row["queries"]) for row in found["rows"]} == {
        ("infonce", "infonce", "after", 7)
    }
    # Each of the two rates that were tried, or of three, once; the best is what the arm and its ablation train at.
    rates = results.content["rates"]
    tried = [row["learning_rate"] for row in rates]
    assert tried == list(benchmark.RATES)[: len(tried)]
    assert len(tried) == (2 if rates[1]["max@r_norm"] > rates[0]["max@r_norm"] else 3)
    best = max(rates, key=lambda row: row["max@r_norm"])["learning_rate"]
    scaled = results.by_name["ar.infonce-scale-1.0"]
    assert found["learning_rate"] == scaled["learning_rate"] == best
    assert (found["settings"]["training"]["scale"], scaled["settings"]["training"]["scale"]) == (None, 1)
    assert found["settings"]["training"]["query_prompt"] == ""
    # The prompts are part of the texts only where an arm has them.
    before, prompted = (results.by_name[f"ar.{arm}.0"]["rows"] for arm in benchmark.BEFORE)
    assert [row["max@r"] for row in before] != [row["max@r"] for row in prompted]

    text = tables.published_table(tmp_path / "results")
    assert "en-ar: as published" in text
    assert "en-ar: InfoNCE" in text
    assert "scale" not in text
    assert "all 7 questions" in text
    assert "12 passages" in text
    text = tables.arms_table(tmp_path / "results")
    assert "InfoNCE, scale 1" in text
    text = tables.copies_table(tmp_path / "results")
    assert "14 passages" in text
    assert "53.53" in text
    assert "55.88" not in text

    def refuse(*rest: Any, **options: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(alignment, "align", refuse)
    monkeypatch.setattr(benchmark, "audit_model", refuse)
    benchmark.main(arguments)


def test_rows_that_are_in_the_evaluation_stop_it(options: list[str], tmp_path: Path) -> None:
    rows = [{"query_en": "house", "query": "dar dar", "passage_en": "water fire", "passage": "maa nar"}] * 2
    write_rows(tmp_path / "data" / "sections" / "en-ar.jsonl.xz", rows)
    with pytest.raises(SystemExit, match="must not be in xquad"):
        benchmark.main([*options, "--arms", "clear"])


def test_every_arm_has_its_turn() -> None:
    planned = list(dict.fromkeys(benchmark.plan()))
    assert len(planned) == len(benchmark.LANGUAGES) * len(benchmark.ARMS) * len(benchmark.SEEDS)
    assert planned[:3] == [("ar", loss, 0) for loss in benchmark.LOSSES]
    assert len({tables.name_of(arm) for arm in benchmark.ARMS}) == len(benchmark.ARMS)
