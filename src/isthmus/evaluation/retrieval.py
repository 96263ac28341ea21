"""Retrieval quality of a model on a collection."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import issparse

from isthmus.collections import Collection, load
from isthmus.errors import InputError
from isthmus.evaluation.metrics import DEPTH, active_dims, effectiveness, flops
from isthmus.evaluation.models import encode, load_model, settings_of
from isthmus.evaluation.options import EvaluateOptions
from isthmus.evaluation.results import EvaluationResult, versions
from isthmus.index import search, search_dense
from isthmus.options import EncodeOptions


def evaluate(
    model: Any, collection: str | Path | Collection, options: EvaluateOptions | None = None, **changes: Any
) -> EvaluationResult:
    """Load a model and a collection and measure exact retrieval.

    Args:
        model: Built-in name, path or hub id of a sparse or dense encoder, ``"bm25"``, or a loaded model.
        collection: Path or name, as for :func:`isthmus.collections.load`, or a loaded collection.
        options: How; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Raises:
        NotFoundError: If the model or collection is not there.
        CollectionError: If the collection is malformed.
        EncoderError: If the model is none of the kinds above.
        InputError: If an argument does not fit.

    Example:
        >>> isthmus.evaluate("isthmus/mini-splade-en", "demo", language="en")["ndcg@10"]  # doctest: +SKIP
    """
    options = EvaluateOptions.of(options, **changes)
    if not isinstance(collection, Collection):
        collection = load_pool(collection, options)
    elif options.language is not None or options.distractors is not None:
        raise InputError(
            "language and distractors must be left out for a loaded collection; see isthmus.collections.load"
        )
    name = str(model) if isinstance(model, (str, Path)) else None
    if name is not None:
        trusted = options.trust_remote_code
        model = load_model(name, collection.language, tokenizer=options.tokenizer, trust_remote_code=trusted)
    return evaluate_model(model, collection, options, name=name)


def load_pool(collection: str | Path, options: EvaluateOptions) -> Collection:
    """The collection of an evaluation, with its distractors.

    Raises:
        NotFoundError: If it is not there.
        CollectionError: If it is malformed.
    """
    return load(
        collection,
        language=options.language,
        split=options.split,
        distractors=options.distractors,
        max_distractors=options.max_distractors,
        seed=options.seed,
        options=options,
    )


def evaluate_model(
    model: Any, collection: Collection, options: EncodeOptions | None = None, *, name: str | None = None, **changes: Any
) -> EvaluationResult:
    """Measure a loaded model; touches neither disk nor network.

    Args:
        model: A SparseEncoder, a SentenceTransformer (scored by cosine) or a :class:`BM25`.
        collection: What to search.
        options: How texts are encoded; what else it records is stated in the result.
        name: Name in the result; None takes the name of its class.
        **changes: Fields of ``options`` to replace.

    Raises:
        EncoderError: If ``model`` is of another kind.
    """
    started = time.perf_counter()
    options = EncodeOptions.of(options, **changes)
    encoding = {entry.name for entry in fields(EncodeOptions)}
    stated = {name: value for name, value in options.to_dict().items() if name not in encoding}
    stated |= settings_of(model, options)
    queries = encode(model, list(collection.queries.values()), options, role="query")
    documents = encode(model, list(collection.corpus.values()), options, role="document")
    return evaluate_vectors(
        queries, documents, collection, name=name or type(model).__name__, settings=stated, started=started
    )


def evaluate_vectors(
    queries: Any,
    documents: Any,
    collection: Collection,
    *,
    name: str,
    settings: Mapping[str, Any] | None = None,
    started: float | None = None,
) -> EvaluationResult:
    """Search and score vectors that exist already.

    Args:
        queries: One row per query of ``collection``, in its order; a sparse matrix, or a dense array of unit vectors.
        documents: One row per passage, likewise.
        collection: What the vectors stand for.
        name: Name of the model in the result.
        settings: More to state in the result.
        started: ``time.perf_counter()`` from which ``seconds`` counts; None counts the search alone.

    Raises:
        InputError: If the numbers of rows do not fit.
    """
    started = time.perf_counter() if started is None else started
    if (queries.shape[0], documents.shape[0]) != (len(collection.queries), len(collection.corpus)):
        raise InputError(
            f"vectors must have one row per query and passage of {collection.name!r} ({len(collection.queries)} and "
            f"{len(collection.corpus)}), got {queries.shape[0]} and {documents.shape[0]}"
        )
    sparse = issparse(queries)
    # What a model makes of no text says nothing: no query finds it.
    found = np.flatnonzero([bool(text) for text in collection.corpus.values()])
    documents = documents if len(found) == documents.shape[0] else documents[found]
    places, _ = (search if sparse else search_dense)(queries, documents, DEPTH)
    indices = np.where(places < 0, places, found[places])
    query_ids = tuple(collection.queries)
    per_query = effectiveness(indices, query_ids, list(collection.corpus), collection.qrels)
    stated = {
        "language": collection.language,
        "distractors": collection.distractors,
        "dropped_queries": collection.dropped_queries,
        "reading": dict(collection.notes.counts),
        "top_k": DEPTH,
        **(settings or {}),
        "versions": versions(),
    }
    return EvaluationResult(
        model=name,
        collection=collection.name,
        per_query=per_query,
        query_ids=query_ids,
        documents=len(collection.corpus),
        seconds=time.perf_counter() - started,
        flops=flops(queries, documents) if sparse else None,
        query_active_dims=active_dims(queries) if sparse else None,
        document_active_dims=active_dims(documents) if sparse else None,
        settings=stated,
    )
