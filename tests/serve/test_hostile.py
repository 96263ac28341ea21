"""One request, and one client, cannot keep the others waiting."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.index.hits import Match
from isthmus.serve.batcher import CHARACTERS, Batcher
from isthmus.serve.highlight import Highlighter
from isthmus.serve.words import Words
from tests.serve.conftest import REASON

pytest.importorskip("fastapi", reason=REASON)
import uvicorn

from isthmus.index import SparseIndex
from isthmus.serve.connections import Connection, ConnectionTable
from isthmus.serve.gate import Gate
from isthmus.serve.options import Limits


class TestHighlight:
    @pytest.fixture
    def read(self, library, monkeypatch):
        """Spans of a text, and the longest text that was split for them."""
        highlighter = Highlighter(library.encoder, Words(library.encoder, library.token_map))
        own, lengths = highlighter._tokenizer, []

        class Counting:
            def encode(self, text, **options):
                lengths.append(len(text))
                return own.encode(text, **options)

        monkeypatch.setattr(highlighter, "_tokenizer", Counting())

        def spans(text):
            lengths.clear()
            return highlighter.spans(text, [Match("house", 1.0, 1.0, 1.0)]), max(lengths)

        return spans, highlighter._room

    @pytest.mark.parametrize("piece", ["house ", "h", " ", "\u0301", "집", "house\n\n\n\n\n\n\n\n\n\n\n\n"])
    def test_of_a_long_text_only_the_start_is_split(self, read, piece):
        spans, room = read
        found, longest = spans(piece * (300_000 // len(piece)))
        assert longest <= 128 * room
        assert len(found) <= room

    def test_it_is_the_part_that_the_encoder_reads(self, read):
        spans, room = read
        found, _ = spans("house " * 5000)
        assert [(span.start, span.end) for span in found] == [(6 * n, 6 * n + 5) for n in range(room)]
        # Little is said in many characters.
        padded = "house" + " " * 40
        assert len(spans(padded * room)[0]) == room


def test_work_of_who_left_is_left(serve, library, monkeypatch):
    """A gate whose client goes ends the work inside."""
    ended = []

    async def app(scope, receive, send):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append(scope["path"])
            raise

    async def run():
        gate, messages = Gate(app, Limits(), api_key=None, hosts=None), asyncio.Queue()
        scope = {"type": "http", "method": "POST", "path": "/api/search", "headers": []}
        await messages.put({"type": "http.request", "body": b"{}", "more_body": False})

        async def send(message):
            raise AssertionError(message)

        asking = asyncio.ensure_future(gate(scope, messages.get, send))
        while not gate.at_work:
            await asyncio.sleep(0.001)
        await messages.put({"type": "http.disconnect"})
        await asyncio.wait_for(asking, 10)
        assert gate.at_work == 0

    asyncio.run(run())
    assert ended == ["/api/search"]


def test_long_texts_go_last_and_alone():
    calls = []

    def encode(texts, role):
        calls.append([len(text) for text in texts])
        return csr_matrix((len(texts), 1), dtype=np.float32)

    async def run():
        with ThreadPoolExecutor(1) as executor:
            vector = Batcher(encode, executor, window=0.01, size=4).vector
            many = [vector("x" * 120, "query", 120 * n) for n in range(8)]
            few = [vector("x" * CHARACTERS, "query") for _ in range(3)]
            await asyncio.gather(vector("x" * 2000, "query"), *many, *few)

    asyncio.run(run())
    # The first texts of the request with eight stand with what others ask for; the rest waits for it.
    assert calls[:2] == [[120, 120], [CHARACTERS] * 3]
    assert calls[-1] == [2000]
    assert all(len(call) * max(call) <= 4 * CHARACTERS or len(call) == 1 for call in calls)


def test_a_heavy_search_does_not_keep_a_light_one(serve, library, idx, monkeypatch):
    index = SparseIndex.open(idx)
    index.add([{"id": f"n{n}", "text": "house"} for n in range(30)])
    client = serve()
    order, explain = [], type(library.index()).explain

    def slow(self, *arguments):
        order.append("step")
        time.sleep(0.02)
        return explain(self, *arguments)

    monkeypatch.setattr(type(library.index()), "explain", slow)
    heavy = threading.Thread(
        target=lambda: (client.post("/api/search", json={"query": "house", "matches": True, "top_k": 30}),
                        order.append("heavy"))
    )  # fmt: skip
    heavy.start()
    while not order:
        time.sleep(0.001)
    assert client.post("/api/search", json={"query": "house"}).status_code == 200
    order.append("light")
    heavy.join()
    assert order.index("light") < order.index("heavy")
    assert order.index("light") < 25


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "war", "filter": {"year": "%s"}}' % (b"9" * 5000),
        b'{"query": "war", "filter": {"year": %s}}' % (b"9" * 4200),
        b'{"query": "war", "filter": {"year": NaN}}', b'{"query": "war", "filter": {"year": [Infinity]}}',
        b'{"query": "war", "top_k": 1e308}', b'{"query": "war", "top_k": -1}', b'{"query": "war", "limit": 1e308}',
        b'{"query": "war", "top_k": %s}' % (b"9" * 4000), b'{"query": "war", "query": "house"}',
        b'{"query": "war", "filter": %s1%s}' % (b'{"a":' * 5000, b"}" * 5000), b"[" * 60_000,
        b'{"query": "\xff"}', b"", b"null", b'{"query": "\\u0000\\u001b[2J"}',
    ],
)  # fmt: skip
def test_hostile_bodies_are_answered(client, body):
    answer = client.post("/api/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 422), answer.text
    assert b"NaN" not in answer.content


@pytest.mark.parametrize("path", ["/page/%2e%2e/app.py", "/page/..%2fapp.py", "/%00", "/api/%0d%0aSet-Cookie:%20x"])
def test_paths_lead_nowhere(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert "set-cookie" not in answer.headers


def test_long_ids_are_explained(serve, idx):
    name = "x" * 5000
    SparseIndex.open(idx).add([{"id": name, "text": "house"}])
    client = serve()
    assert client.get("/api/explain", params={"query": "house", "id": name}).json()["id"] == name
    assert len(client.post("/api/explain", json={"query": "house", "id": name + "y"}).text) < 300


class TestConnections:
    LIMITS = Limits(seconds=0.6, headers=0.3, connections=4, window=0)

    @pytest.fixture
    def port(self):
        """A server of a plain application with short times."""

        async def app(scope, receive, send):
            if scope["path"] == "/slow":
                await asyncio.sleep(0.5)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})

        table = ConnectionTable(self.LIMITS)
        config = uvicorn.Config(
            app, http=lambda **given: Connection(table=table, **given), lifespan="off", log_config=None, ws="none"
        )
        server = uvicorn.Server(config)
        listening = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()

    @staticmethod
    def opened(port, start=b""):
        one = socket.create_connection(("127.0.0.1", port), timeout=10)
        one.sendall(start)
        return one

    @staticmethod
    def answered(one):
        """Whether an answer comes whole."""
        found = b""
        while not found.endswith(b"ok"):
            more = one.recv(65536)
            if not more:
                return False
            found += more
        return True

    @staticmethod
    def ended(one):
        """All that comes until the connection is closed."""
        found = b""
        try:
            while more := one.recv(65536):
                found += more
        except ConnectionError:
            pass
        return found

    @pytest.mark.parametrize("start", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nX: "])
    def test_half_a_request_is_cut(self, port, start):
        assert self.ended(self.opened(port, start)) == b""

    def test_bytes_do_not_win_time(self, port):
        one = self.opened(port, b"GET / HTTP/1.1\r\nX: ")
        sent = 0
        with suppress(ConnectionError):
            while sent < 200:
                one.sendall(b"x")
                time.sleep(0.05)
                sent += 1
        assert sent < 200

    def test_an_endless_body_is_not_read(self, port):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
        assert self.ended(self.opened(port, head)).endswith(b"ok")

    def test_a_request_is_answered_and_the_next_one_waited_for(self, port):
        one = self.opened(port)
        for _ in range(3):
            one.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert self.answered(one)
            time.sleep(0.1)

    def test_who_sent_nothing_goes_for_a_new_one(self, port):
        used = self.opened(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert self.answered(used)
        working = self.opened(port, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.05)
        waiting = [self.opened(port) for _ in range(3)]
        # The fifth took the place of the first that said nothing, and of nobody else.
        assert self.ended(waiting[0]) == b""
        used.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert self.answered(used)
        assert self.answered(working)


def test_ready_says_degraded_where_a_manifest_is_of_another_shape(client, idx):
    path = idx / "manifest.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(content | {"segments": {"0": None}}))
    ready, health = client.get("/ready"), client.get("/health")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "the server's log says more" in ready.json()["problem"]
    assert health.status_code == 200
    assert client.post("/api/search", json={"query": "war"}).status_code == 200
