"""The doctor's way to an encoder that is named: what keeps it from being opened is a finding too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.diagnostics.diagnosis import diagnose
from isthmus.diagnostics.finding import Finding
from isthmus.encoders.load import local_folder, transfer_folder, try_encoder
from isthmus.encoders.preflight import refusal
from isthmus.errors import IsthmusError
from isthmus.reading.storage import read_json
from isthmus.token_map import TokenMap

REMEDY = (
    "transfer again: with another bridge, or with texts for it to learn from (--bridge-texts, --bridge-source-texts)"
)


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
    beside = transfer_folder(name)
    findings = diagnose(encoder, texts, TokenMap.find(beside), folder=local_folder(name), **options)
    return findings if beside is None else _warned_of(beside) + findings


def _warned_of(folder: Path) -> list[Finding]:
    """What the transfer warned of that made an encoder: a flat bridge, scripts that it does not know."""
    try:
        said = read_json(folder / "transfer_report.json").get("warnings", [])
    except IsthmusError:
        # None, or one of somebody else: the encoder itself is what matters.
        said = []
    return [Finding("transfer", "warning", text, REMEDY) for text in said]
