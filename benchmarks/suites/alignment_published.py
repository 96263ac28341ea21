"""Aligning a published model as the papers do: multilingual-e5-small on XQuAD, English with one other language a run.

    ISTHMUS_DATA=... python -m benchmarks alignment-published                        everything that is missing
    ISTHMUS_DATA=... python -m benchmarks alignment-published --languages ar --arms infonce clear proximity

``make models`` unpacks the model. Training rows are headings and sections of documentation in English and that language
(``sections/``). Runs go in the order of their value, so that what is there when time is out says most. Learning rates
are chosen per loss on development sections and general prose of one language (Arabic); XQuAD is only measured. A cell
is a language, arm and seed; its rows are those of ``isthmus audit --json`` on pools that merge copies and on mixed
pools that keep them.
"""

from __future__ import annotations

import argparse
import gc
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import isthmus
from benchmarks import harness
from benchmarks.harness import Results, Row, fingerprint, say
from benchmarks.pairs import prose_blocks, section_rows
from benchmarks.suites.alignment import COLUMNS, DTYPE, check_apart, file_hash, stated, trained, write_pairs
from benchmarks.suites.alignment_tables import ABLATIONS, ARMS, BEFORE, DEVELOPED, LANGUAGES, LOSSES
from isthmus.auditing.audits import audit_model
from isthmus.collections import ParallelCollection, load_parallel
from isthmus.evaluation.models import load_model
from isthmus.training import AlignOptions

MODEL = "published/multilingual-e5-small"
# In this order; the last one only where the second is worse than the first.
RATES = (3e-5, 1e-4, 1e-5)
SEEDS = (0, 1, 2)
TRAINING = {"steps": 40, "batch_size": 32, "max_length": 96, "save_steps": 1000, "max_active_share": 1.0}
# Of development: texts of a language and kind.
LIMIT = 60


@dataclass(frozen=True)
class Cell(harness.Cell):
    """The model in English and one language after one training, or before any."""

    language: str
    arm: str
    seed: int
    rate: float | None


def make_cell(language: str, arm: str, seed: int, rate: float | None, args: argparse.Namespace) -> Cell:
    """A cell and everything it depends on."""
    settings = {
        "model": args.fingerprint, "language": language, "arm": arm,
        "training": None if rate is None else stated(align_settings(arm, seed, rate, args)),
        "pairs": None if rate is None else file_hash(pairs_of(language, args)), "max_queries": args.max_queries,
        "resamples": args.resamples, "dtype": DTYPE, "isthmus": isthmus.__version__,
    }  # fmt: skip
    return Cell(f"{language}.{arm}.{seed}", settings, language, arm, seed, rate)


def align_settings(arm: str, seed: int, rate: float, args: argparse.Namespace) -> AlignOptions:
    """How a run trains."""
    training = TRAINING | {"learning_rate": rate, "seed": seed, "steps": args.steps, "batch_size": args.batch_size}
    return AlignOptions.of(None, **training, **ARMS[arm])


def pairs_of(language: str, args: argparse.Namespace) -> Path:
    """The training rows of a language."""
    return write_pairs(args.work / f"pairs.{language}.jsonl", args.data, [language], args.rows)


def aligned(cell: Cell, args: argparse.Namespace) -> Path:
    """The folder of an aligned encoder; trained unless it is there."""
    assert cell.rate is not None
    settings = align_settings(cell.arm, cell.seed, cell.rate, args)
    return trained(args.work / f"{cell.name}.{cell.rate:g}", args.model, pairs_of(cell.language, args), settings)


def development(data: Path) -> dict[str, ParallelCollection]:
    """Pools of English and a language: sections of the development documents, and cloze over general prose."""
    rows = section_rows(data, DEVELOPED, LIMIT, 0, queries=("query", "query_en"))
    found = {"sections": [((row["query_en"], row["query"]), (row["passage_en"], row["passage"])) for row in rows]}
    blocks = prose_blocks(data, DEVELOPED)
    if blocks:
        drawn = np.random.default_rng(0).choice(len(blocks), min(LIMIT, len(blocks)), replace=False).tolist()
        # The first sentence asks for the others.
        found["cloze"] = [
            (block[0], tuple(" ".join(side) for side in zip(*block[1:], strict=True)))  # type: ignore[misc]
            for block in (blocks[i] for i in drawn)
        ]
    return {kind: parallel(f"{kind}-dev-{DEVELOPED}", DEVELOPED, texts) for kind, texts in found.items()}


def parallel(name: str, language: str, texts: Sequence[tuple[Sequence[str], Sequence[str]]]) -> ParallelCollection:
    """A collection of (query, passage) rows, each a pair of an English text and its translation."""
    codes = ("en", language)
    return ParallelCollection(
        name,
        {code: {f"d{i}": passages[side] for i, (_, passages) in enumerate(texts)} for side, code in enumerate(codes)},
        {code: {f"q{i}": queries[side] for i, (queries, _) in enumerate(texts)} for side, code in enumerate(codes)},
        {f"q{i}": (f"d{i}",) for i in range(len(texts))},
    )


def developed(model: Any, collections: dict[str, ParallelCollection]) -> dict[str, float]:
    """Mean Max@R_norm of the mixed pools, by kind."""
    scores = {}
    for kind, collection in collections.items():
        result = audit_model(model, collection, pools=("multi",), resamples=1)
        scores[kind] = fmean(float(row["max@r_norm"] or 0.0) for row in result.results)
    return scores


