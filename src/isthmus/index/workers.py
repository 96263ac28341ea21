"""Making the parts of an encoded corpus in several processes, or on a Ray cluster."""

from __future__ import annotations

import functools
import logging
import math
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from isthmus.encoders.options import CorpusOptions
from isthmus.errors import IsthmusError, MissingExtraError, WorkerError
from isthmus.index.encoded_files import Encode, make_part
from isthmus.index.options import Weights
from isthmus.options import EncodeOptions
from isthmus.reading.corpus import Document

# Of a Ray worker whose node went away or ran out of memory: a part comes out the same wherever it is made.
_RESTARTS = 2


@dataclass(frozen=True)
class Recipe:
    """How a worker gets its encoder.

    Attributes:
        model: Built-in name, folder or hub id.
        vocabulary_size: Dimensions of the vectors.
        options: How it is opened, and how texts are encoded.
    """

    model: str
    vocabulary_size: int
    options: CorpusOptions = field(default_factory=CorpusOptions)

    def encode(self, threads: int | None = None) -> Encode:
        """Load the encoder and give what encodes documents with it.

        Args:
            threads: Threads of a computation; None leaves them.
        """
        import torch

        from isthmus.encoders.load import load_encoder

        _quiet_libraries()
        if threads is not None:
            torch.set_num_threads(threads)
        encoder = load_encoder(self.model, trust_remote_code=self.options.trust_remote_code)
        return document_encode(encoder, self.options)


def document_encode(encoder: Any, options: EncodeOptions) -> Encode:
    """What encodes documents with a loaded encoder."""
    from isthmus.encoders.encoding import encode_texts

    return functools.partial(encode_texts, encoder, options=options, role="document", show_progress_bar=False)


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

    def explain(self, error: Exception) -> IsthmusError | None:
        """What the death of a worker means to the user; None for every other error."""
        if not isinstance(error, BrokenProcessPool):
            return None
        return WorkerError(
            f"one of processes={self.size} encoding died, most often for want of memory; run again with fewer "
            "processes: finished parts are kept"
        )

    def close(self) -> None:
        """End the workers; what they have not started is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)


class Ray:
    """Workers on a Ray cluster, or on this machine where none is running; parts come back and are written here.

    Where the cluster has GPUs, the workers share them evenly; one that dies is started again, on another node if need
    be, before its death is told.

    Args:
        recipe: How each worker gets its encoder; its ``model`` must be readable on every node.
        size: How many.

    Raises:
        MissingExtraError: If Ray is not installed.
        WorkerError: If no cluster answers where ``RAY_ADDRESS`` says that one is.
    """

    def __init__(self, recipe: Recipe, size: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("ray", "ray") from error
        self.size = size
        self._own = not ray.is_initialized()
        if self._own:
            try:
                ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
            except ConnectionError as error:
                raise WorkerError(
                    f"RAY_ADDRESS must name a running cluster, got {os.environ.get('RAY_ADDRESS')!r} ({error}); run "
                    "ray start --head there, set RAY_AUTH_MODE=token if it asks for one, or unset both to use this "
                    "machine alone"
                ) from error
        self._ray = ray
        self._model = recipe.model
        gpus = int(ray.cluster_resources().get("GPU", 0))
        # At most a whole one each, and shares that fill it up: a worker that fits nowhere would be waited for forever.
        share = {"num_gpus": 1 / math.ceil(size / gpus), "num_cpus": 0} if gpus else {}
        # Workers reserve no processors, so without the strategy all of them would start on the first node.
        actor = ray.remote(scheduling_strategy="SPREAD", max_restarts=_RESTARTS, max_task_retries=_RESTARTS, **share)(
            _RayWorker
        )
        self._actors = [actor.remote(recipe) for _ in range(size)]
        self._next = 0

    def submit(self, documents: Sequence[Document], weights: Weights) -> Future[bytes]:
        """Start a part on the workers in turn."""
        worker = self._actors[self._next % self.size]
        self._next += 1
        return cast("Future[bytes]", worker.make_part.remote(documents, weights).future())

    def explain(self, error: Exception) -> IsthmusError | None:
        """What an error of Ray means to the user; None for one that is not Ray's."""
        known = self._ray.exceptions
        if isinstance(error, known.RayTaskError):
            # Raised while a part was made, and wrapped with a trace of the worker.
            return error.cause if isinstance(error.cause, IsthmusError) else None
        if not isinstance(error, known.RayError):
            return None
        if getattr(error, "actor_init_failed", False):
            reason = str(error).strip().splitlines()[-1].strip()
            return WorkerError(
                f"a worker on Ray could not load {self._model} ({reason}); put Isthmus and the model on every node, "
                "under the same name: finished parts are kept"
            )
        return WorkerError(
            f"one of processes={self.size} encoding on Ray died for good ({type(error).__name__}), most "
            "often for want of memory; run again with fewer processes: finished parts are kept"
        )

    def close(self) -> None:
        """End the workers."""
        for worker in self._actors:
            self._ray.kill(worker)
        if self._own:
            self._ray.shutdown()


@contextmanager
def workers(recipe: Recipe, size: int, *, ray: bool) -> Iterator[Processes | Ray]:
    """Workers for the body; they end with it.

    Raises:
        WorkerError: If a worker dies.
        MissingExtraError: If Ray is asked for and not installed.
    """
    made: Processes | Ray = Ray(recipe, size) if ray else Processes(recipe, size)
    try:
        yield made
    except Exception as error:
        explained = made.explain(error)
        if explained is None:
            raise
        raise explained from error
    finally:
        made.close()


_encode: tuple[Encode, int] | None = None


def _start_worker(recipe: Recipe, threads: int) -> None:
    global _encode
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that is killed cannot end its workers.
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _encode = recipe.encode(threads), recipe.vocabulary_size


def _quiet_libraries() -> None:
    """Leave the terminal to the parent's progress bar; errors still come through."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
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
