"""The HTTP API over an index, and the explorer page in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names
from isthmus.serve.options import Limits

if TYPE_CHECKING:
    from isthmus.serve.app import create_app
    from isthmus.serve.listening import run_server

__all__ = ["Limits", "create_app", "run_server"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "create_app": ".app",
        "run_server": ".listening",
    },
)
