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

from isthmus.engines.base import Header, check_id, digest, labels
from isthmus.reading.corpus import Document

_LABEL_CHARACTERS = 8191
_SMALLEST = np.float32(2.0**-126)


def nine_bits(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights rounded to nine significant bits; positive and normal ones only."""
    bits = weights.view(np.uint32)
    # 15 of the 23 stored bits of the fraction go; half of the last one kept is added first.
    return ((bits + np.uint32(1 << 14)) & np.uint32(0xFFFFFFFF - 0x7FFF)).view(np.float32)


def meta_of(header: Header, alias: str | None = None, *, finished: bool = False) -> dict[str, Any]:
    """What a mapping says of itself: the header; and of an index that is made for an alias, which, and how far."""
    told = {} if alias is None else {"isthmus_alias": alias, "isthmus_finished": finished}
    return {"isthmus": header.to_dict(), **told}


def mapping(
    header: Header, *, shards: int | None = None, replicas: int | None = None, alias: str | None = None
) -> dict[str, Any]:
    """Body of the request that makes an index; None leaves shards and replicas to the cluster."""
    stored_only = {"type": "text", "index": False}
    told = {"number_of_shards": shards, "number_of_replicas": replicas}
    settings = {name: value for name, value in told.items() if value is not None}
    return ({"settings": settings} if settings else {}) | {
        "mappings": {
            "dynamic": False,
            "_meta": meta_of(header, alias),
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


def kept_features(terms: Sequence[int], weights: NDArray[np.float32]) -> dict[int, np.float32]:
    """Weights by dimension as servers keep them; a feature's must be a normal number."""
    return {t: w for t, w in zip(terms, nine_bits(weights), strict=True) if w >= _SMALLEST}


def source(document: Document, terms: Sequence[int], weights: NDArray[np.float32], *, text: bool) -> dict[str, Any]:
    """What is stored of a document; a dimension is a feature named ``t`` and its number, because names have no dots."""
    row: dict[str, Any] = {}
    if text:
        row = {"title": document.title, "text": document.text}
    if document.passage is not None:
        row |= {"document": document.document_id, "passage": document.passage._asdict()}
    row |= {"metadata": document.metadata, "labels": labels(document), "digest": digest(document)}
    features = {f"t{term}": float(weight) for term, weight in kept_features(terms, weights).items()}
    return row | ({"vector": features} if features else {})


def action(kind: str, identifier: str, row: Mapping[str, Any] | None = None) -> bytes:
    """One action of a bulk request, as lines.

    Raises:
        InputError: If the id is longer than servers take.
    """
    check_id(identifier, "this engine")
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
