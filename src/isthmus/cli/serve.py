"""``isthmus serve``: an index behind a small HTTP API and a page to explore it."""

from __future__ import annotations

import functools
import importlib.util
import os
from contextlib import closing
from typing import Annotated

import typer

from isthmus.cli._completion import INDEXES
from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, errors, escape, print_json, quiet_libraries, working
from isthmus.engines import is_engine_url, open_engine
from isthmus.errors import MissingExtraError
from isthmus.serve.options import ServeOptions

KEY = "ISTHMUS_API_KEY"


@flags
def command(
    folder: Annotated[
        str,
        typer.Argument(
            help="An index: a folder, or opensearch://HOST:PORT/INDEX and the like.",
            metavar="IDX",
            autocompletion=INDEXES,
        ),
    ],
    options: ServeOptions,
    json: Json = False,
) -> None:
    """Serve an index over HTTP, with a page to explore it, until Ctrl-C.

    With ISTHMUS_API_KEY set, requests must bring that key.

    Example: isthmus serve idx --port 8080
    """
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "serve")
    check_names([options.model])
    if options.model is None or not is_engine_url(folder):
        with closing(open_engine(folder)) as index:
            check_names([options.model or index.summary()["model"]])
    with working("loading libraries", quiet=json):
        from isthmus.serve.access_log import write_line
        from isthmus.serve.app import create_app
        from isthmus.serve.library import Library
        from isthmus.serve.listening import LOOPBACK_NAMES, is_loopback, run_server

        quiet_libraries()
    with working("loading the encoder", quiet=json):
        library = Library(folder, options)
    host = options.host
    hosts = [*(LOOPBACK_NAMES if is_loopback(host) else ()), *options.allow_host] or None
    key = os.environ.get(KEY)
    log = functools.partial(write_line, texts=options.access_log == "queries")
    observers = [] if options.access_log == "none" else [log]
    app = create_app(library, limits=options, api_key=key, hosts=hosts, observers=observers)
    if key is None and not is_loopback(host):
        errors.print(f"anyone who can reach {escape(host)} can search: set {KEY}, or listen on 127.0.0.1")

    def ready(url: str) -> None:
        if json:
            print_json(
                [{"url": url, "documents": len(library.index()), "model": library.model, "key": key is not None}]
            )
        else:
            console.print(f"{len(library.index()):,} documents at {escape(url)}; Ctrl-C stops", soft_wrap=True)

    with closing(library):
        run_server(app, limits=options, host=host, port=options.port, ready=ready)
