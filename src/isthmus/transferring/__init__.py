"""From a token map to a working encoder."""

from __future__ import annotations

from isthmus.transferring.pipeline import transfer, transfer_encoder
from isthmus.transferring.report import TransferReport

__all__ = ["TransferReport", "transfer", "transfer_encoder"]
