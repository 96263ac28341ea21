"""Training without labels: a transferred encoder on the text of one domain, by its headings or by snippets.

    ISTHMUS_DATA=... python -m benchmarks domain

The text is that of documentation; nothing but the text is used, headings as lines of it. Every encoder is measured on
held-out sections of the same kind of documentation, asked by their headings, and on encyclopedic passages, asked by
people. What had to be chosen was chosen on Korean development sections that are not among those reported.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.encoding import evaluated, sample_queries
from benchmarks.harness import (
    COLLECTIONS,
    LEVEL,
    TOKENIZER,
    PoolCell,
    Results,
    Row,
    fingerprint,
    timed,
)
from benchmarks.pairs import paired, section_rows, training_rows
from benchmarks.suites.study import METHODS, MINI, TRAINING, collection_of
from isthmus.collections import Collection
from isthmus.evaluation.models import load_model
from isthmus.reading.storage import atomic_folder, atomic_write, read_json
from isthmus.training import PairOptions, train_self_supervised

LANGUAGES = ("ko", "ru")
TUNED_ON = "ko"
METHOD, OWN = "sembridge", "sembridge-own"
NAMES = {
    "bm25": "BM25",
    "zero-shot": "sembridge, not trained",
    "heading": "sembridge, headings",
    "snippet": "sembridge, snippets",
    "snippet-negative": "sembridge, snippets, a hard negative",
    "heading-own": "own directions, headings",
    "snippet-own": "own directions, snippets",
}
REFERENCES = ("zero-shot", "bm25")
# What was best on development sections (``domain-choices``); with ``-own``, mixed rows get directions of their own.
CHOSEN: dict[str, dict[str, float]] = {
    "heading": {"learning_rate": 3e-4},
    "snippet": {"learning_rate": 3e-4, "keep_snippet": 0.0},
    "snippet-negative": {"learning_rate": 3e-4, "keep_snippet": 0.0, "negatives": 1},
    "heading-own": {"learning_rate": 3e-4},
    "snippet-own": {"learning_rate": 3e-4, "keep_snippet": 0.5},
}
TRAINED = tuple(CHOSEN)
ARMS = (*REFERENCES, *TRAINED)
STEPS = 60
SETTINGS = replace(TRAINING, steps=STEPS, save_steps=STEPS, seed=0)
DEVELOPMENT = 300
MANY = 10**6


def untrained(language: str, args: argparse.Namespace, method: str) -> Path:
    """The folder of the transferred encoder."""
    start: Path = args.work / f"{language}.{method}.start"
    if not start.exists():
        with atomic_folder(start) as folder:
            MINI.transferred(method, language, 0, args.data).save_pretrained(str(folder))
    return start


def trained(arm: str, language: str, args: argparse.Namespace) -> tuple[Path, Row]:
    """Train on the text of a language unless it has been; the folder and the report."""
    choices = CHOSEN[arm]
    folder: Path = args.work / f"{language}.{arm}.{'-'.join(f'{name}={value:g}' for name, value in choices.items())}"
    report = folder / "training_report.json"
    if report.is_file():
        return folder, read_json(report)
    kind = arm.partition("-")[0]
    corpus = args.work / f"{language}.{kind}.jsonl"
    # Sections as one document each: with their headings as Markdown, or without.
    texts = [
        f"# {row['query']}\n\n{row['passage']}" if kind == "heading" else row["passage"]
        for row in training_rows(args.data, language)
    ]
    lines = (json.dumps({"id": str(i), "text": text}, ensure_ascii=False) + "\n" for i, text in enumerate(texts))
    atomic_write(corpus, "".join(lines).encode())
    pairs = PairOptions(
        kinds=(kind,),  # type: ignore[arg-type]
        keep_snippet=choices.get("keep_snippet", 0.0),
        negatives=int(choices.get("negatives", 0)),
        max_pairs=STEPS * SETTINGS.batch_size,
    )
    start = untrained(language, args, OWN if arm.endswith("-own") else METHOD)
    settings = replace(SETTINGS, learning_rate=choices["learning_rate"])
    made = train_self_supervised(start, corpus, folder, settings, pairs, overwrite=True)
    gc.collect()
    return folder, made.to_dict()


def held_out(language: str, args: argparse.Namespace) -> Collection:
    """Development sections, asked by their headings, that chose nothing here."""
    rows = section_rows(args.data, language, MANY, 0)
    if language == TUNED_ON:
        chose = {row["passage"] for row in section_rows(args.data, language, DEVELOPMENT, 0)}
        rows = [row for row in rows if row["passage"] not in chose]
    found = paired(f"sections-{language}", [row["query"] for row in rows], [row["passage"] for row in rows])
    return sample_queries(found, args.max_queries, 0)


def run_settings(args: argparse.Namespace) -> Row:
    """What all compared cells share."""
    more = {"transfer": METHODS[METHOD], "training": SETTINGS.to_dict() | {"learning_rate": None}}
    return harness.run_settings(args, "distractors", "max_queries", **more)


def make_cells(arm: str, language: str, pools: dict[str, Collection], args: argparse.Namespace) -> list[PoolCell]:
    """The cells of an arm in a language."""
    settings = {"tokenizer": fingerprint(TOKENIZER.format(language=language)), "choices": CHOSEN.get(arm)}
    settings |= {"own": METHODS[OWN]} if arm.endswith("-own") else {}
    run = run_settings(args)
    return [harness.pool_cell(language, name, found, arm, run=run, **settings) for name, found in pools.items()]


def make_model(arm: str, language: str, args: argparse.Namespace) -> tuple[Any, Row | None]:
    """The model of an arm, and what is told of its training."""
    if arm not in TRAINED:
        return MINI.transferred(METHOD if arm == "zero-shot" else arm, language, 0, args.data), None
    folder, found = trained(arm, language, args)
    report = {"pairs": found["data"]["rows"], "steps": found["steps"], "train_seconds": found["seconds"]}
    report["made_from"] = json.dumps(found["data"]["unlabelled"], ensure_ascii=False)
    return load_model(str(folder)), report


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, then compare."""
    parser = harness.parser_of(__doc__, "domain", languages=LANGUAGES, work="runs/domain")
    parser.add_argument("--distractors", type=int, default=200)
    parser.add_argument("--max-queries", type=int, default=300)
    args = harness.parse(parser, argv)
    results = Results(args.output)
    for language in args.languages:
        pools = {"in-domain": held_out(language, args), "other": collection_of(language, args)}
        for arm in ARMS:
            missing = [cell for cell in make_cells(arm, language, pools, args) if not results.done(cell)]
            if missing:
                (model, report), made = timed(lambda arm=arm, language=language: make_model(arm, language, args))
            for cell in missing:
                result = evaluated(model, cell.collection, arm)
                harness.add_pool(results, cell, result, report, made)
                harness.say(f"{cell.name}: {result['ndcg@10']:.3f}")
            gc.collect()
    order = {"languages": LANGUAGES, "arms": ARMS, "references": (*REFERENCES, "snippet")}
    harness.compare_pools(results, run_settings(args), **order)


