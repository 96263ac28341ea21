"""JSON over HTTP with patience: connections are kept, and what is safe to repeat is repeated, by another node too."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus.engines.base import Location, refuse_in_clear
from isthmus.errors import EngineAwayError, EngineError, InputError, MissingExtraError

ATTEMPTS = 6
BUSY = (429, 502, 503, 504)
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 120.0
# Somebody waits: within a second it is clear whether a server is there at all.
_HURRIED_CONNECT_SECONDS, _HURRIED_READ_SECONDS, _HURRIED_ATTEMPTS = 0.7, 10.0, 1
_LONGEST_WAIT = 60.0
_REASON = 300
BLOCKED = (
    "it blocks this, often because a disk is full: free space, or lift the block (index.blocks.* in its settings), "
    "then go on with --update"
)


class Http:
    """One cluster.

    Every request must be safe to repeat. It goes to the node that answered last; when that one dies, to the next one
    at once. When no node answers, or one is busy, all are asked again: at once, then after waits that double from a
    second, with jitter, or after the wait that a busy one names. Only what never answered at all, and takes no
    connection, is told at once: more likely it is the address that is wrong.

    Args:
        location: Where it is.
        default_port: Where the URL names none.
        backoff: Seconds of half the first wait.

    Attributes:
        bases: Addresses of the nodes, the one that is asked first in front.

    Raises:
        InputError: If credentials would go over the network in the clear.
        MissingExtraError: If urllib3 is not installed.
    """

    def __init__(self, location: Location, default_port: int, *, backoff: float = 0.5) -> None:
        try:
            import urllib3
        except ImportError as error:
            raise MissingExtraError("urllib3", "opensearch") from error
        headers, ca_certs = credentials(location)
        scheme = "https" if location.tls else "http"
        self.bases = [
            f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or default_port}" for host, port in location.hosts
        ]
        self._errors = urllib3.exceptions
        self._timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        self._hurried = urllib3.Timeout(connect=_HURRIED_CONNECT_SECONDS, read=_HURRIED_READ_SECONDS)
        self._backoff = backoff
        self._patient = True
        self._answered = False
        self._pool = urllib3.PoolManager(headers=headers, ca_certs=ca_certs)

    def hurry(self) -> None:
        """From now on, tell within a second that nobody takes a connection: somebody is waiting for the answer."""
        self._patient = False

    def ask(self, method: str, path: str, body: Any = None, *, known: Sequence[int] = ()) -> tuple[int, Any]:
        """Send a request.

        Args:
            method: GET, POST and so on.
            path: From the root of the server, quoted.
            body: Bytes of lines of JSON, or a value to send as JSON.
            known: Statuses from 400 on that the caller understands.

        Returns:
            Status and the JSON that came back.

        Raises:
            EngineAwayError: If no node takes a connection.
            EngineError: If the server does not answer, or refuses; with its reason.
        """
        lines = isinstance(body, bytes)
        content = body if lines or body is None else json.dumps(body).encode()
        headers = {**self._pool.headers, "Content-Type": "application/x-ndjson" if lines else "application/json"}
        reply = self._send(method, path, content, headers)
        try:
            value = json.loads(reply.data) if reply.data else None
        except ValueError:
            value = reply.data[:_REASON].decode("utf-8", errors="replace")
        if reply.status >= 300 and reply.status not in known:
            remedy = f"; {BLOCKED}" if is_block(value) else ""
            raise EngineError(
                f"{method} {self.bases[0]}{path} was refused with status {reply.status}: {reason_of(value)}{remedy}"
            )
        return reply.status, value

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _send(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> Any:
        """The first reply that is none of a busy server; after the last attempt, any."""
        attempts = ATTEMPTS if self._patient else min(ATTEMPTS, _HURRIED_ATTEMPTS)
        for attempt in range(attempts + 1):
            reply = self._round(method, path, content, headers, last=attempt == attempts)
            if reply is not None and (reply.status not in BUSY or attempt == attempts):
                return reply
            named = ""
            if reply is not None:
                named = reply.headers.get("Retry-After", "")
                self._turn()
            # At once the first time: connections that nobody used for long are often closed by the other side.
            wait = self._backoff * 2**attempt + random.uniform(0, self._backoff) if attempt else 0.0
            time.sleep(min(float(named), _LONGEST_WAIT) if named.isdecimal() else wait)
        raise AssertionError("the last attempt returns or raises")

    def _round(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str], *, last: bool) -> Any:
        """The reply of the first node that answers; that one is asked first from now on.

        Raises:
            EngineError: If none answers, and there is nothing to wait for.
        """
        away = True
        timeout = self._timeout if self._patient else self._hurried
        for _ in self.bases:
            try:
                # A redirect would carry the credentials elsewhere.
                reply = self._pool.request(
                    method, self.bases[0] + path, body=content, headers=headers, timeout=timeout, retries=False,
                    redirect=False,
                )  # fmt: skip
            except self._errors.HTTPError as error:
                away = away and isinstance(error, (self._errors.NewConnectionError, self._errors.ConnectTimeoutError))
                failure = error
            else:
                self._answered = True
                return reply
            self._turn()
        if last or (away and not (self._patient and self._answered)):
            names = self.bases[0] if len(self.bases) == 1 else f"none of {', '.join(self.bases)}"
            kind = EngineAwayError if away else EngineError
            does = "does not answer" if len(self.bases) == 1 else "answers"
            raise kind(f"{names} {does} ({failure}); check address, scheme and network") from failure
        return None

    def _turn(self) -> None:
        """Ask the next node first."""
        self.bases.append(self.bases.pop(0))


def credentials(location: Location) -> tuple[dict[str, str], str | None]:
    """Headers and the file of certificates that the environment names for a kind of server.

    ``OPENSEARCH_API_KEY``, or ``OPENSEARCH_USERNAME`` and ``OPENSEARCH_PASSWORD``; ``OPENSEARCH_CA_CERTS`` is a file of
    the authorities to trust. Other servers have their own prefix.

    Raises:
        InputError: If they would go over the network in the clear, or one of a pair is missing.
    """
    prefix = location.scheme.upper()
    key, user, password, ca_certs = (
        os.environ.get(f"{prefix}_{name}") for name in ("API_KEY", "USERNAME", "PASSWORD", "CA_CERTS")
    )
    headers = {}
    if key:
        headers["Authorization"] = f"ApiKey {key}"
    elif user and password:
        import urllib3

        headers = urllib3.make_headers(basic_auth=f"{user}:{password}")
    elif user or password:
        raise InputError(f"{prefix}_USERNAME and {prefix}_PASSWORD must both be set, got one; set the other, or none")
    if headers:
        refuse_in_clear(location)
    return headers, ca_certs or None


def is_block(value: Any) -> bool:
    """Whether an error that a server sent is a block that somebody has to lift; one of a starting server goes away."""
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict) or error.get("type") != "cluster_block_exception":
        return False
    return "SERVICE_UNAVAILABLE/" not in str(error.get("reason"))


def reason_of(value: Any) -> str:
    """The reason in an error that a server sent."""
    error = value.get("error", value) if isinstance(value, dict) else value
    while isinstance(error, dict):
        causes = error.get("root_cause") or [None]
        deeper = error.get("caused_by") or (causes[0] if causes[0] != error else None)
        found = error.get("reason")
        if not isinstance(deeper, dict) or not deeper.get("reason") or deeper["reason"] == found:
            return str(found or error)[:_REASON].rstrip("; ")
        error = deeper
    return str(error)[:_REASON]
