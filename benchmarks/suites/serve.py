"""Load a running server with queries and count what comes back.

    isthmus serve idx --port 8080 &
    python -m benchmarks serve http://127.0.0.1:8080 --queries queries.txt

Every client holds one connection and sends its next query when the last one is answered, so the rate is what that many
clients get and not what a flood would. One JSON object a line on standard output for every number of clients. Clients
and server share the cores of a machine unless the address says otherwise.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import itertools
import json
import os
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, Row, machine, markdown, write_json
from isthmus.reading.storage import read_json

WARM_UP = 5
TIMEOUT = 60
LIBRARIES = ("torch", "sentence-transformers", "transformers", "fastapi", "uvicorn")


def authorization() -> dict[str, str]:
    """The header with the server's key, where the environment has one."""
    key = os.environ.get("ISTHMUS_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def served(address: str) -> dict[str, Any]:
    """What the server says of itself."""
    request = urllib.request.Request(address.rstrip("/") + "/api/info", headers=authorization())
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        return dict(json.load(response))


def client(
    address: str, path: str, bodies: Sequence[bytes], start: int, until: float, found: list[tuple[float, int, int]]
) -> None:
    """Send queries one after the other until a time; appends seconds, status and size of the batch."""
    place = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "127.0.0.1", place.port, timeout=TIMEOUT)
    headers = {"Content-Type": "application/json", **authorization()}
    for body in itertools.islice(itertools.cycle(bodies), start, None):
        began = time.perf_counter()
        if began >= until:
            break
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            content, status = response.read(), response.status
        except (OSError, http.client.HTTPException):
            content, status = b"", 0
            connection.close()
        seconds = time.perf_counter() - began
        found.append((seconds, status, json.loads(content)["timing"]["batch"] if status == 200 else 0))
    connection.close()


def measure(address: str, bodies: Sequence[bytes], clients: int, seconds: float) -> Row:
    """Rate, latencies and errors of a number of clients; 503 is counted apart: the server is meant to say it."""
    path = urllib.parse.urlsplit(address).path.rstrip("/") + "/api/search"
    found: list[tuple[float, int, int]] = []
    started = time.perf_counter()
    arguments = [(address, path, bodies, n * 7, started + seconds, found) for n in range(clients)]
    threads = [threading.Thread(target=client, args=given) for given in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    statuses = collections.Counter(status for _, status, _ in found)
    good = np.array([took for took, status, _ in found if status == 200]) * 1000
    return {
        "clients": clients,
        "requests": len(found),
        "requests_per_second": round(len(good) / took, 1),
        **{f"p{p}_ms": round(float(np.percentile(good, p)), 1) if len(good) else None for p in (50, 99)},
        "mean_batch": round(float(np.mean([batch for _, status, batch in found if status == 200] or [0])), 1),
        "busy": statuses[503],
        "errors": len(found) - statuses[200] - statuses[503],
        "seconds": round(took, 1),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every number of clients."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks serve", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("--queries", type=Path, required=True, help="one a line")
    parser.add_argument("--clients", default="1,8,32", help="numbers of clients, one measurement each")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--matches", action="store_true", help="ask for explanations and spans too")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "serve.json")
    args = parser.parse_args(argv)
    queries = [line.strip() for line in args.queries.read_text(encoding="utf-8").splitlines() if line.strip()]
    asked = {"top_k": args.top_k, "matches": args.matches}
    bodies = [json.dumps({"query": query, **asked}).encode() for query in queries]
    info = served(args.address)
    numbers = [int(number) for number in args.clients.split(",")]
    for _ in range(WARM_UP):
        measure(args.address, bodies, 1, 0.05)
    rows = []
    for clients in numbers:
        rows.append(measure(args.address, bodies, clients, args.seconds) | asked | {"queries": len(queries)})
        print(json.dumps(rows[-1]), flush=True)
    settings = {
        **{key: info[key] for key in ("documents", "model", "limits")}, "queries": len(queries), **asked,
        "clients": numbers, "seconds": args.seconds, "isthmus": info["version"],
        **machine(*LIBRARIES, threads=os.cpu_count()),
    }  # fmt: skip
    write_json(args.output, {"settings": settings, "rows": rows})


def load_table(results: Path) -> str:
    """Rate and latencies of a server, by number of clients."""
    found = read_json(results / "serve.json")
    rows = []
    for row in found["rows"]:
        times = ["" if row[name] is None else f"{row[name]:,.0f} ms" for name in ("p50_ms", "p99_ms")]
        # What the server was too busy for stands apart, as it is meant to say so.
        errors = f"{row['errors']:,}" + (f", and {row['busy']:,} times 503" if row["busy"] else "")
        rate = f"{row['requests_per_second']:,.0f}"
        rows.append([str(row["clients"]), rate, *times, f"{row['mean_batch']:.1f}", errors])
    run = found["settings"]
    text = (
        f"{run['documents']:,} documents of {run['model']}, {run['queries']} queries, top {run['top_k']}, "
        f"{run['seconds']:g} seconds each; server and clients on the same {run['threads']} cores. isthmus "
        f"{run['isthmus']}, torch {run['libraries']['torch']}, uvicorn {run['libraries']['uvicorn']}."
    )
    return markdown(["clients", "requests a second", "median", "99 %", "mean batch", "errors"], rows, text)


TABLES = {"serve": load_table}
