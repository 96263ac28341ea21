"""What OpenSearch and Elasticsearch are asked for a vector: one clause for each dimension, up to their limit.

``neural_sparse`` with ``query_tokens`` is OpenSearch's own way, by its plugin neural-search; ``rank_feature`` clauses
are understood everywhere. On a ``rank_features`` field both are linear in the stored weight, and their scores equal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of a server that does not tell; the default of both.
CLAUSES = 1024
PLUGINS_PATH = "/_nodes/plugins?filter_path=nodes.*.plugins.name,nodes.*.plugins.version"
_SETTING = "indices.query.bool.max_clause_count"
CLAUSES_PATH = f"/_cluster/settings?include_defaults=true&flat_settings=true&filter_path=*.{_SETTING}"
_PLUGIN, _SINCE = "opensearch-neural-search", (2, 14)
# Lucene's bound of the weight of a linear query, which ``neural_sparse`` hands on; clauses have none.
_HEAVIEST = 64.0


def knows_query_tokens(reply: Any) -> bool:
    """Whether every node of a cluster has a plugin that takes ``query_tokens``, from the reply of PLUGINS_PATH."""
    nodes = reply.get("nodes") if isinstance(reply, dict) else None
    if not isinstance(nodes, dict) or not nodes:
        return False
    return all(
        any(
            plugin.get("name") == _PLUGIN
            and tuple(map(int, re.findall(r"\d+", plugin.get("version", ""))[:2])) >= _SINCE
            for plugin in node.get("plugins", ())
        )
        for node in nodes.values()
    )


def clause_limit(reply: Any) -> int:
    """The largest number of clauses, from the reply of CLAUSES_PATH."""
    for level in ("transient", "persistent", "defaults"):
        found = reply.get(level, {}).get(_SETTING) if isinstance(reply, dict) else None
        if found is not None and str(found).isdecimal():
            return int(found)
    return CLAUSES


def heaviest(terms: list[int], weights: NDArray[np.float32], count: int) -> tuple[list[int], NDArray[np.float32]]:
    """The ``count`` heaviest dimensions in their order; of equal weights the first."""
    if len(terms) <= count:
        return terms, weights
    kept = np.sort(np.argsort(-weights, kind="stable")[:count])
    return [terms[place] for place in kept], weights[kept]


def search_body(
    terms: Sequence[int],
    weights: NDArray[np.float32],
    top_k: int,
    labels: Sequence[Sequence[str]],
    *,
    neural: bool,
    split: bool = False,
) -> dict[str, Any]:
    """Body of the search request.

    Args:
        terms: Dimensions of the query, at most as many as the server takes.
        weights: Their weights, positive.
        top_k: Hits at most.
        labels: A hit must have one of every list.
        neural: Ask by ``neural_sparse``, where no weight is above its bound.
        split: Give of every document its best passage alone.
    """
    asked = [(f"t{term}", float(weight)) for term, weight in zip(terms, weights, strict=True)]
    if neural and max(weights) <= _HEAVIEST:
        query: dict[str, Any] = {"must": [{"neural_sparse": {"vector": {"query_tokens": dict(asked)}}}]}
    else:
        clauses = [
            {"rank_feature": {"field": f"vector.{name}", "linear": {}, "boost": weight}} for name, weight in asked
        ]
        query = {"should": clauses, "minimum_should_match": 1}
    if labels:
        query["filter"] = having(labels)
    return {
        "query": {"bool": query},
        "size": top_k,
        **({"collapse": {"field": "document"}} if split else {}),
        # Counting all matches would forbid the server to skip those that cannot win.
        "track_total_hits": False,
        "_source": {"excludes": ["vector", "labels"]},
    }


def having(labels: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Filters for what has one of every list of labels."""
    return [{"terms": {"labels": list(either)}} for either in labels]


def values_body(field: str, most: int) -> dict[str, Any]:
    """Body of a request for the values of a metadata field, most frequent first.

    Args:
        field: Name of the field.
        most: Values at most.
    """
    # A regular expression of Lucene, in which every sign may stand behind a backslash; letters mean classes there.
    include = re.sub(r"\W", r"\\\g<0>", f"{field}=") + ".*"
    return {"size": 0, "aggs": {"values": {"terms": {"field": "labels", "include": include, "size": most}}}}
