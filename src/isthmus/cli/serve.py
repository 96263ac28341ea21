"""``isthmus serve``: an index behind a small HTTP API and a page to explore it."""

from __future__ import annotations

import functools
import importlib.util
import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli._completion import INDEXES
from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, errors, escape, print_json, quiet_libraries, working
from isthmus.engines import is_engine_url, open_engine
from isthmus.errors import InputError, MissingExtraError
from isthmus.serve.options import ServeOptions

KEY = "ISTHMUS_API_KEY"


@flags
def command(
    indexes: Annotated[
        list[str],
        typer.Argument(
            help="An index: a folder, or opensearch://HOST:PORT/INDEX and the like; or several, as NAME=IDX.",
            metavar="IDX",
            autocompletion=INDEXES,
        ),
    ],
    options: ServeOptions,
    json: Json = False,
) -> None:
    """Serve an index over HTTP, with a page to explore it, until Ctrl-C.

    With ISTHMUS_API_KEY set, requests must bring that key. Several indexes, NAME=IDX, have a path each: /NAME/.

    Example: isthmus serve idx --port 8080
    """
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "serve")
    check_names([options.model])
    named = _named(indexes)
    for url in named.values():
        if options.model is None or not is_engine_url(url):
            with closing(open_engine(url)) as index:
                check_names([options.model or index.summary()["model"]])
    with working("loading libraries", quiet=json):
        from isthmus.serve.access_log import write_line
        from isthmus.serve.app import create_app
        from isthmus.serve.library import Library
        from isthmus.serve.listening import LOOPBACK_NAMES, is_loopback, run_server
        from isthmus.serve.several import Several
        from isthmus.serve.several import check_names as check_paths

        quiet_libraries()
    check_paths([name for name in named if name])
    with working("loading the encoder", quiet=json), ExitStack() as opened:
        libraries = {name: opened.enter_context(closing(Library(url, options))) for name, url in named.items()}
        closing_all = opened.pop_all()
    host = options.host
    hosts = [*(LOOPBACK_NAMES if is_loopback(host) else ()), *options.allow_host] or None
    key = os.environ.get(KEY)
    log = functools.partial(write_line, texts=options.access_log == "queries")
    observers = [] if options.access_log == "none" else [log]
    told: Any = {"limits": options, "api_key": key, "hosts": hosts, "observers": observers}
    alone = libraries.get("")
    app: Any = Several(libraries, **told) if alone is None else create_app(alone, **told)
    if key is None and not is_loopback(host):
        errors.print(f"anyone who can reach {escape(host)} can search: set {KEY}, or listen on 127.0.0.1")

    def ready(url: str) -> None:
        for name, library in libraries.items():
            place, documents = f"{url}/{name}/" if name else url, len(library.index())
            if json:
                print_json([{"url": place, "documents": documents, "model": library.model, "key": key is not None}])
            else:
                console.print(f"{documents:,} documents at {escape(place)}; Ctrl-C stops", soft_wrap=True)

    with closing_all:
        run_server(app, limits=options, host=host, port=options.port, ready=ready)


def _named(indexes: list[str]) -> dict[str, str]:
    """Indexes by name; one without a name has "".

    Raises:
        InputError: If one of several has no name, or two have the same.
    """
    named: dict[str, str] = {}
    for text in indexes:
        name, equals, url = text.partition("=")
        # A URL or a folder may have one too.
        if not equals or "/" in name or ":" in name or Path(text).exists():
            name, url = "", text
        if name in named or (not name and len(indexes) > 1):
            raise InputError(f"each of several indexes must be NAME=IDX with a name of its own, got {text!r}")
        named[name] = url
    return named
