"""Write the tables of the documentation from the result files.

    python -m benchmarks tables            rewrite every table
    python -m benchmarks tables --check    fail when one is stale

A table stands between ``<!-- table:NAME -->`` and ``<!-- /table -->`` in README.md or a file below docs/.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.harness import RESULTS, ROOT
from isthmus.reading.storage import atomic_write

MARKED = re.compile(r"(<!-- table:([\w-]+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)
MODULES = (
    "adapt_tables", "alignment_tables", "bridges", "choices", "cluster", "domain", "engines", "exact_tables", "head",
    "hostile", "keep_source_tables", "new_language", "scale", "search", "serve", "speed", "study_published_tables",
    "study_tables", "zero_shot",
)  # fmt: skip
TABLES: dict[str, Callable[[Path], str]] = {
    name: make for module in MODULES for name, make in import_module(f"benchmarks.suites.{module}").TABLES.items()
}


def fill(text: str, results: Path) -> str:
    """Replace every marked table in ``text``.

    Raises:
        KeyError: If a marker names a table that nobody makes.
    """
    return MARKED.sub(lambda match: f"{match[1]}{TABLES[match[2]](results)}{match[4]}", text)


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite or check; returns 1 when a table is stale."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tables", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="default: README.md and docs/")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    stale = 0
    for path in args.files or [*ROOT.glob("README.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        old = path.read_text(encoding="utf-8")
        new = fill(old, args.results)
        if new == old:
            continue
        stale += 1
        if args.check:
            print(f"{path}: tables are stale; run: python -m benchmarks tables", file=sys.stderr)
        else:
            atomic_write(path, new.encode())
            print(f"{path}: written", file=sys.stderr)
    return 1 if args.check and stale else 0
