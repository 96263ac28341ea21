"""Aligning a published model as the papers do: multilingual-e5-small on XQuAD, English with one other language a run.

    ISTHMUS_DATA=... python benchmarks/alignment_published.py                        everything that is missing
    ISTHMUS_DATA=... python benchmarks/alignment_published.py --languages ar --arms infonce clear proximity

``make models`` unpacks the model. Training rows are headings and sections of documentation in English and that language
(``sections/``). Runs go in the order of their value, so that what is there when time is out says most. Learning rates
are chosen per loss on development sections and general prose of one language (Arabic); XQuAD is only measured. One JSON
per language, arm and seed, resumable; its rows are those of ``isthmus audit --json`` on pools that merge copies and on
mixed pools that keep them.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from alignment import COLUMNS, DTYPE, check_apart, developed, development, rates_tried, say, stated
from cells import RowsFile, fingerprint, use_data

import isthmus
from isthmus.auditing.audits import audit_model
from isthmus.collections import ParallelCollection, load_parallel
from isthmus.collections.training_pairs import build_pairs
from isthmus.evaluation.models import load_model
from isthmus.reading.storage import atomic_write, read_json
from isthmus.training import AlignOptions, align

MODEL = "published/multilingual-e5-small"
LANGUAGES = ("ar", "zh", "ru", "de", "es", "hi", "vi")
# Where learning rates are chosen.
DEVELOPED = "ar"
# In this order; the last one only where the second is worse than the first.
RATES = (3e-5, 1e-4, 1e-5)
SEEDS = (0, 1, 2)
TRAINING = {"steps": 40, "batch_size": 32, "max_length": 96, "save_steps": 1000, "max_active_share": 1.0}
LOSSES = ("infonce", "clear", "proximity")
# Neither prompts nor negatives unless an arm has them; cosines times 20.
PLAIN: dict[str, Any] = {"negatives": 0, "query_prompt": "", "passage_prompt": ""}
# The encoder's own prompts, "query: " and "passage: ".
PROMPTED: dict[str, Any] = {"negatives": 0}
ABLATIONS: dict[str, dict[str, Any]] = {
    "clear-no-kl": {"loss": "clear", "kl": False},
    "proximity-no-jsd": {"loss": "proximity", "jsd_weight": 0.0},
    "proximity-no-nce": {"loss": "proximity", "nce_weight": 0.0},
    **{f"{loss}-scale-1": {"loss": loss, "scale": 1.0} for loss in ("proximity", "clear", "infonce")},
}
ARMS: dict[str, dict[str, Any]] = {
    **{loss: {"loss": loss, **PLAIN} for loss in LOSSES},
    **{arm: {**PLAIN, **options} for arm, options in ABLATIONS.items()},
    **{f"{loss}-prompts": {"loss": loss, **PROMPTED} for loss in LOSSES},
    **{f"{loss}-negatives": {"loss": loss, **PLAIN, "negatives": 1} for loss in LOSSES},
}
# The model as it is, with its prompts and without.
BEFORE = ("none", "none-prompts")


@dataclass(frozen=True)
class Run(RowsFile):
    """The model in English and one language after one training, or before any."""

    language: str
    arm: str
    seed: int
    rate: float | None
    path: Path
    settings: dict[str, Any]


def make_run(language: str, arm: str, seed: int, rate: float | None, args: argparse.Namespace) -> Run:
    """A run and everything it depends on."""
    settings = {
        "model": args.fingerprint,
        "language": language,
        "arm": arm,
        "training": None if rate is None else stated(align_settings(arm, seed, rate, args)),
        "pairs": None if rate is None else hashlib.sha256(write_pairs(language, args).read_bytes()).hexdigest()[:16],
        "max_queries": args.max_queries,
        "resamples": args.resamples,
        "dtype": DTYPE,
        "isthmus": isthmus.__version__,
    }
    return Run(language, arm, seed, rate, args.output / f"{language}.{arm}.{seed}.json", settings)


def align_settings(arm: str, seed: int, rate: float, args: argparse.Namespace) -> AlignOptions:
    """How a run trains."""
    training = TRAINING | {"learning_rate": rate, "seed": seed, "steps": args.steps, "batch_size": args.batch_size}
    return AlignOptions.of(None, **training, **ARMS[arm])


def write_pairs(language: str, args: argparse.Namespace) -> Path:
    """The training rows of a language, as ``isthmus pairs`` draws them."""
    path: Path = args.work / f"pairs.{language}.jsonl"
    if not path.exists():
        found = build_pairs([args.data / f"sections/en-{language}.jsonl.xz"], limit=args.rows)
        say(f"training rows by language and translator: {found.counts()}")
        lines = (json.dumps(row, ensure_ascii=False) for row in found.rows)
        atomic_write(path, ("\n".join(lines) + "\n").encode())
    return path


def trained(run: Run, args: argparse.Namespace) -> Path:
    """The folder of an aligned encoder; trained unless it is there."""
    assert run.rate is not None
    folder: Path = args.work / f"{run.language}.{run.arm}.{run.seed}.{run.rate:g}"
    settings = align_settings(run.arm, run.seed, run.rate, args)
    report = folder / "training_report.json"
    found = read_json(report)["settings"] if report.exists() else {}
    # The report has bf16 decided.
    wanted = {name: value for name, value in stated(settings).items() if name != "bf16"}
    if any(found.get(name, "none") != value for name, value in wanted.items()):
        align(args.model, write_pairs(run.language, args), folder, settings, overwrite=True)
    return folder


def tune(arm: str, args: argparse.Namespace) -> float:
    """Learning rate of the loss of an arm by development score, with seed 0; other arms of a loss train at its rate."""
    loss = str(ARMS[arm]["loss"])
    path = args.output.with_name(f"{args.output.name}_rates.json")
    if len(args.rates) == 1:
        return float(args.rates[0])
    tried: list[dict[str, Any]] = []
    for rate in args.rates:
        if len(tried) == 2 and tried[1]["max@r_norm"] > tried[0]["max@r_norm"]:
            break
        run = make_run(DEVELOPED, loss, 0, rate, args)
        row = next((row for row in rates_tried(path) if row["settings_hash"] == run.key), None)
        if row is None:
            collections = development(args.data, languages=(DEVELOPED,))
            scores = developed(load_model(str(trained(run, args))), collections)
            say(f"{loss}, learning rate {rate:g}: development Max@R_norm {scores}")
            row = {"loss": loss, "learning_rate": rate, **scores, "max@r_norm": fmean(scores.values())}
            row["settings_hash"] = run.key
            atomic_write(path, (json.dumps({"rows": [*rates_tried(path), row]}, indent=1) + "\n").encode())
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


def measure(run: Run, model: Any, collection: ParallelCollection, args: argparse.Namespace) -> None:
    """Audit in English and one language, on pools that merge copies and on mixed ones that keep them."""
    pair = ParallelCollection(
        collection.name,
        {language: collection.passages[language] for language in ("en", run.language)},
        {language: collection.queries[language] for language in ("en", run.language)},
        collection.qrels,
    )
    place = {"model": args.model, "language": run.language, "arm": run.arm, "seed": run.seed}
    place |= {"loss": ARMS.get(run.arm, {}).get("loss", "none"), "stage": "before" if run.rate is None else "after"}
    rows = []
    for copies, pools in ((False, ("multi", "mono-same", "mono-cross")), (True, ("multi",))):
        result = audit_model(model, pair, pools=pools, keep_copies=copies, dtype=DTYPE, resamples=args.resamples)
        rows += [{**place, "keep_copies": copies, **{key: row[key] for key in COLUMNS}} for row in result.to_rows()]
    content = {
        "rows": rows,
        "learning_rate": run.rate,
        "settings": run.settings,
        "settings_hash": run.key,
        "versions": result.settings["versions"],
    }
    atomic_write(run.path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
    found = {row["query_language"]: round(row["complete@10"], 1) for row in rows[:2]}
    say(f"en-{run.language} {run.arm}, seed {run.seed}: Complete@10 of the mixed pool {found}")


def plan() -> Iterator[tuple[str, str, int]]:
    """(language, arm, seed) of every training, those that say most first; some come twice."""
    for language in LANGUAGES[:3]:
        yield from ((language, loss, 0) for loss in LOSSES)
    yield from ((DEVELOPED, arm, 0) for arm in ABLATIONS)
    yield from ((DEVELOPED, f"{loss}-prompts", 0) for loss in ("clear", "infonce", "proximity"))
    yield from ((DEVELOPED, f"{loss}-negatives", 0) for loss in ("clear", "infonce", "proximity"))
    yield from ((language, loss, 0) for language in LANGUAGES[3:] for loss in LOSSES)
    yield from ((DEVELOPED, loss, seed) for seed in SEEDS[1:] for loss in LOSSES)
    yield from ((language, arm, seed) for seed in SEEDS for language in LANGUAGES for arm in ARMS)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "alignment_published")
    parser.add_argument("--work", type=Path, default=Path("runs/alignment-published"), help="for rows and encoders")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--arms", nargs="+", choices=(*BEFORE, *ARMS), default=[*BEFORE, *ARMS])
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), help="one is taken as it is")
    parser.add_argument("--rows", type=int, default=1600, help="training rows of a language")
    parser.add_argument("--steps", type=int, default=TRAINING["steps"])
    parser.add_argument("--batch-size", type=int, default=TRAINING["batch_size"])
    parser.add_argument("--max-queries", type=int)
    parser.add_argument("--resamples", type=int, default=1000)
    args = parser.parse_args(argv)
    use_data(parser, args)
    args.work.mkdir(parents=True, exist_ok=True)
    args.fingerprint = fingerprint(args.model)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    args = parse(argv)
    collection = load_parallel("xquad", languages=["en", *args.languages], max_queries=args.max_queries, seed=0)
    for arm in [arm for arm in BEFORE if arm in args.arms]:
        before = [make_run(language, arm, 0, None, args) for language in args.languages]
        model = None
        for run in [run for run in before if not run.done()]:
            model = model or opened(args.model, arm == "none-prompts")
            measure(run, model, collection, args)
    wanted = [
        (language, arm, seed)
        for language, arm, seed in dict.fromkeys(plan())
        if language in args.languages and arm in args.arms and seed in args.seeds
    ]
    checked = set()
    for language, arm, seed in wanted:
        if language not in checked:
            check_apart(write_pairs(language, args), collection)
            checked.add(language)
        run = make_run(language, arm, seed, tune(arm, args), args)
        if not run.done():
            folder = trained(run, args)
            measure(run, opened(str(folder), arm.endswith("-prompts")), collection, args)
            shutil.rmtree(folder)
            gc.collect()


if __name__ == "__main__":
    main()
