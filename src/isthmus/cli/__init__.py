"""The ``isthmus`` command: one file per sub-command; a command only parses, calls and prints."""

from __future__ import annotations

import ast
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

from isthmus.cli._printing import fail, write_utf8
from isthmus.errors import InputError, IsthmusError, NotFoundError
from isthmus.reading.visible import visible

COMMANDS = (
    "quickstart", "adapt", "tokenizer", "transfer", "inspect", "methods", "presets", "recipes", "evaluate", "audit",
    "train", "mine", "pairs", "align", "encode", "index", "search", "export", "parity", "serve", "doctor",
)  # fmt: skip


class CommandGroup(TyperGroup):
    """The sub-commands, each imported when it is called: what one needs is no business of the others."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Names alone, from which a mistyped one is guessed.
        self.commands = cast("dict[str, Any]", dict.fromkeys(COMMANDS))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a sub-command; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        from isthmus.cli._options import PanelCommand

        info = CommandInfo(
            cmd_name,
            cls=PanelCommand,
            callback=import_module(f"isthmus.cli.{cmd_name}").command,
            context_settings=ctx.command.context_settings,
        )
        return get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of sub-commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(name)) for name in COMMANDS])


def summary(name: str) -> str:
    """The first line that the function ``command`` of a sub-command's file says of itself."""
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "command")
    return (ast.get_docstring(next(functions)) or "").splitlines()[0]


app = typer.Typer(
    name="isthmus",
    cls=CommandGroup,
    help="Carry retrieval models from English into other languages.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Boxes cut option names off at 80 columns.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        from isthmus import __version__

        typer.echo(f"isthmus {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Carry retrieval models from English into other languages."""


def main() -> None:
    """Run the command line; exit code 2 for input that does not fit, 1 for other failures, 130 for Ctrl-C."""
    write_utf8()
    # One line without the place in the code, which says nothing to who runs a command.
    warnings.formatwarning = lambda message, *_, **__: f"warning: {visible(str(message))}\n"
    try:
        app(prog_name="isthmus")
    except (InputError, NotFoundError) as error:
        sys.exit(fail(error, 2))
    except IsthmusError as error:
        sys.exit(fail(error, 1))
    except KeyboardInterrupt:
        sys.exit(130)
