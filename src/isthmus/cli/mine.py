"""``isthmus mine``: hard negatives for training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from isthmus.cli._hub import check_names
from isthmus.cli._output import console, print_json, quiet_libraries, working
from isthmus.errors import OutputError


def command(
    model: Annotated[str, typer.Argument(help="Encoder that ranks: built-in name, folder or hub id.", metavar="MODEL")],
    train: Annotated[str, typer.Option(help="Pairs, as for `isthmus train`.")],
    file: Annotated[Path, typer.Option("--file", "-o", help="JSONL file to write.")],
    negatives: Annotated[int, typer.Option(help="Negatives per row; rows with fewer are left out.")] = 5,
    skip: Annotated[int, typer.Option(help="Leave out this many of the best ranked.")] = 1,
    last_rank: Annotated[
        int | None,
        typer.Option(help="Draw from the ranks up to this one.", show_default="take the first after --skip"),
    ] = None,
    max_score: Annotated[
        float, typer.Option(help="Take only what scores below this share of the positive's score.")
    ] = 0.95,
    batch_size: Annotated[int, typer.Option(help="Texts per batch.")] = 32,
    seed: Annotated[int, typer.Option(help="Seed of the draw with --last-rank.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was done as one JSON object.")] = False,
) -> None:
    """Add to every pair the passages of other rows that the model ranks high for its query."""
    if file.is_dir() or (file.exists() and not overwrite):
        raise OutputError(f"{file} already exists; choose another file or pass --overwrite")
    check_names([model])
    with working("loading libraries", quiet=json):
        from isthmus.encoders.load import load_encoder
        from isthmus.training.data import read_training_data
        from isthmus.training.mining import mine, write_rows

        quiet_libraries()
    data = read_training_data(train)
    rows = mine(
        load_encoder(model, trust_remote_code=trust_remote_code),
        data,
        negatives=negatives,
        skip=skip,
        last_rank=last_rank,
        seed=seed,
        max_score=max_score,
        batch_size=batch_size,
        show_progress_bar=False if json else None,
    )
    write_rows(rows, file)
    if json:
        print_json([{"file": str(file), "rows": len(rows), "left_out": len(data) - len(rows), "negatives": negatives}])
    else:
        left = len(data) - len(rows)
        console.print(
            f"{len(rows)} rows with {negatives} negatives each; {left} left out for want of candidates\n"
            f"written to {escape(str(file))}; try: isthmus train {escape(model)} --train {escape(str(file))}",
            soft_wrap=True,
        )
