"""Load a server with honest clients, alone and beside hostile ones, and compare their latencies.

    python -m benchmarks hostile

It builds an index of short texts and some of 300 KB, serves it in a process of its own, and measures in turn: honest
clients alone, the same beside hostile ones, and again. An honest client asks, waits for the answer and thinks for a
while. A hostile one does one of: ask for matches in the long texts, ask for all that is allowed, encode the longest
texts, send headers a byte at a time, open connections and say nothing, send a body that never ends, not read answers.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, Row, machine, markdown, write_json
from isthmus.reading.storage import read_json

MODEL = "isthmus/mini-splade-en"
LIBRARIES = ("torch", "sentence-transformers", "transformers", "fastapi", "uvicorn")
WORDS = (
    "the house of water war school home capital cat dog river mountain city street garden market bread music letter "
    "window teacher doctor winter summer king queen island forest machine paper"
).split()
TIMEOUT = 30.0
JSON = {"Content-Type": "application/json"}
Found = list[tuple[float, int]]


def corpus(path: Path, short: int, long: int, size: int) -> None:
    """Write documents, those of ``size`` characters and more marked as long."""
    drawn = random.Random(0)

    def row(name: str, words: int, kind: str) -> str:
        return json.dumps({"id": name, "text": " ".join(drawn.choices(WORDS, k=words)), "kind": kind})

    rows = [row(f"s{n}", 40, "short") for n in range(short)] + [row(f"l{n}", size // 6, "long") for n in range(long)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def ask(connection: http.client.HTTPConnection, body: dict[str, Any], path: str = "/api/search") -> int:
    """The status of a request; 0 where there is no answer."""
    try:
        connection.request("POST", path, json.dumps(body).encode(), JSON)
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0


def honest(port: int, over: threading.Event, found: Found, pause: float, seed: int) -> None:
    """Ask short queries until each is answered, with a pause after every answer.

    A 503 is asked again after a second, as its Retry-After says; the time counts from the first attempt. What has no
    answer at the end counts with the time until then.
    """
    drawn = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    over.wait(drawn.uniform(0, pause))
    while not over.is_set():
        body = {"query": " ".join(drawn.choices(WORDS, k=5))}
        began, status = time.perf_counter(), 0
        while status != 200 and not over.is_set():
            status = ask(connection, body)
            if status == 503:
                over.wait(1.0)
        found.append((time.perf_counter() - began, status))
        over.wait(drawn.uniform(0.5, 1.5) * pause)
    connection.close()


def asking(path: str, body: dict[str, Any]) -> Callable[[int, threading.Event, Found], None]:
    """A hostile client that sends a heavy request again and again."""

    def run(port: int, over: threading.Event, found: Found) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        while not over.is_set():
            began = time.perf_counter()
            status = ask(connection, body, path)
            found.append((time.perf_counter() - began, status))
            if status != 200:
                over.wait(0.05)
        connection.close()

    return run


def dripping(start: bytes, piece: bytes, many: int = 8) -> Callable[[int, threading.Event, Found], None]:
    """A hostile client with many connections on which a piece is sent every half second, or nothing."""

    def run(port: int, over: threading.Event, found: Found) -> None:
        held: list[socket.socket] = []
        while not over.is_set():
            with suppress(OSError):
                while len(held) < many:
                    held.append(socket.create_connection(("127.0.0.1", port), timeout=5))
                    held[-1].sendall(start)
            for one in list(held):
                try:
                    one.sendall(piece)
                    one.setblocking(False)
                    if not one.recv(65536):
                        raise ConnectionError
                except BlockingIOError:
                    continue
                except OSError:
                    found.append((0.0, -1))
                    held.remove(one)
                    one.close()
            over.wait(0.5)
        for one in held:
            one.close()

    return run


def unread(port: int, over: threading.Event, found: Found) -> None:
    """A hostile client that asks for large answers and does not read them."""
    body = json.dumps({"query": "the house", "top_k": 100, "characters": 20000}).encode()
    head = (
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    held: list[socket.socket] = []
    while not over.is_set():
        with suppress(OSError):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.connect(("127.0.0.1", port))
            one.sendall(head % len(body) + body)
            held.append(one)
        over.wait(1.0)
        while len(held) > 8:
            held.pop(0).close()
    for one in held:
        one.close()


_LONG = {"query": "the house of water", "filter": {"kind": "long"}, "matches": True, "top_k": 100, "characters": 20000}
_POST = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ATTACKS: dict[str, Callable[[int, threading.Event, Found], None]] = {
    "matches": asking("/api/search", _LONG),
    "long query": asking("/api/search", {"query": "water house " * 160, "matches": True, "top_k": 100}),
    "encode": asking("/api/encode", {"texts": ["water house " * 160] * 32, "role": "document"}),
    "slow headers": dripping(b"GET /api/info HTTP/1.1\r\nHost: localhost\r\n", b"X"),
    "half-open": dripping(b"", b""),
    "endless body": dripping(_POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "slow body": dripping(_POST + b"Content-Length: 60000\r\n\r\n", b"x"),
    "unread": unread,
}


def measure(port: int, clients: int, hostile: int, seconds: float, pause: float) -> Row:
    """Latencies of the honest clients, and what became of the hostile ones."""
    over = threading.Event()
    found: Found = []
    attacked: dict[str, Found] = {name: [] for name in ATTACKS}
    threads = [threading.Thread(target=honest, args=(port, over, found, pause, n)) for n in range(clients - hostile)]
    for number in range(hostile):
        name = list(ATTACKS)[number % len(ATTACKS)]
        threads.append(threading.Thread(target=ATTACKS[name], args=(port, over, attacked[name])))
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    over.set()
    for thread in threads:
        thread.join()
    statuses = collections.Counter(status for _, status in found)
    times = np.array([took for took, _ in found]) * 1000
    return {
        "honest": clients - hostile, "hostile": hostile, "requests": len(found),
        "requests_per_second": round(statuses[200] / seconds, 1),
        **{f"p{p}_ms": round(float(np.percentile(times, p)), 1) if len(times) else None for p in (50, 99)},
        "unanswered": len(found) - statuses[200],
        "attacks": {
            name: dict(collections.Counter(str(status) for _, status in rows)) for name, rows in attacked.items()
        },
    }  # fmt: skip


def started(folder: Path, *flags: str) -> tuple[subprocess.Popen[str], int]:
    """A server of an index, and its port."""
    command = [sys.executable, "-m", "isthmus", "serve", str(folder), "--port", "0", "--json", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    return process, int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])


def memory(process: subprocess.Popen[str]) -> int | None:
    """Megabytes that a process holds; None where the system does not say."""
    try:
        fields = Path(f"/proc/{process.pid}/status").read_text().split("VmRSS:")[1]
    except OSError:
        return None
    return int(fields.split()[0]) // 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Measure in turn without and with hostile clients."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks hostile", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--hostile", type=int, default=20, help="of the clients")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each of the measurements")
    parser.add_argument("--pause", type=float, default=20.0, help="seconds between an answer and the next query")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--documents", type=int, nargs=2, default=(1000, 20), help="short ones and long ones")
    parser.add_argument("--size", type=int, default=300_000, help="characters of a long one")
    parser.add_argument("--index", type=Path, help="an index that this suite built before; kept where it is made")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "hostile.json")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        index = args.index or Path(work) / "idx"
        if not index.exists():
            corpus(Path(work) / "corpus.jsonl", *args.documents, args.size)
            command = [sys.executable, "-m", "isthmus", "index", MODEL, f"{work}/corpus.jsonl", "-o", str(index)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        process, port = started(index)
        try:
            measure(port, 8, 0, 2.0, 0.1)
            rows = []
            for number in range(2 * args.rounds):
                hostile = args.hostile if number % 2 else 0
                clients = args.clients if hostile else args.clients - args.hostile
                rows.append(measure(port, clients, hostile, args.seconds, args.pause) | {"memory_mb": memory(process)})
                print(json.dumps(rows[-1]), flush=True)
                time.sleep(1.0)
        finally:
            process.terminate()
            process.wait()
    p99 = [float(np.mean([row["p99_ms"] or np.inf for row in rows[start::2]])) for start in (0, 1)]
    settings = {
        "model": MODEL, "clients": args.clients, "hostile": args.hostile, "seconds": args.seconds, "pause": args.pause,
        "documents": list(args.documents), "size": args.size, **machine(*LIBRARIES, threads=os.cpu_count()),
    }  # fmt: skip
    ratio = round(p99[1] / p99[0], 2)
    print(json.dumps({"p99_ratio": ratio}))
    write_json(args.output, {"settings": settings, "p99_ratio": ratio, "rows": rows})


def hostile_table(results: Path) -> str:
    """Latencies of honest clients without and with hostile ones."""
    found = read_json(results / "hostile.json")
    rows = [
        [
            f"{row['honest']}", f"{row['hostile']}", f"{row['requests_per_second']:,.0f}",
            *(f"{row[name]:,.0f} ms" for name in ("p50_ms", "p99_ms")), f"{row['unanswered']:,}",
        ]
        for row in found["rows"]
    ]  # fmt: skip
    run = found["settings"]
    text = (
        f"{sum(run['documents']):,} documents, {run['documents'][1]} of {run['size']:,} characters, of {run['model']}; "
        f"{run['seconds']:g} seconds each, one after the other, server and clients on the same {run['threads']} cores; "
        f"an honest client thinks for about {run['pause']:g} seconds. The 99 % with hostile "
        f"clients is {found['p99_ratio']} times that without."
    )
    return markdown(["honest", "hostile", "honest requests a second", "median", "99 %", "not answered"], rows, text)


TABLES = {"hostile": hostile_table}
