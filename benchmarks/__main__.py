"""``python -m benchmarks SUITE ...``, from the checkout."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from isthmus.errors import IsthmusError

SUITES = ("paper",)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run a suite; SUITE --help tells more.")
    parser.add_argument("suite", choices=SUITES)
    given = list(sys.argv[1:] if argv is None else argv)
    suite = parser.parse_args(given[:1]).suite
    # Suites and scripts import each other as top-level modules, as scripts find them.
    folder = str(Path(__file__).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: int = importlib.import_module(suite).main(given[1:])
    except IsthmusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return found


if __name__ == "__main__":
    sys.exit(main())
