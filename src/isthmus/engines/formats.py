"""An index folder as files that other engines' loaders take; one function for each format.

None of these engines need run here: what they make of the files is for :mod:`isthmus.engines.comparison` where
Isthmus can ask them, and for their own tools where it cannot.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from isthmus._progress import progress
from isthmus.engines.base import Header, entries
from isthmus.engines.bulk import action, batches, mapping, source
from isthmus.engines.contents import read_documents
from isthmus.engines.options import ExportOptions
from isthmus.errors import InputError, UnknownNameError
from isthmus.index.sparse_index import SparseIndex
from isthmus.reading.corpus import Document
from isthmus.reading.storage import atomic_folder, check_folder

MANIFEST, TOPICS = "export.json", "topics.tsv"
_QUERIES_AT_ONCE = 256
_BULK_BYTES = 50_000_000
_VECTOR = "sparse"
Rows = Iterable[tuple[Document, csr_matrix]]
Writer = Callable[[SparseIndex, Rows, Path, float], dict[str, Any]]


def export(
    folder: str | Path,
    format: str,
    output: str | Path,
    options: ExportOptions | None = None,
    *,
    queries: Iterable[tuple[str, str]] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Write an index's documents and vectors for another engine; memory does not grow with the index.

    Args:
        folder: The index.
        format: One of :data:`FORMATS`.
        output: Where the files go.
        options: How; None takes the defaults.
        queries: Ids and texts to write as topics, for ``anserini``.
        **changes: Fields of ``options`` to replace.

    Returns:
        What was written, as in the file ``export.json`` beside it: documents, postings, and how weights were rounded.

    Raises:
        NotFoundError: If there is no index.
        UnknownNameError: If there is no such format.
        InputError: If ``scale`` is not positive, a document or an id of a query cannot be written in the format, or
            queries are given for another one.
        OutputError: If ``output`` is there already, or cannot be written.

    Example:
        >>> export("idx", "qdrant", "points")["documents"]  # doctest: +SKIP
    """
    options = ExportOptions.of(options, **changes)
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
    if queries is not None and format != "anserini":
        raise InputError(f"queries must come with the format 'anserini', got {format!r}; leave them out")
    output = Path(output)
    check_folder(output, overwrite=options.overwrite, marker=MANIFEST)
    index = SparseIndex.open(folder, options)
    counts = {"documents": 0, "postings": 0}

    def rows() -> Iterator[tuple[Document, csr_matrix]]:
        for documents, vectors in read_documents(index):
            counts["documents"] += len(documents)
            counts["postings"] += vectors.nnz
            for row, document in enumerate(documents):
                yield document, vectors[row]

    shown = progress(rows(), desc=f"Writing for {format}", total=len(index), show=options.show_progress_bar)
    with atomic_folder(output, overwrite=options.overwrite) as temporary:
        stated = FORMATS[format](index, shown, temporary, options.scale)
        if queries is not None:
            stated |= write_topics(index, queries, temporary / TOPICS, options.scale)
        identity = index.manifest.identity
        made = {
            "format": format,
            **counts,
            "vocabulary_size": index.manifest.vocabulary_size,
            "model": None if identity is None else identity.name,
            "weight_error_of_index": index.summary()["weight_error"],
            **stated,
        }
        _write_json(temporary / MANIFEST, made)
    return made


def qdrant(index: SparseIndex, rows: Rows, folder: Path, scale: float) -> dict[str, Any]:
    """``points.jsonl``, one point a line, and ``collection.json``, the body that creates the collection.

    Qdrant's ids are numbers or UUIDs, so a point's id is the version 5 UUID of the document's id, which is kept in the
    payload; the same document always gets the same point.
    """
    with (folder / "points.jsonl").open("w", encoding="utf-8", errors="replace") as stream:
        for document, vector in rows:
            terms, weights = entries(vector, "qdrant")
            payload = {
                "id": document.id,
                "document": document.document_id,
                "title": document.title,
                "text": document.text,
                **_flat(document),
            }
            point: dict[str, Any] = {
                "id": str(uuid.uuid5(uuid.NAMESPACE_URL, document.id)),
                "vector": {_VECTOR: {"indices": terms, "values": weights.tolist()}} if terms else {},
                "payload": payload,
            }
            _write_line(stream, point)
    _write_json(folder / "collection.json", {"vectors": {}, "sparse_vectors": {_VECTOR: {}}})
    return {"weights": "float32", "vector": _VECTOR}


def anserini(index: SparseIndex, rows: Rows, folder: Path, scale: float) -> dict[str, Any]:
    """``docs.jsonl`` for Anserini's and Pyserini's ``JsonVectorCollection``: integer impacts by token.

    A token that is empty or holds white space is written as ``[id:NUMBER]``. Impacts are rint(weight * scale); those
    that round to 0 are left out and counted.
    """
    names: dict[int, str] = {}
    dropped, largest, error = 0, 0, 0.0
    with (folder / "docs.jsonl").open("w", encoding="utf-8", errors="replace") as stream:
        for document, vector in rows:
            terms, weights = entries(vector, "anserini")
            impacts = np.rint(weights * scale).astype(np.int64)
            vectorised = {}
            for term, impact in zip(terms, impacts.tolist(), strict=True):
                if impact:
                    vectorised[names.setdefault(term, _token_name(index, term))] = impact
            dropped += int((impacts == 0).sum())
            largest = max(largest, int(impacts.max(initial=0)))
            error = max(error, float(np.abs(impacts / scale - weights).max(initial=0.0)))
            _write_line(stream, {"id": document.id, "contents": document.content, "vector": vectorised})
    rounding = f"rint(weight * {scale:g})"
    stated = {"weights": "integers", "quantization": rounding, "scale": scale, "largest_impact": largest}
    return stated | {"largest_rounding_error": error, "postings_rounded_to_zero": dropped}


