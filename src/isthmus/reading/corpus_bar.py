"""A progress bar over a corpus whose number of documents nobody knows."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from isthmus._progress import wanted
from isthmus.reading.corpus import Corpus


@contextmanager
def corpus_bar(source: Corpus, desc: str, show: bool | None) -> Iterator[Callable[[int, bool], None]]:
    """A bar over what has been read of the source, with documents, rate and time left."""
    shape = "{desc} |{bar}| {percentage:.0f}% [{elapsed}<{remaining}]"
    if source.total is None:
        shape = "{desc} [{elapsed}]"
    started, made, skipped = time.perf_counter(), 0, 0
    with tqdm(total=source.total, desc=desc, disable=not wanted(show), bar_format=shape, file=sys.stderr) as bar:

        def step(documents: int, fresh: bool) -> None:
            nonlocal made, skipped
            if bar.disable:
                return
            made, skipped = (made + documents, skipped) if fresh else (made, skipped + documents)
            advanced = min(source.done, source.total or source.done) - bar.n
            if not fresh:
                # What was there before says nothing about the time left.
                bar.initial += advanced
            rate = made / max(time.perf_counter() - started, 1e-9)
            bar.set_description_str(f"{desc} {made + skipped:,} documents, {rate:,.0f}/s", refresh=False)
            bar.update(advanced)

        yield step