def tune(results: Results, arm: str, args: argparse.Namespace) -> float:
    """Learning rate of the loss of an arm by development score, with seed 0; other arms of a loss train at its rate."""
    loss = str(ARMS[arm]["loss"])
    if len(args.rates) == 1:
        return float(args.rates[0])
    tried: list[Row] = []
    for rate in args.rates:
        if len(tried) == 2 and tried[1]["max@r_norm"] > tried[0]["max@r_norm"]:
            break
        cell, known = make_cell(DEVELOPED, loss, 0, rate, args), results.content.get("rates", [])
        row = next((row for row in known if row["settings_hash"] == cell.key), None)
        if row is None:
            scores = developed(load_model(str(aligned(cell, args))), development(args.data))
            say(f"{loss}, learning rate {rate:g}: development Max@R_norm {scores}")
            row = {"loss": loss, "learning_rate": rate, **scores, "max@r_norm": fmean(scores.values())}
            row["settings_hash"] = cell.key
            results.update(rates=[*known, row])
            gc.collect()
        tried.append(row)
    best = float(max(tried, key=lambda row: row["max@r_norm"])["learning_rate"])
    for rate in args.rates:
        if rate != best:
            # Half a gigabyte each.
            shutil.rmtree(args.work / f"{DEVELOPED}.{loss}.0.{rate:g}", ignore_errors=True)
    return best


def remembering(encode: Callable[..., Any]) -> Callable[..., Any]:
    """``encode`` that encodes a text once, however many pools hold it."""
    known: dict[str, Any] = {}

    def call(texts: Sequence[str], **options: Any) -> Any:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, encode(new, **options), strict=True))
        return np.stack([known[text] for text in texts])

    return call


def opened(folder: str, prompts: bool) -> Any:
    """A model to measure; its options have to be the same every time."""
    model = load_model(folder)
    if not prompts:
        model.prompts.update(dict.fromkeys([*model.prompts, "query", "document"], ""))
    model.encode_query, model.encode_document = remembering(model.encode_query), remembering(model.encode_document)
    return model


def measure(results: Results, cell: Cell, model: Any, collection: ParallelCollection, args: Any) -> None:
    """Audit in English and one language, on pools that merge copies and on mixed ones that keep them."""
    sides = [{code: side[code] for code in ("en", cell.language)} for side in (collection.passages, collection.queries)]
    pair = ParallelCollection(collection.name, *sides, collection.qrels)
    place = {"model": args.model, "language": cell.language, "arm": cell.arm, "seed": cell.seed}
    place |= {"loss": ARMS.get(cell.arm, {}).get("loss", "none"), "stage": "before" if cell.rate is None else "after"}
    rows = []
    for copies, pools in ((False, ("multi", "mono-same", "mono-cross")), (True, ("multi",))):
        result = audit_model(model, pair, pools=pools, keep_copies=copies, dtype=DTYPE, resamples=args.resamples)
        rows += [{**place, "keep_copies": copies, **{key: row[key] for key in COLUMNS}} for row in result.to_rows()]
    results.add(cell, {"rows": rows, "learning_rate": cell.rate, "versions": result.settings["versions"]})
    found = {row["query_language"]: round(row["complete@10"], 1) for row in rows[:2]}
    say(f"{cell.name}: Complete@10 of the mixed pool {found}")


def plan() -> Iterator[tuple[str, str, int]]:
    """(language, arm, seed) of every training, those that say most first; some come twice."""
    yield from ((language, loss, 0) for language in LANGUAGES[:3] for loss in LOSSES)
    yield from ((DEVELOPED, arm, 0) for arm in ABLATIONS)
    for more in ("prompts", "negatives"):
        yield from ((DEVELOPED, f"{loss}-{more}", 0) for loss in ("clear", "infonce", "proximity"))
    yield from ((language, loss, 0) for language in LANGUAGES[3:] for loss in LOSSES)
    yield from ((DEVELOPED, loss, seed) for seed in SEEDS[1:] for loss in LOSSES)
    yield from ((language, arm, seed) for seed in SEEDS for language in LANGUAGES for arm in ARMS)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    parser = harness.parser_of(__doc__, "alignment-published", languages=LANGUAGES, work="runs/alignment-published")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--arms", nargs="+", choices=(*BEFORE, *ARMS), default=[*BEFORE, *ARMS])
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), help="one is taken as it is")
    parser.add_argument("--rows", type=int, default=1600, help="training rows of a language")
    parser.add_argument("--steps", type=int, default=TRAINING["steps"])
    parser.add_argument("--batch-size", type=int, default=TRAINING["batch_size"])
    parser.add_argument("--max-queries", type=int)
    parser.add_argument("--resamples", type=int, default=1000)
    args = harness.parse(parser, argv)
    args.work.mkdir(parents=True, exist_ok=True)
    args.fingerprint, results = fingerprint(args.model), Results(args.output)
    collection = load_parallel("xquad", languages=["en", *args.languages], max_queries=args.max_queries, seed=0)
    for arm in [arm for arm in BEFORE if arm in args.arms]:
        before = [make_cell(language, arm, 0, None, args) for language in args.languages]
        model = None
        for cell in [cell for cell in before if not results.done(cell)]:
            model = model or opened(args.model, arm == "none-prompts")
            measure(results, cell, model, collection, args)
    checked = set()
    for language, arm, seed in dict.fromkeys(plan()):
        if language not in args.languages or arm not in args.arms or seed not in args.seeds:
            continue
        if language not in checked:
            check_apart(pairs_of(language, args), collection)
            checked.add(language)
        cell = make_cell(language, arm, seed, tune(results, arm, args), args)
        if not results.done(cell):
            folder = aligned(cell, args)
            measure(results, cell, opened(str(folder), arm.endswith("-prompts")), collection, args)
            shutil.rmtree(folder)
            gc.collect()
