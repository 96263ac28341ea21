"""Texts that come together are encoded together, each gets its own vector, and failures stay with their batch."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.serve.batcher import Batcher


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Encoder:
    """A vector that holds the length of its text; remembers what it was called with."""

    def __init__(self, seconds=0.0):
        self.calls = []
        self.seconds = seconds

    def __call__(self, texts, role):
        self.calls.append((list(texts), role))
        time.sleep(self.seconds)
        if "bad" in texts:
            raise RuntimeError("broken")
        return csr_matrix(np.array([[len(text)] for text in texts], dtype=np.float32))


def test_one_call_for_all_that_come_within_the_window(executor):
    encode = Encoder()
    batcher = Batcher(encode, executor, window=0.02, size=8)

    async def run():
        return await asyncio.gather(*(batcher.vector("x" * n, "query") for n in range(1, 6)))

    found = asyncio.run(run())
    assert len(encode.calls) == 1
    assert [one.vector[0, 0] for one in found] == [1, 2, 3, 4, 5]
    assert all(one.batch == 5 and one.wait >= 0.02 for one in found)


def test_batches_are_bounded_and_of_one_role(executor):
    encode = Encoder()
    batcher = Batcher(encode, executor, window=0, size=3)

    async def run():
        roles = ["query", "document"] * 4
        return await asyncio.gather(*(batcher.vector("x" * (n + 1), role) for n, role in enumerate(roles)))

    found = asyncio.run(run())
    assert [one.vector[0, 0] for one in found] == [*range(1, 9)]
    assert max(len(texts) for texts, _ in encode.calls) <= 3
    for texts, role in encode.calls:
        assert {len(text) % 2 for text in texts} == {1 if role == "query" else 0}


def test_what_comes_meanwhile_makes_the_next_batch(executor):
    encode = Encoder(seconds=0.05)
    batcher = Batcher(encode, executor, window=0, size=8)

    async def run():
        first = asyncio.create_task(batcher.vector("first", "query"))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, batcher.vector("second", "query"), batcher.vector("third", "query"))

    asyncio.run(run())
    assert [texts for texts, _ in encode.calls] == [["first"], ["second", "third"]]


def test_a_failure_reaches_its_batch_and_the_next_one_works(executor):
    batcher = Batcher(Encoder(), executor, window=0, size=8)

    async def run():
        both = (batcher.vector("bad", "query"), batcher.vector("good", "query"))
        failed = await asyncio.gather(*both, return_exceptions=True)
        return failed, await batcher.vector("good", "query")

    failed, later = asyncio.run(run())
    assert [str(one) for one in failed] == ["broken", "broken"]
    assert later.vector[0, 0] == 4


def test_what_nobody_waits_for_is_left_out(executor):
    encode = Encoder()
    batcher = Batcher(encode, executor, window=0.02, size=8)

    async def run():
        given_up = asyncio.create_task(batcher.vector("given up", "query"))
        await asyncio.sleep(0)
        given_up.cancel()
        await batcher.vector("wanted", "query")

    asyncio.run(run())
    assert encode.calls == [(["wanted"], "query")]


def test_long_texts_rest_while_others_ask(executor, monkeypatch):
    monkeypatch.setattr("isthmus.serve.batcher.REST", 10_000)
    encode = Encoder(seconds=0.01)
    batcher = Batcher(encode, executor, window=0, size=4)

    async def run():
        await batcher.vector("short", "query")
        long = [asyncio.ensure_future(batcher.vector("x" * 2000, "query")) for _ in range(3)]
        await asyncio.sleep(0.1)
        await batcher.vector("other", "query")
        for one in long:
            one.cancel()
        await asyncio.gather(*long, return_exceptions=True)

    asyncio.run(run())
    assert [len(texts[0]) for texts, _ in encode.calls] == [5, 2000, 5]
