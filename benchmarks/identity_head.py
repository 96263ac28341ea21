"""What restored norms and matched biases are worth, measured on development pairs; no evaluation set is read.

    ISTHMUS_DATA=... python benchmarks/identity_head.py

The sembridge encoder of every language with each of both, on both kinds of development pairs (``dev_pairs.py``): as it
is, with calibrated columns, and with an echo. Biases are matched on passages that are in no pool. Writes one JSON with
nDCG@10 and active dimensions.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from cells import use_data
from dev_pairs import LANGUAGES, cloze, sections
from identity_arms import Vectors, arms_of
from study_arms import BRIDGE, ENCODER, METHODS, TOKENIZER
from training_pairs import training_rows

import isthmus
from isthmus.collections import Collection
from isthmus.evaluation import evaluate_vectors
from isthmus.reading.storage import atomic_write, read_json

PAIRS = 200
NORMS = ("mixed", "restored")
BIASES = ("mixed", "matched")
ARMS = ("plain", "calibrated", "echo")


def measure(encoder: Any, collection: Collection) -> list[dict[str, Any]]:
    """NDCG@10 and active dimensions of every arm of an encoder on one collection."""
    arms = arms_of(Vectors(encoder), list(collection.queries.values()), list(collection.corpus.values()), ())
    rows = []
    for arm in ARMS:
        queries, documents = arms[arm]
        result = evaluate_vectors(queries, documents, collection, name=arm)
        active = documents.nnz / documents.shape[0]
        rows.append({"arm": arm, "ndcg@10": float(result["ndcg@10"]), "active_dims": active})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "identity_head.json")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    args = parser.parse_args(argv)
    use_data(parser, args)
    rows = read_json(args.output)["rows"] if args.output.exists() else []
    for language in args.languages:
        texts = [row["passage"] for row in training_rows(args.data, language)]
        pools = {"sections": sections(args.data, language, PAIRS, 0), "cloze": cloze(args.data, language, PAIRS, 1)}
        for norm, bias in product(NORMS, BIASES):
            place = {"language": language, "norm": norm, "bias": bias}
            if any(place.items() <= row.items() for row in rows):
                continue
            encoder, _ = isthmus.transfer(
                ENCODER, target_tokenizer=TOKENIZER.format(language=language), bridge=BRIDGE, norm=norm, bias=bias,
                sample_texts=texts, **METHODS["sembridge"],
            )  # fmt: skip
            for pairs, collection in pools.items():
                known = place | {"pairs": pairs, "queries": len(collection.queries)}
                found = [known | {"documents": len(collection.corpus)} | row for row in measure(encoder, collection)]
                rows += found
                scores = {row["arm"]: round(row["ndcg@10"], 3) for row in found}
                print(f"{language} {pairs}: norm {norm}, bias {bias}: {scores}", file=sys.stderr, flush=True)
            atomic_write(args.output, (json.dumps({"rows": rows}, indent=1) + "\n").encode())
            del encoder
            gc.collect()


if __name__ == "__main__":
    main()
