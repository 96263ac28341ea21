"""One JSON line for every request; what was searched for is left out unless somebody asks for it."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs

from isthmus.serve.gate import Served
from isthmus.serve.logs import cut

_METHOD_CHARACTERS, _PATH_CHARACTERS = 20, 200
# Of what was asked, by field.
_TEXT_CHARACTERS = 500
_TEXTS = ("query", "token", "texts", "id")


def write_line(served: Served, *, texts: bool) -> None:
    """Write a line about a request to stderr.

    Args:
        served: The request and its answer.
        texts: Add what was asked: queries, tokens, texts to encode, ids of documents.
    """
    line: dict[str, Any] = {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "method": served.method[:_METHOD_CHARACTERS],
        "path": served.path[:_PATH_CHARACTERS],
        "status": served.status,
        "ms": round(served.seconds * 1e3, 1),
        "bytes": served.size,
    }
    if texts:
        line |= _asked(served)
    # Nobody who searches is to suffer from a log that is full or closed.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()


def _asked(served: Served) -> dict[str, Any]:
    asked: Any = {name: values[0] for name, values in parse_qs(served.query_string).items()}
    if served.body:
        try:
            asked = json.loads(served.body)
        except (ValueError, RecursionError):
            return {}
    return {name: _short(asked[name]) for name in _TEXTS if name in asked} if isinstance(asked, dict) else {}


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return cut(value, _TEXT_CHARACTERS)
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text) <= _TEXT_CHARACTERS else cut(text, _TEXT_CHARACTERS)
