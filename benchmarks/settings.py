"""Settings of the methods on development pairs, to choose defaults; evaluation collections are never read.

    ISTHMUS_DATA=... python benchmarks/settings.py --output benchmarks/results/settings.json

Two pools for each language: *sections* of documentation, asked by their headings, and *cloze*, passages of general
prose from which one sentence was taken and is the query (inverse cloze, arXiv 1906.00300). nDCG@10 by setting,
language and pool, resumable: a finished cell is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from cells import fingerprint
from dev_pairs import LANGUAGES, cloze, sections
from training_pairs import target_text

import isthmus
from isthmus.evaluation import BM25, evaluate_model
from isthmus.reading.storage import atomic_write

POOLS = ("sections", "cloze")
SEMBRIDGE: dict[str, Any] = {
    "method": "sembridge",
    "refine": False,
    "standardize": False,
    "alpha": 4.0,
    "csls": False,
    "strip_marker": True,
    "pool": "kind",
}
NEAREST: dict[str, Any] = {"method": "nearest", "refine": False, "strip_marker": True, "pool": "kind"}
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
    "adaptive, margin 0.03": {**SEMBRIDGE, "adaptive": True, "margin": 0.03},
    "adaptive, margin 0.05": {**SEMBRIDGE, "adaptive": True, "margin": 0.05},
    "adaptive, margin 0.1": {**SEMBRIDGE, "adaptive": True, "margin": 0.1},
    "CSLS, alpha 2": {**SEMBRIDGE, "csls": True, "alpha": 2.0},
    "CSLS, alpha 3": {**SEMBRIDGE, "csls": True, "alpha": 3.0},
    "CSLS, alpha 4": {**SEMBRIDGE, "csls": True},
    "CSLS, adaptive, margin 0.1": {**SEMBRIDGE, "csls": True, "adaptive": True, "margin": 0.1},
    "ofa": {"method": "ofa", "refine": False, "strip_marker": True},
    "ofa, temperature 0.05": {"method": "ofa", "refine": False, "strip_marker": True, "temperature": 0.05},
    "ofa, temperature 0.02": {"method": "ofa", "refine": False, "strip_marker": True, "temperature": 0.02},
    "focus, fastText": {"method": "focus"},
    "focus, PPMI": {"method": "focus", "space": "ppmi"},
}


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
                options = dict(SETTINGS[name])
                if options["method"] == "focus":
                    options["texts"] = target_text(Path(args.data), language)
                bridge = args.bridge if options["method"] in ("sembridge", "nearest", "ofa") else None
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
