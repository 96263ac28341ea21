"""What the commands share: printing for people and for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def fail(error: Exception, code: int) -> int:
    """Print ``error`` on stderr and return the exit code."""
    errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
    return code


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object a line on stdout."""
    for row in rows:
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table; columns of numbers are aligned right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numbers = all(isinstance(row[index], (int, float, type(None))) for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(escape(cell(value)) for value in row))
    console.print(table)


def cell(value: object) -> str:
    """Three significant decimals for fractions, plain text for the rest."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@contextmanager
def working(message: str, *, quiet: bool) -> Iterator[None]:
    """Show ``message`` with a spinner on a terminal's stderr while the body runs."""
    if quiet or not errors.is_terminal:
        yield
    else:
        with errors.status(message):
            yield


def quiet_libraries() -> None:
    """Silence progress bars and advice of the libraries underneath; errors still come through."""
    import logging

    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
