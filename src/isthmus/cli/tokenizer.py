"""``isthmus tokenizer``: a tokenizer for a language that has none, from raw text."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from isthmus.cli._output import console, print_json, print_report, quiet_libraries, working
from isthmus.errors import InputError
from isthmus.reading.storage import atomic_folder, check_folder
from isthmus.vocabulary.train_tokenizer import MAX_CHARACTERS, MIN_FREQUENCY, VOCABULARY_SIZE, TokenizerReport


def command(
    texts: Annotated[
        list[str],
        typer.Argument(
            help="Text of the language: .txt, one document or sentence a line, or a corpus (.jsonl, .csv, .parquet); "
            "all but the last also .gz, .xz or .zst.",
            metavar="TEXT...",
        ),
    ],
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Folder to write the tokenizer to.")],
    vocabulary_size: Annotated[int, typer.Option(help="Entries wanted.")] = VOCABULARY_SIZE,
    lowercase: Annotated[bool, typer.Option(help="Read in lower case, as uncased English encoders do.")] = True,
    language: Annotated[
        str | None, typer.Option(help="ISO 639-1 code, for the card; tr and az have a dotless i.")
    ] = None,
    min_frequency: Annotated[int, typer.Option(help="Pieces that are rarer in the text are not made.")] = MIN_FREQUENCY,
    max_characters: Annotated[int, typer.Option(help="Stop reading after this many characters.")] = MAX_CHARACTERS,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the tokenizer in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Train a WordPiece tokenizer on raw text, as a target for `isthmus transfer`; every 50th line is measured on."""
    check_folder(folder, overwrite=overwrite, marker="tokenizer.json")
    with atomic_folder(folder, overwrite=overwrite) as written:
        report = train_into(
            written, texts, quiet=json, vocabulary_size=vocabulary_size, lowercase=lowercase, language=language,
            min_frequency=min_frequency, max_characters=max_characters,
        )  # fmt: skip
    if json:
        print_json([report.to_dict() | {"folder": str(folder)}])
        return
    print_report(report)
    place = escape(str(folder))
    console.print(
        f"\nwritten to {place}; try: isthmus transfer ENCODER --target-tokenizer {place} --bridge BRIDGE -o FOLDER",
        soft_wrap=True,
    )


def train_into(folder: Path, texts: Sequence[str | Path], *, quiet: bool, **options: Any) -> TokenizerReport:
    """Train a tokenizer on files and save it with its card and report."""
    with working("loading libraries", quiet=quiet):
        from isthmus.reading.texts import read_texts
        from isthmus.vocabulary import train_tokenizer

        quiet_libraries()
    tokenizer, report = train_tokenizer(read_texts(texts), show_progress_bar=False if quiet else None, **options)
    tokenizer.save_pretrained(str(folder))
    report.save(folder)
    return report


def check_target(names: Sequence[str] | None, texts: Sequence[Path] | None, vocabulary_size: int | None) -> None:
    """Refuse a transfer both to a tokenizer and to text, and a size without text.

    Raises:
        InputError: If so.
    """
    if names and texts:
        raise InputError(
            f"--target-tokenizer and --target-text must not come together, got {names[0]} and {texts[0]}; leave one out"
        )
    if vocabulary_size is not None and not texts:
        raise InputError(f"--vocabulary-size must come with --target-text, got {vocabulary_size} alone; name the text")


@contextmanager
def place_for_tokenizer(languages: Sequence[str] | None) -> Iterator[Path]:
    """A temporary folder for the tokenizer of a transfer, with the name that the encoder's card gives it."""
    with tempfile.TemporaryDirectory(prefix="isthmus-") as temporary:
        language = _new_language(languages) or ""
        folder = Path(temporary) / f"tokenizer-{language if language.replace('-', '').isalnum() else 'from-text'}"
        folder.mkdir()
        yield folder


def train_for_transfer(
    folder: str, texts: Sequence[Path], vocabulary_size: int | None, languages: Sequence[str] | None, *, quiet: bool
) -> TokenizerReport:
    """Train the tokenizer that a transfer needs into ``folder``, and tell about it."""
    size = VOCABULARY_SIZE if vocabulary_size is None else vocabulary_size
    language = _new_language(languages)
    report = train_into(Path(folder), texts, quiet=quiet, vocabulary_size=size, language=language)
    if not quiet:
        print_report(report)
    return report


def _new_language(languages: Sequence[str] | None) -> str | None:
    """The one language besides English; None where there are several or none."""
    others = [language for language in languages or () if language != "en"]
    return others[0] if len(others) == 1 else None
