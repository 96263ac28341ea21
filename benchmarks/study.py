"""The study: every way to carry an encoder over, in five languages, before and after training on the same pairs.

    ISTHMUS_DATA=... python benchmarks/study.py                      everything that is missing
    ISTHMUS_DATA=... python benchmarks/study.py --only zero-shot --languages ko --seeds 0 1 2

One JSON per cell (language, method, stage, seed) with nDCG@10 by query beside it; a finished cell is not measured
again. Learning rates are chosen on development sections of one language, which also choose the checkpoint of a run;
evaluation collections choose nothing. ``summary.json`` has the paired comparisons.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cells import ResultFile, fingerprint, use_data
from scipy.sparse import csr_matrix, issparse
from study_arms import ARMS, BRIDGE, ENCODER, METHODS, RATES, SWEEP, TOKENIZER, TRAINING, fine_tuned, transferred
from zero_shot import sample_queries

import isthmus
from isthmus.collections import Collection, load
from isthmus.evaluation import BM25, bootstrap_interval, evaluate_vectors, paired_bootstrap
from isthmus.evaluation.models import encode, load_model
from isthmus.reading.storage import atomic_write, read_json

LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
PARTS = ("zero-shot", "tune", "fine-tuned", "sweep", "summary")
TUNED_ON = "ko"
# Active dimensions that queries and documents are cut to, for comparison at equal cost.
CUTS = ((8, 16), (16, 32), (16, 64), (32, 128), (32, 256))
REFERENCE = "sembridge"
# Methods that draw some rows; the others are the same with every seed before training.
DRAWN = ("random", "gaussian", "multivariate-gaussian", "focus", "ofa", "sembridge-own")
CURVE = ("ndcg@10", "flops")


@dataclass(frozen=True)
class Cell(ResultFile):
    """One measurement of the study."""

    language: str
    method: str
    stage: str
    seed: int
    path: Path
    settings: dict[str, Any]


def make_cell(language: str, method: str, stage: str, seed: int, rate: float | None, args: argparse.Namespace) -> Cell:
    """A cell and everything it depends on."""
    settings = {
        "language": language,
        "method": method,
        "stage": stage,
        "seed": seed,
        "encoder": fingerprint(ENCODER),
        "bridge": fingerprint(BRIDGE),
        "tokenizer": fingerprint(TOKENIZER.format(language=language)),
        "transfer": (METHODS | SWEEP).get(method),
        "training": None if rate is None else replace(TRAINING, learning_rate=rate).to_dict(),
        "distractors": args.distractors,
        "max_queries": args.max_queries,
        "isthmus": isthmus.__version__,
    }
    return Cell(language, method, stage, seed, args.output / f"{language}.{method}.{stage}.{seed}.json", settings)


def collection_of(language: str, args: argparse.Namespace) -> Collection:
    """The evaluation collection of a language with distractors, the same for all methods and seeds."""
    name = "korquad" if language == "ko" else "xquad"
    path = args.data / "distractors" / f"{language}.jsonl.xz"
    found = load(name, language=language, distractors=path, max_distractors=args.distractors, seed=0)
    return sample_queries(found, args.max_queries, 0)


def cut(vectors: csr_matrix, dims: int) -> csr_matrix:
    """The largest ``dims`` entries of every row."""
    rows = []
    for row in range(vectors.shape[0]):
        start, end = vectors.indptr[row], vectors.indptr[row + 1]
        order = np.argsort(-vectors.data[start:end], kind="stable")[:dims]
        rows.append((vectors.indices[start:end][order], vectors.data[start:end][order]))
    starts = np.cumsum([0, *(len(ids) for ids, _ in rows)])
    data = np.concatenate([values for _, values in rows])
    return csr_matrix((data, np.concatenate([ids for ids, _ in rows]), starts), shape=vectors.shape)


def measured(
    cell: Cell, model: Any, collection: Collection, training: dict[str, Any] | None
) -> tuple[dict[str, Any], Any]:
    """Encode and search; what is said of the cell, and its scores by query."""
    started = time.perf_counter()
    texts = {"query": list(collection.queries.values()), "document": list(collection.corpus.values())}
    options: dict[str, Any] = {} if isinstance(model, BM25) else {"dtype": "bfloat16"}
    queries, documents = (encode(model, texts[role], role=role, **options) for role in ("query", "document"))
    result = evaluate_vectors(queries, documents, collection, name=cell.method, started=started)
    ndcg = result.per_query["ndcg@10"]
    pruned = []
    if issparse(queries) and not isinstance(model, BM25):
        for query_dims, document_dims in CUTS:
            found = evaluate_vectors(cut(queries, query_dims), cut(documents, document_dims), collection, name="cut")
            row = {"query_dims": query_dims, "document_dims": document_dims}
            pruned.append({**row, "ndcg@10": found["ndcg@10"], "flops": found.flops})
    stated = result.to_dict()
    content = {
        "language": cell.language,
        "method": cell.method,
        "stage": cell.stage,
        "seed": cell.seed,
        **{key: stated[key] for key in ("collection", "documents", "queries", "ndcg@10", "flops")},
        "ndcg@10_ci": list(bootstrap_interval(ndcg)),
        "query_active_dims": result.query_active_dims,
        "document_active_dims": result.document_active_dims,
        "pruned": pruned,
        "training": training,
        "queries_hash": hashlib.sha256("\n".join(result.query_ids).encode()).hexdigest()[:16],
        "settings": cell.settings,
        "settings_hash": cell.key,
        "versions": stated["settings"]["versions"],
    }
    say(f"{cell.language} {cell.method}, {cell.stage}, seed {cell.seed}: {result['ndcg@10']:.3f}")
    return content, ndcg


def measure(cell: Cell, model: Any, collection: Collection, training: dict[str, Any] | None) -> None:
    """Measure a cell and write it with its scores by query."""
    content, ndcg = measured(cell, model, collection, training)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, ndcg=ndcg)
    atomic_write(cell.path.with_suffix(".npz"), buffer.getvalue())
    atomic_write(cell.path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def zero_shot(language: str, methods: Sequence[str], args: argparse.Namespace) -> None:
    """Cells of a language before training."""
    collection = collection_of(language, args)
    for seed in args.seeds:
        for method in methods:
            cell = make_cell(language, method, "zero-shot", seed, None, args)
            if wanted(method, args) and not cell.done() and (method in DRAWN or seed == 0):
                measure(cell, transferred(method, language, seed, args.data), collection, None)
                gc.collect()


def training_of(report: dict[str, Any], rate: float) -> dict[str, Any]:
    """What a cell says about its training."""
    return {
        "learning_rate": rate,
        "pairs": report["data"]["rows"],
        "steps": report["steps"],
        "kept_step": report["kept_step"],
        "development": report["development"],
        "seconds": report["seconds"],
    }


def tune(args: argparse.Namespace) -> dict[str, float]:
    """The learning rate of every method, by the best development nDCG@10 in one language.

    The runs at the chosen rates are the study's own in that language.
    """
    path = args.output / "learning_rates.json"
    rows = read_json(path)["rows"] if path.exists() else []
    for method in [method for method in ARMS if wanted(method, args)]:
        for rate in RATES:
            if any((row["method"], row["learning_rate"]) == (method, rate) for row in rows):
                continue
            _, report = fine_tuned(method, TUNED_ON, 0, rate, args.data, args.work)
            best = report["development"]["best"]
            say(f"{TUNED_ON} {method}, learning rate {rate:g}: development {best:.3f}")
            # Another process may have written in the meantime.
            rows = read_json(path)["rows"] if path.exists() else []
            rows.append({"method": method, "language": TUNED_ON, **training_of(report, rate)})
            atomic_write(path, (json.dumps({"rows": rows}, indent=1) + "\n").encode())
    rows = [row for row in rows if row["learning_rate"] in RATES]
    by_method = {method: [row for row in rows if row["method"] == method] for method in ARMS}
    return {
        method: max(found, key=lambda row: row["development"]["best"])["learning_rate"]
        for method, found in by_method.items()
        if len(found) == len(RATES)
    }


def trained(language: str, rates: dict[str, float], args: argparse.Namespace) -> None:
    """Cells of a language after training."""
    collection = collection_of(language, args)
    for seed in args.seeds:
        for method in [method for method in ARMS if wanted(method, args) and method in rates]:
            cell = make_cell(language, method, "fine-tuned", seed, rates[method], args)
            if not cell.done():
                folder, report = fine_tuned(method, language, seed, rates[method], args.data, args.work)
                measure(cell, load_model(str(folder)), collection, training_of(report, rates[method]))
                gc.collect()


def summarize(output: Path) -> dict[str, Any]:
    """One row per language, method and stage: means over seeds, and comparisons with sembridge and BM25.

    Scores are averaged over seeds query by query; intervals and tests resample queries.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for path in sorted(output.glob("*.*.*.*.json")):
        cell = read_json(path) | {"scores": np.load(path.with_suffix(".npz"))["ndcg"]}
        groups.setdefault((cell["language"], cell["method"], cell["stage"]), []).append(cell)
    scores = {place: np.mean([cell["scores"] for cell in cells], axis=0) for place, cells in groups.items()}
    rows = []
    for (language, method, stage), cells in groups.items():
        own = scores[language, method, stage]
        against = {}
        # BM25 is not trained.
        for reference, other in ((REFERENCE, (language, REFERENCE, stage)), ("bm25", (language, "bm25", "zero-shot"))):
            if other in scores and other != (language, method, stage):
                against[f"against_{reference}"] = paired_bootstrap(own, scores[other]).to_dict()
        rows.append(
            {
                "language": language,
                "method": method,
                "stage": stage,
                "seeds": [cell["seed"] for cell in cells],
                **{key: cells[0][key] for key in ("collection", "documents", "queries")},
                "ndcg@10": float(own.mean()),
                "ndcg@10_ci": list(bootstrap_interval(own)),
                "ndcg@10_by_seed": [cell["ndcg@10"] for cell in cells],
                **{key: mean_of(cells, key) for key in ("flops", "query_active_dims", "document_active_dims")},
                "pruned": [
                    cells[0]["pruned"][i] | {key: mean_of([cell["pruned"][i] for cell in cells], key) for key in CURVE}
                    for i in range(len(cells[0]["pruned"]))
                ],
                "training": cells[0]["training"],
                **against,
            }
        )
    return {"rows": rows, "training": TRAINING.to_dict(), "encoder": ENCODER, "bridge": BRIDGE}


