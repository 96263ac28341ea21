"""The numbers of an audit as files that stand inside its page."""

from __future__ import annotations

import csv
import io
from typing import Any
from urllib.parse import quote

from isthmus.auditing.audit_result import AuditResult
from isthmus.auditing.measures import METRICS

_PLACE = ("model", "pool", "query_language", "pool_languages", "documents", "golds", "queries")


def to_csv(result: AuditResult) -> str:
    """One line per model, pool and query language: metrics, their intervals, and what BM25 reaches in the language."""
    lines = [_line(row) for row in result.to_rows()]
    written = io.StringIO()
    writer = csv.DictWriter(written, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return written.getvalue()


def links(result: AuditResult) -> dict[str, str]:
    """By file name, an address that holds the whole file, so that the page needs nothing beside it."""
    # No slash stays, so that nothing in it looks like the address of a server.
    kept = " {}[]:,"
    files = {"audit.csv": ("text/csv", to_csv(result)), "audit.json": ("application/json", result.to_json(indent=None))}
    return {
        name: f"data:{kind};charset=utf-8,{quote(text.encode('utf-8', 'replace'), safe=kept)}"
        for name, (kind, text) in files.items()
    }


def _line(row: dict[str, Any]) -> dict[str, Any]:
    line = {name: row[name] for name in _PLACE} | {"pool_languages": "+".join(row["pool_languages"])}
    for metric in METRICS:
        low, high = row[f"{metric}_ci"] or (None, None)
        line |= {metric: row[metric], f"{metric}_low": low, f"{metric}_high": high}
    own = row["own_language"] or {}
    return line | {
        "own_ndcg@10": own.get("ndcg@10"),
        "bm25_ndcg@10": own.get("bm25_ndcg@10"),
        "level": own.get("level"),
    }
