"""Listening, and stopping without dropping anybody."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any, cast

import uvicorn

from isthmus.errors import InputError
from isthmus.serve.connections import Connection, ConnectionTable
from isthmus.serve.logs import BoundedHandler
from isthmus.serve.options import Limits

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_BACKLOG = 512
_GRACE = 1.0
_HEADER_BYTES = 32_768


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run_server(
    app: Any, *, limits: Limits, host: str = "127.0.0.1", port: int = 8080, ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM; requests that are under way are answered first.

    Args:
        app: From :func:`isthmus.serve.create_app`.
        limits: The same as the application's; a request's time is what stopping waits for at most, and a second.
        host: Address to listen on.
        port: 0 takes one that is free.
        ready: Called with the address once connections are taken.

    Raises:
        InputError: If the address cannot be listened on.
    """
    listening = _listen(host, port)
    config = uvicorn.Config(
        app,
        http=cast(Any, functools.partial(Connection, table=ConnectionTable(limits))),
        ws="none",
        lifespan="on",
        # A line for every request would hold its query.
        access_log=False,
        log_level="warning",
        # All goes through the handler below.
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(limits.seconds + _GRACE),
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )
    server = uvicorn.Server(config)
    log = BoundedHandler()
    logging.getLogger().addHandler(log)
    handlers = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        address = f"[{host}]" if ":" in host else host
        if ready is not None:
            ready(f"http://{address}:{listening.getsockname()[1]}")
        server.run(sockets=[listening])
    finally:
        logging.getLogger().removeHandler(log)
        listening.close()
        for number, handler in handlers.items():
            with contextlib.suppress(TypeError):
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        listening = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host must be an address of this machine, got {host!r} ({error})") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise InputError(
            f"--host and --port must be free to listen on, got {host}:{port} ({error.strerror}); take another --port"
        ) from error
    return listening
