"""Who is let in, how much, how many, how long; and that nothing is told that need not be."""

import asyncio
import json
import logging
import threading

import pytest

from isthmus.errors import InputError
from isthmus.serve.gate import Gate
from isthmus.serve.options import Limits
from tests.serve.conftest import REASON

pytest.importorskip("fastapi", reason=REASON)
from isthmus.serve import create_app
from isthmus.serve.listening import LOOPBACK_NAMES, is_loopback

KEY = "k" * 16 + "!secret"


def test_key(serve):
    client = serve(api_key=KEY)
    wrong = (KEY, "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xff".encode("latin-1"))
    for headers in ({}, *({"authorization": value} for value in wrong)):
        for answer in (client.get("/api/info", headers=headers), client.get("/api/zz", headers=headers)):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["field"] == "Authorization"
    assert client.get("/api/info", params={"key": KEY}).status_code == 401
    assert client.get("/api/info", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    assert client.get("/health").status_code == 200
    assert client.get("/").status_code == 200


def test_key_is_compared_in_constant_time_and_never_logged(serve, caplog, monkeypatch, library):
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda given, own: compared.append((given, own)) or given == own)
    client = serve(api_key=KEY)
    monkeypatch.setattr(library, "index", lambda: 1 / 0)
    with caplog.at_level(logging.DEBUG):
        client.get("/api/info", headers={"authorization": "Bearer guess-guess-guess"})
        failed = client.get("/api/info", headers={"authorization": f"Bearer {KEY}"})
    assert compared == [(b"guess-guess-guess", KEY.encode()), (KEY.encode(), KEY.encode())]
    assert failed.status_code == 500
    assert "ZeroDivisionError" in caplog.text
    assert KEY not in caplog.text
    assert "guess-guess" not in caplog.text


@pytest.mark.parametrize("key", ["", "short", "with spaces in it, many", "ключключключключ"])
def test_bad_keys_are_refused(library, key):
    with pytest.raises(InputError, match="api_key"):
        create_app(library, api_key=key)


def test_failures_tell_nothing(client, library, monkeypatch):
    def fail(*_):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(library, "index", fail)
    found = client.post("/api/search", json={"query": "war"})
    assert found.status_code == 500
    assert "secret" not in found.text
    assert found.json() == {"error": "the server failed; its log says why", "field": None}
    assert found.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("LocalHost:8080", 200), ("127.0.0.1:1", 200), ("[::1]:8080", 200), ("[::1]", 200),
     ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil:80", 421), ("", 421),
     ("localhost:evil", 421)],
)  # fmt: skip
def test_host_must_be_this_machine(serve, host, status):
    client = serve(hosts=LOOPBACK_NAMES)
    for path in ("/health", "/", "/api/info", "/openapi.json"):
        assert client.get(path, headers={"host": host}).status_code == status


def test_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org")))


def test_pages_of_other_sites_are_refused(client):
    answer = client.get("/api/info", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    for site in ("same-origin", "none"):
        assert client.get("/api/info", headers={"sec-fetch-site": site}).status_code == 200
    assert "access-control-allow-origin" not in client.get("/api/info", headers={"origin": "https://a.example"}).headers
    preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert client.options("/api/search", headers=preflight).status_code == 405


def test_every_answer_has_the_headers(serve):
    client = serve(api_key=KEY, hosts=["testserver"], body=10)
    key = {"authorization": f"Bearer {KEY}"}
    answers = [
        client.get("/"), client.get("/health"), client.get("/api/info"), client.get("/zz"),
        client.get("/", headers={"host": "evil"}), client.post("/api/search", content=b"x" * 11, headers=key),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200, 200, 401, 404, 421, 413]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] in ("no-store", "no-cache")


def test_body_is_limited_however_it_is_sent(serve):
    client = serve(body=100)
    body = json.dumps({"query": "w" * 200}).encode()
    assert client.post("/api/search", content=body).status_code == 413

    def pieces():
        yield body[:60]
        yield body[60:]

    answer = client.post("/api/search", content=pieces(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["field"] == "body"


def ask(gate, path="/api/x", messages=None):
    """One request straight through the gate; returns status, headers and content."""

    async def run():
        sent, given = [], list(messages or [{"type": "http.request", "body": b"", "more_body": False}])

        async def receive():
            if given:
                return given.pop(0)
            await asyncio.sleep(60)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "path": path, "method": "POST", "headers": []}
        await gate(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])

    return run()


def test_slow_requests_end():
    async def never(scope, receive, send):
        await asyncio.sleep(60)

    gate = Gate(never, Limits(seconds=0.05), api_key=None, hosts=None)
    status, _, content = asyncio.run(ask(gate))
    assert (status, content["field"]) == (504, None)
    # The place of the one that was given up is free again.
    assert gate.at_work == 0
    slow = [{"type": "http.request", "body": b"{", "more_body": True}]
    status, headers, content = asyncio.run(ask(gate, messages=slow))
    assert (status, content["field"]) == (408, "body")
    assert headers[b"connection"] == b"close"


def test_a_full_queue_is_told():
    async def run():
        release = asyncio.Event()

        async def waiting(scope, receive, send):
            await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})

        gate = Gate(waiting, Limits(waiting=2), api_key=None, hosts=None)
        first = [asyncio.create_task(ask(gate)) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        refused = await ask(gate)
        release.set()
        answered = await asyncio.gather(*first)
        return refused, answered, await ask(gate)

    (status, headers, content), answered, later = asyncio.run(run())
    assert status == 503
    assert headers[b"retry-after"] == b"1"
    assert "2 requests" in content["error"]
    assert [one[0] for one in [*answered, later]] == [200, 200, 200]


def test_timeout_of_a_search(serve, library, monkeypatch):
    hold = threading.Event()
    encode = library.encode

    def slow(texts, role):
        hold.wait(5)
        return encode(texts, role)

    monkeypatch.setattr(library, "encode", slow)
    client = serve(seconds=0.1)
    try:
        assert client.post("/api/search", json={"query": "war"}).status_code == 504
    finally:
        hold.set()
    assert client.post("/api/search", json={"query": "war"}).status_code == 200
