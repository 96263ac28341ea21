"""Table of a server under load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from isthmus.reading.storage import read_json

Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


def serve(results: Path, *, markdown: Markdown) -> str:
    """Rate and latencies of a server, by number of clients."""
    found = read_json(results / "serve.json")
    rows = [
        [
            str(row["clients"]), f"{row['requests_per_second']:,.0f}", milliseconds(row["p50_ms"]),
            milliseconds(row["p99_ms"]), f"{row['mean_batch']:.1f}", errors(row),
        ]
        for row in found["rows"]
    ]  # fmt: skip
    run = found["settings"]
    text = (
        f"{run['documents']:,} documents of {run['model']}, {run['queries']} queries, top {run['top_k']}, "
        f"{run['seconds']:g} seconds each; server and clients on the same {run['threads']} cores. isthmus "
        f"{run['isthmus']}, torch {run['libraries']['torch']}, uvicorn {run['libraries']['uvicorn']}.\n"
    )
    header = ["clients", "requests a second", "median", "99 %", "mean batch", "errors"]
    return markdown(header, rows) + "\n" + text


def milliseconds(value: float | None) -> str:
    """A time, where any request was answered."""
    return "" if value is None else f"{value:,.0f} ms"


def errors(row: dict[str, Any]) -> str:
    """Failures, and apart from them what the server was too busy for, as it is meant to say."""
    return f"{row['errors']:,}" + (f", and {row['busy']:,} times 503" if row["busy"] else "")
