"""Who has had least of the thread goes first, and what nobody waits for is left."""

import asyncio
import threading

import pytest

from isthmus.serve.turns import Turns


@pytest.fixture
def turns():
    made = Turns("test")
    yield made
    made.close()


def test_short_work_passes_long_work(turns):
    done, long_began, short_asked = [], threading.Event(), threading.Event()

    def long():
        for _ in range(5):
            long_began.set()
            short_asked.wait(10)
            done.append("long")
            yield
        return "long"

    def short():
        done.append("short")
        return "short"
        yield

    async def run():
        first = asyncio.ensure_future(turns.run(long()))
        await asyncio.to_thread(long_began.wait, 10)
        second = asyncio.ensure_future(turns.run(short()))
        await asyncio.sleep(0.01)
        short_asked.set()
        return await asyncio.gather(first, second)

    assert asyncio.run(run()) == ["long", "short"]
    assert done == ["long", "short", *["long"] * 4]


def test_who_gives_up_ends_the_work_at_its_next_step(turns):
    steps, ended, given_up = [], threading.Event(), threading.Event()

    def endless():
        try:
            while True:
                steps.append(1)
                given_up.wait(10)
                yield
        finally:
            ended.set()

    async def run():
        work = asyncio.ensure_future(turns.run(endless()))
        while not steps:
            await asyncio.sleep(0.001)
        work.cancel()
        await asyncio.sleep(0)
        given_up.set()
        await asyncio.to_thread(ended.wait, 10)

    asyncio.run(run())
    assert ended.is_set()
    assert len(steps) == 1


def test_failures_stay_with_their_work(turns):
    def fails():
        yield
        raise KeyError("broken")

    def works():
        yield
        return 1

    async def run():
        return await asyncio.gather(turns.run(fails()), turns.run(works()), return_exceptions=True)

    failed, worked = asyncio.run(run())
    assert isinstance(failed, KeyError)
    assert worked == 1


def test_closing_drops_what_waits():
    turns, began, over = Turns("test"), threading.Event(), threading.Event()

    def slow():
        began.set()
        over.wait(10)
        yield

    async def run():
        work = [asyncio.ensure_future(turns.run(slow())) for _ in range(2)]
        await asyncio.to_thread(began.wait, 10)
        threading.Timer(0.01, over.set).start()
        await asyncio.to_thread(turns.close)
        return await asyncio.gather(*work, return_exceptions=True)

    assert all(isinstance(one, asyncio.CancelledError) for one in asyncio.run(run()))


def test_heavy_work_rests_while_others_ask(turns, monkeypatch):
    monkeypatch.setattr("isthmus.serve.turns._LIGHT", 0.005)
    monkeypatch.setattr("isthmus.serve.turns.REST", 10_000)
    steps = []

    def heavy():
        while True:
            steps.append(1)
            threading.Event().wait(0.01)
            yield

    def light():
        return len(steps)
        yield

    async def run():
        work = asyncio.ensure_future(turns.run(heavy()))
        # Alone, it goes on.
        while len(steps) < 3:
            await asyncio.sleep(0.001)
        await turns.run(light())
        seen = await turns.run(light())
        await asyncio.sleep(0.1)
        assert await turns.run(light()) <= seen + 2
        work.cancel()

    asyncio.run(run())
