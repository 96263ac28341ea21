"""Audits: what a model does where passages of several languages compete."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.auditing.audit_result import AuditResult, PoolResult
from isthmus.auditing.audit_rows import compare, pool_result, with_gaps
from isthmus.auditing.mixed_metrics import per_query
from isthmus.auditing.pools import DEFAULT_POOLS, Documents, Pool, build_pools, with_copies
from isthmus.auditing.ranking import rank_pool
from isthmus.collections import ParallelCollection, load_parallel
from isthmus.errors import InputError
from isthmus.evaluation.bm25 import BM25
from isthmus.evaluation.models import encode, load_model, settings_of
from isthmus.evaluation.results import versions

BM25_TOKENIZER = "isthmus/mini-bridge"
RESAMPLES = 2000


def audit(
    models: Any,
    collection: str | Path | ParallelCollection,
    languages: Sequence[str] | None = None,
    *,
    pools: Sequence[str] = DEFAULT_POOLS,
    names: Sequence[str] | None = None,
    split: str = "test",
    distractors: str | Path | None = None,
    max_distractors: int | None = None,
    max_queries: int | None = None,
    partly_parallel_share: float = 0.5,
    keep_copies: bool = False,
    seed: int = 0,
    tokenizer: str | Path | None = None,
    batch_size: int = 32,
    max_active_dims: int | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    stock_head: bool = False,
    resamples: int = RESAMPLES,
    trust_remote_code: bool = False,
    show_progress_bar: bool | None = None,
) -> AuditResult:
    """Load models and a parallel collection and audit the models on pools of one and of several languages.

    Args:
        models: One or a list of: built-in name, path or hub id of a sparse or dense encoder, ``"bm25"``, a loaded
            model. The first of several is the one that the others are compared with.
        collection: Path or name, as for :func:`isthmus.collections.load_parallel`, or a loaded collection.
        languages: ISO 639-1 codes, two or more, with or without English; all of them ask and are searched.
        pools: Keys of :data:`isthmus.auditing.pools.RULES`.
        names: Names of the models in the result; None takes what they were loaded by.
        split: Judgements of BEIR folders.
        distractors: JSONL files of passages that enlarge the pools, a path with ``{language}`` in it.
        max_distractors: Use a sample of this many in every language.
        max_queries: Use a sample of this many questions, the same in every language and pool.
        partly_parallel_share: Share of the relevant passages that ``partly-parallel`` has in one language only.
        keep_copies: Give every question copies of its own of the passages that answer it, instead of one document for
            each text; see :func:`isthmus.auditing.pools.with_copies`.
        seed: Seed of every draw: samples, the order of equal scores, ``partly-parallel``, the bootstrap.
        tokenizer: Tokenizer whose subwords BM25 counts; None takes the built-in multilingual one.
        batch_size: Texts per encoding step.
        max_active_dims: Keep this many of the largest entries of every vector; None takes the encoder's own setting.
        dtype: Arithmetic of the encoders, as for :func:`isthmus.encoders.encoding.encode_texts`.
        stock_head: Use the encoder's own code instead of the faster equal path.
        resamples: Bootstrap resamples of every interval.
        trust_remote_code: Run code that comes with a model.
        show_progress_bar: None shows it on a terminal.

    Raises:
        NotFoundError: If a model, the collection or one of its languages is not there.
        CollectionError: If the collection is malformed or its languages share no question.
        EncoderError: If a model is of another kind, or its scores are not finite.
        UnknownNameError: If a pool is unknown.
        InputError: If an argument does not fit.
    """
    if isinstance(collection, ParallelCollection):
        if any(value is not None for value in (languages, distractors, max_distractors, max_queries)):
            raise InputError(
                "languages, distractors, max_distractors and max_queries must be left out for a loaded collection; see "
                "isthmus.collections.load_parallel"
            )
    else:
        if languages is None:
            raise InputError("languages must be two or more codes, got None; for example ['en', 'ko']")
        collection = load_parallel(
            collection,
            languages=languages,
            split=split,
            distractors=distractors,
            max_distractors=max_distractors,
            max_queries=max_queries,
            seed=seed,
        )
    given = list(models) if isinstance(models, (list, tuple)) else [models]

    def load(model: Any) -> Any:
        if not isinstance(model, (str, Path)):
            return model
        return load_model(str(model), tokenizer=tokenizer or BM25_TOKENIZER, trust_remote_code=trust_remote_code)

    return audit_models(
        # Loaded when their turn comes.
        ((name, load(model)) for name, model in zip(_names(given, names), given, strict=True)),
        collection,
        pools=pools,
        partly_parallel_share=partly_parallel_share,
        keep_copies=keep_copies,
        seed=seed,
        batch_size=batch_size,
        max_active_dims=max_active_dims,
        dtype=dtype,
        stock_head=stock_head,
        resamples=resamples,
        show_progress_bar=show_progress_bar,
        settings={"split": split, "max_queries": max_queries, "max_distractors": max_distractors},
    )


def audit_model(model: Any, collection: ParallelCollection, *, name: str | None = None, **options: Any) -> AuditResult:
    """Audit one loaded model; touches neither disk nor network. ``options`` are those of :func:`audit_models`."""
    return audit_models([(name or type(model).__name__, model)], collection, **options)


def audit_models(
    models: Iterable[tuple[str, Any]],
    collection: ParallelCollection,
    *,
    pools: Sequence[str] = DEFAULT_POOLS,
    partly_parallel_share: float = 0.5,
    keep_copies: bool = False,
    seed: int = 0,
    batch_size: int = 32,
    max_active_dims: int | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    stock_head: bool = False,
    resamples: int = RESAMPLES,
    show_progress_bar: bool | None = None,
    settings: Mapping[str, Any] | None = None,
) -> AuditResult:
    """Audit loaded models; touches neither disk nor network. Arguments as for :func:`audit`.

    Every text is encoded once per model, copies too. BM25 alone takes its statistics from each pool, as a search engine
    would.

    Args:
        models: Name and model of each, taken one after another.
        collection: What to search and to ask.
        pools: As for :func:`audit`.
        partly_parallel_share: As for :func:`audit`.
        keep_copies: As for :func:`audit`.
        seed: As for :func:`audit`.
        batch_size: As for :func:`audit`.
        max_active_dims: As for :func:`audit`.
        dtype: As for :func:`audit`.
        stock_head: As for :func:`audit`.
        resamples: As for :func:`audit`.
        show_progress_bar: As for :func:`audit`.
        settings: More to state in the result.

    Raises:
        EncoderError: If a model is of another kind, or its scores are not finite.
        UnknownNameError: If a pool is unknown.
        InputError: If an argument does not fit.
    """
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}")
    if keep_copies:
        collection = with_copies(collection)
    documents = Documents(collection, seed=seed, keep_copies=keep_copies)
    built = build_pools(collection, documents, pools, share=partly_parallel_share, seed=seed, keep_copies=keep_copies)
    results: list[PoolResult] = []
    stated: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name, model in models:
        if name in seconds:
            raise InputError(f"models must have different names, got {name!r} again")
        started = time.perf_counter()
        stated[name] = {
            "class": type(model).__name__,
            **settings_of(model, max_active_dims=max_active_dims, dtype=dtype, stock_head=stock_head),
        }
        encoded = _Encoded(
            model,
            collection,
            documents,
            built,
            batch_size=batch_size,
            max_active_dims=max_active_dims,
            dtype=dtype,
            stock_head=stock_head,
            show_progress_bar=show_progress_bar,
        )
        found = []
        for pool in built:
            ranking = rank_pool(*encoded.of(pool), pool, documents)
            values = per_query(ranking, pool, documents)
            found.append(pool_result(name, collection, documents, pool, ranking, values, resamples, seed))
        results += [with_gaps(result, found, collection.languages, resamples, seed) for result in found]
        seconds[name] = time.perf_counter() - started
        # The next model may be loaded on the way into the loop, and two need not fit into memory.
        del model, encoded
    if not seconds:
        raise InputError("models must be one or more, got none")
    return AuditResult(
        collection=collection.name,
        languages=collection.languages,
        models=tuple(seconds),
        pools=tuple(pool.info for pool in built),
        results=tuple(results),
        comparisons=tuple(compare(results, len(built), resamples, seed)),
        query_ids=tuple(collection.qrels),
        settings={
            "seed": seed,
            "dropped_queries": collection.dropped_queries,
            "dropped_passages": collection.dropped_passages,
            "alignment": collection.alignment,
            "distractors": {language: len(texts) for language, texts in collection.distractors.items()},
            "partly_parallel_share": partly_parallel_share,
            "keep_copies": keep_copies,
            "batch_size": batch_size,
            "resamples": resamples,
            **(settings or {}),
            "models": stated,
            "versions": versions(),
        },
        seconds=seconds,
    )


def _names(models: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    if not models:
        raise InputError("models must be one or more, got none")
    if names is None:
        names = [str(model) if isinstance(model, (str, Path)) else type(model).__name__ for model in models]
    if len(names) != len(models) or len(set(names)) < len(names):
        raise InputError(
            f"names must be different, one for each of {len(models)} models, got {', '.join(names)}; give others"
        )
    return list(names)


class _Encoded:
    """The vectors of one model: questions by language, and every document of any pool."""

    def __init__(
        self, model: Any, collection: ParallelCollection, documents: Documents, pools: Sequence[Pool], **options: Any
    ) -> None:
        self.queries = {
            language: encode(model, list(texts.values()), role="query", **options)
            for language, texts in collection.queries.items()
        }

        def vectors(places: NDArray[np.int64]) -> Any:
            return encode(model, [documents.texts[place] for place in places], role="document", **options)

        if isinstance(model, BM25):
            self._documents: Callable[[NDArray[np.int64]], Any] = vectors
        else:
            used = np.unique(np.concatenate([pool.places for pool in pools]))
            numbers, first = np.unique(documents.text_numbers[used], return_index=True)
            everything = vectors(used[first])
            self._documents = lambda places: everything[np.searchsorted(numbers, documents.text_numbers[places])]

    def of(self, pool: Pool) -> tuple[Any, Any]:
        """Vectors of the questions of a pool and of its documents."""
        return self.queries[pool.info.query_language], self._documents(pool.places)
