"""The gate of the API: host, key, size, number and time of every request, and the headers of every answer."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.serve.options import Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

API, METRICS = "/api/", "/metrics"
# What needs the key.
_PRIVATE = (API, METRICS)
# Answered however many are at work, so that they tell about a server that is busy.
LIGHT = frozenset(("/api/info", METRICS))
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_PATH_CHARACTERS = 200
BROKEN = "the server failed; its log says why"
_logger = logging.getLogger(__name__)


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: What must be, what was given, what to do.
        field: The parameter or header it is about.
        headers: More headers of the answer.
    """

    def __init__(self, status: int, message: str, field: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.content = {"error": message, "field": field}
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class Served:
    """A request and what became of it.

    Attributes:
        method: Of the request.
        path: Without what was asked.
        query_string: Of its address.
        body: Of the request, where it was read.
        status: Of the answer; 499 where nobody waited for it any more.
        size: Bytes of the answer's body.
        seconds: Until the answer was sent.
    """

    method: str
    path: str
    query_string: str
    body: bytes = b""
    status: int = 499
    size: int = 0
    seconds: float = 0.0


class Gate:
    """ASGI application around another one.

    Args:
        app: The application inside.
        limits: Bounds of the requests.
        api_key: What requests to the API must bring; None asks for nothing.
        hosts: Names, without ports, that requests may be addressed to, against DNS rebinding; None takes any.
        observers: Called with every request once it is answered.

    Attributes:
        at_work: Requests that are being answered.
    """

    def __init__(
        self,
        app: App,
        limits: Limits,
        *,
        api_key: str | None,
        hosts: Collection[str] | None,
        observers: Sequence[Callable[[Served], None]] = (),
    ) -> None:
        self._app = app
        self._limits = limits
        self._key = None if api_key is None else api_key.encode()
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._observers = observers
        self.at_work = 0

    def lifespan(self) -> Any:
        """What the application inside does from its start to its end, as an asynchronous context."""
        inside: Any = self._app
        return inside.router.lifespan_context(inside)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        began = time.perf_counter()
        served = Served(scope["method"], scope["path"], scope.get("query_string", b"").decode("latin-1"))

        async def sending(message: Message) -> None:
            nonlocal started
            served.size += len(message.get("body", b""))
            if message["type"] == "http.response.start":
                started = True
                served.status = message["status"]
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in own if pair[0] not in given)]
            await send(message)

        try:
            await self._pass(scope, receive, sending, served)
        except Refusal as refusal:
            # An answer that is under way, to a client that reads too slowly, is broken off.
            if not started:
                await _refuse(refusal, sending)
        except Exception:
            # The traceback is for the log alone: it may name folders.
            _logger.exception("a request to %r failed", scope["path"][:_PATH_CHARACTERS])
            if not started:
                await _refuse(Refusal(500, BROKEN), sending)
        finally:
            served.seconds = time.perf_counter() - began
            for observe in self._observers:
                observe(served)

    async def _pass(self, scope: Any, receive: Receive, send: Send, served: Served) -> None:
        path = scope["path"]
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        self._check_host([value.decode("latin-1") for name, value in headers if name == b"host"])
        if not path.startswith(_PRIVATE):
            await self._app(scope, receive, send)
            return
        found = dict(headers)
        if found.get(b"sec-fetch-site") == b"cross-site":
            raise Refusal(403, "the request must not come from a page of another site", "Sec-Fetch-Site")
        self._check_key(found)
        seconds = self._limits.seconds
        reading = Refusal(408, f"the body must arrive within {seconds:g} s", "body")
        served.body = body = await _within(seconds, self._read(found, receive), reading)
        late = Refusal(504, f"the request took longer than {seconds:g} s; ask for less, or try again later")
        if path in LIGHT:
            await self._answer(scope, body, receive, send, late)
            return
        if self.at_work >= self._limits.waiting:
            message = f"the server has {self._limits.waiting} requests at work already; try again in a second"
            raise Refusal(503, message, retry_after="1")
        self.at_work += 1
        try:
            await self._answer(scope, body, receive, send, late)
        finally:
            self.at_work -= 1

    async def _answer(self, scope: Any, body: bytes, receive: Receive, send: Send, late: Refusal) -> None:
        """Let the application answer, as long as there is time and somebody who waits for it."""
        gone = asyncio.ensure_future(_disconnected(receive))
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                await asyncio.shield(gone)
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        work = asyncio.ensure_future(self._app(scope, replay, send))
        try:
            await asyncio.wait((work, gone), timeout=self._limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
            elif not gone.done():
                raise late
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    def _check_host(self, given: list[str]) -> None:
        if self._hosts is None:
            return
        name = given[0].lower() if len(given) == 1 else ""
        host, colon, port = name.rpartition(":")
        if not colon or not port.isdecimal():
            host = name
        if host not in self._hosts:
            names = ", ".join(sorted(self._hosts))
            raise Refusal(421, f"the Host header must be one of {names}; start the server with --allow-host", "Host")

    def _check_key(self, headers: dict[bytes, bytes]) -> None:
        if self._key is None:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._key):
            message = "the header Authorization must be 'Bearer' and the API key of this server"
            raise Refusal(401, message, "Authorization", www_authenticate="Bearer")

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        too_large = Refusal(413, f"the body must have at most {self._limits.body} bytes; send less", "body")
        size = headers.get(b"content-length", b"0")
        if size.isdigit() and int(size[:20]) > self._limits.body:
            raise too_large
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "the body ended early", "body")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limits.body:
                raise too_large
        return body


async def _within(seconds: float, work: Awaitable[Any], late: Refusal) -> Any:
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise late from None


async def _disconnected(receive: Receive) -> None:
    """Wait until nobody waits for the answer any more."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(refusal: Refusal, send: Send) -> None:
    content = json.dumps(refusal.content).encode()
    headers = {"content-type": "application/json", "content-length": str(len(content)), **refusal.headers}
    if refusal.status in (400, 408, 413):
        # What is left of the body is not read.
        headers["connection"] = "close"
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
