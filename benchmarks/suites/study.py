"""The study: every way to carry an encoder over, in five languages, before and after training on the same pairs.

    ISTHMUS_DATA=... python -m benchmarks study                      everything that is missing
    ISTHMUS_DATA=... python -m benchmarks study --only zero-shot --languages ko --seeds 0 1 2

A cell is a language, method, stage and seed. Development sections choose the checkpoint of a run; evaluation
collections choose nothing. ``--encoder`` and ``--bridge`` measure another pair, into another ``--output``.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import issparse

import isthmus
from benchmarks import harness
from benchmarks.encoding import cut, sample_queries, sides_of
from benchmarks.harness import BRIDGE, ENCODER, LANGUAGES, TOKENIZER, Results, Row, fingerprint, say
from benchmarks.pairs import sections, target_text, training_rows
from isthmus.collections import Collection, load
from isthmus.evaluation import BM25, bootstrap_interval, evaluate_vectors, paired_bootstrap
from isthmus.evaluation.models import load_model
from isthmus.reading.storage import atomic_folder, atomic_write, read_json
from isthmus.training import TrainOptions, train

PARTS = ("zero-shot", "fine-tuned", "sweep", "summary")
_SEMBRIDGE: dict[str, Any] = {"method": "sembridge", "refine": False, "standardize": False}
# Each as it measured best on development pairs (LOG.md).
METHODS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "mean": {"method": "mean"},
    "gaussian": {"method": "gaussian"},
    "multivariate-gaussian": {"method": "multivariate-gaussian"},
    "focus": {"method": "focus", "space": "ppmi"},
    "ofa": {"method": "ofa", "refine": False, "temperature": 0.02},
    "nearest": {"method": "nearest", "refine": False},
    "sembridge-released": {"method": "sembridge", "as_released": True},
    "sembridge": {**_SEMBRIDGE, "alpha": 4.0, "csls": True},
    "sembridge-own": {**_SEMBRIDGE, "alpha": 4.0, "csls": True, "own_direction": 1.5},
    "sembridge-keep-source": {**_SEMBRIDGE, "alpha": 4.0, "csls": True, "keep_source": True},
}
# Over bare cosines, as in the paper; below 2 the weights run to thousands of tokens a row.
SWEEP: dict[str, dict[str, Any]] = {
    **{f"sembridge-alpha-{alpha:g}": {**_SEMBRIDGE, "alpha": alpha, "csls": False} for alpha in (2, 2.5, 3, 4, 6)},
    "sembridge-adaptive": {**_SEMBRIDGE, "adaptive": True, "margin": 0.1, "csls": False},
}
WITHOUT_BRIDGE = ("random", "mean", "gaussian", "multivariate-gaussian", "focus")
ARMS = ("base", *METHODS)
# Of all methods: the best on average over the six that 1e-4 was tried for, and for each of the three that 1e-3 was.
RATE = 3e-4
TRAINING = TrainOptions(
    # Every run takes all its steps; the best of its evaluations is kept.
    steps=50, batch_size=32, max_length=96, target_active_dims=160, max_active_share=1.0, save_steps=10, patience=50,
)  # fmt: skip
# Active dimensions that queries and documents are cut to, for comparison at equal cost.
CUTS = ((8, 16), (16, 32), (16, 64), (32, 128), (32, 256))
REFERENCE = "sembridge"
# Methods that draw some rows; the others are the same with every seed before training.
DRAWN = ("random", "gaussian", "multivariate-gaussian", "focus", "ofa", "sembridge-own")


@dataclass(frozen=True)
class Pair:
    """What is carried over, and by what.

    Attributes:
        encoder: Name or folder of the English encoder.
        bridge: Name or folder of the bridge.
        tokenizer: Name of the target tokenizers with ``{language}`` in it.
    """

    encoder: str = ENCODER
    bridge: str = BRIDGE
    tokenizer: str = TOKENIZER

    def transferred(self, name: str, language: str, seed: int, data: Path, options: Row | None = None) -> Any:
        """The encoder of a method before training; ``base`` is the English one untouched.

        Where ``options`` say how to transfer, ``name`` is only what it is called.
        """
        tokenizer = self.tokenizer.format(language=language)
        if name == "bm25":
            return BM25(tokenizer)
        if name == "base":
            return load_model(self.encoder)
        options = dict(options or (METHODS | SWEEP)[name])
        if options["method"] == "focus":
            options["texts"] = target_text(data, language)
        bridge = None if options["method"] in WITHOUT_BRIDGE else self.bridge
        return isthmus.transfer(self.encoder, target_tokenizer=tokenizer, bridge=bridge, seed=seed, **options)[0]

    def prints(self, language: str) -> Row:
        """What tells the models of a language from others."""
        tokenizer = fingerprint(self.tokenizer.format(language=language))
        return {"encoder": fingerprint(self.encoder), "bridge": fingerprint(self.bridge), "tokenizer": tokenizer}


MINI = Pair()


@dataclass(frozen=True)
class Cell(harness.Cell):
    """One measurement of the study."""

    language: str
    method: str
    stage: str
    seed: int


def make_cell(language: str, method: str, stage: str, seed: int, args: argparse.Namespace) -> Cell:
    """A cell and everything it depends on."""
    trained = None if stage == "zero-shot" else replace(TRAINING, learning_rate=RATE).to_dict()
    settings = {
        "language": language, "method": method, "stage": stage, "seed": seed, **args.pair.prints(language),
        "transfer": (METHODS | SWEEP).get(method), "training": trained, "distractors": args.distractors,
        "max_queries": args.max_queries, "isthmus": isthmus.__version__,
    }  # fmt: skip
    return Cell(f"{language}.{method}.{stage}.{seed}", settings, language, method, stage, seed)


def collection_of(language: str, args: argparse.Namespace) -> Collection:
    """The evaluation collection of a language with distractors, the same for all methods and seeds."""
    name = "korquad" if language == "ko" else "xquad"
    path = args.data / "distractors" / f"{language}.jsonl.xz"
    found = load(name, language=language, distractors=path, max_distractors=args.distractors, seed=0)
    return sample_queries(found, args.max_queries, 0)


def write_pairs(path: Path, language: str, seed: int, data: Path) -> None:
    """The pairs that every method trains on: one passage over the steps of one run, drawn by the seed."""
    rows = training_rows(data, language)
    wanted = min(len(rows), TRAINING.batch_size * (TRAINING.steps or 0))
    drawn = np.random.default_rng(seed).choice(len(rows), wanted, replace=False).tolist()
    lines = [json.dumps({"query": rows[i]["query"], "positive": rows[i]["passage"]}, ensure_ascii=False) for i in drawn]
    atomic_write(path, ("\n".join(lines) + "\n").encode())


def fine_tuned(
    name: str, language: str, seed: int, data: Path, work: Path, pair: Pair = MINI, options: Row | None = None
) -> tuple[Path, Row]:
    """Train a method's encoder, unless it has been; its folder and the report of the run.

    The development sections choose among the evaluations of a run. Arguments as for :meth:`Pair.transferred`.
    """
    run = work / f"{language}.{name}.{seed}.{RATE:g}"
    result = run / "trained"
    report = result / "training_report.json"
    if report.is_file():
        return result, read_json(report)
    start, pairs = run / "start", run / "pairs.jsonl"
    if not start.exists():
        with atomic_folder(start) as folder:
            pair.transferred(name, language, seed, data, options).save_pretrained(str(folder))
        gc.collect()
    write_pairs(pairs, language, seed, data)
    settings = replace(TRAINING, learning_rate=RATE, seed=seed)
    chosen = sections(data, language, 80, 0)
    made = train(start, pairs, result, settings, development=chosen, language=language, overwrite=True)
    shutil.rmtree(start)
    gc.collect()
    return result, made.to_dict()


def measure(results: Results, cell: Cell, model: Any, collection: Collection, training: Row | None) -> None:
    """Encode, search, and write the cell with its scores by query."""
    queries, documents = sides_of(model, collection, dtype="bfloat16")
    result = evaluate_vectors(queries, documents, collection, name=cell.method)
    pruned = []
    if issparse(queries) and not isinstance(model, BM25):
        for query_dims, document_dims in CUTS:
            found = evaluate_vectors(cut(queries, query_dims), cut(documents, document_dims), collection, name="cut")
            row = {"query_dims": query_dims, "document_dims": document_dims}
            pruned.append({**row, "ndcg@10": found["ndcg@10"], "flops": found.flops})
    stated, ndcg = result.to_dict(), result.per_query["ndcg@10"]
    kept = (
        "collection", "documents", "queries", "ndcg@10", "flops", "query_active_dims", "document_active_dims"
    )  # fmt: skip
    content = {
        "language": cell.language, "method": cell.method, "stage": cell.stage, "seed": cell.seed,
        **{key: stated[key] for key in kept}, "ndcg@10_ci": list(bootstrap_interval(ndcg)), "pruned": pruned,
        "training": training, "queries_hash": harness.queries_hash(result), "versions": stated["settings"]["versions"],
    }  # fmt: skip
    results.add(cell, content, {"ndcg": ndcg})
    say(f"{cell.name}: {result['ndcg@10']:.3f}")


def training_of(report: Row) -> Row:
    """What a cell says about its training."""
    kept = {key: report[key] for key in ("steps", "kept_step", "development", "seconds")}
    return {"learning_rate": RATE, "pairs": report["data"]["rows"], **kept}


def measure_language(results: Results, language: str, stage: str, methods: Sequence[str], args: Any) -> None:
    """Cells of a language before or after training."""
    collection = collection_of(language, args)
    for seed in args.seeds:
        for method in [name for name in methods if args.methods is None or name in args.methods]:
            cell = make_cell(language, method, stage, seed, args)
            if results.done(cell) or (stage == "zero-shot" and seed and method not in DRAWN):
                continue
            if stage == "zero-shot":
                model, training = args.pair.transferred(method, language, seed, args.data), None
            else:
                folder, report = fine_tuned(method, language, seed, args.data, args.work, args.pair)
                model, training = load_model(str(folder)), training_of(report)
            measure(results, cell, model, collection, training)
            gc.collect()


def summarize(results: Results) -> list[Row]:
    """One row per language, method and stage: intervals, and comparisons with sembridge and BM25.

    Scores are averaged over seeds query by query; intervals and tests resample queries.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for cell in results.cells:
        groups.setdefault((cell["language"], cell["method"], cell["stage"]), []).append(cell)
    by_cell = results.scores()
    scores = {
        place: np.mean([by_cell[cell["cell"]]["ndcg"] for cell in cells], axis=0) for place, cells in groups.items()
    }
    rows = []
    for (language, method, stage), own in scores.items():
        against = {}
        # BM25 is not trained.
        for reference, other in ((REFERENCE, (language, REFERENCE, stage)), ("bm25", (language, "bm25", "zero-shot"))):
            if other in scores and other != (language, method, stage):
                against[f"against_{reference}"] = paired_bootstrap(own, scores[other]).to_dict()
        seeds = [cell["seed"] for cell in groups[language, method, stage]]
        place = {"language": language, "method": method, "stage": stage, "seeds": seeds}
        rows.append({**place, "ndcg@10": float(own.mean()), "ndcg@10_ci": list(bootstrap_interval(own)), **against})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, then compare."""
    parser = harness.parser_of(__doc__, "study", languages=LANGUAGES, work="runs/study")
    parser.add_argument("--methods", nargs="+", choices=["bm25", *ARMS, *SWEEP], help="all unless given")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--distractors", type=int, default=200)
    parser.add_argument("--max-queries", type=int, default=300)
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--bridge", default=BRIDGE)
    args = harness.parse(parser, argv)
    args.pair = Pair(args.encoder, args.bridge)
    results = Results(args.output)
    stages = {"zero-shot": ("zero-shot", ("bm25", *ARMS)), "fine-tuned": ("fine-tuned", ARMS),
              "sweep": ("zero-shot", tuple(SWEEP))}  # fmt: skip
    for part in [part for part in stages if part in args.only]:
        for language in args.languages:
            measure_language(results, language, *stages[part], args)
    if "summary" in args.only:
        results.update(rows=summarize(results))
