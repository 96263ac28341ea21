"""JSON over HTTP with patience: connections are kept, and what is safe to repeat is repeated."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from isthmus.engines.base import Location, refuse_in_clear
from isthmus.errors import EngineError, InputError, MissingExtraError

ATTEMPTS = 6
BUSY = (429, 502, 503, 504)
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 120.0
_REASON = 300
BLOCKED = (
    "it blocks this, often because a disk is full: free space, or lift the block (index.blocks.* in its settings), "
    "then go on with --update"
)


class Http:
    """One server.

    Every request must be safe to repeat. A server that is busy or out of reach is asked again after a wait that
    doubles from half a second, with jitter, or after the wait that it names.

    Args:
        location: Where it is.
        default_port: Where the URL names none.
        backoff: Seconds of the first wait.

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
        host = f"[{location.host}]" if ":" in location.host else location.host
        self.base = f"{'https' if location.tls else 'http'}://{host}:{location.port or default_port}"
        self._errors = urllib3.exceptions.HTTPError
        self._pool = urllib3.PoolManager(
            headers=headers,
            ca_certs=ca_certs,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            retries=urllib3.Retry(
                ATTEMPTS,
                # A redirect would carry the credentials elsewhere.
                redirect=False,
                allowed_methods=None,
                status_forcelist=BUSY,
                raise_on_status=False,
                backoff_factor=backoff,
                backoff_jitter=backoff,
            ),
        )

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
            EngineError: If the server does not answer, or refuses; with its reason.
        """
        lines = isinstance(body, bytes)
        content = body if lines or body is None else json.dumps(body).encode()
        headers = {**self._pool.headers, "Content-Type": "application/x-ndjson" if lines else "application/json"}
        try:
            reply = self._pool.request(method, self.base + path, body=content, headers=headers)
        except self._errors as error:
            reason = getattr(error, "reason", None) or error
            raise EngineError(f"{self.base} does not answer ({reason}); check address, scheme and network") from error
        try:
            value = json.loads(reply.data) if reply.data else None
        except ValueError:
            value = reply.data[:_REASON].decode("utf-8", errors="replace")
        if reply.status >= 300 and reply.status not in known:
            remedy = f"; {BLOCKED}" if is_block(value) else ""
            raise EngineError(
                f"{method} {self.base}{path} was refused with status {reply.status}: {reason_of(value)}{remedy}"
            )
        return reply.status, value

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


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
