"""``isthmus mine``: hard negatives for training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli._completion import MODELS
from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, escape, print_json, quiet_libraries, working
from isthmus.errors import OutputError
from isthmus.options import OpenOptions
from isthmus.reading.training_rows import rows_file
from isthmus.training.mine_options import MineOptions


@flags
def command(
    model: Annotated[
        str,
        typer.Argument(
            help="Encoder that ranks: built-in name, folder or hub id.", metavar="MODEL", autocompletion=MODELS
        ),
    ],
    train: Annotated[str, typer.Option(help="Pairs, as for `isthmus train`.")],
    file: Annotated[Path, typer.Option("--file", "-o", help="JSONL file to write.", rich_help_panel="Output")],
    options: MineOptions,
    opening: OpenOptions,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.", rich_help_panel="Output")] = False,
    json: Json = False,
) -> None:
    """Add to every pair passages that the model ranks high for its query.

    They are taken from the other rows.

    Example: isthmus mine splade-ko --train pairs.jsonl -o mined.jsonl
    """
    if file.is_dir() or (file.exists() and not overwrite):
        raise OutputError(f"{file} already exists; choose another file or pass --overwrite")
    check_names([model])
    rows_file(train)
    with working("loading libraries", quiet=json):
        from isthmus.encoders.load import load_encoder
        from isthmus.training.data import read_training_data
        from isthmus.training.mining import mine, write_rows

        quiet_libraries()
    data = read_training_data(train)
    rows = mine(load_encoder(model, trust_remote_code=opening.trust_remote_code), data, options)
    write_rows(rows, file)
    left, negatives = len(data) - len(rows), options.negatives
    if json:
        print_json([{"file": str(file), "rows": len(rows), "left_out": left, "negatives": negatives}])
    else:
        console.print(
            f"{len(rows)} rows with {negatives} negatives each; {left} left out for want of candidates\n"
            f"written to {escape(str(file))}; try: isthmus train {escape(model)} --train {escape(str(file))}",
            soft_wrap=True,
        )