def mean_of(cells: Sequence[dict[str, Any]], key: str) -> float | None:
    """Mean over seeds; None for what has no such number."""
    values = [cell[key] for cell in cells if cell[key] is not None]
    return float(np.mean(values)) if values else None


def wanted(method: str, args: argparse.Namespace) -> bool:
    return args.methods is None or method in args.methods


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "study")
    parser.add_argument("--work", type=Path, default=Path("runs/study"), help="trained encoders are kept here")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--methods", nargs="+", choices=["bm25", *ARMS, *SWEEP], help="all unless given")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="all unless given")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--distractors", type=int, default=200)
    parser.add_argument("--max-queries", type=int, default=300)
    args = parser.parse_args(argv)
    if args.data is None and args.only == ["summary"]:
        return args
    use_data(parser, args)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, then compare."""
    args = parse(argv)
    only = args.only or PARTS
    for language in args.languages:
        if "zero-shot" in only:
            zero_shot(language, ("bm25", *ARMS), args)
    if "tune" in only or "fine-tuned" in only:
        rates = tune(args)
        for language in args.languages:
            if "fine-tuned" in only:
                trained(language, rates, args)
    for language in args.languages:
        if "sweep" in only:
            zero_shot(language, tuple(SWEEP), args)
    if "summary" in only:
        summary = summarize(args.output)
        atomic_write(args.output / "summary.json", (json.dumps(summary, ensure_ascii=False, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
