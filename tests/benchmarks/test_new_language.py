"""The benchmark of a language nobody prepared, on tiny encoders and texts: what is left out, cells, tables."""

from __future__ import annotations

import json
import lzma
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.harness import Results
from benchmarks.suites import new_language
from isthmus.bridge import BridgeVectors
from tests.tiny_encoders import splade

ROOT = Path(__file__).parents[2]
GERMAN = [
    "Das Haus am Wasser",
    "Die Schule in der Stadt",
    "Der Krieg ist vorbei",
    "Wie heißt die Hauptstadt",
    "Das Buch",
]
BENGALI = ["বাড়ি জলের ধারে", "শহরের স্কুল", "যুদ্ধ শেষ", "রাজধানীর নাম কী", "এই বই"]
ENGLISH = ["The house by the water", "The school in town", "The war is over", "What is the capital", "The book"]


def write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for language, texts in (("de", GERMAN), ("bn", BENGALI)):
        rows = [f"tatoeba\t{english}\t{text}" for english, text in zip(ENGLISH, texts, strict=True)]
        # Of the same document as the first development section, on one side or the other.
        rows += [
            f"docs\theld out sentence of docs\t{texts[0]} x",
            f"docs\tother\tausgelassener Satz der {language}-Seite",
        ]
        write(folder / f"parallel/en-{language}.tsv.xz", rows * 40)
        write(folder / f"parallel_dev/flores_dev.en-{language}.tsv.xz", [row.partition("\t")[2] for row in rows[:3]])
        sections = [
            {"query_en": english, "query": text, "passage_en": f"{english}. More.", "passage": f"{text} {i}"}
            for i, (english, text) in enumerate(zip(ENGLISH[:3], texts[:3], strict=True))
        ]
        sections[0]["passage_en"] += " A held  out Sentence of docs."
        sections[0]["passage"] += f" Ausgelassener Satz der {language}-Seite"
        write(folder / f"sections/dev.en-{language}.jsonl.xz", [json.dumps(row) for row in sections])
        more = [sections[1], *({"passage": f"{text} anderswo {text}"} for text in texts), {"passage": f"{texts[1]} 1 "}]
        write(folder / f"sections/en-{language}.jsonl.xz", [json.dumps(row) for row in more])
    contexts = [{"context": text, "qas": [{"id": str(i), "question": text}]} for i, text in enumerate(GERMAN)]
    squad = {"data": [{"paragraphs": contexts}]}
    write(folder / "retrieval/xquad.de.json.xz", [json.dumps(squad)])
    return folder


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("ISTHMUS_DATA", "unset")
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    torch.manual_seed(0)
    splade(tmp_path / "parts").save_pretrained(str(tmp_path / "source"))

    def vectors(bridge: Any, source: Any, target: Any, **_: Any) -> BridgeVectors:
        generator = np.random.default_rng(0)
        rows = [generator.standard_normal((side.size, 8)).astype(np.float32) for side in (source, target)]
        return BridgeVectors(*rows, "random")

    monkeypatch.setattr("isthmus.transferring.pipeline.embed_vocabularies", vectors)

    def add_lexical(model: Any, texts: list[str], mode: str, *, known: list[int], dtype: str) -> Any:
        """Five texts are too few for an echo."""
        assert texts
        assert mode == "echo"
        echoes.append(len(known))
        return model

    echoes: list[int] = []
    monkeypatch.setattr(new_language, "add_lexical", add_lexical)
    monkeypatch.setattr(new_language, "echoes", echoes, raising=False)
    return new_language


def run(benchmark: ModuleType, data: Path, folder: Path, *options: str) -> Results:
    source = str(folder / "source")
    benchmark.main(
        ["--data", str(data), "--work", str(folder / "work"), "--output", str(folder / "results" / "new_language.json"),
         "--encoder", source, "--bridge", source, "--distractors", "4", "--max-queries", "3", *options]
    )  # fmt: skip
    return Results(folder / "results" / "new_language.json")


def test_development_sentences_are_left_out_of_the_raw_text(benchmark: ModuleType, data: Path, tmp_path: Path) -> None:
    args = Namespace(data=data, work=tmp_path / "work")
    lines = benchmark.raw_text("de", args).read_text(encoding="utf-8").splitlines()
    # The first three are headings of the sections, in whatever case; a row goes when either side stands there.
    assert lines == GERMAN[3:] * 40


def test_other_sections_are_distinct_and_not_in_the_pool(benchmark: ModuleType, data: Path) -> None:
    args = Namespace(data=data, distractors=100, max_queries=300, seed=0)
    found = {(pool, collection.name): collection for pool, collection, _ in benchmark.pools("bn", args)}
    larger = found["sections-100", "sections-dev"]
    assert len(larger.corpus) == 3 + 5
    assert larger.distractors == 5
    assert len({text.strip() for text in larger.corpus.values()}) == len(larger.corpus)
    across = found["sections-100", "en-sections-dev"]
    assert list(across.queries.values()) == ENGLISH[:3]
    assert across.corpus == larger.corpus


def test_cells_tables_and_readiness(
    benchmark: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(benchmark, data, tmp_path)
    cells = results.cells
    assert {cell["cell"] for cell in cells} == set(results.content["order"])
    places = {(cell["settings"]["language"], cell["collection"], cell["pool"]) for cell in cells}
    assert places == {
        ("de", "xquad", "alone"), ("de", "sections-dev", "alone"), ("bn", "sections-dev", "alone"),
        ("bn", "sections-dev", "sections-4"), ("bn", "en-sections-dev", "sections-4"), ("bn", "en-flores-dev", "alone"),
    }  # fmt: skip
    assert not [cell for cell in cells if "keep" in cell["arm"] and cell["settings"]["language"] == "de"]
    # Of two German and two Bengali pools, and of the four that an encoder that keeps English searches.
    assert len([cell for cell in cells if cell["arm"].endswith("-echo")]) == 4 + 4 + 4
    assert sorted(benchmark.echoes)[:8] == [0] * 8
    assert min(sorted(benchmark.echoes)[8:]) > 0
    cell = next(cell for cell in cells if cell["arm"] == "sembridge")
    assert {"run", "transfer", "seed", "dtype"} <= cell["settings"].keys()
    assert len(cell["ndcg@10_interval"]) == 2
    assert set(results.content["ready"]["bn"]["findings"]) == {"sembridge", "sembridge-keep-source"}

    for language in ("de", "bn"):
        table = benchmark.TABLES[f"new-language-{language}"](tmp_path / "results")
        own = [cell for cell in cells if cell["settings"]["language"] == language]
        assert all(f"{cell['ndcg@10']:.3f} [" in table for cell in own)
    assert "| bn, sembridge, source kept |" in benchmark.ready_table(tmp_path / "results")

    measured: list[str] = []
    monkeypatch.setattr(
        benchmark, "measure", lambda results, cells, *rest: measured.extend(cell.name for cell in cells)
    )
    content = json.loads(results.path.read_text())
    content["cells"] = [cell for cell in content["cells"] if cell["cell"] != "de.xquad.alone.nearest"]
    results.path.write_text(json.dumps(content))
    run(benchmark, data, tmp_path)
    assert measured == ["de.xquad.alone.nearest"]
