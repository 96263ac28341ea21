"""``isthmus parity``: whether another engine gives what the exact index gives."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from isthmus.cli._hub import check_names
from isthmus.cli._output import console, print_json, quiet_libraries, working
from isthmus.cli.search import read_queries


def command(
    folder: Annotated[Path, typer.Argument(help="The exact index.", metavar="IDX")],
    url: Annotated[str, typer.Argument(help="The engine to compare, as for isthmus search.", metavar="URL")],
    queries: Annotated[
        Path | None, typer.Option(help="File of queries, as for isthmus search; without, documents are the queries.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Queries at most.")] = 100,
    model: Annotated[str | None, typer.Option(help="Encoder of the queries; default: the one the index names.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Hits of each query.")] = 10,
    tolerance: Annotated[float, typer.Option(min=0, help="Relative difference of a score that is no drift.")] = 0.005,
    min_recall: Annotated[float, typer.Option(min=0, max=1, help="Smallest mean recall that is well.")] = 0.99,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as one JSON object.")] = False,
) -> None:
    """Ask an engine and the exact index the same queries; exit code 1 if scores drift or documents are missing."""
    texts = None if queries is None else [text for _, text in read_queries(queries)][:sample]
    check_names([model])
    with working("loading libraries", quiet=json):
        from isthmus.engines import open_engine
        from isthmus.engines.comparison import compare, sample_queries
        from isthmus.index import SparseIndex

        quiet_libraries()
    index = SparseIndex.open(folder, model=model, trust_remote_code=trust_remote_code)
    if texts is not None and model is None:
        check_names([index.summary()["model"]])
    vectors = sample_queries(index, sample) if texts is None else index.vectors(texts)
    with closing(open_engine(url)) as engine:
        found = compare(index, engine, vectors, top_k=top_k, tolerance=tolerance, min_recall=min_recall)
    if json:
        print_json([{"index": str(folder), "engine": url, "top_k": top_k, **found.to_dict()}])
    else:
        console.print(
            f"{found.queries:,} queries, {found.hits:,} hits of {escape(url)} scored again: largest difference "
            f"{found.drift:.2%}, recall@{top_k} {found.recall:.4f}",
            soft_wrap=True,
        )
        for problem in found.problems:
            console.print(f"[bold red]drift:[/] {escape(problem)}", soft_wrap=True)
    if not found.passed:
        raise typer.Exit(1)
