"""The HTTP API over an index, and the explorer page in front of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from isthmus.serve.limits import Limits

if TYPE_CHECKING:
    from isthmus.serve.app import create_app
    from isthmus.serve.run import run_server

__all__ = ["Limits", "create_app", "run_server"]

_HOMES = {"create_app": "app", "run_server": "run"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
