"""Progress bars that stay quiet when nobody looks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def wanted(show: bool | None) -> bool:
    """Resolve ``show_progress_bar``: None means a terminal on stderr and no TQDM_DISABLE."""
    if show is None:
        return sys.stderr.isatty() and not os.environ.get("TQDM_DISABLE")
    return show


def progress(iterable: Iterable[T], *, desc: str, total: int | None = None, show: bool | None = None) -> Iterator[T]:
    """Iterate with a progress bar on stderr when :func:`wanted`."""
    yield from tqdm(iterable, desc=desc, total=total, disable=not wanted(show), leave=False)
