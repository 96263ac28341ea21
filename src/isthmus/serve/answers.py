"""Answers as plain objects: two threads of work behind an event loop, one that encodes and one that searches.

Work is in steps, so that a request with much of it does not keep the others waiting, and ends when nobody waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import csr_matrix

import isthmus
from isthmus.encoders.prompts import Role
from isthmus.engines import Engine
from isthmus.engines.server import left_out
from isthmus.errors import IndexFileError, InputError
from isthmus.index.hits import Hit, Match
from isthmus.reading.corpus import Document
from isthmus.serve.batcher import Batcher, Encoded
from isthmus.serve.counters import Counters
from isthmus.serve.gate import Refusal
from isthmus.serve.highlight import Highlighter, Span, excerpt
from isthmus.serve.holdings import Holdings
from isthmus.serve.library import Library
from isthmus.serve.options import Limits
from isthmus.serve.turns import Steps, Turns
from isthmus.serve.words import Words

Result = TypeVar("Result")
_WHOLE = 20_000


class Answers:
    """Searches, explains and encodes for many at once.

    An index and its encoder are not made for several threads, so each has one of its own: while one batch is
    searched for, the next one is encoded.

    Args:
        library: Encoder and index.
        limits: Bounds of the requests.
        counters: Where times and failures are counted.
    """

    def __init__(self, library: Library, limits: Limits, counters: Counters) -> None:
        self.limits = limits
        self._counters = counters
        self._asking: asyncio.Future[None] | None = None
        self._library = library
        self._words = Words(library.encoder, library.token_map)
        self._highlighter = Highlighter(library.encoder, self._words)
        self._holdings = Holdings(library)

    @property
    def problem(self) -> str | None:
        """What is wrong with the index, for those who search; or None."""
        return self._library.problem

    def start(self) -> None:
        """Start the threads; once before the first request, and again after :meth:`close`."""
        self._encoding = ThreadPoolExecutor(1, "isthmus-encode")
        self._searching = Turns("isthmus-search")
        limits = self.limits
        self._batcher = Batcher(self._library.encode, self._encoding, window=limits.window, size=limits.batch)

    def close(self) -> None:
        """Wait for the work in hand and end the threads."""
        self._encoding.shutdown(cancel_futures=True)
        self._searching.close()

    async def search(
        self,
        query: str,
        *,
        top_k: int,
        filter: Mapping[str, Any],
        matches: bool,
        expansion: int,
        characters: int,
    ) -> dict[str, Any]:
        """The best documents for a query."""
        self._check_text("query", query)
        self._check_number("top_k", top_k)
        self._check_number("expansion", expansion)
        encoded = await self._batcher.vector(query, "query")

        def work() -> Steps[tuple[dict[str, Any], float]]:
            clock = time.perf_counter
            started, shown = clock(), []
            with self._library.reading() as index:
                self._check_filter(filter)
                hits = index.search(encoded.vector, top_k, filter=filter)
                generation = self._library.generation()
                omitted = left_out(index, encoded.vector, filter)
                seconds = clock() - started
                for hit in hits:
                    if matches:
                        yield
                    started = clock()
                    found = (
                        self._explained(index, encoded.vector, hit.id, characters, hit)
                        if matches
                        else _found(hit.document, hit.score, characters)
                    )
                    # A server finds documents for a moment that were deleted already.
                    shown += [] if found is None else [found]
                    seconds += clock() - started
            return {
                "query": query,
                "known": self._highlighter.knows(query),
                "hits": shown,
                "expansion": self._terms(encoded.vector, expansion),
                "left_out": omitted,
                "generation": generation,
                "timing": _timing(encoded, seconds),
            }, seconds

        answer, seconds = await self._run(work())
        self._counters.encode.add(encoded.seconds)
        self._counters.search.add(seconds)
        return answer

    async def explain(self, query: str, identifier: str) -> dict[str, Any]:
        """The tokens behind the score of a document, and where they stand in it."""
        self._check_text("query", query)
        encoded = await self._batcher.vector(query, "query")

        def work() -> Steps[dict[str, Any]]:
            with self._library.reading() as index:
                found = self._explained(index, encoded.vector, identifier, _WHOLE)
            if found is None:
                raise Refusal(404, f"id must be that of a document in the index, got {identifier!r:.80}", "id")
            return found
            yield

        return await self._run(work())

    async def encode(self, texts: Sequence[str], role: Role, top_k: int | None) -> dict[str, Any]:
        """Vectors of texts."""
        if len(texts) > self.limits.texts:
            raise Refusal(422, f"texts must be at most {self.limits.texts}, got {len(texts)}; send several", "texts")
        for text in texts:
            self._check_text("texts", text)
        before = accumulate(map(len, texts), initial=0)
        asked = (self._batcher.vector(text, role, ahead) for text, ahead in zip(texts, before, strict=False))
        encoded = await asyncio.gather(*asked)

        def work() -> Steps[dict[str, Any]]:
            vectors = []
            for one in encoded:
                vectors.append({"active": int(one.vector.nnz), "terms": self._terms(one.vector, top_k)})
                yield
            return {"vectors": vectors}

        return await self._run(work())

    async def token(self, token: str, top_k: int) -> dict[str, Any]:
        """What a token is made of, what it goes into, and which ones lie near it."""
        self._check_text("token", token)
        self._check_number("top_k", top_k)

        def work() -> Steps[dict[str, Any]]:
            try:
                described = self._words.rows(token.strip(), top_k)
            except InputError as error:
                raise Refusal(404, str(error), "token") from error
            rows = []
            for row in described:
                rows.append(row | self._holdings.of_token(row["id"]))
                yield
            return {"token": token, "rows": rows}

        return await self._run(work())

    async def info(self) -> dict[str, Any]:
        """What is served."""

        def work() -> Steps[dict[str, Any]]:
            with self._library.reading() as index:
                documents, held = len(index), self._holdings.of(index)
            return {
                "version": isthmus.__version__,
                "index": self._library.name,
                "model": self._library.model,
                "documents": documents,
                "generation": self._library.generation(),
                "fields": self._library.fields(),
                **held,
                "token_map": self._words.token_map is not None,
                "problem": self._library.problem,
                "limits": asdict(self.limits.part(Limits)),
            }
            yield

        return await self._run(work())

    async def ready(self) -> dict[str, Any]:
        """Ask the index or engine whether it answers; however many ask at a time, it is asked once."""

        def work() -> Steps[None]:
            with self._library.reading() as index:
                len(index)
            return
            yield

        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._run(work()))
        try:
            await asyncio.wait_for(asyncio.shield(self._asking), self.limits.seconds)
        except asyncio.TimeoutError as error:
            message = f"the index did not answer within {self.limits.seconds:g} s; try again in a second"
            raise Refusal(503, message, retry_after="1") from error
        return {"status": "ready" if self.problem is None else "degraded", "problem": self.problem}

    async def _run(self, work: Steps[Result]) -> Result:
        try:
            return await self._searching.run(work)
        except Refusal as refusal:
            self._counters.failures += refusal.status == 503
            raise

    def _explained(
        self, index: Engine, vector: csr_matrix, identifier: str, characters: int, hit: Hit | None = None
    ) -> dict[str, Any] | None:
        """A document, that of a hit where there is one, with what it matched; None where it is not in the index."""
        try:
            document = index.document(index.best_passage(vector, identifier)) if hit is None else hit.document
            matches = index.explain(vector, document.id)
        except IndexFileError:
            raise
        except InputError:
            return None
        score = sum(match.score for match in matches) if hit is None else hit.score
        spans = self._highlighter.spans(document.content, matches)
        found = _found(document, score, characters, spans) | {"matches": [self._matched(match) for match in matches]}
        if hit is None:
            found["read"] = self._highlighter.read(document.title.strip(), document.text.strip())
        return found

    def _matched(self, match: Match) -> dict[str, Any]:
        return {"text": self._words.show(match.token), **match._asdict()}

    def _terms(self, vector: csr_matrix, top_k: int | None) -> list[dict[str, Any]]:
        order = np.argsort(-vector.data, kind="stable")[:top_k]
        tokens = [self._words.token(int(term)) for term in vector.indices[order]]
        return [
            {"token": token, "text": self._words.show(token), "weight": float(weight)}
            for token, weight in zip(tokens, vector.data[order], strict=True)
        ]

    def _check_filter(self, filter: Mapping[str, Any]) -> None:
        fields = self._library.fields()
        unknown = [] if fields is None else [field for field in filter if field not in fields]
        if unknown:
            known = ", ".join(fields or ()) or "none"
            message = f"filter must name a field that can be filtered by ({known}), got {unknown[0]!r}; see /api/info"
            raise Refusal(422, message, "filter")

    def _check_text(self, field: str, text: str) -> None:
        if len(text) > self.limits.query:
            message = f"{field} must have at most {self.limits.query} characters, got {len(text)}; shorten it"
            raise Refusal(422, message, field)

    def _check_number(self, field: str, number: int) -> None:
        if number > self.limits.top_k:
            raise Refusal(422, f"{field} must be at most {self.limits.top_k}, got {number}; ask for fewer", field)


def _found(document: Document, score: float, characters: int, spans: Sequence[Span] = ()) -> dict[str, Any]:
    """A document with its parts; ``spans`` are those of its content, which is title and text."""
    title = document.title.strip()
    # In the content a space stands between title and text, and neither has one around it.
    first = len(title) + 1 if title else 0
    language = document.metadata.get("language")
    return {
        "id": document.document_id,
        "passage": None if document.passage is None else document.passage._asdict(),
        "score": score,
        "language": language if isinstance(language, str) else None,
        "title": _part(title, spans, 0, characters),
        "text": _part(document.text.strip(), spans, first, characters),
        "metadata": document.metadata,
        "matches": None,
        "read": None,
    }


def _part(text: str, spans: Sequence[Span], first: int, characters: int) -> dict[str, Any]:
    own = [moved for span in spans if (moved := span.moved(first, len(text))) is not None]
    start, end = excerpt(text, own, characters)
    inside = [moved for span in own if (moved := span.moved(start, end - start)) is not None]
    places = [{"start": span.start, "end": span.end, "score": span.score, "terms": list(span.terms)} for span in inside]
    return {"text": text[start:end], "start": start, "length": len(text), "spans": places}


def _timing(encoded: Encoded, searched: float) -> dict[str, Any]:
    times = {"wait_ms": encoded.wait, "encode_ms": encoded.seconds, "search_ms": searched}
    return {**{name: round(seconds * 1e3, 3) for name, seconds in times.items()}, "batch": encoded.batch}
