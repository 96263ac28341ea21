"""One thread for the work of many requests, a step at a time: who has had least of it goes first."""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")
# Seconds of the thread after which work is heavy, and how much longer than its last step it then waits for the next one
# while others ask too: their steps find the thread, and the processor, free.
_LIGHT, REST, _ABOUT = 0.1, 3, 1.0
# Work that can be left after every ``yield``; what it returns is the result.
Steps = Generator[None, None, Result]


class _Job(Generic[Result]):
    def __init__(self, steps: Steps[Result], number: int) -> None:
        self.steps, self.number = steps, number
        self.future: Future[Result] = Future()
        self.used = 0.0

    def __lt__(self, other: _Job[Any]) -> bool:
        return (self.used, self.number) < (other.used, other.number)

    def step(self) -> bool:
        """Do the next part; False where it was the last one, or nobody waits any more."""
        started = time.perf_counter()
        try:
            if not self.future.done():
                next(self.steps)
        except StopIteration as end:
            # Somebody may give up at any moment.
            with suppress(InvalidStateError):
                self.future.set_result(end.value)
        except BaseException as error:
            with suppress(InvalidStateError):
                self.future.set_exception(error)
        self.used += time.perf_counter() - started
        if self.future.done():
            self.steps.close()
            return False
        return True


class Turns:
    """A thread that a request with much work shares with all others, instead of having it until it is through.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: list[_Job[Any]] = []
        self._began = 0
        self._closed = False
        self._heavy_from = self._others = 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, steps: Steps[Result]) -> Result:
        """Wait for the result; who is cancelled while waiting cancels the work, after the step in hand."""
        with self._changed:
            self._began += 1
            job = _Job(steps, self._began)
            if self._closed:
                job.future.cancel()
            heapq.heappush(self._jobs, job)
            self._changed.notify()
        return await asyncio.wrap_future(job.future)

    def close(self) -> None:
        """Wait for the step in hand, drop the rest and end the thread."""
        with self._changed:
            self._closed = True
            for job in self._jobs:
                job.future.cancel()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (pause := self._pause()) != 0:
                    self._changed.wait(pause)
                if self._closed:
                    return
                job = heapq.heappop(self._jobs)
            began, heavy = time.monotonic(), job.used > _LIGHT
            goes_on = job.step()
            now = time.monotonic()
            if not heavy:
                # What goes on may become heavy itself, and would wait for nobody.
                self._others = self._others if goes_on else now
            elif now - self._others < _ABOUT:
                self._heavy_from = now + REST * (now - began)
            if goes_on:
                with self._changed:
                    heapq.heappush(self._jobs, job)
                    if self._closed:
                        job.future.cancel()

    def _pause(self) -> float | None:
        """Seconds to wait for the next step; None where there is no work."""
        if not self._jobs:
            return None
        return max(0.0, self._heavy_from - time.monotonic()) if self._jobs[0].used > _LIGHT else 0.0
