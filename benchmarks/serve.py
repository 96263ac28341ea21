"""Load a running server with queries and count what comes back.

    isthmus serve idx --port 8080 &
    python benchmarks/serve.py http://127.0.0.1:8080 --queries queries.txt -o benchmarks/results/serve.json

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
import platform
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.reading.storage import atomic_write

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
        batch = json.loads(content)["timing"]["batch"] if status == 200 else 0
        found.append((seconds, status, batch))
    connection.close()


def measure(address: str, bodies: Sequence[bytes], clients: int, seconds: float) -> dict[str, object]:
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
        "p50_ms": round(float(np.percentile(good, 50)), 1) if len(good) else None,
        "p99_ms": round(float(np.percentile(good, 99)), 1) if len(good) else None,
        "mean_batch": round(float(np.mean([batch for _, status, batch in found if status == 200] or [0])), 1),
        "busy": statuses[503],
        "errors": len(found) - statuses[200] - statuses[503],
        "seconds": round(took, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--queries", type=Path, required=True, help="one a line")
    parser.add_argument("--clients", default="1,8,32", help="numbers of clients, one measurement each")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--matches", action="store_true", help="ask for explanations and spans too")
    parser.add_argument("--output", "-o", type=Path, help="JSON file for the rows and what they were measured with")
    arguments = parser.parse_args()
    queries = [line.strip() for line in arguments.queries.read_text(encoding="utf-8").splitlines() if line.strip()]
    asked = {"top_k": arguments.top_k, "matches": arguments.matches}
    bodies = [json.dumps({"query": query, **asked}).encode() for query in queries]
    info = served(arguments.address)
    numbers = [int(number) for number in arguments.clients.split(",")]
    for _ in range(WARM_UP):
        measure(arguments.address, bodies, 1, 0.05)
    rows = []
    for clients in numbers:
        rows.append(measure(arguments.address, bodies, clients, arguments.seconds) | asked | {"queries": len(queries)})
        print(json.dumps(rows[-1]), flush=True)
    if arguments.output is not None:
        settings = {
            "documents": info["documents"],
            "model": info["model"],
            "limits": info["limits"],
            "queries": len(queries),
            **asked,
            "clients": numbers,
            "seconds": arguments.seconds,
            "isthmus": info["version"],
            **machine(),
        }
        content = json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n"
        atomic_write(arguments.output, content.encode())


def machine() -> dict[str, Any]:
    """Where the clients ran, and the server too unless the address says otherwise."""
    found = {name: version(name) for name in LIBRARIES}
    place = {"threads": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    return {**place, "libraries": found}


if __name__ == "__main__":
    main()
