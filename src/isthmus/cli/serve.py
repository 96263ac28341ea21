"""``isthmus serve``: an index behind a small HTTP API and a page to explore it."""

from __future__ import annotations

import importlib.util
import os
from contextlib import closing
from typing import Annotated

import typer
from rich.markup import escape

from isthmus.cli._hub import check_names
from isthmus.cli._output import console, errors, print_json, quiet_libraries, working
from isthmus.errors import MissingExtraError
from isthmus.serve.limits import Limits

KEY = "ISTHMUS_API_KEY"


def command(
    folder: Annotated[
        str, typer.Argument(help="An index: a folder, or opensearch://HOST:PORT/INDEX and the like.", metavar="IDX")
    ],
    model: Annotated[str | None, typer.Option(help="Encoder of the queries; default: the one the index names.")] = None,
    any_model: Annotated[bool, typer.Option("--any-model", help="Accept a model that did not make the index.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name that requests may be addressed to; repeat for more.")
    ] = None,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a request's body.")] = Limits.body,
    max_query: Annotated[int, typer.Option(min=1, help="Characters of a query.")] = Limits.query,
    max_texts: Annotated[int, typer.Option(min=1, help="Texts of one call to encode.")] = Limits.texts,
    max_top_k: Annotated[int, typer.Option(min=10, help="Hits of one search.")] = Limits.top_k,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests at work at once; more get 503.")] = Limits.waiting,
    timeout: Annotated[float, typer.Option(help="Seconds for a request; longer ones get 504.")] = Limits.seconds,
    batch_window: Annotated[
        float, typer.Option(min=0, help="Milliseconds that a query waits for others to be encoded with.")
    ] = Limits.window * 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Queries that are encoded together.")] = Limits.batch,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Say where it listens as one JSON object.")] = False,
) -> None:
    """Serve an index over HTTP until Ctrl-C; with ISTHMUS_API_KEY set, requests must bring that key."""
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "serve")
    limits = Limits(
        body=max_body,
        query=max_query,
        texts=max_texts,
        top_k=max_top_k,
        waiting=max_waiting,
        seconds=timeout,
        window=batch_window / 1000,
        batch=batch_size,
    )
    check_names([model])
    with working("loading libraries", quiet=json):
        from isthmus.engines import open_engine
        from isthmus.serve.app import create_app
        from isthmus.serve.library import Library
        from isthmus.serve.listening import LOOPBACK_NAMES, is_loopback, run_server

        quiet_libraries()
    if model is None:
        with closing(open_engine(folder)) as index:
            check_names([index.summary()["model"]])
    with working("loading the encoder", quiet=json):
        library = Library(folder, model=model, any_model=any_model, trust_remote_code=trust_remote_code)
    hosts = [*(LOOPBACK_NAMES if is_loopback(host) else ()), *(allow_host or ())] or None
    key = os.environ.get(KEY)
    app = create_app(library, limits=limits, api_key=key, hosts=hosts)
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
        run_server(app, limits=limits, host=host, port=port, ready=ready)
