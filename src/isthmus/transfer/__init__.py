"""From a token map to a working encoder."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from isthmus.transfer.pipeline import transfer, transfer_encoder
from isthmus.transfer.report import TransferReport

__all__ = ["TransferReport", "transfer", "transfer_encoder"]


class _CallablePackage(ModuleType):
    """Importing this package binds its name in ``isthmus``, where users expect the function of the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return transfer(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
