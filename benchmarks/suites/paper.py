"""The tables of the three papers, end to end: initialise, train, evaluate.

    python -m benchmarks paper TABLE --hub                      data and models by their names on the hub
    ISTHMUS_DATA=... python -m benchmarks paper TABLE           local replicas of the same columns (see paper_data.py)

TABLE is sembridge-zero-shot, sembridge-fine-tuned (arXiv 2605.26002), proximity (2604.05684) or clear (2604.05821). One
JSON file, a row a cell, resumable: a finished cell is not run again. Nothing is a reproduction: what is not known of a
paper has Isthmus' defaults, and beside a row stands what is known of the paper's cell, with where it is known from.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import isthmus
from benchmarks.harness import RESULTS, Row, hashed, read_rows, say, write_json
from benchmarks.suites.paper_data import Source, miracl, smaller, webfaq
from benchmarks.suites.paper_models import Makes
from benchmarks.suites.paper_tables import MEAN, TABLES, Table, published
from isthmus.auditing.audits import audit_model
from isthmus.collections import Collection, load_parallel
from isthmus.errors import IsthmusError
from isthmus.evaluation import evaluate_model
from isthmus.evaluation.results import versions

READERS = {"webfaq": webfaq, "miracl": miracl}
# Pools of an audit: CLEAR's four directions are the passages of one language, the proximity paper has mixed ones too.
POOLS = {"clear": ("mono-same", "mono-cross"), "proximity": ("mono-same", "mono-cross", "multi")}
# What the models of one method differ in by language.
OF_LANGUAGE = ("language", "languages", "tokenizer", "rows")


@dataclass(frozen=True)
class Cell:
    """A model on a collection in a language; several rows where there are several pools."""

    collection: str
    language: str
    encoder: str
    method: str
    # What the model is made for: the language, or all that it is aligned in.
    languages: tuple[str, ...]
    model: Row
    settings: Row

    @property
    def key(self) -> str:
        """Hash of everything that the cell depends on."""
        return hashed({"model": self.model, **self.settings})

    @property
    def model_key(self) -> str:
        """Hash of everything that the model depends on."""
        return hashed(self.model)


@dataclass(frozen=True)
class Run:
    """What is measured, on which collections, and the rows so far."""

    args: argparse.Namespace
    table: Table
    makes: Makes
    collection: Callable[[str, str], Any]
    rows: list[Row]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks paper", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--hub", action="store_true", help="read data and models from the hub")
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="replicas; ISTHMUS_DATA")
    parser.add_argument("--languages", nargs="+", help="default: the paper's")
    parser.add_argument(
        "--encoders", nargs="+", help="names of the table, or any names or folders; default: the paper's"
    )
    parser.add_argument("--methods", nargs="+", help="default: all")
    parser.add_argument("--collections", nargs="+", help="default: all")
    parser.add_argument("--bridge", help="default: the paper's")
    parser.add_argument("--tokenizer", help="name with {language} in it; default: the paper's")
    parser.add_argument("--rows", help="file to align on, perhaps with {language} in it; default: rows of MLQA")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change the recipe's setting")
    parser.add_argument("--limit", type=int, help="ask at most so many questions of a collection, drawn by the seed")
    parser.add_argument("--passages", type=int, help="beside what is judged keep so many passages; WebFAQ, MIRACL")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of evaluation")
    parser.add_argument("--batch-size", type=int, default=32, help="of evaluation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/paper/TABLE.json")
    parser.add_argument("--keep-models", action="store_true", help="leave trained models in OUTPUT's folder of work")
    parser.add_argument("--trust-remote-code", action="store_true")
    args = parser.parse_args(argv)
    if not args.hub and args.data is None:
        parser.error("--data must name the folder with the replicas (or set ISTHMUS_DATA); --hub reads the hub")
    args.data = None if args.hub else Path(args.data)
    args.output = args.output or RESULTS / "paper" / f"{args.table}.json"
    table = TABLES[args.table]
    for name, known in (("methods", table.methods), ("collections", tuple(table.collections))):
        given = getattr(args, name) or list(known)
        if unknown := [one for one in given if one not in known]:
            parser.error(f"--{name} must be of {', '.join(known)}, got {', '.join(unknown)}")
        setattr(args, name, given)
    args.languages, args.encoders = args.languages or list(table.languages), args.encoders or list(table.encoders)
    try:
        args.changes = {name: _value(value) for name, value in (one.split("=", 1) for one in args.set)}
    except ValueError:
        parser.error(f"--set must be NAME=VALUE, got {', '.join(args.set)}; as in --set steps=20")
    return args


def cells(table: Table, makes: Makes, args: argparse.Namespace) -> Iterator[Cell]:
    """Every wanted cell, those of one model one after another."""
    for encoder in args.encoders:
        for language in args.languages:
            for method in args.methods:
                # CLEAR has a model per language, the proximity paper one for all.
                made_for = tuple(args.languages) if table.kind == "proximity" else (language,)
                model = makes.settings(encoder, method, made_for)
                for collection in args.collections:
                    asked = table.collections[collection]
                    if asked is not None and language not in asked:
                        continue
                    settings = {
                        "table": args.table, "collection": collection, "language": language, "limit": args.limit,
                        "passages": args.passages, "dtype": args.dtype, "source": "hub" if args.hub else "replicas",
                    }  # fmt: skip
                    yield Cell(collection, language, encoder, method, made_for, model, settings)


def measure(cell: Cell, model: Any, table: Table, collection: Any, args: argparse.Namespace) -> list[Row]:
    """The rows of a cell."""
    started = time.perf_counter()
    options: Row = {"dtype": args.dtype, "batch_size": args.batch_size}
    rows: list[Row]
    if isinstance(collection, Collection):
        found = evaluate_model(model, collection, **options).to_dict()
        rows = [{"metrics": {name: found[name] for name in table.metrics}, "documents": found["documents"],
                 "queries": found["queries"]}]  # fmt: skip
    else:
        pools = POOLS[table.kind]
        rows = [
            {
                "pool": row["pool"], "query_language": row["query_language"], "pool_languages": row["pool_languages"],
                "metrics": {name: row[name] for name in table.metrics}, "documents": row["documents"],
                "golds": row["golds"], "queries": row["queries"],
            }
            for row in audit_model(model, collection, pools=pools, seed=args.seed, resamples=1, **options).to_rows()
        ]  # fmt: skip
    stated = {
        "table": args.table, "collection": cell.collection, "language": cell.language, "encoder": cell.encoder,
        "method": cell.method,
    }  # fmt: skip
    after = {
        "seed": args.seed, "settings": {**cell.settings, "model": cell.model}, "settings_hash": cell.key,
        "versions": versions(), "seconds": time.perf_counter() - started,
    }  # fmt: skip
    return [{**stated, **row, "paper": published({**stated, **row}) or None, **after} for row in rows]


def means(rows: Sequence[Row], table: Table) -> list[Row]:
    """Means over the languages of the paper, of what has been measured in all of them."""
    groups: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        if "pool" not in row:
            place = (row["table"], row["collection"], row["encoder"], row["method"])
            groups.setdefault(place, {})[row["language"]] = row
    found = []
    for (name, collection, encoder, method), by_language in groups.items():
        if set(by_language) >= set(table.languages):
            own = [by_language[language]["metrics"] for language in table.languages]
            row = {
                "table": name, "collection": collection, "language": MEAN, "encoder": encoder, "method": method,
                "metrics": {metric: fmean(one[metric] for one in own) for metric in table.metrics},
            }  # fmt: skip
            found.append({**row, "paper": published(row) or None})
    return found


def show(rows: Sequence[Row], table: Table) -> str:
    """A table of text."""
    head = ["collection", "language", "encoder", "method", *(["pool", "asked in"] if "pool" in rows[0] else [])]
    lines = [[*head, *table.metrics, "|D|", "the paper's"]]
    for row in rows:
        known = (row["paper"] or {}).items()
        told = ", ".join(f"{metric} {one['value']:g} [{one['known']}]" for metric, one in known)
        pool = [f"{row['pool']} {'+'.join(row['pool_languages'])}", row["query_language"]] if "pool" in row else []
        values = [f"{row['metrics'][metric]:.3f}" for metric in table.metrics]
        lines.append([*(row[name] for name in head[:4]), *pool, *values, str(row.get("documents", "")), told])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def measure_model(cells: Sequence[Cell], run: Run) -> int:
    """Measure the cells of one model; returns how many could not be."""
    first, made, lost = cells[0], None, 0
    for place, cell in enumerate(cells):
        try:
            # A model takes longest: what it is to be asked is looked for first.
            collection = run.collection(cell.collection, cell.language)
        except IsthmusError as error:
            lost += refuse([cell], error)
            continue
        try:
            made = made or run.makes.make(first.encoder, first.method, first.languages, first.model_key)
            run.rows.extend(measure(cell, made, run.table, collection, run.args))
        except IsthmusError as error:
            # What one collection shows of a model the next would show as well.
            lost += refuse(cells[place:], error)
            break
        save(run.args.output, run.rows, run.table)
    if not (run.args.keep_models or lost):
        run.makes.forget(first.model_key)
    return lost


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, write it after every cell, and print the table; 1 where a cell could not be run."""
    args = parse(argv)
    table, source = TABLES[args.table], Source(args.data)
    source.use()
    work = args.output.with_suffix(".work")
    makes = Makes(
        table, source, work, args.bridge, args.tokenizer, args.rows, args.changes, args.seed, args.trust_remote_code
    )

    # Those of the models that come next.
    @lru_cache(maxsize=2)
    def collection(name: str, language: str) -> Any:
        if name in READERS:
            return smaller(READERS[name](source, language), args.limit, args.passages, args.seed)
        return load_parallel(name, languages=["en", language], max_queries=args.limit, seed=args.seed)

    run = Run(args, table, makes, collection, read_rows(args.output))
    done, wanted = {row["settings_hash"] for row in run.rows}, list(cells(table, makes, args))
    by_model: dict[str, list[Cell]] = {}
    for cell in wanted:
        if cell.key not in done:
            by_model.setdefault(cell.model_key, []).append(cell)
    failed = 0
    for number, group in enumerate(by_model.values(), start=1):
        failed += measure_model(group, run)
        told = f"{group[0].encoder} {group[0].method} {'+'.join(group[0].languages)}"
        say(f"{number} of {len(by_model)} models: {told}")
    keys = {cell.key for cell in wanted}
    shown = [row for row in run.rows if row["settings_hash"] in keys]
    if shown:
        print(show([*shown, *means(shown, table)], table))
        print(
            f"\n{len(shown)} rows in {args.output}; no reproduction of arXiv {table.paper}, see docs/results/papers.md"
        )
    if failed:
        print(f"{failed} of {len(wanted)} cells could not be run, see above")
    return 1 if failed else 0


def refuse(cells: Sequence[Cell], error: IsthmusError) -> int:
    """Tell of cells that could not be run; returns how many."""
    for cell in cells:
        say(f"{cell.collection} {cell.language} {cell.encoder} {cell.method}: {error}")
    return len(cells)


def save(path: Path, rows: list[Row], table: Table) -> None:
    """Write all rows, and means over those of the same settings."""
    alike: dict[str, list[Row]] = {}
    for row in rows:
        stated = {name: value for name, value in row["settings"].items() if name not in ("collection", "language")}
        # What a language has of its own.
        model = {name: value for name, value in stated.pop("model").items() if name not in OF_LANGUAGE}
        alike.setdefault(hashed({**stated, "model": model}), []).append(row)
    content = {
        "isthmus": isthmus.__version__,
        "rows": rows,
        "means": [mean for same in alike.values() for mean in means(same, table)],
    }
    write_json(path, content)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
