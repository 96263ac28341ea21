"""Does aligning help: audits of three encoders on XQuAD before and after CLEAR, semantic proximity and InfoNCE.

    ISTHMUS_DATA=... python benchmarks/alignment.py                              everything that is missing
    ISTHMUS_DATA=... python benchmarks/alignment.py --models mini-bridge --seeds 0 1 2

Training rows are headings and sections of documentation in English and seven languages (``sections/``), at most 2,800 a
run, the same for all losses. Learning rates are chosen per model and loss on mixed pools of development sections and of
general prose, those of ablations with the whole loss where an encoder has layers; XQuAD is only measured. One JSON per
model, loss and seed, resumable, its rows those of ``isthmus audit --json`` and ``loss``, ``seed`` and ``stage``.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
from cells import RowsFile, fingerprint, use_data
from dev_pairs import prose_blocks, section_rows

import isthmus
from isthmus.auditing.audits import audit_model
from isthmus.collections import ParallelCollection, load_parallel
from isthmus.collections.training_pairs import build_pairs
from isthmus.evaluation.models import load_model
from isthmus.reading.storage import atomic_folder, atomic_write, read_json
from isthmus.training import AlignOptions, align

LANGUAGES = ("ar", "zh", "hi", "ru", "de", "es", "vi")
POOLS = ("mono-same", "mono-cross", "pairs")
ROWS = 2800
# Of measuring on XQuAD; development is measured in float32.
DTYPE: Literal["bfloat16"] = "bfloat16"
# Words in a row that no training passage may have in common with a passage of XQuAD.
SHARED_WORDS = 8
# InfoNCE pairs a query with the English passage, as CLEAR's forward term does with the English query.
LOSSES: dict[str, dict[str, Any]] = {
    "infonce": {"loss": "infonce"},
    "clear": {"loss": "clear"},
    "clear-no-kl": {"loss": "clear", "kl": False},
    "clear-alpha-0.6": {"loss": "clear", "alpha": 0.6},
    "clear-beta-0.4": {"loss": "clear", "beta": 0.4},
    "proximity": {"loss": "proximity"},
    "proximity-no-nce": {"loss": "proximity", "nce_weight": 0.0},
    "proximity-no-jsd": {"loss": "proximity", "jsd_weight": 0.0},
}
# Ablations of encoders with layers train at the rate of the loss they are one of.
PARENTS = {
    "clear-no-kl": "clear",
    "clear-alpha-0.6": "clear",
    "clear-beta-0.4": "clear",
    "proximity-no-nce": "proximity",
    "proximity-no-jsd": "proximity",
}
TRANSFORMER = {"steps": 40, "batch_size": 32, "max_length": 64, "save_steps": 1000, "max_active_share": 1.0}
MODELS: dict[str, dict[str, Any]] = {
    "mini-bridge": {
        "training": TRANSFORMER | {"steps": 100, "batch_size": 64, "max_length": None},
        "rates": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
        "parents": {},
        "negatives": None,
    },
    "minilm": {"training": TRANSFORMER, "rates": (5e-5, 2e-4), "parents": PARENTS, "negatives": 1},
    "splade": {"training": TRANSFORMER, "rates": (5e-5, 2e-4), "parents": PARENTS, "negatives": 1},
}
# Keys of a row that are kept from the audit.
COLUMNS = (
    "pool", "query_language", "pool_languages", "documents", "golds", "queries", "max@r", "max@r_ci", "max@r_norm",
    "max@r_norm_ci", "complete@10", "complete@10_ci", "ndcg@10", "ndcg@10_ci", "english_first", "language_share",
)  # fmt: skip


@dataclass(frozen=True)
class Run(RowsFile):
    """One encoder after one training, or before any."""

    model: str
    loss: str
    seed: int
    rate: float | None
    path: Path
    settings: dict[str, Any]


def make_run(model: str, loss: str, seed: int, rate: float | None, args: argparse.Namespace) -> Run:
    """A run and everything it depends on."""
    settings = {
        "model": fingerprint(str(folder_of(model, args))),
        "loss": LOSSES.get(loss),
        "seed": seed,
        "training": None if rate is None else stated(align_settings(model, loss, seed, rate)),
        "pairs": hashlib.sha256(write_pairs(args).read_bytes()).hexdigest()[:16],
        "max_queries": args.max_queries,
        "resamples": args.resamples,
        "dtype": DTYPE,
        "isthmus": isthmus.__version__,
    }
    return Run(model, loss, seed, rate, args.output / f"{model}.{loss}.{seed}.json", settings)


def stated(settings: AlignOptions) -> dict[str, Any]:
    """Everything that decides how a run trains."""
    return settings.identity()


def folder_of(model: str, args: argparse.Namespace) -> Path | str:
    """Where an encoder is before alignment; made where it is missing and can be made in seconds."""
    if model == "mini-bridge":
        return "isthmus/mini-bridge"
    if model == "minilm":
        return args.minilm
    folder = args.work / "splade"
    if not folder.exists():
        tokenizers = [f"isthmus/tokenizer-{language}" for language in ("ar", "hi", "ru", "zh")]
        encoder, _ = isthmus.transfer(
            "isthmus/mini-splade-en", target_tokenizer=tokenizers, bridge="isthmus/mini-bridge", keep_source=True
        )
        with atomic_folder(folder) as part:
            encoder.save_pretrained(str(part))
    return folder


def align_settings(model: str, loss: str, seed: int, rate: float) -> AlignOptions:
    """How a run trains."""
    training = MODELS[model]["training"] | {"learning_rate": rate, "seed": seed}
    return AlignOptions.of(None, negatives=MODELS[model]["negatives"], **training, **LOSSES[loss])


def write_pairs(args: argparse.Namespace) -> Path:
    """The training rows, as ``isthmus pairs`` draws them."""
    path: Path = args.work / "pairs.jsonl"
    if not path.exists():
        files = [args.data / f"sections/en-{language}.jsonl.xz" for language in LANGUAGES]
        found = build_pairs(files, limit=ROWS)
        say(f"training rows by language and translator: {found.counts()}")
        lines = (json.dumps(row, ensure_ascii=False) for row in found.rows)
        atomic_write(path, ("\n".join(lines) + "\n").encode())
    return path


def check_apart(pairs: Path, collection: ParallelCollection) -> None:
    """Stop where a training row is in the evaluation set: a question of it, or a passage with words of one of its own.

    Raises:
        SystemExit: If one is.
    """
    questions = {text.casefold() for texts in collection.queries.values() for text in texts.values()}
    passages = {grams for texts in collection.passages.values() for text in texts.values() for grams in runs_of(text)}
    for number, line in enumerate(pairs.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        asked = {row["query"].casefold(), row["pivot_query"].casefold()} & questions
        if asked or passages & (runs_of(row["passage"]) | runs_of(row["pivot_passage"])):
            raise SystemExit(f"{pairs}, line {number}: must not be in {collection.name}, on which is measured")


def runs_of(text: str) -> set[tuple[str, ...]]:
    """Every run of as many words as tell where a text is from."""
    words = text.casefold().split()
    return {tuple(words[start : start + SHARED_WORDS]) for start in range(len(words) - SHARED_WORDS + 1)}


def development(
    data: Path, limit: int = 60, languages: Sequence[str] = LANGUAGES
) -> dict[str, list[ParallelCollection]]:
    """Pools of English and one language each: sections of the development documents, and cloze over general prose."""
    found: dict[str, list[ParallelCollection]] = {"sections": [], "cloze": []}
    for language in languages:
        rows = section_rows(data, language, limit, 0, queries=("query", "query_en"))
        texts = [((row["query_en"], row["query"]), (row["passage_en"], row["passage"])) for row in rows]
        found["sections"].append(parallel(f"sections-dev-{language}", language, texts))
        blocks = prose_blocks(data, language)
        if blocks:
            drawn = np.random.default_rng(0).choice(len(blocks), min(limit, len(blocks)), replace=False).tolist()
            # The first sentence asks for the others.
            texts = [(block[0], tuple(" ".join(side) for side in zip(*block[1:], strict=True)))
                     for block in (blocks[i] for i in drawn)]  # fmt: skip
            found["cloze"].append(parallel(f"cloze-{language}", language, texts))
    return found


def parallel(name: str, language: str, texts: Sequence[tuple[Sequence[str], Sequence[str]]]) -> ParallelCollection:
    """A collection of (query, passage) rows, each a pair of an English text and its translation."""
    codes = ("en", language)
    return ParallelCollection(
        name,
        {code: {f"d{i}": passages[side] for i, (_, passages) in enumerate(texts)} for side, code in enumerate(codes)},
        {code: {f"q{i}": queries[side] for i, (queries, _) in enumerate(texts)} for side, code in enumerate(codes)},
        {f"q{i}": (f"d{i}",) for i in range(len(texts))},
    )


def developed(model: Any, collections: dict[str, list[ParallelCollection]]) -> dict[str, float]:
    """Mean Max@R_norm of the mixed pools, by kind."""
    scores = {}
    for kind, found in collections.items():
        results = (audit_model(model, collection, pools=("multi",), resamples=1) for collection in found)
        scores[kind] = fmean(float(row["max@r_norm"] or 0.0) for result in results for row in result.results)
    return scores


def trained(model: str, loss: str, seed: int, rate: float, args: argparse.Namespace) -> Path:
    """The folder of an aligned encoder; trained unless it is there."""
    folder: Path = args.work / f"{model}.{loss}.{seed}.{rate:g}"
    settings = align_settings(model, loss, seed, rate)
    report = folder / "training_report.json"
    found = read_json(report)["settings"] if report.exists() else {}
    # The report has bf16 decided.
    wanted = {name: value for name, value in stated(settings).items() if name != "bf16"}
    if any(found.get(name, "none") != value for name, value in wanted.items()):
        align(folder_of(model, args), write_pairs(args), folder, settings, overwrite=True)
    return folder


def tune(model: str, losses: Sequence[str], args: argparse.Namespace) -> dict[str, float]:
    """Learning rate of every loss by development score, with seed 0."""
    path = args.output.with_name(f"{args.output.name}_rates.json")
    collections = development(args.data)
    parents = {loss: MODELS[model]["parents"].get(loss, loss) for loss in losses}
    for loss in dict.fromkeys(parents.values()):
        for rate in MODELS[model]["rates"]:
            key = make_run(model, loss, 0, rate, args).key
            if key not in {row["settings_hash"] for row in rates_tried(path)}:
                scores = developed(load_model(str(trained(model, loss, 0, rate, args))), collections)
                say(f"{model} {loss}, learning rate {rate:g}: development Max@R_norm {scores}")
                mean = fmean(scores.values())
                row = {"model": model, "loss": loss, "learning_rate": rate, **scores, "max@r_norm": mean}
                row["settings_hash"] = key
                # Read again: another process may have added its model's rows meanwhile.
                content = {"rows": [*rates_tried(path), row]}
                atomic_write(path, (json.dumps(content, indent=1) + "\n").encode())
                gc.collect()
    rows = {row["settings_hash"]: row for row in rates_tried(path)}
    by_loss = {
        loss: [rows[make_run(model, parent, 0, rate, args).key] for rate in MODELS[model]["rates"]]
        for loss, parent in parents.items()
    }
    return {loss: max(found, key=lambda row: row["max@r_norm"])["learning_rate"] for loss, found in by_loss.items()}


def rates_tried(path: Path) -> list[dict[str, Any]]:
    """Development scores so far, a row per model, loss and learning rate."""
    rows: list[dict[str, Any]] = read_json(path)["rows"] if path.exists() else []
    return rows


def measure(run: Run, collection: ParallelCollection, args: argparse.Namespace) -> None:
    """Audit one encoder in English and every other language."""
    folder = folder_of(run.model, args) if run.rate is None else trained(run.model, run.loss, run.seed, run.rate, args)
    result = audit_model(load_model(str(folder)), collection, pools=POOLS, dtype=DTYPE, resamples=args.resamples)
    rows = []
    for row in result.to_rows():
        if "en" in row["pool_languages"] or row["pool"] == "mono-same" or row["query_language"] == "en":
            # A pool of English and one language is the paper's Multi.
            pool = "multi" if row["pool"] == "pairs" else row["pool"]
            kept = {key: row[key] for key in COLUMNS}
            stage = "before" if run.rate is None else "after"
            rows.append({"model": run.model, "loss": run.loss, "seed": run.seed, "stage": stage, **kept, "pool": pool})
    content = {
        "rows": rows,
        "learning_rate": run.rate,
        "settings": run.settings,
        "settings_hash": run.key,
        "versions": result.settings["versions"],
    }
    atomic_write(run.path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
    multi = [row["max@r_norm"] for row in rows if row["pool"] == "multi"]
    say(f"{run.model} {run.loss}, seed {run.seed}: Max@R_norm of the mixed pools {fmean(multi):.1f}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "alignment")
    parser.add_argument("--work", type=Path, default=Path("runs/alignment"), help="aligned encoders are kept here")
    parser.add_argument("--minilm", default="runs/bilingual-minilm/trained", help="folder of recipes/bilingual.py")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--max-queries", type=int, default=300)
    parser.add_argument("--resamples", type=int, default=1000)
    args = parser.parse_args(argv)
    use_data(parser, args)
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    args = parse(argv)
    collection = load_parallel("xquad", languages=["en", *LANGUAGES], max_queries=args.max_queries, seed=0)
    check_apart(write_pairs(args), collection)
    for model in args.models:
        runs = [make_run(model, "none", 0, None, args)]
        rates = tune(model, args.losses, args)
        runs += [make_run(model, loss, seed, rates[loss], args) for seed in args.seeds for loss in args.losses]
        for run in runs:
            if not run.done():
                measure(run, collection, args)
                gc.collect()


if __name__ == "__main__":
    main()
