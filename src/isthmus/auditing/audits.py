"""Audits: what a model does where passages of several languages compete."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.auditing.audit_result import AuditResult, PoolResult
from isthmus.auditing.audit_rows import compare, pool_result, with_gaps
from isthmus.auditing.mixed_metrics import per_query
from isthmus.auditing.options import AuditOptions
from isthmus.auditing.own_language import OwnLanguage
from isthmus.auditing.pools import Documents, Pool, build_pools, with_copies
from isthmus.auditing.ranking import rank_pool
from isthmus.collections import ParallelCollection, load_parallel
from isthmus.encoders.truncation import count_truncated
from isthmus.errors import InputError
from isthmus.evaluation.bm25 import BM25, MULTILINGUAL_TOKENIZER
from isthmus.evaluation.bootstrap import paired_bootstrap
from isthmus.evaluation.models import encode, load_model, settings_of
from isthmus.evaluation.results import versions

# Stated with each model.
BY_MODEL = ("max_active_dims", "dtype", "stock_head", "query_prompt", "document_prompt")


def audit(
    models: Any,
    collection: str | Path | ParallelCollection,
    languages: Sequence[str] | None = None,
    options: AuditOptions | None = None,
    **changes: Any,
) -> AuditResult:
    """Load models and a parallel collection and audit the models on pools of one and of several languages.

    Args:
        models: One or a list of: built-in name, path or hub id of a sparse or dense encoder, ``"bm25"``, a loaded
            model. The first of several is the one that the others are compared with.
        collection: Path or name, as for :func:`isthmus.collections.load_parallel`, or a loaded collection.
        languages: ISO 639-1 codes, two or more, with or without English; all of them ask and are searched.
        options: How; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Raises:
        NotFoundError: If a model, the collection or one of its languages is not there.
        CollectionError: If the collection is malformed or its languages share no question.
        EncoderError: If a model is of another kind, or its scores are not finite.
        UnknownNameError: If a pool is unknown.
        InputError: If an argument does not fit.
    """
    running, named = prepare(models, collection, languages, options, **changes)
    running.run(named)
    return running.result()


def prepare(
    models: Any,
    collection: str | Path | ParallelCollection,
    languages: Sequence[str] | None = None,
    options: AuditOptions | None = None,
    **changes: Any,
) -> tuple[Audit, Iterable[tuple[str, Any]]]:
    """As :func:`audit` until its first model is loaded: the audit, and the models for its ``run``.

    Whoever holds the audit has the result of the models that are through when a later one fails.
    """
    options = AuditOptions.of(options, **changes)
    if isinstance(collection, ParallelCollection):
        loaded = (languages, options.distractors, options.max_distractors, options.max_queries)
        if any(value is not None for value in loaded):
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
            split=options.split,
            distractors=options.distractors,
            max_distractors=options.max_distractors,
            max_queries=options.max_queries,
            seed=options.seed,
            options=options,
        )
    given = list(models) if isinstance(models, (list, tuple)) else [models]
    tokenizer = options.tokenizer or MULTILINGUAL_TOKENIZER

    def load(model: Any) -> Any:
        if not isinstance(model, (str, Path)):
            return model
        return load_model(str(model), tokenizer=tokenizer, trust_remote_code=options.trust_remote_code)

    # Loaded when their turn comes.
    named = ((name, load(model)) for name, model in zip(_names(given, options.names), given, strict=True))
    return Audit(collection, options), named


def audit_model(model: Any, collection: ParallelCollection, *, name: str | None = None, **options: Any) -> AuditResult:
    """Audit one loaded model; loads nothing but BM25's tokenizer. ``options`` are fields of :class:`AuditOptions`."""
    return audit_models([(name or type(model).__name__, model)], collection, **options)


def audit_models(
    models: Iterable[tuple[str, Any]],
    collection: ParallelCollection,
    options: AuditOptions | None = None,
    **changes: Any,
) -> AuditResult:
    """Audit loaded models; loads nothing but BM25's tokenizer.

    Every text is encoded once per model, copies too. BM25 alone takes its statistics from each pool, as a search engine
    would.

    Args:
        models: Name and model of each, taken one after another.
        collection: What to search and to ask.
        options: How; what concerns loading is not used.
        **changes: Fields of ``options`` to replace.

    Raises:
        EncoderError: If a model is of another kind, or its scores are not finite.
        UnknownNameError: If a pool is unknown.
        InputError: If an argument does not fit.
    """
    running = Audit(collection, AuditOptions.of(options, **changes))
    running.run(models)
    return running.result()


