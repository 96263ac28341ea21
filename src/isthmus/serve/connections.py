"""Connections that cost nobody else anything: slow, half-open and unread ones are cut."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from isthmus.serve.options import Limits

_SWEEP = 0.5
# Files that are not connections: the index, the libraries, pipes.
_OTHER_FILES = 256
_FEWEST, _MOST = 64, 2**14


class Connection(H11Protocol):  # type: ignore[misc]
    """A connection that has a time for everything, and goes for a new one when its address has too many.

    uvicorn itself has a time for the next request of a connection alone, which the first byte of it ends.
    """

    def __init__(self, *args: Any, table: ConnectionTable, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._table = table
        self._idle, self._since = True, time.monotonic()
        self.served = False

    @property
    def address(self) -> str:
        """Of the client."""
        return "" if self.client is None else self.client[0]

    @property
    def at_work(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def rank(self) -> tuple[bool, float]:
        """Whom it hits first, of those that are not at work: who never sent a request, and waits longest."""
        return self.served, self._since

    def overdue(self, limits: Limits) -> bool:
        """Whether it took longer than it may for what it does."""
        seconds = time.monotonic() - self._since
        if self.at_work:
            # A body, an answer, and the time to send it.
            return seconds > 3 * limits.seconds
        unread = self.transport.get_write_buffer_size() > 0 or self.transport.is_closing()
        return seconds > (limits.seconds if unread else limits.headers)

    def connection_made(self, transport: Any) -> None:
        """Take its place, which may be that of another one."""
        super().connection_made(transport)
        self._table.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give it back."""
        self._table.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note when a request began, and when all of its headers were there."""
        before = self.cycle
        if self._idle:
            self._idle, self._since = False, time.monotonic()
        super().data_received(data)
        if self.cycle is not before:
            self._since = time.monotonic()

    def on_response_complete(self) -> None:
        """Wait for the next request; the rest of a body that nobody wants is not read."""
        self._idle, self._since, self.served = True, time.monotonic(), True
        if self.conn.our_state is h11.DONE and self.conn.their_state is not h11.DONE:
            self.transport.close()
        super().on_response_complete()


class ConnectionTable:
    """The connections of a server, by address.

    Args:
        limits: Bounds of the requests and of connections.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most = min(max(_open_files() - _OTHER_FILES, _FEWEST), _MOST)
        self._by_address: dict[str, set[Connection]] = {}
        self._sweeping = False

    def add(self, connection: Connection) -> None:
        """Take a new one; an address that has too many loses one that is not at work, or the new one."""
        own = self._by_address.setdefault(connection.address, set())
        own.add(connection)
        if len(own) > self._limits.connections:
            self._cut(own)
        elif sum(map(len, self._by_address.values())) > self._most:
            self._cut(max(self._by_address.values(), key=len))
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(_SWEEP, self._sweep)

    def remove(self, connection: Connection) -> None:
        """Forget one that is closed."""
        own = self._by_address.get(connection.address, set())
        own.discard(connection)
        if not own:
            self._by_address.pop(connection.address, None)

    def _cut(self, own: set[Connection]) -> None:
        victim = min((one for one in own if not one.at_work), key=lambda one: one.rank, default=None)
        if victim is not None:
            self.remove(victim)
            victim.transport.abort()

    def _sweep(self) -> None:
        for one in [one for own in self._by_address.values() for one in own]:
            if one.overdue(self._limits):
                one.transport.abort()
        self._sweeping = bool(self._by_address)
        if self._sweeping:
            asyncio.get_running_loop().call_later(_SWEEP, self._sweep)


def _open_files() -> int:
    """How many files this process may have open."""
    try:
        import resource
    except ImportError:
        return _MOST
    found = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return found if found >= 0 else _MOST
