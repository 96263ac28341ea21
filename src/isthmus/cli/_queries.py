"""Queries of a command: from a file, from stdin, or asked for one after another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from isthmus.errors import InputError, NotFoundError
from isthmus.reading.corpus import STDIN, Corpus
from isthmus.reading.lines import check_regular, read_lines
from isthmus.reading.records import kind_of

PROMPT = "query> "
Queries = Iterator[tuple[str | None, str]]


def read_queries(path: Path) -> Queries:
    """Ids, where there are any, and texts of a file of queries, or of the lines of stdin.

    Args:
        path: One query a line, or ``.jsonl``; ``-`` is stdin.

    Raises:
        NotFoundError: If there is no such file.
    """
    if str(path) == STDIN:
        return _read_stdin()
    check_regular(path, InputError)
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist; give a file of queries, or - for stdin")
    if kind_of(path) is not None:
        return ((row.id, row.text) for row in Corpus(path, role="query"))
    return ((None, line.strip()) for _, line in read_lines(path))


def _read_stdin() -> Queries:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise InputError(f"stdin, line {number}: must be UTF-8 text ({error}); convert it") from error
        if text:
            yield None, text


def asks() -> bool:
    """Whether there is somebody to ask: stdin is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask() -> Iterator[str]:
    """Ask for one query after another, until an empty line or the end of the input (Ctrl-D).

    Where the platform has it, the arrow keys bring earlier ones back. The prompt stays out of a redirected stdout.
    """
    try:
        import readline  # noqa: F401
    except ImportError:
        pass
    while True:
        if not sys.stdout.isatty():
            sys.stderr.write(PROMPT)
            sys.stderr.flush()
        try:
            text = input(PROMPT if sys.stdout.isatty() else "").strip()
        except EOFError:
            sys.stderr.write("\n")
            return
        if not text:
            return
        yield text
