"""Settings of sembridge on development pairs, to choose defaults; evaluation collections are never read.

    ISTHMUS_DATA=... python benchmarks/settings.py --output benchmarks/results/settings.json

A pool is the passages of one language's `sections/dev` file (headings and sections of documentation), the queries are
their headings. nDCG@10 by setting and language, resumable: a finished cell is not measured again.
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
# Continuation pieces reach the bridge as "ing", not as "##ing".
STRIPPED: dict[str, Any] = {"method": "sembridge", "strip_marker": True}
SETTINGS: dict[str, dict[str, Any]] = {
    "mean": {"method": "mean"},
    "gaussian": {"method": "gaussian"},
    "multivariate-gaussian": {"method": "multivariate-gaussian"},
    "nearest": {"method": "nearest"},
    "as released": {"method": "sembridge", "as_released": True},
    "alpha 4": {"method": "sembridge"},
    "alpha 3": {"method": "sembridge", "alpha": 3.0},
    "alpha 2.5": {"method": "sembridge", "alpha": 2.5},
    "alpha 2": {"method": "sembridge", "alpha": 2.0},
    "stripped, nearest": {**STRIPPED, "method": "nearest"},
    "stripped": STRIPPED,
    "stripped, alpha 2": {**STRIPPED, "alpha": 2.0},
    "stripped, alpha 3": {**STRIPPED, "alpha": 3.0},
    "stripped, alpha 6": {**STRIPPED, "alpha": 6.0},
    "stripped, bias zero": {**STRIPPED, "bias": "zero"},
    "stripped, bias by position": {**STRIPPED, "bias": "position"},
    "stripped, pool all": {**STRIPPED, "pool": "all"},
    "stripped, no fuzzy": {**STRIPPED, "fuzzy": False},
    "stripped, exact only": {**STRIPPED, "fuzzy": False, "symbol": False},
}


def development(data: Path, language: str, limit: int, seed: int) -> Collection:
    """At most ``limit`` (heading, section) pairs of a language; distinct passages."""
    with lzma.open(data / f"sections/dev.en-{language}.jsonl.xz", "rt", encoding="utf-8") as stream:
        rows = list({row["passage"]: row for row in map(json.loads, stream) if row["query"].strip()}.values())
    if len(rows) > limit:
        rows = [rows[i] for i in sorted(np.random.default_rng(seed).choice(len(rows), limit, replace=False).tolist())]
    corpus = {f"d{i}": row["passage"] for i, row in enumerate(rows)}
    queries = {f"q{i}": row["query"] for i, row in enumerate(rows)}
    return Collection(f"sections-dev-{language}", corpus, queries, {f"q{i}": {f"d{i}": 1} for i in range(len(rows))})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/settings.json"))
    parser.add_argument("--encoder", default="isthmus/mini-splade-en")
    parser.add_argument("--bridge", default="isthmus/mini-bridge")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--limit", type=int, default=300)
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
        pool = development(Path(args.data), language, args.limit, args.seed)
        tokenizer = f"isthmus/tokenizer-{language}"
        for name in ("BM25", *SETTINGS):
            if any((row["language"], row["setting"]) == (language, name) for row in rows):
                continue
            if name == "BM25":
                result = evaluate_model(BM25(tokenizer), pool)
            else:
                options = SETTINGS[name]
                bridge = None if options["method"] in ("mean", "gaussian", "multivariate-gaussian") else args.bridge
                encoder, _ = isthmus.transfer(
                    args.encoder, target_tokenizer=tokenizer, bridge=bridge, seed=args.seed, **options
                )
                result = evaluate_model(encoder, pool, dtype="bfloat16")
            measured = {key: value for key, value in result.to_dict().items() if key not in ("settings", "model")}
            rows.append({"setting": name, "language": language, "run": run, **measured})
            sys.stderr.write(f"{language} {name}: {measured['ndcg@10']:.3f}\n")
            atomic_write(args.output, json.dumps({"rows": rows}, indent=1).encode())


if __name__ == "__main__":
    main()
