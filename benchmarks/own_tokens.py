"""Why a mixture can lose to a single best neighbour: does a text keep its own tokens?

    ISTHMUS_DATA=... python benchmarks/own_tokens.py -o benchmarks/results/own_tokens.json

Per language and method, over development passages of prose (see ``settings.py``): the median norm of the new rows, the
share of a text's distinct tokens that are active in its own vector, and its active dimensions.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cells import fingerprint
from dev_pairs import LANGUAGES, cloze

import isthmus
from isthmus.encoders.encoding import encode_texts
from isthmus.reading.storage import atomic_write
from isthmus.token_map import Fate

METHODS = ("nearest", "sembridge")


def own_share(encoder: Any, texts: list[str], role: Any) -> tuple[float, float]:
    """Mean share of a text's distinct tokens that are active in its vector, and mean active dimensions."""
    vectors = encode_texts(encoder, texts, role=role, dtype="bfloat16")
    shares = []
    for row, text in enumerate(texts):
        own = set(encoder.tokenizer(text, truncation=True, add_special_tokens=False)["input_ids"])
        shares.append(len(own & set(vectors[row].indices.tolist())) / max(1, len(own)))
    return float(np.mean(shares)), vectors.nnz / len(texts)


def main() -> None:
    """Measure every language and method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"))
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/own_tokens.json"))
    parser.add_argument("--encoder", default="isthmus/mini-splade-en")
    parser.add_argument("--bridge", default="isthmus/mini-bridge")
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES))
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.data is None:
        parser.error("--data must name the folder with the development pairs (or set ISTHMUS_DATA)")
    rows = []
    for language in args.languages:
        pool = cloze(Path(args.data), language, args.limit, args.seed)
        for method in METHODS:
            encoder, report = isthmus.transfer(
                args.encoder, target_tokenizer=f"isthmus/tokenizer-{language}", bridge=args.bridge, method=method
            )
            weight = encoder[0].auto_model.get_input_embeddings().weight.detach().float()
            made = report.token_map.rows(Fate.BRIDGED)
            row: dict[str, Any] = {"language": language, "method": method, "passages": len(pool.corpus)}
            row["median_norm"] = float(np.median(weight.norm(dim=1).numpy()[made]))
            for role, texts in (("query", pool.queries), ("document", pool.corpus)):
                row[f"{role}_own_active"], row[f"{role}_active_dims"] = own_share(encoder, list(texts.values()), role)
            rows.append(row)
            sys.stderr.write(f"{row}\n")
    run = {"encoder": fingerprint(args.encoder), "bridge": fingerprint(args.bridge), "seed": args.seed}
    atomic_write(args.output, (json.dumps({"rows": rows, "run": run}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
