"""Options of a server: the bounds of its requests, its encoder and its address; no web server is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from isthmus.errors import InputError
from isthmus.index.options import QueryOptions
from isthmus.options import Options, option

# Ten hits are what is given when nobody says how many.
_LOWEST = {"window": 0, "seconds": 1e-3, "headers": 1e-3, "top_k": 10}


def _milliseconds(value: float) -> float:
    return value / 1000


@dataclass(frozen=True)
class Limits(Options):
    """Bounds of a server.

    Attributes:
        body: Bytes of a request's body.
        query: Characters of a query, of a token, and of a text to encode.
        texts: Texts of one call to encode.
        top_k: Hits, and rows of every other list.
        waiting: Requests at work or waiting; one more is answered 503.
        seconds: Time for a request's body to arrive, again for its answer, and again for the answer to be taken.
        headers: Seconds for a request's headers to arrive, and to wait for a connection's next one.
        connections: Of one address; beyond, one that is not at work goes for a new one.
        window: Seconds that a query waits for others to be encoded with.
        batch: Texts that are encoded together.
    """

    body: int = option(65_536, help="Bytes of a request's body.", names=("--max-body",), at_least=1)
    query: int = option(2_000, help="Characters of a query.", names=("--max-query",), at_least=1)
    texts: int = option(32, help="Texts of one call to encode.", names=("--max-texts",), at_least=1)
    top_k: int = option(100, help="Hits of one search.", names=("--max-top-k",), at_least=_LOWEST["top_k"])
    waiting: int = option(64, help="Requests at work at once; more get 503.", names=("--max-waiting",), at_least=1)
    seconds: float = option(10.0, help="Seconds for a request; longer ones get 504.", names=("--timeout",))
    headers: float = option(5.0, help="Seconds for a request's headers.", names=("--header-timeout",))
    connections: int = option(
        256, help="Connections of one address; one more cuts one.", names=("--max-connections",), at_least=1
    )
    window: float = option(
        0.003,
        help="Milliseconds that a query waits for others to be encoded with.",
        names=("--batch-window",),
        at_least=0,
        kind=float,
        read=_milliseconds,
        shown="3",
    )
    batch: int = option(32, help="Queries that are encoded together.", names=("--batch-size",), at_least=1)

    def __post_init__(self) -> None:
        for field in fields(Limits):
            value = getattr(self, field.name)
            lowest = _LOWEST.get(field.name, 1)
            if not (math.isfinite(value) and value >= lowest):
                raise InputError(f"{field.name} must be {lowest} or more, got {value}")
        if self.window >= self.seconds:
            raise InputError(f"window must be shorter than {self.seconds} s, the time of a request, got {self.window}")
        super().__post_init__()


@dataclass(frozen=True)
class ServeOptions(Limits, QueryOptions):
    """A server: its bounds, its encoder and its address.

    Attributes:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        allow_host: Further names that requests may be addressed to.
        access_log: A JSON line on stderr for every request: ``none``, ``requests``, or ``queries`` for what was asked
            too.
    """

    host: str = option("127.0.0.1", help="Address to listen on.")
    port: int = option(8080, help="Port; 0 takes a free one.", at_least=0, at_most=65535)
    allow_host: Sequence[str] = option(
        (), help="Another name that requests may be addressed to; repeat for more.", kind=list[str]
    )
    access_log: Literal["none", "requests", "queries"] = option(
        "none", help="A JSON line on stderr for every request; queries adds what was searched for."
    )
