"""Retrieval quality of a model on a collection."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from isthmus.collections import Collection, load
from isthmus.encoders.prompts import Role
from isthmus.encoders.splitting import Splitter
from isthmus.encoders.truncation import count_truncated
from isthmus.errors import InputError
from isthmus.evaluation.bm25 import BM25
from isthmus.evaluation.metrics import DEPTH, active_dims, best_owners, effectiveness, flops
from isthmus.evaluation.models import encode, load_model, settings_of
from isthmus.evaluation.options import EvaluateOptions
from isthmus.evaluation.results import EvaluationResult, versions
from isthmus.index import search, search_dense
from isthmus.options import EncodeOptions
from isthmus.reading.corpus import Document


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
    texts, owners = list(collection.corpus.values()), None
    if getattr(options, "split_texts", False):
        # BM25 reads texts of any length.
        stated["split_texts"] = not isinstance(model, BM25)
        if stated["split_texts"]:
            texts, owners = split_corpus(model, texts, options)
            stated["passages"] = len(texts)
    with count_truncated() as counted:
        queries = encode(model, list(collection.queries.values()), options, role="query")
        documents = encode(model, texts, options, role="document")
    stated["truncated"] = {role: counted[role] for role in get_args(Role)}
    return evaluate_vectors(
        queries,
        documents,
        collection,
        name=name or type(model).__name__,
        settings=stated,
        started=started,
        owners=owners,
    )


def split_corpus(model: Any, texts: Sequence[str], options: EncodeOptions) -> tuple[list[str], NDArray[np.int64]]:
    """The passages of texts, and which text each is of, shape (passages,)."""
    whole = [Document(str(row), text) for row, text in enumerate(texts)]
    passages = list(Splitter(model, options)(whole))
    return [one.text for one in passages], np.array([int(one.document_id) for one in passages], dtype=np.int64)


def evaluate_vectors(
    queries: Any,
    documents: Any,
    collection: Collection,
    *,
    name: str,
    settings: Mapping[str, Any] | None = None,
    started: float | None = None,
    owners: NDArray[np.int64] | None = None,
) -> EvaluationResult:
    """Search and score vectors that exist already.

    Args:
        queries: One row per query of ``collection``, in its order; a sparse matrix, or a dense array of unit vectors.
        documents: One row per passage, likewise.
        collection: What the vectors stand for.
        name: Name of the model in the result.
        settings: More to state in the result.
        started: ``time.perf_counter()`` from which ``seconds`` counts; None counts the search alone.
        owners: The passage of ``collection`` that each row of ``documents`` is a part of, shape (rows,); it is ranked
            by its best part. None where every row is one.

    Raises:
        InputError: If the numbers of rows do not fit.
    """
    started = time.perf_counter() if started is None else started
    owners = np.arange(documents.shape[0]) if owners is None else owners
    whole = len(np.unique(owners)) if len(owners) == documents.shape[0] else -1
    if (queries.shape[0], whole) != (len(collection.queries), len(collection.corpus)):
        raise InputError(
            f"vectors must have one row per query and passage of {collection.name!r} ({len(collection.queries)} and "
            f"{len(collection.corpus)}), got {queries.shape[0]} and {documents.shape[0]}"
        )
    sparse = issparse(queries)
    # What a model makes of no text says nothing: no query finds it.
    found = np.flatnonzero(np.array([bool(text) for text in collection.corpus.values()])[owners])
    documents = documents if len(found) == documents.shape[0] else documents[found]
    # So many parts are of as many passages as are wanted, however they are spread.
    most = int(np.bincount(owners).max())
    places, _ = (search if sparse else search_dense)(queries, documents, DEPTH * most)
    indices = best_owners(np.where(places < 0, places, owners[found][places]), DEPTH)
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
