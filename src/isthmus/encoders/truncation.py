"""How many texts lose their end at the encoder's limit, counted where they are tokenized anyway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from isthmus.encoders.prompts import Role

_COUNTED: ContextVar[Counter[Role] | None] = ContextVar("truncated", default=None)


@contextmanager
def count_truncated() -> Iterator[Counter[Role]]:
    """Count the texts that lose their end while the body encodes, queries and documents apart."""
    counted: Counter[Role] = Counter()
    token = _COUNTED.set(counted)
    try:
        yield counted
    finally:
        _COUNTED.reset(token)


@contextmanager
def watched(encoder: Any, role: Role) -> Iterator[None]:
    """Let an encoder be watched while the body encodes texts of a role, if somebody counts."""
    counted = _COUNTED.get()
    if counted is None:
        yield
        return
    own, limit = encoder.preprocess, getattr(encoder, "max_seq_length", None)

    def preprocess(*arguments: Any, **named: Any) -> Any:
        features = own(*arguments, **named)
        counted[role] += _truncated(features, limit)
        return features

    encoder.__dict__["preprocess"] = preprocess
    try:
        yield
    finally:
        del encoder.__dict__["preprocess"]


def truncation_note(counted: Mapping[Role, int], remedy: str) -> str | None:
    """What to say of texts that lost their end; None where none did.

    Args:
        counted: From :func:`count_truncated`.
        remedy: What would help documents.
    """
    plurals: dict[Role, tuple[str, str]] = {"query": ("query", "queries"), "document": ("document", "documents")}
    said = [f"{count:,} {plurals[role][count > 1]}" for role, count in counted.items() if count]
    if not said:
        return None
    are = "is" if sum(counted.values()) == 1 else "are"
    told = f"; {remedy}" if counted.get("document") and remedy else ""
    return f"{' and '.join(said)} {are} longer than the encoder reads, what is beyond counts for nothing{told}"


def _truncated(features: Any, limit: int | None) -> int:
    """Texts of a batch that were cut; where the tokenizer does not tell, those that reach the limit."""
    encodings = getattr(features, "encodings", None)
    if encodings is not None:
        return sum(bool(encoding.overflowing) for encoding in encodings)
    if limit is None or "attention_mask" not in features:
        return 0
    return int((features["attention_mask"].sum(dim=-1) >= limit).sum())
