"""``isthmus pairs``: rows for ``isthmus align`` from parallel files."""

from __future__ import annotations

import json as json_lines
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from isthmus.cli._output import console, print_json
from isthmus.collections.training_pairs import build_pairs
from isthmus.errors import OutputError
from isthmus.reading.storage import atomic_write


def command(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Parallel JSONL or TSV files (.gz, .xz), PATH or LANGUAGE=PATH, with query and passage in both "
            "languages (query_en, passage_en, query, passage), and negatives if any (negative_passage_en_1).",
            metavar="FILE...",
        ),
    ],
    file: Annotated[Path, typer.Option("--file", "-o", help="JSONL file to write.")],
    pivot: Annotated[str, typer.Option(help="Code of the pivot language.")] = "en",
    limit: Annotated[
        int | None, typer.Option(help="Most rows in all, spread evenly over the languages.", show_default="all")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw under --limit.")] = 0,
    human_only: Annotated[bool, typer.Option("--human-only", help="Only rows that say translated_by human.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was done as one JSON object.")] = False,
) -> None:
    """Join parallel files into rows for `isthmus align`; nothing is translated, and who translated is counted."""
    if file.is_dir() or (file.exists() and not overwrite):
        raise OutputError(f"{file} already exists; choose another file or pass --overwrite")
    for given in files:
        if file.resolve() in (Path(given).resolve(), Path(given.partition("=")[2]).resolve()):
            raise OutputError(f"{file} must be another file than those that are read, got {given}; choose another")
    pairs = build_pairs(files, pivot=pivot, limit=limit, seed=seed, human_only=human_only)
    lines = "".join(json_lines.dumps(row, ensure_ascii=False) + "\n" for row in pairs.rows)
    atomic_write(file, lines.encode())
    counts = pairs.counts()
    if json:
        left_out = dict(pairs.left_out)
        print_json([{"file": str(file), "rows": len(pairs.rows), "translated_by": counts, "left_out": left_out}])
        return
    console.print(f"{len(pairs.rows)} rows, {escape(pivot)} and {escape(', '.join(counts))}", soft_wrap=True)
    for language, translators in counts.items():
        told = ", ".join(f"{number} {escape(name)}" for name, number in translators.items())
        console.print(f"  {escape(language):<11} {sum(translators.values())} translated by: {told}", soft_wrap=True)
    for reason, number in pairs.left_out.items():
        console.print(f"  left out    {number} {reason}", soft_wrap=True)
    console.print(
        f"written to {escape(str(file))}; try: isthmus align MODEL --train {escape(str(file))}", soft_wrap=True
    )
