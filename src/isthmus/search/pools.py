"""Making the parts of an encoded corpus in several processes, or on a Ray cluster."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from isthmus.errors import MissingExtraError, WorkerError
from isthmus.search.documents import Document
from isthmus.search.parts import Encode, make_part
from isthmus.search.weights import Weights


@dataclass(frozen=True)
class Recipe:
    """How a worker gets its encoder.

    Attributes:
        model: Built-in name, folder or hub id.
        vocabulary_size: Dimensions of the vectors.
        options: Of :func:`isthmus.search.encode_texts`.
        trust_remote_code: Run code that comes with the model.
    """

    model: str
    vocabulary_size: int
    options: dict[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False

    def encode(self, threads: int | None = None) -> Encode:
        """Load the encoder and give what encodes documents with it.

        Args:
            threads: Threads of a computation; None leaves them.
        """
        import torch

        from isthmus.transfer.load import load_encoder

        if threads is not None:
            torch.set_num_threads(threads)
        return document_encode(load_encoder(self.model, trust_remote_code=self.trust_remote_code), self.options)


def document_encode(encoder: Any, options: dict[str, Any]) -> Encode:
    """What encodes documents with a loaded encoder."""
    from isthmus.search.encode import encode_texts

    return functools.partial(encode_texts, encoder, role="document", show_progress_bar=False, **options)


class Processes:
    """Workers on this machine; they share its processors.

    Args:
        recipe: How each worker gets its encoder.
        size: How many.
    """

    def __init__(self, recipe: Recipe, size: int) -> None:
        self.size = size
        threads = max(1, (os.cpu_count() or 1) // size)
        self._executor = ProcessPoolExecutor(
            size,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(recipe, threads),
        )

    def submit(self, documents: Sequence[Document], weights: Weights) -> Future[bytes]:
        """Start a part on the first worker that is free."""
        return self._executor.submit(_make_part, documents, weights)

    def close(self) -> None:
        """End the workers; what they have not started is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)


class Ray:
    """Workers on a Ray cluster, or on this machine where none is running; parts come back and are written here.

    Args:
        recipe: How each worker gets its encoder; its ``model`` must be readable on every node.
        size: How many.

    Raises:
        MissingExtraError: If Ray is not installed.
    """

    def __init__(self, recipe: Recipe, size: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("ray", "ray") from error
        self.size = size
        self._own = not ray.is_initialized()
        if self._own:
            ray.init(log_to_driver=False, include_dashboard=False)
        self._ray = ray
        actor = ray.remote(_RayWorker)
        self._actors = [actor.remote(recipe) for _ in range(size)]
        self._next = 0

    def submit(self, documents: Sequence[Document], weights: Weights) -> Future[bytes]:
        """Start a part on the workers in turn."""
        worker = self._actors[self._next % self.size]
        self._next += 1
        return cast("Future[bytes]", worker.make_part.remote(documents, weights).future())

    def close(self) -> None:
        """End the workers."""
        for worker in self._actors:
            self._ray.kill(worker)
        if self._own:
            self._ray.shutdown()


@contextmanager
def workers(recipe: Recipe, size: int, *, ray: bool) -> Iterator[Processes | Ray]:
    """A pool for the body.

    Raises:
        WorkerError: If a worker dies.
        MissingExtraError: If Ray is asked for and not installed.
    """
    pool: Processes | Ray = Ray(recipe, size) if ray else Processes(recipe, size)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise WorkerError(
            f"one of processes={size} encoding died, most often for want of memory; run again with fewer processes: "
            "finished parts are kept"
        ) from error
    finally:
        pool.close()


_encode: tuple[Encode, int] | None = None


def _start_worker(recipe: Recipe, threads: int) -> None:
    global _encode
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that is killed cannot end its workers.
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _quiet_libraries()
    _encode = recipe.encode(threads), recipe.vocabulary_size


def _quiet_libraries() -> None:
    """Leave the terminal to the parent's progress bar; errors still come through."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _make_part(documents: Sequence[Document], weights: Weights) -> bytes:
    if _encode is None:
        raise WorkerError("a part must be made in a worker that was started by Processes")
    return make_part(documents, *_encode, weights)


class _RayWorker:
    def __init__(self, recipe: Recipe) -> None:
        self._encode = recipe.encode(), recipe.vocabulary_size

    def make_part(self, documents: Sequence[Document], weights: Weights) -> bytes:
        return make_part(documents, *self._encode, weights)