def scores_table(results: Path) -> str:
    """nDCG@10 in the domain of the text and outside of it, by what was trained on."""
    content, compared, tests = harness.compared_pools(results / "domain.json")
    cells = {(cell["settings"]["language"], cell["pool"], cell["arm"]): cell for cell in compared}
    languages = list(dict.fromkeys(language for language, *_ in cells))
    header, sizes, apart, columns = ["model"], [], [], []
    for language, pool in [(language, pool) for language in languages for pool in ("in-domain", "other")]:
        cell = cells[language, pool, "zero-shot"]
        columns.append((language, cell["collection"], pool))
        collection = COLLECTIONS.get(cell["collection"].split("-")[0], "sections")
        header.append(f"{language}: {collection}")
        sizes.append(f"{language} {collection} {cell['queries']:,} and {cell['documents']:,}")
        if test := tests.get((*columns[-1], "heading", "snippet")):
            interval = f"[{test['low']:+.3f}, {test['high']:+.3f}]"
            apart.append(f"{language} {collection} {test['difference']:+.3f} {interval}")

    def shown(arm: str, place: tuple[str, str, str]) -> str:
        cell = cells.get((place[0], place[2], arm))
        if cell is None:
            return ""
        mark = harness.arrow(tests.get((*place, arm, "zero-shot")))
        return harness.with_interval(cell["ndcg@10"], cell["ndcg@10_interval"]) + mark

    rows = [[NAMES[arm], *(shown(arm, place) for place in columns)] for arm in NAMES]
    training = content["run"]["training"]
    lines = [
        "nDCG@10 and its 95 % interval (bootstrap over questions). ▲ ▼: above or below sembridge without training,",
        f"paired bootstrap, p < {LEVEL}. Questions and passages: {'; '.join(sizes)}.",
        *([f"Headings minus snippets: {'; '.join(apart)}."] if apart else []),
        f"{training['steps']} steps of {training['batch_size']} pairs, {training['max_length']} tokens, one seed.",
        *(_made(cell) for (_, pool, _), cell in cells.items() if pool == "in-domain" and cell["settings"]["choices"]),
    ]
    return harness.markdown(header, [row for row in rows if any(row[1:])], lines)


def _made(cell: Row) -> str:
    """How an arm was trained."""
    settings = cell["settings"]
    chosen = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in settings["choices"].items())
    return f"{settings['language']} {settings['arm']}: {cell['transfer']['pairs']:,} pairs; {chosen}."


TABLES = {"domain": scores_table}
