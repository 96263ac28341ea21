"""Encoding texts to sparse matrices and searching them exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.search.exact import search, search_dense

if TYPE_CHECKING:
    from isthmus.search.encode import encode_texts

__all__ = ["encode_texts", "search", "search_dense"]


def __getattr__(name: str) -> Any:
    if name == "encode_texts":
        from isthmus.search.encode import encode_texts

        return encode_texts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
