"""The application: routes, errors as JSON, and the explorer's files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.routing import Route

import isthmus
from isthmus.errors import InputError
from isthmus.reading.fields import finite
from isthmus.serve import schemas
from isthmus.serve.answers import Answers
from isthmus.serve.counters import CONTENT_TYPE, Counters
from isthmus.serve.gate import BROKEN, METRICS, Gate, Refusal, Served
from isthmus.serve.library import Library
from isthmus.serve.options import Limits

LONGEST_KEY, SHORTEST_KEY = 200, 16
_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PROBLEMS = {
    400: "The body is no JSON.",
    401: "The API key is missing or wrong.",
    403: "The request comes from a page of another site.",
    404: "There is no such document or token.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    421: "The Host header names another server.",
    422: "A parameter does not fit.",
    503: "The server is busy, see Retry-After; or its index cannot be read, see /health.",
    504: "The request took too long.",
}
_NO_JSON = {
    "error": "the body must be a JSON object in UTF-8, got something that cannot be read as one; see /openapi.json",
    "field": "body",
}
Filter = Annotated[
    list[str] | None, Query(description="FIELD=VALUE that a hit must have; a field given twice may have either value.")
]


def create_app(
    library: Library,
    *,
    limits: Limits | None = None,
    api_key: str | None = None,
    hosts: Collection[str] | None = None,
    observers: Sequence[Callable[[Served], None]] = (),
) -> Gate:
    """Make the ASGI application.

    Args:
        library: Encoder and index.
        limits: Bounds of the requests.
        api_key: What requests to the API must bring; None asks for nothing.
        hosts: Names, without ports, that requests may be addressed to; None takes any.
        observers: Called with every request once it is answered, as by an access log.

    Raises:
        InputError: If the key is too short to be one.
    """
    if api_key is not None and not (
        SHORTEST_KEY <= len(api_key) <= LONGEST_KEY and all("!" <= letter <= "~" for letter in api_key)
    ):
        raise InputError(
            f"api_key must be {SHORTEST_KEY} to {LONGEST_KEY} ASCII characters without spaces, got one that is not; "
            "make one with: openssl rand -hex 24"
        )
    counters = Counters()
    answers = Answers(library, limits or Limits(), counters)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        answers.start()
        yield
        answers.close()

    api = FastAPI(
        title="Isthmus",
        description="Searches an index of sparse vectors and explains what it finds.",
        version=isthmus.__version__,
        lifespan=lifespan,
        # These pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        dependencies=[] if api_key is None else [Depends(HTTPBearer(auto_error=False))],
    )
    api.add_exception_handler(Refusal, _refused)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _failed)
    api.add_exception_handler(Exception, _broken)
    _add_api(api, answers)
    _add_state(api, answers, counters)
    _add_page(api)
    gate = Gate(api, answers.limits, api_key=api_key, hosts=hosts, observers=(counters.add, *observers))
    counters.paths = {route.path for route in api.routes if isinstance(route, Route)}
    counters.gauge("isthmus_requests_at_work", "Requests being answered.", lambda: gate.at_work)
    counters.gauge("isthmus_index_up", "1 unless the index or engine failed last.", lambda: answers.problem is None)
    return gate


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer; what JSON or UTF-8 cannot say, as metadata from anywhere may hold it, becomes null or "?"."""
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(finite(content), ensure_ascii=False)
    return Response(text.encode("utf-8", errors="replace"), status, headers, "application/json")


