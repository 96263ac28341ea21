"""``isthmus inspect``: what a token of a transferred encoder is made of, and what it went into."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli._options import Json
from isthmus.cli._printing import console, escape, print_json
from isthmus.transferring.inspection import describe, load_token_map


def command(
    model: Annotated[Path, typer.Argument(help="Folder of a transferred encoder.", metavar="FOLDER")],
    tokens: Annotated[list[str], typer.Argument(help="Tokens, or words to be split.", metavar="TOKEN")],
    top_k: Annotated[int, typer.Option(min=1, help="Show at most this many on each side.")] = 10,
    json: Json = False,
) -> None:
    """Show what tokens are made of, and what source tokens went into.

    Example: isthmus inspect splade-ko 학교 house
    """
    token_map = load_token_map(model)
    rows = [row for token in tokens for row in describe(token_map, model, token, top_k)]
    if json:
        print_json(rows)
        return
    for row in rows:
        if row["fate"] is not None:
            alias = f", written as {row['written_as']}" if row["written_as"] else ""
            note = escape(f"target id {row['id']}, {row['fate']}{alias}")
            console.print(f"[bold]{escape(row['token'])}[/]  [dim]{note}[/]")
            for source, weight in row["sources"]:
                console.print(f"  {weight:6.3f}  {escape(source)}")
        if row["used_by"]:
            console.print(f"[bold]{escape(row['token'])}[/]  [dim]source token, goes into[/]")
            for target, weight in row["used_by"]:
                console.print(f"  {weight:6.3f}  {escape(target)}")
