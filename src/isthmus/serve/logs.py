"""What a server writes to its log: short lines, and not more of a kind than somebody can read."""

from __future__ import annotations

import logging
import time

from isthmus.reading.visible import visible

LONGEST = 2_000
_LONGEST_TRACEBACK = 16_000
# Messages from one place of the code: as many at once, and as many a second after them.
_BURST, _RATE = 10, 0.2


class BoundedHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr; who sends requests can neither forge a line nor fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        # By place in the code: how many may be written, as of when, and how many were not.
        self._places: dict[tuple[str, int], tuple[float, float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        place = (record.pathname, record.lineno)
        now = time.monotonic()
        left, since, omitted = self._places.get(place, (float(_BURST), now, 0))
        left = min(float(_BURST), left + (now - since) * _RATE)
        if left < 1:
            self._places[place] = (left, now, omitted + 1)
            return
        self._places[place] = (left - 1, now, 0)
        if omitted:
            record.msg, record.args = f"{record.getMessage()} (and {omitted:,} more like it)", ()
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """A line, and below it the traceback, moved to the right."""
        line = cut(visible(f"{record.levelname.lower()}: {record.getMessage()}"), LONGEST)
        if not record.exc_info:
            return line
        # Its end says most.
        traceback = logging.Formatter().formatException(record.exc_info)[-_LONGEST_TRACEBACK:]
        return "\n  ".join([line, *visible(traceback, lines=True).split("\n")])


def cut(text: str, length: int) -> str:
    """The start of a text that is too long."""
    return text if len(text) <= length else f"{text[:length]}..."
