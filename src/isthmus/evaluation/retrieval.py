"""Retrieval quality of a model on a collection."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from scipy.sparse import issparse

from isthmus.collections import Collection, load
from isthmus.errors import InputError
from isthmus.evaluation.metrics import DEPTH, active_dims, effectiveness, flops
from isthmus.evaluation.models import encode, load_model, settings_of
from isthmus.evaluation.results import EvaluationResult, versions
from isthmus.index import search, search_dense


def evaluate(
    model: Any,
    collection: str | Path | Collection,
    *,
    language: str | None = None,
    split: str = "test",
    distractors: str | Path | None = None,
    max_distractors: int | None = None,
    seed: int = 0,
    tokenizer: str | Path | None = None,
    batch_size: int = 32,
    max_active_dims: int | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    stock_head: bool = False,
    trust_remote_code: bool = False,
    show_progress_bar: bool | None = None,
) -> EvaluationResult:
    """Load a model and a collection and measure exact retrieval.

    Args:
        model: Built-in name, path or hub id of a sparse or dense encoder, ``"bm25"``, or a loaded model.
        collection: Path or name, as for :func:`isthmus.collections.load`, or a loaded collection.
        language: ISO 639-1 code of the collection.
        split: Judgements of a BEIR folder.
        distractors: JSONL file of passages that enlarge the pool.
        max_distractors: Use a sample of this many of them.
        seed: Seed of that sample.
        tokenizer: Tokenizer whose subwords BM25 counts; None takes the built-in one of the language.
        batch_size: Texts per encoding step.
        max_active_dims: Keep this many of the largest entries of every vector; None takes the encoder's own setting.
        dtype: Arithmetic of the encoder, as for :func:`isthmus.encoders.encoding.encode_texts`.
        stock_head: Use the encoder's own code instead of the faster equal path.
        trust_remote_code: Run code that comes with the model.
        show_progress_bar: None shows it on a terminal.

    Raises:
        NotFoundError: If the model or collection is not there.
        CollectionError: If the collection is malformed.
        EncoderError: If the model is none of the kinds above.
        InputError: If an argument does not fit.
    """
    if not isinstance(collection, Collection):
        collection = load(
            collection,
            language=language,
            split=split,
            distractors=distractors,
            max_distractors=max_distractors,
            seed=seed,
        )
    elif language is not None or distractors is not None:
        raise InputError(
            "language and distractors must be left out for a loaded collection; see isthmus.collections.load"
        )
    name = str(model) if isinstance(model, (str, Path)) else None
    if name is not None:
        model = load_model(name, collection.language, tokenizer=tokenizer, trust_remote_code=trust_remote_code)
    return evaluate_model(
        model,
        collection,
        name=name,
        batch_size=batch_size,
        max_active_dims=max_active_dims,
        dtype=dtype,
        stock_head=stock_head,
        show_progress_bar=show_progress_bar,
        settings={"seed": seed, "max_distractors": max_distractors},
    )


def evaluate_model(
    model: Any,
    collection: Collection,
    *,
    name: str | None = None,
    batch_size: int = 32,
    max_active_dims: int | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    stock_head: bool = False,
    show_progress_bar: bool | None = None,
    settings: Mapping[str, Any] | None = None,
) -> EvaluationResult:
    """Measure a loaded model; touches neither disk nor network. Arguments as for :func:`evaluate`.

    Args:
        model: A SparseEncoder, a SentenceTransformer (scored by cosine) or a :class:`BM25`.
        collection: What to search.
        name: Name in the result; None takes the name of its class.
        batch_size: As for :func:`evaluate`.
        max_active_dims: As for :func:`evaluate`.
        dtype: As for :func:`evaluate`.
        stock_head: As for :func:`evaluate`.
        show_progress_bar: As for :func:`evaluate`.
        settings: More to state in the result.

    Raises:
        EncoderError: If ``model`` is of another kind.
    """
    started = time.perf_counter()
    stated = settings_of(model, max_active_dims=max_active_dims, dtype=dtype, stock_head=stock_head)
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "max_active_dims": max_active_dims,
        "dtype": dtype,
        "stock_head": stock_head,
        "show_progress_bar": show_progress_bar,
    }
    queries = encode(model, list(collection.queries.values()), role="query", **options)
    documents = encode(model, list(collection.corpus.values()), role="document", **options)
    return evaluate_vectors(
        queries,
        documents,
        collection,
        name=name or type(model).__name__,
        settings={**(settings or {}), **stated},
        started=started,
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
    indices, _ = (search if sparse else search_dense)(queries, documents, DEPTH)
    query_ids = tuple(collection.queries)
    per_query = effectiveness(indices, query_ids, list(collection.corpus), collection.qrels)
    stated = {
        "language": collection.language,
        "distractors": collection.distractors,
        "dropped_queries": collection.dropped_queries,
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