class Audit:
    """Models that are audited one after another on the same pools.

    Args:
        collection: What to search and to ask.
        options: How.

    Attributes:
        seconds: Duration by name of the models that are through.

    Raises:
        UnknownNameError: If a pool is unknown.
        InputError: If an option does not fit the collection.
    """

    def __init__(self, collection: ParallelCollection, options: AuditOptions) -> None:
        self.options = options
        self.collection = with_copies(collection) if options.keep_copies else collection
        shared: dict[str, Any] = {"seed": options.seed, "keep_copies": options.keep_copies}
        self.documents = Documents(self.collection, **shared)
        share = options.partly_parallel_share
        self.pools = build_pools(self.collection, self.documents, options.pools, share=share, **shared)
        self._alone = build_pools(self.collection, self.documents, ("mono-same",), **shared)
        self._own: list[OwnLanguage] = []
        self.seconds: dict[str, float] = {}
        self._results: list[PoolResult] = []
        self._stated: dict[str, Any] = {}

    def run(self, models: Iterable[tuple[str, Any]]) -> None:
        """Audit models; those that are through stay when a later one fails.

        Raises:
            EncoderError: If a model is of another kind, or its scores are not finite.
            InputError: If a name comes twice.
        """
        for name, model in models:
            if name in self.seconds:
                raise InputError(f"models must have different names, got {name!r} again")
            self._run_one(name, model)
            # The next model may be loaded on the way into the loop, and two need not fit into memory.
            del model

    def _run_one(self, name: str, model: Any) -> None:
        started = time.perf_counter()
        collection, drawn = self.collection, (self.options.resamples, self.options.seed)
        stated = {"class": type(model).__name__, **settings_of(model, self.options)}
        with count_truncated() as counted:
            encoded = _Encoded(model, collection, self.documents, [*self.pools, *self._alone], self.options)
        stated["truncated"] = dict(counted)
        found = []
        for pool in self.pools:
            ranking = rank_pool(*encoded.of(pool), pool, self.documents)
            values = per_query(ranking, pool, self.documents)
            found.append(pool_result(name, collection, self.documents, pool, ranking, values, *drawn))
        self._results += [with_gaps(result, found, collection.languages, *drawn) for result in found]
        for pool in self._alone:
            own, baseline = self._ndcg(encoded, pool), self._bm25[pool.info.query_language]
            test = paired_bootstrap(own, baseline, *drawn)
            means = float(own.mean()), float(baseline.mean())
            self._own.append(OwnLanguage(name, pool.info.query_language, *means, test))
        self._stated[name] = stated
        self.seconds[name] = time.perf_counter() - started

    @functools.cached_property
    def _bm25(self) -> dict[str, NDArray[np.float64]]:
        """What BM25 reaches in each language alone, by question."""
        options = self.options
        tokenizer = options.tokenizer or MULTILINGUAL_TOKENIZER
        model = BM25(tokenizer, trust_remote_code=options.trust_remote_code)
        encoded = _Encoded(model, self.collection, self.documents, self._alone, options)
        return {pool.info.query_language: self._ndcg(encoded, pool) for pool in self._alone}

    def _ndcg(self, encoded: _Encoded, pool: Pool) -> NDArray[np.float64]:
        ranking = rank_pool(*encoded.of(pool), pool, self.documents)
        return per_query(ranking, pool, self.documents)["ndcg@10"]

    def result(self) -> AuditResult:
        """What was found of the models that are through.

        Raises:
            InputError: If there are none.
        """
        if not self.seconds:
            raise InputError("models must be one or more, got none")
        collection, options = self.collection, self.options
        return AuditResult(
            collection=collection.name,
            languages=collection.languages,
            models=tuple(self.seconds),
            pools=tuple(pool.info for pool in self.pools),
            results=tuple(self._results),
            comparisons=tuple(compare(self._results, len(self.pools), options.resamples, options.seed)),
            query_ids=tuple(collection.qrels),
            settings={
                "seed": options.seed,
                "dropped_queries": collection.dropped_queries,
                "dropped_passages": collection.dropped_passages,
                "reading": dict(collection.notes.counts),
                "alignment": collection.alignment,
                "distractors": {language: len(texts) for language, texts in collection.distractors.items()},
                **{name: value for name, value in options.to_dict().items() if name not in BY_MODEL},
                "models": self._stated,
                "versions": versions(),
            },
            seconds=dict(self.seconds),
            notes=collection.notes,
            own_languages=tuple(self._own),
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
        self,
        model: Any,
        collection: ParallelCollection,
        documents: Documents,
        pools: Sequence[Pool],
        options: AuditOptions,
    ) -> None:
        self.queries = {
            language: encode(model, list(texts.values()), options, role="query")
            for language, texts in collection.queries.items()
        }

        def vectors(places: NDArray[np.int64]) -> Any:
            return encode(model, [documents.texts[place] for place in places], options, role="document")

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
