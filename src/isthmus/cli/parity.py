"""``isthmus parity``: whether another engine gives what the exact index gives."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli._completion import INDEXES
from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, escape, print_json, quiet_libraries, working
from isthmus.cli._queries import read_queries
from isthmus.engines import open_engine
from isthmus.engines.comparison import compare, sample_queries
from isthmus.engines.options import ParityOptions
from isthmus.index import SparseIndex
from isthmus.index.options import ModelOptions


@flags
def command(
    folder: Annotated[Path, typer.Argument(help="The exact index.", metavar="IDX")],
    url: Annotated[
        str, typer.Argument(help="The engine to compare, as for isthmus search.", metavar="URL", autocompletion=INDEXES)
    ],
    options: ParityOptions,
    opening: ModelOptions,
    queries: Annotated[
        Path | None, typer.Option(help="File of queries, as for isthmus search; without, documents are the queries.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Queries at most.")] = 100,
    json: Json = False,
) -> None:
    """Compare an engine with the exact index; exit code 1 if it drifts.

    Both are asked the same queries. Drift is a score that differs, a best document that does not come back, or one that
    is missing.

    Example: isthmus parity idx opensearch://localhost:9200/docs --sample 50
    """
    texts = None if queries is None else [text for _, text in read_queries(queries)][:sample]
    check_names([opening.model])
    index = SparseIndex.open(folder, **vars(opening))
    with closing(open_engine(url)) as engine:
        if texts is not None and opening.model is None:
            check_names([index.summary()["model"]])
        with working("loading libraries", quiet=json):
            quiet_libraries()
        vectors = sample_queries(index, sample) if texts is None else index.vectors(texts)
        found = compare(index, engine, vectors, options)
    if json:
        print_json([{"index": str(folder), "engine": url, "top_k": options.top_k, **found.to_dict()}])
    else:
        console.print(
            f"{found.queries:,} queries, {found.hits:,} hits of {escape(url)} scored again: largest difference "
            f"{found.drift:.2%}, recall@{options.top_k} {found.recall:.4f}",
            soft_wrap=True,
        )
        for problem in found.problems:
            console.print(f"[bold red]drift:[/] {escape(problem)}", soft_wrap=True)
    if not found.passed:
        raise typer.Exit(1)
