"""Our export, indexed and searched by Lucene: the round trip, where Anserini's jar is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.suites.engines import round_trip
from isthmus.collections import Collection
from isthmus.evaluation.runs import evaluate_run
from isthmus.index import SparseIndex
from tests.tiny_encoders import splade

WORDS = ["house", "water", "war", "capital", "school", "home"]


@pytest.mark.skipif("ISTHMUS_ANSERINI" not in os.environ, reason="no Anserini: set ISTHMUS_ANSERINI to its fat jar")
@pytest.mark.skipif(not (os.environ.get("JAVA_HOME") or shutil.which("java")), reason="no Java for Anserini")
def test_lucene_finds_what_the_exact_index_finds(tmp_path: Path) -> None:
    splade(tmp_path / "backbone").save_pretrained(str(tmp_path / "encoder"))
    corpus = {f"d{n}": f"the {WORDS[n % 6]} of {WORDS[n // 6 % 6]} and {WORDS[n // 7 % 6]}" for n in range(60)}
    SparseIndex.build(str(tmp_path / "encoder"), corpus, tmp_path / "idx")
    exact = SparseIndex.open(tmp_path / "idx")
    texts = ["the house", "water and war", "capital of school"]
    queries = exact.vectors(texts)
    row = round_trip(Path(os.environ["ISTHMUS_ANSERINI"]), exact, texts, queries, tmp_path / "out", 100)
    assert row["hits"] == row["integer_products"] == 30
    assert row["recall@10"] >= 0.9
    assert json.loads((tmp_path / "out" / "export.json").read_text())["queries"] == 3
    judged = {str(number): {exact.search(text, 1)[0].id: 1} for number, text in enumerate(texts)}
    asked = {str(number): text for number, text in enumerate(texts)}
    found = evaluate_run(tmp_path / "out" / "run.txt", Collection("made-up", corpus, asked, judged))
    assert found["ndcg@10"] > 0.5