def _add_api(api: FastAPI, answers: Answers) -> None:
    async def search(ask: schemas.Search) -> Response:
        return json_response(await answers.search(**dict(ask)))

    async def search_by_url(
        query: Annotated[schemas.Text, Query(description="What to search for.")],
        top_k: Annotated[int, Query(ge=1, description="Hits at most.")] = 10,
        filter: Filter = None,
        matches: Annotated[bool, Query(description="Add the tokens behind each score.")] = False,
        expansion: Annotated[int, Query(ge=0, description="Add the heaviest tokens of the query's vector.")] = 0,
        characters: Annotated[int, Query(ge=0, le=20_000, description="Length of the part of every text.")] = 1_000,
    ) -> Response:
        found = await answers.search(
            query,
            top_k=top_k,
            filter=_filter(filter or ()),
            matches=matches,
            expansion=expansion,
            characters=characters,
        )
        return json_response(found)

    async def explain(ask: schemas.Explain) -> Response:
        return json_response(await answers.explain(ask.query, ask.id))

    async def explain_by_url(
        query: Annotated[schemas.Text, Query(description="What was searched for.")],
        id: Annotated[str, Query(min_length=1, description="The document.")],
    ) -> Response:
        return json_response(await answers.explain(query, id))

    async def encode(ask: schemas.Encode) -> Response:
        return json_response(await answers.encode(ask.texts, ask.role, ask.top_k))

    async def token(
        token: Annotated[schemas.Text, Query(description="A token with or without its marker, or any text.")],
        top_k: Annotated[int, Query(ge=1, description="Rows, and tokens of each list, at most.")] = 10,
    ) -> Response:
        return json_response(await answers.token(token, top_k))

    async def info() -> Response:
        return json_response(await answers.info())

    every = (401, 403, 421)
    work = (*every, 422, 503, 504)
    posted = (*work, 400, 408, 413)
    _route(api, "/api/search", "POST", search, schemas.Hits, *posted)
    _route(api, "/api/search", "GET", search_by_url, schemas.Hits, *work)
    _route(api, "/api/explain", "POST", explain, schemas.Found, 404, *posted)
    _route(api, "/api/explain", "GET", explain_by_url, schemas.Found, 404, *work)
    _route(api, "/api/encode", "POST", encode, schemas.Vectors, *posted)
    _route(api, "/api/token", "GET", token, schemas.Tokens, 404, *work)
    _route(api, "/api/info", "GET", info, schemas.Info, *every, 503, 504)


def _add_state(api: FastAPI, answers: Answers, counters: Counters) -> None:
    async def health() -> Response:
        return json_response({"status": "ok" if answers.problem is None else "degraded", "problem": answers.problem})

    async def ready() -> Response:
        return json_response(await answers.ready())

    async def metrics() -> Response:
        return Response(counters.text(), media_type=CONTENT_TYPE)

    _route(api, "/health", "GET", health, schemas.Health, 421)
    _route(api, "/ready", "GET", ready, schemas.Ready, 421, 503)
    api.add_api_route(METRICS, metrics, methods=["GET"], include_in_schema=False)


def _route(
    api: FastAPI, path: str, method: str, answer: Callable[..., Awaitable[Response]], model: Any, *problems: int
) -> None:
    responses: dict[int | str, dict[str, Any]] = {200: {"model": model}}
    responses |= {code: {"model": schemas.Problem, "description": _PROBLEMS[code]} for code in sorted(problems)}
    summary = (answer.__name__.removesuffix("_by_url")).capitalize()
    api.add_api_route(
        path, answer, methods=[method], response_model=None, responses=responses, summary=summary,
        operation_id=answer.__name__,
    )  # fmt: skip


def _add_page(api: FastAPI) -> None:
    for file in sorted(_PAGE.iterdir()):
        if file.suffix in _TYPES:
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            api.add_api_route(path, _file(file), methods=["GET", "HEAD"], include_in_schema=False)


def _file(file: Path) -> Callable[[Request], Awaitable[Response]]:
    content = file.read_bytes()
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"etag": tag, "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=_TYPES[file.suffix])

    return answer


def _filter(pairs: Sequence[str]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not field or not equals:
            raise Refusal(422, f"filter must be FIELD=VALUE, got {pair[:80]!r}; for example language=ko", "filter")
        wanted.setdefault(field, []).append(value)
    return wanted


async def _refused(_: Any, refusal: Refusal) -> Response:
    return json_response(refusal.content, refusal.status, refusal.headers)


async def _invalid(_: Any, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return json_response(_NO_JSON, 400)
    # The first part says where the parameter stands: body, query.
    place = [str(part) for part in first["loc"]]
    field = ".".join(place[1:]) or place[0]
    return json_response({"error": f"{field} does not fit: {first['msg']}; see /openapi.json", "field": field}, 422)


async def _failed(request: Request, error: HTTPException) -> Response:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 400:
        # Bytes that are no text, or nested or long beyond what can be read.
        return json_response(_NO_JSON, 400, headers)
    message = str(error.detail)
    if error.status_code == 404:
        message = "the path must be one that the server has; see /openapi.json"
    if error.status_code == 405:
        # A path has one route for each method, and the error knows the first alone.
        own = [route.methods for route in request.app.routes if getattr(route, "path", None) == request.url.path]
        headers["allow"] = ", ".join(sorted(set().union(*own)))
        message = f"the method must be {headers['allow']}, got {request.method}"
    return json_response({"error": message, "field": None}, error.status_code, headers)


async def _broken(_: Any, error: Exception) -> Response:
    # The gate logs it.
    return json_response({"error": BROKEN, "field": None}, 500)
