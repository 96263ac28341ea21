"""Reading plain and compressed text line by line, with the file and line in every complaint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from isthmus.errors import CollectionError, NotFoundError
from isthmus.reading.storage import OPENERS, read_lines

COMPRESSIONS = ("", *OPENERS)


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 text file, decompressing ``.xz``, ``.gz`` and ``.zst``; a byte-order mark is skipped.

    Raises:
        NotFoundError: If it is not there.
    """
    try:
        return cast(TextIO, OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except OSError as error:
        raise CollectionError(f"{path} cannot be read ({error.strerror})") from error


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSONL file.

    Raises:
        NotFoundError: If the file is not there.
        CollectionError: If a line is not a JSON object, or holds what is no Unicode text.
    """
    for number, line in read_lines(path, refusal=CollectionError):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise CollectionError(
                f"{path}, line {number}: must be JSON, got {line[:60]!r} ({reason}); mend the line or remove it"
            ) from error
        if not isinstance(row, dict):
            raise CollectionError(
                f"{path}, line {number}: must be a JSON object, got {type(row).__name__}; mend the line or remove it"
            )
        # Nothing but an escape can bring one in.
        if "\\ud" in line.lower() and not is_unicode(json.dumps(row, ensure_ascii=False)):
            raise CollectionError(f"{path}, line {number}: must be Unicode text, got half a surrogate pair; remove it")
        yield number, row


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be encoded; lone surrogates, which JSON may hold, cannot, and tokenizers refuse them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_texts(path: Path, id_field: str, *, title: bool = False) -> dict[str, str]:
    """Read the texts of a JSONL file by id.

    Args:
        path: File of objects with ``id_field`` and ``text``.
        id_field: Name of the field that holds the id, a string or a whole number.
        title: Put the field ``title`` in front of the text where there is one.

    Raises:
        NotFoundError: If the file is not there.
        CollectionError: If a field is missing or not text, a text is empty, or an id comes twice.
    """
    texts: dict[str, str] = {}
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        identifier = row.get(id_field)
        if isinstance(identifier, bool) or not isinstance(identifier, (str, int)) or identifier == "":
            fields = "" if id_field in row else f"; the fields are {', '.join(row) or 'none'}"
            raise CollectionError(
                f"{where}: {id_field!r} must be a string that is not empty, got {identifier!r}{fields}"
            )
        key = str(identifier)
        if key in texts:
            raise CollectionError(f"{where}: {id_field!r} must be unique, got {key!r} again")
        heading = row.get("title") or "" if title else ""
        text = row.get("text")
        if not isinstance(text, str) or not isinstance(heading, str):
            raise CollectionError(f"{where}: 'text' (and 'title') of {key!r} must be a string, got {text!r}")
        text = f"{heading.strip()} {text.strip()}".strip()
        if not text:
            raise CollectionError(f"{where}: 'text' of {key!r} must not be empty; remove the line or fill it")
        texts[key] = text
    return texts
