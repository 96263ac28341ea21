"""``isthmus tokenizer``: a tokenizer for a language that has none, from raw text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli._options import Folder, Json, Overwrite, flags
from isthmus.cli._printing import console, escape, print_json, print_report, quiet_libraries, working
from isthmus.reading.storage import atomic_folder, check_folder
from isthmus.reading.texts import read_texts
from isthmus.vocabulary.options import TokenizerOptions
from isthmus.vocabulary.train_tokenizer import TokenizerReport


@flags
def command(
    texts: Annotated[
        list[str],
        typer.Argument(
            help="Text of the language: .txt, one document or sentence a line, or a corpus (.jsonl, .csv, .parquet); "
            "all but the last also .gz, .xz or .zst.",
            metavar="TEXT...",
        ),
    ],
    folder: Folder,
    options: TokenizerOptions,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train a WordPiece tokenizer on raw text, a target for a transfer.

    Every 50th line is not trained on, and measured on.

    Example: isthmus tokenizer wiki.de.txt -o tokenizer-de --language de
    """
    check_folder(folder, overwrite=overwrite, marker="tokenizer.json")
    with atomic_folder(folder, overwrite=overwrite) as written:
        report = train_into(written, texts, options)
    if json:
        print_json([report.to_dict() | {"folder": str(folder)}])
        return
    print_report(report)
    place = escape(str(folder))
    console.print(
        f"\nwritten to {place}; try: isthmus transfer ENCODER --target-tokenizer {place} --bridge BRIDGE -o FOLDER",
        soft_wrap=True,
    )


def train_into(folder: Path, texts: Sequence[str | Path], options: TokenizerOptions) -> TokenizerReport:
    """Train a tokenizer on files and save it with its card and report."""
    found = read_texts(texts)
    with working("loading libraries", quiet=options.show_progress_bar is False):
        from isthmus.vocabulary import train_tokenizer

        quiet_libraries()
    tokenizer, report = train_tokenizer(found, options)
    tokenizer.save_pretrained(str(folder))
    report.save(folder)
    return report
