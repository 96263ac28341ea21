"""The doctor's way to an encoder that is named: what keeps it from being opened is a finding too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.diagnostics.diagnosis import diagnose
from isthmus.diagnostics.finding import Finding
from isthmus.encoders.load import local_folder, transfer_folder, try_encoder
from isthmus.encoders.preflight import refusal
from isthmus.token_map import TokenMap


def diagnose_stored(
    name: str | Path, texts: Sequence[str] | None = None, *, trust_remote_code: bool = False, **options: Any
) -> list[Finding]:
    """Open an encoder and look for what is wrong with it.

    Args:
        name: A built-in name, a folder or a hub id.
        texts: As for :func:`isthmus.diagnostics.diagnose`.
        trust_remote_code: Run code that comes with the model.
        **options: Likewise.

    Returns:
        As :func:`isthmus.diagnostics.diagnose`; of an encoder that cannot be opened, one per fault of its files.

    Raises:
        NotFoundError: If there is nothing under this name.
        EncoderError: If it is a folder without any model.
        InputError: If an option does not fit.
    """
    encoder, faults = try_encoder(name, trust_remote_code=trust_remote_code)
    if faults and faults[0].check == "folder":
        raise refusal("encoder", name, faults[0], "encoder")
    if faults:
        return [Finding(fault.check, "error", fault.message, fault.remedy) for fault in faults]
    token_map = TokenMap.find(transfer_folder(name))
    return diagnose(encoder, texts, token_map, folder=local_folder(name), **options)
