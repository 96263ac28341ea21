"""The ``isthmus`` command: one file per sub-command; a command only parses, calls and prints."""

from __future__ import annotations

import sys

import typer

import isthmus
from isthmus.cli import (
    align,
    audit,
    doctor,
    encode,
    evaluate,
    export,
    index,
    inspect,
    methods,
    mine,
    pairs,
    parity,
    presets,
    quickstart,
    recipes,
    search,
    serve,
    tokenizer,
    train,
    transfer,
)
from isthmus.cli._output import fail, write_utf8
from isthmus.errors import InputError, IsthmusError, NotFoundError

app = typer.Typer(
    name="isthmus",
    help="Carry retrieval models from English into other languages.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Boxes cut option names off at 80 columns.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("quickstart")(quickstart.command)
app.command("tokenizer")(tokenizer.command)
app.command("transfer")(transfer.command)
app.command("inspect")(inspect.command)
app.command("methods")(methods.command)
app.command("presets")(presets.command)
app.command("recipes")(recipes.command)
app.command("evaluate")(evaluate.command)
app.command("audit")(audit.command)
app.command("train")(train.command)
app.command("mine")(mine.command)
app.command("pairs")(pairs.command)
app.command("align")(align.command)
app.command("encode")(encode.command)
app.command("index")(index.command)
app.command("search")(search.command)
app.command("export")(export.command)
app.command("parity")(parity.command)
app.command("serve")(serve.command)
app.command("doctor")(doctor.command)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"isthmus {isthmus.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Carry retrieval models from English into other languages."""


def main() -> None:
    """Run the command line; exit code 2 for input that does not fit, 1 for other failures, 130 for Ctrl-C."""
    write_utf8()
    try:
        app(prog_name="isthmus")
    except (InputError, NotFoundError) as error:
        sys.exit(fail(error, 2))
    except IsthmusError as error:
        sys.exit(fail(error, 1))
    except KeyboardInterrupt:
        sys.exit(130)
