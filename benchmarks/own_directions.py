"""How long a direction of its own a mixed row should get before training, chosen on development sections.

    ISTHMUS_DATA=... python benchmarks/own_directions.py

Trains sembridge in two languages as ``study.py`` does, with directions of several lengths; no evaluation set is read.
Writes the development nDCG@10 of every evaluation of every run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from cells import use_data
from study_arms import METHODS, RATES, fine_tuned

from isthmus.reading.storage import atomic_write, read_json

LANGUAGES = ("ko", "ru")
STRENGTHS = (0.0, 1.0, 1.5, 2.5)


def method_of(strength: float) -> str:
    """Name of the method among those of the study."""
    for name, options in METHODS.items():
        if options == METHODS["sembridge"] | ({"own_direction": strength} if strength else {}):
            return name
    name = f"sembridge-own-{strength:g}"
    METHODS[name] = METHODS["sembridge"] | {"own_direction": strength}
    return name


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "own_directions.json")
    parser.add_argument("--work", type=Path, default=Path("runs/study"), help="trained encoders are kept here")
    args = parser.parse_args(argv)
    use_data(parser, args)
    rows = read_json(args.output)["rows"] if args.output.exists() else []
    for language, strength in product(LANGUAGES, STRENGTHS):
        if any((row["language"], row["own_direction"]) == (language, strength) for row in rows):
            continue
        _, report = fine_tuned(method_of(strength), language, 0, RATES[0], args.data, args.work)
        found = report["development"]
        rows.append({"language": language, "own_direction": strength, "ndcg@10": found["best"], **found})
        atomic_write(args.output, (json.dumps({"rows": rows}, indent=1) + "\n").encode())
        print(f"{language}, directions of length {strength:g}: {found['best']:.3f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
