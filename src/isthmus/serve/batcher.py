"""Queries that arrive within a few milliseconds of each other are encoded together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from scipy.sparse import csr_matrix

from isthmus.encoders.prompts import Role
from isthmus.serve.turns import REST

# Of a query, such as most are.
CHARACTERS = 64
# Requests whose characters differ by less go in the order in which they came.
_ALIKE = 256
# In such steps: from here on texts are heavy, and the next one waits while others ask too (see isthmus.serve.turns).
_HEAVY = 4
# Seconds.
_LOOK, _ABOUT = 0.005, 1.0
Encode = Callable[[Sequence[str], Role], csr_matrix]


@dataclass(frozen=True)
class Encoded:
    """A text's vector.

    Attributes:
        vector: Shape (1, vocabulary).
        wait: Seconds until its batch began.
        seconds: Seconds that its batch took.
        batch: Texts in it.
    """

    vector: csr_matrix
    wait: float
    seconds: float
    batch: int


@dataclass(frozen=True, eq=False)
class _Asked:
    text: str
    role: Role
    future: asyncio.Future[Encoded]
    since: float
    cost: int


class Batcher:
    """Collects texts for a moment and encodes them in one call, in a thread that does nothing else.

    Texts that come while a batch is encoded make up the next one. What nobody waits for any more is left out. Those of
    requests that ask for little go first, and long texts are not put together: all of a batch wait for the longest.

    Args:
        encode: Encodes texts of one role.
        executor: Where it runs; one thread, because encoders are not safe in several.
        window: Seconds to wait for more texts.
        size: Texts per batch at most.
    """

    def __init__(self, encode: Encode, executor: Executor, *, window: float, size: int) -> None:
        self._encode = encode
        self._executor = executor
        self._window = window
        self._size = size
        self._asked: list[_Asked] = []
        self._heavy_from = self._others = 0.0
        self._task: asyncio.Task[None] | None = None

    async def vector(self, text: str, role: Role, before: int = 0) -> Encoded:
        """Encode one text with whatever else comes at the same time.

        Args:
            text: What to encode.
            role: What it is.
            before: Characters that the same request asks for besides, and ahead of it.
        """
        future = asyncio.get_running_loop().create_future()
        asked = _Asked(text, role, future, time.perf_counter(), (before + len(text)) // _ALIKE)
        self._asked.append(asked)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await asked.future

    async def _work(self) -> None:
        while self._asked:
            await asyncio.sleep(self._window)
            self._asked = sorted(
                (asked for asked in self._asked if not asked.future.done()), key=lambda asked: asked.cost
            )
            if not self._asked:
                return
            began, heavy = time.perf_counter(), self._asked[0].cost >= _HEAVY
            if heavy and began < self._heavy_from:
                await asyncio.sleep(_LOOK)
                continue
            await self._answer(self._next(), self._asked[0].role)
            now = time.perf_counter()
            if not heavy:
                self._others = now
            elif now - self._others < _ABOUT:
                self._heavy_from = now + REST * (now - began)

    def _next(self) -> list[_Asked]:
        """The first that wait, of one role, and no more than take about as long as a batch of queries."""
        batch: list[_Asked] = []
        longest = 0
        for asked in (asked for asked in self._asked if asked.role == self._asked[0].role):
            longest = max(longest, len(asked.text))
            if batch and (len(batch) == self._size or (len(batch) + 1) * longest > self._size * CHARACTERS):
                break
            batch.append(asked)
        return batch

    async def _answer(self, batch: list[_Asked], role: Role) -> None:
        self._asked = [asked for asked in self._asked if asked not in batch]
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            vectors = await loop.run_in_executor(self._executor, self._encode, [one.text for one in batch], role)
        except Exception as error:
            for asked in batch:
                if not asked.future.done():
                    asked.future.set_exception(error)
            return
        seconds = time.perf_counter() - started
        for row, asked in enumerate(batch):
            if not asked.future.done():
                asked.future.set_result(Encoded(vectors[row], started - asked.since, seconds, len(batch)))
