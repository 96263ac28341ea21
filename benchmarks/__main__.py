"""``python -m benchmarks SUITE ...``, from the checkout."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from isthmus.errors import IsthmusError

# What each suite measures.
SUITES = {
    "zero-shot": "every initialisation against BM25, before training",
    "study": "every way to carry an encoder over, before and after training",
    "study-published": "the study with published encoders and bridges",
    "keep-source": "encoders that keep English and read further languages",
    "exact-matching": "encoders that get the words of their texts back",
    "alignment": "encoders made here before and after each loss",
    "alignment-published": "a published model aligned as the papers do",
    "bridges": "published and built-in bridges, as they come, refined and taught",
    "new-language": "a language nobody prepared",
    "adapt": "a measure without labels, and one recipe against BM25 in every language",
    "domain": "training without labels on the text of one domain",
    "search": "engines on the same collections",
    "engines": "every engine on the same sentences",
    "cluster": "a cluster that loses a node while an index is built",
    "serve": "a server under load",
    "scale": "a plan for a billion passages, from measured numbers",
    "hostile": "a server under load, with hostile clients and without",
    "speed": "how fast the rows of new tokens are computed",
    "head": "what the fused vocabulary head saves",
    "paper": "the tables of the papers",
}
OTHERS = {"tables": "write the tables of the documentation, or --check them", "figures": "draw its figures"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a suite; 2 where it cannot be."""
    told = "\n".join(f"  {name:20} {what}" for name, what in {**SUITES, **OTHERS}.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Run a suite; SUITE --help tells more.", epilog=told,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("suite", choices=[*SUITES, *OTHERS], metavar="SUITE")
    given = list(sys.argv[1:] if argv is None else argv)
    suite = parser.parse_args(given[:1]).suite
    package = "benchmarks.suites" if suite in SUITES else "benchmarks"
    try:
        found: int | None = importlib.import_module(f"{package}.{suite.replace('-', '_')}").main(given[1:])
    except IsthmusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return found or 0


if __name__ == "__main__":
    sys.exit(main())
