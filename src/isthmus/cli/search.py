"""``isthmus search``: what an index holds for a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli._completion import INDEXES
from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, errors, escape, fail, print_json, print_wrapped, quiet_libraries, working
from isthmus.cli._queries import ask, asks, read_queries
from isthmus.engines import open_engine
from isthmus.errors import InputError, IsthmusError
from isthmus.index.options import QueryOptions
from isthmus.index.segments import wanted_values

if TYPE_CHECKING:
    from isthmus.engines import Engine
    from isthmus.index import Hit

_AT_ONCE = 256
_MATCHES_SHOWN = 8
_CHARACTERS_SHOWN = 160
_VALUES_SHOWN = 10


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
    options: QueryOptions,
    query: Annotated[
        str | None, typer.Argument(help="What to search for; without, queries are asked for.", metavar="QUERY")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="File of queries: one a line, or .jsonl with id and text; - for lines of stdin.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Hits at most.")] = 10,
    filter: Annotated[
        list[str] | None, typer.Option(help="FIELD=VALUE that a hit must have; repeat a field for either value.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the tokens behind each score.")] = False,
    lexical_weight: Annotated[
        float | None,
        typer.Option(help="Factor of the lexical scores, for an index made with --lexical hybrid; 0 turns them off."),
    ] = None,
    show_request: Annotated[
        bool, typer.Option("--show-request", help="OpenSearch, Elasticsearch: print the request, and do not search.")
    ] = False,
    json: Json = False,
) -> None:
    """Search an index; a folder exactly, equal scores in corpus order.

    Without a query it asks for one after another, until an empty line.

    Example: isthmus search idx "Where is the capital?" --top-k 3 --explain
    """
    asking = query is None and queries is None and asks()
    if (query is None) == (queries is None) and not asking:
        got = "neither, and stdin is no terminal to ask at" if query is None else "both"
        raise InputError(f"QUERY or --queries must be given, got {got}; give one (--queries - reads stdin)")
    wanted = _filter(filter or [])
    texts = iter([(None, query or "")]) if queries is None else read_queries(queries)
    check_names([options.model])
    with closing(open_engine(folder, options)) as index:
        if options.model is None:
            check_names([index.summary()["model"]])
        _tell_values(index, wanted)
        with working("loading libraries", quiet=json):
            quiet_libraries()
        asked = _Asked(folder, top_k, wanted, explain, lexical_weight, show_request, json)
        if asking:
            _converse(index, asked)
        while not asking and (window := list(islice(texts, _AT_ONCE))):
            _answer(index, window, asked, headed=queries is not None)


def _show_request(index: Engine, vector: Any, asked: _Asked) -> None:
    """One line of JSON on stdout, as curl takes it; where it goes, on stderr."""
    from isthmus.engines.server import ServerEngine

    if not isinstance(index, ServerEngine):
        raise InputError(
            f"--show-request must come with opensearch:// or elasticsearch://, got {asked.folder}; leave it out"
        )
    request = index.request(vector, asked.top_k, filter=asked.filter)
    errors.print(f"{request.method} {request.path}", markup=False, soft_wrap=True)
    print_json([request.body])
    _show_left_out(request.left_out, vector.nnz)


def _show_left_out(omitted: int, dimensions: int) -> None:
    if omitted:
        errors.print(
            f"{omitted:,} of {dimensions:,} dimensions were left out, the lightest; the server takes no more",
            soft_wrap=True,
        )


@dataclass(frozen=True)
class _Asked:
    """What every query of a call is asked with, see the options of :func:`command`."""

    folder: str
    top_k: int
    filter: Mapping[str, Sequence[str]]
    explain: bool
    lexical_weight: float | None
    show_request: bool
    json: bool


def _answer(index: Engine, window: Sequence[tuple[str | None, str]], asked: _Asked, *, headed: bool = False) -> None:
    """Print the hits of some queries, each under its query if ``headed``."""
    from scipy.sparse import vstack

    from isthmus.engines.server import left_out

    vectors = index.vectors([text for _, text in window])
    if asked.lexical_weight is not None:
        from isthmus.lexical import scale_lexical

        vectors = [scale_lexical(index.encoder(), vector, asked.lexical_weight) for vector in vectors]
    if asked.show_request:
        for vector in vectors:
            _show_request(index, vector, asked)
        return
    found = index.search_many(vstack(vectors, format="csr"), asked.top_k, filter=asked.filter)
    for (identifier, text), vector, hits in zip(window, vectors, found, strict=True):
        matches = [index.explain(vector, hit.document.id) for hit in hits] if asked.explain else []
        omitted = left_out(index, vector, asked.filter)
        if asked.json:
            print_json([_row(identifier, text, hits, matches) | ({"left_out": omitted} if omitted else {})])
        else:
            _show(text if headed else None, hits, matches)
            _show_left_out(omitted, vector.nnz)


def _converse(index: Engine, asked: _Asked) -> None:
    """Answer one query after another, with the model loaded."""
    with working("loading the encoder", quiet=asked.json):
        index.encoder()
    for text in ask():
        try:
            _answer(index, [(None, text)], asked)
        except IsthmusError as error:
            # The next one may do better.
            fail(error, 1)


def _tell_values(index: Engine, wanted: Mapping[str, Sequence[str]]) -> None:
    """Say on stderr which values a field has, where no document has the one that is wanted."""
    for field, values in wanted.items():
        known = index.field_values(field)
        for value in values:
            if known is not None and not set(wanted_values(value)) & set(known):
                more = f", and {len(known) - _VALUES_SHOWN:,} more" if len(known) > _VALUES_SHOWN else ""
                there = ", ".join(known[:_VALUES_SHOWN]) + more or "no values"
                errors.print(f"no document has {escape(f'{field}={value}; {field} has {there}')}", soft_wrap=True)


def _filter(pairs: Sequence[str]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not field or not equals:
            raise InputError(f"--filter must be FIELD=VALUE, got {pair!r}; for example language=ko")
        wanted.setdefault(field, []).append(value)
    return wanted


def _row(identifier: str | None, text: str, hits: Sequence[Hit], matches: Sequence[Any]) -> dict[str, Any]:
    rows = []
    for place, hit in enumerate(hits):
        document = hit.document
        row = {"id": hit.id, "score": hit.score, "title": document.title, "text": document.text}
        row["metadata"] = document.metadata
        if document.passage is not None:
            row["passage"] = document.passage._asdict()
        if matches:
            row["matches"] = [match._asdict() for match in matches[place]]
        rows.append(row)
    return {**({} if identifier is None else {"id": identifier}), "query": text, "hits": rows}


def _show(query: str | None, hits: Sequence[Hit], matches: Sequence[Any]) -> None:
    if query is not None:
        console.print(f"[bold]{escape(query)}[/]", soft_wrap=True)
    if not hits:
        console.print("no document shares a token with the query, or none fits the filter", soft_wrap=True)
    for place, hit in enumerate(hits):
        # Lines of a document are no lines of the list of hits.
        content = " ".join(hit.document.content[: 8 * _CHARACTERS_SHOWN].split())
        start = content if len(content) <= _CHARACTERS_SHOWN else content[:_CHARACTERS_SHOWN].rstrip() + " ..."
        passage = hit.document.passage
        part = "" if passage is None or passage.of == 1 else f"  [dim]passage {passage.number + 1} of {passage.of}[/]"
        print_wrapped(f"{place + 1:>3} {hit.score:8.3f}  ", f"[bold]{escape(hit.id)}[/]{part}  {escape(start)}")
        if matches:
            found = matches[place]
            text = ", ".join(
                f"{m.token} {m.query_weight:.2f} x {m.document_weight:.2f}" for m in found[:_MATCHES_SHOWN]
            )
            rest = f", and {len(found) - _MATCHES_SHOWN} more" if len(found) > _MATCHES_SHOWN else ""
            print_wrapped(" " * 14, escape(text + rest))
