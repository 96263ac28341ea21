"""``isthmus export``: an index as files for other engines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, escape, print_json, working
from isthmus.cli._queries import read_queries
from isthmus.engines.options import ExportOptions
from isthmus.errors import InputError


@flags
def command(
    folder: Annotated[str, typer.Argument(help="An index folder.", metavar="IDX")],
    format: Annotated[
        Literal["anserini", "opensearch", "qdrant", "vespa"], typer.Option("--format", help="Whose loader it is for.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")],
    options: ExportOptions,
    queries: Annotated[
        Path | None, typer.Option(help="Anserini: queries to write as topics, one a line, or .jsonl with id and text.")
    ] = None,
    json: Json = False,
) -> None:
    """Write an index as the files that another engine's loader takes.

    Example: isthmus export idx --format qdrant -o points
    """
    started = time.perf_counter()
    with working("loading libraries", quiet=json):
        from isthmus.engines import is_engine_url
        from isthmus.engines.formats import export
    if is_engine_url(folder):
        raise InputError(
            f"IDX must be an index folder, got {folder}; leave out seismic:, or make a folder of what lies on a server "
            "with isthmus index MODEL CORPUS -o FOLDER"
        )
    check_names([options.model])
    done = export(folder, format, output, options, queries=None if queries is None else _numbered(queries))
    seconds = time.perf_counter() - started
    if json:
        print_json([{"folder": str(output), **done, "seconds": seconds}])
        return
    console.print(
        f"{done['documents']:,} documents with {done['postings']:,} postings written to {escape(str(output))} for "
        f"{format}; {seconds:.1f} s",
        soft_wrap=True,
    )
    console.print(f"weights are {done['weights']}", soft_wrap=True)
    if "quantization" in done:
        console.print(
            f"impacts are {done['quantization']}: off by at most {done['largest_rounding_error']:.2g}, "
            f"{done['postings_rounded_to_zero']:,} postings rounded to 0 and left out",
            soft_wrap=True,
        )
    if "topics" in done:
        console.print(
            f"{done['queries']:,} queries in {done['topics']}, {done['query_terms_rounded_to_zero']:,} of their terms "
            "rounded to 0 and left out",
            soft_wrap=True,
        )


def _numbered(path: Path) -> Iterator[tuple[str, str]]:
    """Queries without an id are called by their number."""
    return ((str(number) if id is None else id, text) for number, (id, text) in enumerate(read_queries(path), start=1))
