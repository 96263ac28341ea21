"""``isthmus pairs``: rows for ``isthmus align`` from parallel files."""

from __future__ import annotations

import json as json_lines
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, escape, print_json
from isthmus.collections.training_pairs import ParallelOptions, build_pairs
from isthmus.errors import OutputError
from isthmus.reading.storage import atomic_write


@flags
def command(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Parallel JSONL or TSV files (.gz, .xz), PATH or LANGUAGE=PATH, with query and passage in both "
            "languages (query_en, passage_en, query, passage), and negatives if any (negative_passage_en_1).",
            metavar="FILE...",
        ),
    ],
    file: Annotated[Path, typer.Option("--file", "-o", help="JSONL file to write.", rich_help_panel="Output")],
    options: ParallelOptions,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.", rich_help_panel="Output")] = False,
    json: Json = False,
) -> None:
    """Join parallel files into rows for `isthmus align`.

    Nothing is translated, and who translated is counted.

    Example: isthmus pairs en-ko.jsonl -o rows.jsonl
    """
    if file.is_dir() or (file.exists() and not overwrite):
        raise OutputError(f"{file} already exists; choose another file or pass --overwrite")
    for given in files:
        if file.resolve() in (Path(given).resolve(), Path(given.partition("=")[2]).resolve()):
            raise OutputError(f"{file} must be another file than those that are read, got {given}; choose another")
    pairs = build_pairs(files, options)
    lines = "".join(json_lines.dumps(row, ensure_ascii=False) + "\n" for row in pairs.rows)
    atomic_write(file, lines.encode())
    counts = pairs.counts()
    if json:
        left_out = dict(pairs.left_out)
        print_json([{"file": str(file), "rows": len(pairs.rows), "translated_by": counts, "left_out": left_out}])
        return
    console.print(f"{len(pairs.rows)} rows, {escape(options.pivot)} and {escape(', '.join(counts))}", soft_wrap=True)
    for language, translators in counts.items():
        told = ", ".join(f"{number} {escape(name)}" for name, number in translators.items())
        console.print(f"  {escape(language):<11} {sum(translators.values())} translated by: {told}", soft_wrap=True)
    for reason, number in pairs.left_out.items():
        console.print(f"  left out    {number} {reason}", soft_wrap=True)
    console.print(
        f"written to {escape(str(file))}; try: isthmus align MODEL --train {escape(str(file))}", soft_wrap=True
    )
