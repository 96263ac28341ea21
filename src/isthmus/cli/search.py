"""``isthmus search``: what an index holds for a query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, errors, print_json, print_wrapped, quiet_libraries, working
from isthmus.errors import InputError
from isthmus.index.options import QueryOptions
from isthmus.reading.lines import read_lines

if TYPE_CHECKING:
    from isthmus.index import Hit

_AT_ONCE = 256
_MATCHES_SHOWN = 8
_CHARACTERS_SHOWN = 160


@flags
def command(
    folder: Annotated[
        str, typer.Argument(help="An index: a folder, or opensearch://HOST:PORT/INDEX and the like.", metavar="IDX")
    ],
    options: QueryOptions,
    query: Annotated[str | None, typer.Argument(help="What to search for.", metavar="QUERY")] = None,
    queries: Annotated[
        Path | None, typer.Option(help="File of queries: one a line, or .jsonl with id and text.")
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

    Example: isthmus search idx "Where is the capital?" --top-k 3 --explain
    """
    if (query is None) == (queries is None):
        raise InputError(f"QUERY or --queries must be given, got {'neither' if query is None else 'both'}; give one")
    wanted = _filter(filter or [])
    texts = read_queries(queries) if queries is not None else iter([(None, query or "")])
    check_names([options.model])
    with working("loading libraries", quiet=json):
        from isthmus.engines import open_engine
        from isthmus.engines.server import left_out
        from isthmus.lexical import scale_lexical

        quiet_libraries()
    with closing(open_engine(folder, options)) as index:
        if options.model is None:
            check_names([index.summary()["model"]])
        while window := list(islice(texts, _AT_ONCE)):
            vectors = index.vectors([text for _, text in window])
            if lexical_weight is not None:
                vectors = [scale_lexical(index.encoder(), vector, lexical_weight) for vector in vectors]
            for (identifier, text), vector in zip(window, vectors, strict=True):
                if show_request:
                    _show_request(index, folder, vector, top_k, wanted)
                    continue
                hits = index.search(vector, top_k, filter=wanted)
                matches = [index.explain(vector, hit.id) for hit in hits] if explain else []
                omitted = left_out(index, vector, wanted)
                if json:
                    told = {"left_out": omitted} if omitted else {}
                    print_json([_row(identifier, text, hits, matches) | told])
                else:
                    _show(text if queries is not None else None, hits, matches)
                    _show_left_out(omitted, vector.nnz)


def _show_request(index: Any, folder: str, vector: Any, top_k: int, wanted: Mapping[str, Any]) -> None:
    """One line of JSON on stdout, as curl takes it; where it goes, on stderr."""
    from isthmus.engines.server import ServerEngine

    if not isinstance(index, ServerEngine):
        raise InputError(f"--show-request must come with opensearch:// or elasticsearch://, got {folder}; leave it out")
    request = index.request(vector, top_k, filter=wanted)
    errors.print(f"{request.method} {request.path}", markup=False, soft_wrap=True)
    print_json([request.body])
    _show_left_out(request.left_out, vector.nnz)


def _show_left_out(omitted: int, dimensions: int) -> None:
    if omitted:
        errors.print(
            f"{omitted:,} of {dimensions:,} dimensions were left out, the lightest; the server takes no more",
            soft_wrap=True,
        )


def read_queries(path: Path) -> Iterator[tuple[str | None, str]]:
    """Ids, where there are any, and texts of a file of queries."""
    from isthmus.reading.corpus import Corpus
    from isthmus.reading.records import kind_of

    if kind_of(path) is not None:
        return ((row.id, row.text) for row in Corpus(path, role="query"))
    return ((None, line.strip()) for _, line in read_lines(path))


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
        content = hit.document.content
        start = content if len(content) <= _CHARACTERS_SHOWN else content[:_CHARACTERS_SHOWN].rstrip() + " ..."
        print_wrapped(f"{place + 1:>3} {hit.score:8.3f}  ", f"[bold]{escape(hit.id)}[/]  {escape(start)}")
        if matches:
            found = matches[place]
            text = ", ".join(
                f"{m.token} {m.query_weight:.2f} x {m.document_weight:.2f}" for m in found[:_MATCHES_SHOWN]
            )
            rest = f", and {len(found) - _MATCHES_SHOWN} more" if len(found) > _MATCHES_SHOWN else ""
            print_wrapped(" " * 14, escape(text + rest))
