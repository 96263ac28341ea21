"""What one request may ask for, and how many may ask at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from isthmus.errors import InputError

# Ten hits are what is given when nobody says how many.
_LOWEST = {"window": 0, "seconds": 1e-3, "top_k": 10}


@dataclass(frozen=True)
class Limits:
    """Bounds of a server.

    Attributes:
        body: Bytes of a request's body.
        query: Characters of a query, of a token, and of a text to encode.
        texts: Texts of one call to encode.
        top_k: Hits, and rows of every other list.
        waiting: Requests at work or waiting; one more is answered 503.
        seconds: Time for a request's body to arrive, and again for its answer.
        window: Seconds that a query waits for others to be encoded with.
        batch: Texts that are encoded together.
    """

    body: int = 65_536
    query: int = 2_000
    texts: int = 32
    top_k: int = 100
    waiting: int = 64
    seconds: float = 10.0
    window: float = 0.003
    batch: int = 32

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            lowest = _LOWEST.get(field.name, 1)
            if not (math.isfinite(value) and value >= lowest):
                raise InputError(f"{field.name} must be {lowest} or more, got {value}")
        if self.window >= self.seconds:
            raise InputError(f"window must be shorter than {self.seconds} s, the time of a request, got {self.window}")
