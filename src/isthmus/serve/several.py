"""Several indexes behind one address, each with all of its paths below its name."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from isthmus.errors import InputError
from isthmus.serve.app import create_app
from isthmus.serve.gate import Gate, Receive, Send, Served
from isthmus.serve.library import Library
from isthmus.serve.options import Limits

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
# First parts of the paths of one index.
_TAKEN = ("api", "page", "health", "ready", "metrics")


class Several:
    """ASGI application: ``/NAME/...`` is what the index NAME answers by itself; ``/`` lists them, ``/health`` is ok.

    Args:
        libraries: Encoders and indexes by name.
        limits: Bounds of the requests, of each index for itself.
        api_key: As for :func:`isthmus.serve.create_app`.
        hosts: As there.
        observers: As there; paths begin with the name.

    Raises:
        InputError: If a name does not fit a path, or the key is too short.
    """

    def __init__(
        self,
        libraries: Mapping[str, Library],
        *,
        limits: Limits | None = None,
        api_key: str | None = None,
        hosts: Collection[str] | None = None,
        observers: Sequence[Callable[[Served], None]] = (),
    ) -> None:
        check_names(libraries)
        limits = limits or Limits()
        self._gates = {
            name: create_app(
                library, limits=limits, api_key=api_key, hosts=hosts, observers=[_below(name, one) for one in observers]
            )
            for name, library in libraries.items()
        }

        async def listed(_: Request) -> Response:
            return JSONResponse({"indexes": {name: f"/{name}/" for name in self._gates}})

        async def health(_: Request) -> Response:
            return JSONResponse({"status": "ok", "problem": None})

        @asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[None]:
            async with AsyncExitStack() as stack:
                for gate in self._gates.values():
                    await stack.enter_async_context(gate.lifespan())
                yield

        root = Starlette(routes=[Route("/", listed), Route("/health", health)], lifespan=lifespan)
        self._root = Gate(root, limits, api_key=api_key, hosts=hosts, observers=observers)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Hand a request to the index that its path names."""
        name, slash, rest = scope.get("path", "/")[1:].partition("/")
        gate = self._gates.get(name) if scope["type"] == "http" else None
        if gate is None:
            await self._root(scope, receive, send)
        elif not slash:
            # The page finds its files beside itself.
            await Response(status_code=307, headers={"location": f"/{name}/"})(scope, receive, send)
        else:
            # The gate looks at the path to tell what needs the key.
            await gate({**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}, receive, send)


def check_names(names: Collection[str]) -> None:
    """Refuse names that cannot stand in front of a path.

    Raises:
        InputError: Names the first one.
    """
    for name in names:
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise InputError(
                f"the name of an index must be lower-case letters, digits, '_' and '-', and none of "
                f"{', '.join(_TAKEN)}, got {name!r}; choose another name"
            )


def _below(name: str, observer: Callable[[Served], None]) -> Callable[[Served], None]:
    return lambda served: observer(replace(served, path=f"/{name}{served.path}"))
