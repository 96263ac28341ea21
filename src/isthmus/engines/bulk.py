"""Documents as OpenSearch and Elasticsearch take them: mapping, stored source, bulk requests.

A ``rank_features`` field without a function scores by saturation, w / (w + pivot), which is no dot product, so it is
asked with ``linear``. Both servers keep nine significant bits of a weight and cut the rest off; weights are rounded to
nine bits before they are sent, which halves the error and makes what is stored what was sent: at most 2^-9 (0.2 %) from
the encoder's weight. Scores are exact products of these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.engines.base import Header, digest, labels
from isthmus.errors import InputError
from isthmus.reading.corpus import Document

_ID_BYTES = 512
_LABEL_CHARACTERS = 8191
_SMALLEST = np.float32(2.0**-126)


def nine_bits(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights rounded to nine significant bits; positive and normal ones only."""
    bits = weights.view(np.uint32)
    # 15 of the 23 stored bits of the fraction go; half of the last one kept is added first.
    return ((bits + np.uint32(1 << 14)) & np.uint32(0xFFFFFFFF - 0x7FFF)).view(np.float32)


def mapping(header: Header, *, shards: int | None = None, replicas: int | None = None) -> dict[str, Any]:
    """Body of the request that makes an index; None leaves shards and replicas to the cluster."""
    stored_only = {"type": "text", "index": False}
    told = {"number_of_shards": shards, "number_of_replicas": replicas}
    settings = {name: value for name, value in told.items() if value is not None}
    return ({"settings": settings} if settings else {}) | {
        "mappings": {
            "dynamic": False,
            "_meta": {"isthmus": header.to_dict()},
            "properties": {
                "vector": {"type": "rank_features"},
                "labels": {"type": "keyword", "ignore_above": _LABEL_CHARACTERS},
                # Hits that are passages collapse by it.
                "document": {"type": "keyword"},
                "title": stored_only,
                "text": stored_only,
                "metadata": {"type": "object", "enabled": False},
            },
        }
    }


def source(document: Document, terms: Sequence[int], weights: NDArray[np.float32], *, text: bool) -> dict[str, Any]:
    """What is stored of a document; a dimension is a feature named ``t`` and its number, because names have no dots."""
    row: dict[str, Any] = {}
    if text:
        row = {"title": document.title, "text": document.text}
    if document.passage is not None:
        row |= {"document": document.document_id, "passage": document.passage._asdict()}
    row |= {"metadata": document.metadata, "labels": labels(document), "digest": digest(document)}
    kept = weights >= _SMALLEST
    features = {f"t{term}": float(w) for term, w, keep in zip(terms, nine_bits(weights), kept, strict=True) if keep}
    return row | ({"vector": features} if features else {})


def action(kind: str, identifier: str, row: Mapping[str, Any] | None = None) -> bytes:
    """One action of a bulk request, as lines.

    Raises:
        InputError: If the id is longer than servers take.
    """
    if len(identifier.encode("utf-8", errors="replace")) > _ID_BYTES:
        raise InputError(f"id must have at most {_ID_BYTES} bytes for this engine, got {identifier[:60]!r}...")
    lines = [{kind: {"_id": identifier}}, *([] if row is None else [row])]
    text = "".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines)
    return text.encode("utf-8", errors="replace")


def batches(actions: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    """Cut a stream of actions into bulk requests of about ``size`` bytes."""
    batch: list[bytes] = []
    held = 0
    for one in actions:
        if batch and held + len(one) > size:
            yield batch
            batch, held = [], 0
        batch.append(one)
        held += len(one)
    if batch:
        yield batch
