"""What the tables of the three papers hold, and those of their cells that are known.

Nearly all known cells are second hand, and most were not found at all: they stand beside ours for orientation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from isthmus.transferring.preset import ENCODERS, TOKENIZERS

Kind = Literal["transfer", "fine-tune", "proximity", "clear"]
MEAN = "mean"


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        kind: How its models are made and measured.
        paper: arXiv id.
        encoders: Hub id by the name used in results.
        languages: ISO 639-1 codes.
        methods: What is compared.
        collections: Languages that are asked, by collection; None for all.
        metrics: Columns.
    """

    kind: Kind
    paper: str
    encoders: Mapping[str, str]
    languages: tuple[str, ...]
    methods: tuple[str, ...]
    collections: Mapping[str, tuple[str, ...] | None]
    metrics: tuple[str, ...]


SPARSE = {name: part.name for name, part in ENCODERS.items()}
DENSE = {
    "multilingual-e5-base": "intfloat/multilingual-e5-base",
    "gte-multilingual-base": "Alibaba-NLP/gte-multilingual-base",
    "jina-v3": "jinaai/jina-embeddings-v3",
    "bge-m3": "BAAI/bge-m3",
}
# Arguments of isthmus.transfer; base stays as it is. "sembridge" has the defaults of Isthmus, "sembridge-released"
# does what the authors' code does.
TRANSFERS: dict[str, dict[str, Any] | None] = {
    "base": None,
    "random": {"method": "random"},
    "mean": {"method": "mean"},
    "gaussian": {"method": "gaussian"},
    "multivariate-gaussian": {"method": "multivariate-gaussian"},
    "focus": {"method": "focus"},
    "ofa": {"method": "ofa"},
    "sembridge": {"method": "sembridge", "alpha": 4.0},
    "sembridge-released": {"method": "sembridge", "alpha": 4.0, "as_released": True},
}
BRIDGED = ("ofa", "sembridge", "sembridge-released")
_SEMBRIDGE: dict[str, Any] = {
    "paper": "2605.26002",
    "encoders": SPARSE,
    "languages": tuple(TOKENIZERS),
    "methods": tuple(TRANSFERS),
    "collections": {"webfaq": None, "miracl": None},
    "metrics": ("ndcg@10", "flops"),
}
TABLES = {
    "sembridge-zero-shot": Table("transfer", **_SEMBRIDGE),
    "sembridge-fine-tuned": Table("fine-tune", **_SEMBRIDGE),
    "proximity": Table(
        "proximity",
        "2604.05684",
        DENSE,
        ("ar", "de", "el", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"),
        ("base", "proximity"),
        {"xquad": None, "belebele": None},
        ("max@r", "max@r_norm", "complete@10"),
    ),
    "clear": Table(
        "clear",
        "2604.05821",
        {name: DENSE[name] for name in ("bge-m3", "multilingual-e5-base")},
        ("ar", "de", "es", "hi", "vi", "zh", "ru", "te", "bn"),
        ("base", "infonce", "clear"),
        {"xquad": ("ar", "de", "ru", "es", "zh"), "belebele": None},
        ("ndcg@10",),
    ),
}


def _known(value: float, note: str = "") -> dict[str, Any]:
    return {"value": value, "known": "2nd", "note": note}


def _averages(table: str, encoder: str, collection: str, **values: float) -> dict[tuple[str, ...], dict[str, Any]]:
    return {
        (table, collection, MEAN, encoder, method.replace("_", "-"), "ndcg@10"): _known(value, "mean of five languages")
        for method, value in values.items()
    }


# By table, collection, language, encoder, method, metric and, for pools, their name and the language of the question.
PUBLISHED: dict[tuple[str, ...], dict[str, Any]] = {
    **_averages("sembridge-zero-shot", "splade-v3", "webfaq", sembridge=0.422, ofa=0.351, multivariate_gaussian=0.334),
    **_averages("sembridge-zero-shot", "splade-v3", "miracl", sembridge=0.179, ofa=0.110, multivariate_gaussian=0.104),
    **_averages("sembridge-zero-shot", "splade-pp-en-v1", "webfaq", sembridge=0.409, ofa=0.336),
    **_averages("sembridge-zero-shot", "opensearch-v1", "miracl", sembridge=0.127, multivariate_gaussian=0.141),
    **_averages("sembridge-fine-tuned", "splade-v3", "webfaq", sembridge=0.697, ofa=0.640, multivariate_gaussian=0.644),
    **_averages("sembridge-fine-tuned", "splade-v3", "miracl", sembridge=0.319, ofa=0.292, multivariate_gaussian=0.307),
    **{
        ("proximity", collection, language, encoder, method, metric, "multi", asked): _known(value)
        for collection, language, encoder, metric, asked, values in (
            ("xquad", "ar", "multilingual-e5-base", "complete@10", "ar", (8.91, 53.53)),
            ("xquad", "zh", "multilingual-e5-base", "complete@10", "zh", (0.50, 55.88)),
            ("xquad", "zh", "multilingual-e5-base", "max@r", "zh", (650.95, 23.10)),
            ("xquad", "es", "jina-v3", "complete@10", "en", (68.32, 75.63)),
            ("belebele", "th", "jina-v3", "max@r_norm", "en", (68.03, 76.69)),
            ("belebele", "th", "jina-v3", "max@r_norm", "th", (64.65, 69.63)),
        )
        for method, value in zip(("base", "proximity"), values, strict=True)
    },
}


def published(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the paper's cell in the place of a row, by metric; empty for most."""
    place = tuple(row[name] for name in ("table", "collection", "language", "encoder", "method"))
    pool = (row["pool"], row["query_language"]) if "pool" in row else ()
    # The paper has one SemBridge.
    names = {place, (*place[:-1], place[-1].removesuffix("-released"))}
    return {
        metric: PUBLISHED[(*name, metric, *pool)]
        for name in names
        for metric in row["metrics"]
        if (*name, metric, *pool) in PUBLISHED
    }