def write_topics(index: SparseIndex, queries: Iterable[tuple[str, str]], path: Path, scale: float) -> dict[str, Any]:
    """Queries as Anserini's topics for ``-impact -pretokenized``: id, tab, every token as often as its impact says.

    Args:
        index: Encodes them.
        queries: Ids and texts.
        path: The file.
        scale: Impacts are rint(weight * scale), as those of the documents; what rounds to 0 is left out.

    Raises:
        InputError: If an id is empty, comes twice, or has white space, which runs cannot hold.
    """
    seen: set[str] = set()
    dropped = 0
    rows = iter(queries)
    with path.open("w", encoding="utf-8", errors="replace") as stream:
        while window := list(islice(rows, _QUERIES_AT_ONCE)):
            for (identifier, _), vector in zip(window, index.vectors([text for _, text in window]), strict=True):
                if identifier.split() != [identifier] or identifier in seen:
                    raise InputError(f"ids of queries must be unique and without white space, got {identifier!r}")
                seen.add(identifier)
                terms, weights = entries(vector, "anserini")
                impacts = np.rint(weights * scale).astype(np.int64)
                dropped += int((impacts == 0).sum())
                words = " ".join(
                    " ".join([_token_name(index, term)] * impact)
                    for term, impact in zip(terms, impacts.tolist(), strict=True)
                    if impact
                )
                stream.write(f"{identifier}\t{words}\n")
    return {"topics": TOPICS, "queries": len(seen), "query_terms_rounded_to_zero": dropped}


def vespa(index: SparseIndex, rows: Rows, folder: Path, scale: float) -> dict[str, Any]:
    """``feed.jsonl`` with one mapped tensor a document, and a schema that ranks by the dot product."""
    with (folder / "feed.jsonl").open("w", encoding="utf-8", errors="replace") as stream:
        for document, vector in rows:
            terms, weights = entries(vector, "vespa")
            cells = {str(term): weight for term, weight in zip(terms, weights.tolist(), strict=True)}
            fields = {
                "id": document.id,
                "document": document.document_id,
                "title": document.title,
                "text": document.text,
            }
            fields["metadata"] = json.dumps(document.metadata, ensure_ascii=False, default=str)
            _write_line(
                stream, {"put": f"id:isthmus:passage::{document.id}", "fields": {**fields, "weights": {"cells": cells}}}
            )
    (folder / "passage.sd").write_text(_VESPA_SCHEMA, encoding="utf-8")
    return {"weights": "float32", "tensor": "tensor<float>(t{})"}


def opensearch(index: SparseIndex, rows: Rows, folder: Path, scale: float) -> dict[str, Any]:
    """``mapping.json`` and ``bulk-*.ndjson`` of 50 MB: the requests that ``isthmus index -o opensearch://`` sends."""
    manifest = index.manifest
    if manifest.identity is None:
        raise InputError(f"{index.folder} names no model, which the mapping must; build it with isthmus index")
    header = Header(manifest.identity, manifest.vocabulary_size, manifest.settings, manifest.text)
    _write_json(folder / "mapping.json", mapping(header))
    actions = (
        action("index", document.id, source(document, *entries(vector, "opensearch"), text=manifest.text))
        for document, vector in rows
    )
    files = 0
    for files, batch in enumerate(batches(actions, _BULK_BYTES), start=1):
        (folder / f"bulk-{files:05d}.ndjson").write_bytes(b"".join(batch))
    return {"weights": "float32 rounded to 9 significant bits", "files": files}


FORMATS: dict[str, Writer] = {"anserini": anserini, "opensearch": opensearch, "qdrant": qdrant, "vespa": vespa}

_VESPA_SCHEMA = """schema passage {
    document passage {
        field id type string {
            indexing: attribute | summary
        }
        field document type string {
            indexing: attribute | summary
        }
        field title type string {
            indexing: summary
        }
        field text type string {
            indexing: summary
        }
        field metadata type string {
            indexing: summary
        }
        field weights type tensor<float>(t{}) {
            indexing: attribute
        }
    }
    rank-profile dot {
        inputs {
            query(q) tensor<float>(t{})
        }
        first-phase {
            expression: sum(query(q) * attribute(weights))
        }
    }
}
"""


def _flat(document: Document) -> dict[str, Any]:
    """Metadata as it stands, where it does not hide the document's own fields."""
    return {name: value for name, value in document.metadata.items() if name not in ("id", "document", "title", "text")}


def _token_name(index: SparseIndex, term: int) -> str:
    token = index.token(term)
    # Where a dimension has no token, its number comes back, which may be a token of its own.
    return token if token.split() == [token] and token != str(term) else f"[id:{term}]"


def _write_line(stream: Any, row: Any) -> None:
    stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
