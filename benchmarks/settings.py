"""Settings of the methods on development pairs, to choose defaults; evaluation collections are never read.

    ISTHMUS_DATA=... python benchmarks/settings.py --output benchmarks/results/settings.json

Two pools for each language: *sections* of documentation, asked by their headings, and *cloze*, passages of general
prose from which one sentence was taken and is the query (inverse cloze, arXiv 1906.00300). nDCG@10 by setting,
language and pool, resumable: a finished cell is not measured again.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cells import fingerprint

import isthmus
from isthmus._files import atomic_write
from isthmus.corpora import Collection
from isthmus.evaluation import BM25, evaluate_model

LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
POOLS = ("sections", "cloze")
# Sources of the parallel files whose sentences are in the order of their documents.
PROSE = ("wmt_newstest", "tico19", "nk_news", "ko_news", "jhe")
SENTENCES = 5
SEMBRIDGE: dict[str, Any] = {"method": "sembridge", "alpha": 4.0, "strip_marker": True, "pool": "kind"}
NEAREST: dict[str, Any] = {"method": "nearest", "strip_marker": True, "pool": "kind"}
KEPT: dict[str, Any] = {"strip_marker": False, "pool": "clean"}
SETTINGS: dict[str, dict[str, Any]] = {
    "mean": {"method": "mean"},
    "gaussian": {"method": "gaussian"},
    "multivariate-gaussian": {"method": "multivariate-gaussian"},
    "nearest, markers kept": {**NEAREST, **KEPT},
    "nearest, stripped": {**NEAREST, "pool": "clean"},
    "nearest, stripped, by kind": NEAREST,
    "as released": {"method": "sembridge", "as_released": True},
    "alpha 3, markers kept": {**SEMBRIDGE, **KEPT, "alpha": 3.0},
    "alpha 4, markers kept": {**SEMBRIDGE, **KEPT},
    "alpha 4, markers kept, by kind": {**SEMBRIDGE, "strip_marker": False},
    "alpha 3, stripped": {**SEMBRIDGE, "pool": "clean", "alpha": 3.0},
    "alpha 4, stripped": {**SEMBRIDGE, "pool": "clean"},
    "alpha 2, stripped, by kind": {**SEMBRIDGE, "alpha": 2.0},
    "alpha 3, stripped, by kind": {**SEMBRIDGE, "alpha": 3.0},
    "alpha 4, stripped, by kind": SEMBRIDGE,
    "alpha 6, stripped, by kind": {**SEMBRIDGE, "alpha": 6.0},
    "the same, alpha 4, bias zero": {**SEMBRIDGE, "bias": "zero"},
    "the same, alpha 4, bias by position": {**SEMBRIDGE, "bias": "position"},
    "the same, alpha 4, exact matches only": {**SEMBRIDGE, "fuzzy": False, "symbol": False},
}


def sections(data: Path, language: str, limit: int, seed: int) -> Collection:
    """At most ``limit`` (heading, section) pairs of a language; distinct passages."""
    with lzma.open(data / f"sections/dev.en-{language}.jsonl.xz", "rt", encoding="utf-8") as stream:
        rows = list({row["passage"]: row for row in map(json.loads, stream) if row["query"].strip()}.values())
    if len(rows) > limit:
        rows = [rows[i] for i in sorted(np.random.default_rng(seed).choice(len(rows), limit, replace=False).tolist())]
    corpus = {f"d{i}": row["passage"] for i, row in enumerate(rows)}
    queries = {f"q{i}": row["query"] for i, row in enumerate(rows)}
    return Collection(f"sections-dev-{language}", corpus, queries, {f"q{i}": {f"d{i}": 1} for i in range(len(rows))})


def cloze(data: Path, language: str, limit: int, seed: int) -> Collection:
    """At most ``limit`` passages of neighbouring sentences, each without the one that is its query."""
    runs: list[list[str]] = []
    previous = None
    with lzma.open(data / f"parallel/en-{language}.tsv.xz", "rt", encoding="utf-8") as stream:
        for line in stream:
            source, _, sentence = line.rstrip("\n").split("\t")[:3]
            if source.startswith(PROSE):
                if source != previous:
                    runs.append([])
                runs[-1].append(sentence)
            previous = source
    blocks = [run[i : i + SENTENCES] for run in runs for i in range(0, len(run) - SENTENCES + 1, SENTENCES)]
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(len(blocks), min(limit, len(blocks)), replace=False).tolist())
    corpus, queries = {}, {}
    for number, block in enumerate(blocks[i] for i in chosen):
        taken = int(rng.integers(SENTENCES))
        queries[f"q{number}"] = block[taken]
        corpus[f"d{number}"] = " ".join(block[:taken] + block[taken + 1 :])
    return Collection(f"cloze-{language}", corpus, queries, {f"q{i}": {f"d{i}": 1} for i in range(len(corpus))})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/settings.json"))
    parser.add_argument("--encoder", default="isthmus/mini-splade-en")
    parser.add_argument("--bridge", default="isthmus/mini-bridge")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--limit", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.data is None:
        parser.error("--data must name the folder with the development pairs (or set ISTHMUS_DATA)")
    run = {
        "encoder": fingerprint(args.encoder),
        "bridge": fingerprint(args.bridge),
        "limit": args.limit,
        "seed": args.seed,
    }
    rows = json.loads(args.output.read_text())["rows"] if args.output.exists() else []
    rows = [row for row in rows if row["run"] == run]
    for language in args.languages.split(","):
        makers = {"sections": sections, "cloze": cloze}
        pools = {name: makers[name](Path(args.data), language, args.limit, args.seed) for name in POOLS}
        tokenizer = f"isthmus/tokenizer-{language}"
        for name in ("BM25", *SETTINGS):
            if any((row["language"], row["setting"]) == (language, name) for row in rows):
                continue
            if name == "BM25":
                model = BM25(tokenizer)
            else:
                options = SETTINGS[name]
                bridge = None if options["method"] in ("mean", "gaussian", "multivariate-gaussian") else args.bridge
                model, _ = isthmus.transfer(
                    args.encoder, target_tokenizer=tokenizer, bridge=bridge, seed=args.seed, **options
                )
            for pool, collection in pools.items():
                result = evaluate_model(model, collection, dtype="bfloat16").to_dict()
                measured = {key: value for key, value in result.items() if key not in ("settings", "model")}
                rows.append({"setting": name, "language": language, "pool": pool, "run": run, **measured})
                sys.stderr.write(f"{language} {name}, {pool}: {measured['ndcg@10']:.3f}\n")
            atomic_write(args.output, json.dumps({"rows": rows}, indent=1).encode())


if __name__ == "__main__":
    main()
