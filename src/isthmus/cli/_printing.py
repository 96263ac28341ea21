"""What the commands share: printing for people and for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape as markup_escaped
from rich.text import Text

from isthmus.reading.visible import visible, visible_json

if TYPE_CHECKING:
    from isthmus.encoders.publishing import PublishOptions
    from isthmus.reading.notes import Notes


class _Console(Console):
    """A console on which what others wrote moves no cursor and forges no line."""

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print; control characters and the like are spelled out."""
        spelled = (visible(one, lines=True) if isinstance(one, str) else one for one in objects)
        super().print(*spelled, **settings)


console = _Console(highlight=False)
errors = _Console(stderr=True, highlight=False)


def escape(text: str, *, lines: bool = False) -> str:
    """A text of others, to be printed in one line, or with its own lines."""
    return markup_escaped(visible(text, lines=lines))


def write_utf8() -> None:
    """Make stdout and stderr UTF-8 whatever the locale: every alphabet may come up, and JSON is UTF-8 by definition."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def fail(error: Exception, code: int) -> int:
    """Print ``error`` on stderr and return the exit code."""
    errors.print(f"[bold red]error:[/] {escape(' '.join(str(error).split()))}", soft_wrap=True)
    return code


def counted(count: int, one: str, several: str | None = None) -> str:
    """A number and what is counted: "1 query", "2 queries"."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def print_notes(notes: Notes) -> None:
    """Print what was taken for granted while files were read, on stderr, a line for each kind."""
    for sentence in notes.sentences():
        print_note(sentence)


def print_note(sentence: str | None) -> None:
    """Print one on stderr, if there is one."""
    if sentence is not None:
        errors.print(f"[bold]note:[/] {escape(sentence)}", soft_wrap=True)


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object a line on stdout."""
    for row in rows:
        sys.stdout.write(visible_json(json.dumps(row, ensure_ascii=False)) + "\n")
        sys.stdout.flush()


def print_wrapped(lead: str, text: str = "") -> None:
    """Print ``lead`` and ``text``, both with markup; what does not fit the line goes on below the start of ``text``."""
    start = Text.from_markup(visible(lead))
    indent = cell_len(start.plain)
    for line in Text.from_markup(visible(text, lines=True)).wrap(console, max(20, console.width - indent)) or [Text()]:
        line.rstrip()
        console.print(start + line, soft_wrap=True)
        start = Text(" " * indent)


def publish_result(folder: Path, publishing: PublishOptions) -> dict[str, str]:
    """Upload a result that is to be published, and tell where it is; what ``--json`` adds."""
    if publishing.push_to_hub is None:
        return {}
    from isthmus.encoders.publishing import publish

    address = publish(folder, publishing.push_to_hub, private=publishing.private)
    errors.print(f"published at {address}", soft_wrap=True, markup=False)
    return {"published": address}


def print_report(report: object) -> None:
    """Print a transfer report: a headline, then a label and its text on every line."""
    headline, *lines = str(report).splitlines()
    console.print(escape(headline), soft_wrap=True)
    for line in lines:
        label, _, text = line.strip().partition(" ")
        print_wrapped(f"  {escape(label):<11} ", escape(text.strip()))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table as wide as it needs, so that a pipe gets every value whole; all but the first column go right."""
    cells = [list(columns), *([visible(cell(value)) for value in row] for row in rows)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(columns))]
    for number, row in enumerate(cells):
        padded = [" " * (width - cell_len(value)) for value, width in zip(row, widths, strict=True)]
        line = "  ".join([row[0] + padded[0], *(pad + value for pad, value in zip(padded[1:], row[1:], strict=True))])
        console.print(escape(line), style="bold" if number == 0 else None, soft_wrap=True)


def cell(value: object) -> str:
    """Three decimals for fractions, a dash for nothing, plain text for the rest."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@contextmanager
def working(message: str, *, quiet: bool) -> Iterator[None]:
    """Show ``message`` with a spinner on a terminal's stderr while the body runs."""
    if quiet or not errors.is_terminal:
        yield
    else:
        with errors.status(escape(message)):
            yield


def quiet_libraries() -> None:
    """Silence progress bars and advice of the libraries underneath; errors still come through."""
    import logging

    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
