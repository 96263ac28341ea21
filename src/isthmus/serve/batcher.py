"""Queries that arrive within a few milliseconds of each other are encoded together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from scipy.sparse import csr_matrix

from isthmus.encoders.prompts import Role

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


class Batcher:
    """Collects texts for a moment and encodes them in one call, in a thread that does nothing else.

    Texts that come while a batch is encoded make up the next one. What nobody waits for any more is left out.

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
        self._task: asyncio.Task[None] | None = None

    async def vector(self, text: str, role: Role) -> Encoded:
        """Encode one text with whatever else comes at the same time."""
        asked = _Asked(text, role, asyncio.get_running_loop().create_future(), time.perf_counter())
        self._asked.append(asked)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await asked.future

    async def _work(self) -> None:
        while self._asked:
            await asyncio.sleep(self._window)
            self._asked = [asked for asked in self._asked if not asked.future.done()]
            batch = self._asked[: self._size]
            for role in dict.fromkeys(asked.role for asked in batch):
                await self._answer([asked for asked in batch if asked.role == role], role)

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
