"""The folder of a run: going on from its checkpoints, refusing those of another run, and the finished encoder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isthmus.encoders.load import carry_transfer
from isthmus.errors import InputError, MissingExtraError, OutputError
from isthmus.reading.disk import reserved
from isthmus.reading.storage import atomic_folder, check_folder, read_json
from isthmus.training.run_report import TrainingReport
from isthmus.training.task import is_first_process

CHECKPOINTS = "checkpoints"
SETTINGS = "settings.json"
# Stands in a checkpoint to which nothing is to come.
WHOLE = "whole"


def check_start(folder: str | Path, *, overwrite: bool) -> None:
    """Refuse before anything is read what a run would fail of at its end.

    Raises:
        MissingExtraError: If ``accelerate`` or ``datasets`` is not installed.
        OutputError: If the folder holds something else, or cannot be written.
    """
    for package in ("accelerate", "datasets"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "train")
    check_output(Path(folder), overwrite=overwrite)


def check_output(folder: Path, *, overwrite: bool) -> None:
    """Tell before long work that a run could not write to ``folder``; a run that was interrupted there may go on.

    Raises:
        OutputError: If something else is there, or nothing can be written.
    """
    if (folder / CHECKPOINTS / SETTINGS).is_file() and not (folder / "modules.json").exists():
        check_folder(folder / "encoder", marker="modules.json")
    elif folder.is_dir() and any(folder.iterdir()) and not _others(folder):
        # Somebody was killed who began.
        check_folder(folder / "encoder", marker="modules.json")
    elif overwrite and folder.is_dir() and [path.name for path in folder.iterdir()] == [CHECKPOINTS]:
        raise OutputError(f"{folder / CHECKPOINTS} must hold {SETTINGS} to be gone on from, got none; remove it")
    else:
        check_folder(folder, overwrite=overwrite, marker="modules.json")


@contextmanager
def reserved_output(folder: Path, *, overwrite: bool) -> Iterator[None]:
    """Be the one run that writes to ``folder``, which is checked again: another may have ended there since.

    The first of several processes holds it for all.

    Raises:
        OutputError: If another run is at work there, something else is there, or nothing can be written.
    """
    if not is_first_process():
        yield
        return
    with reserved(folder):
        check_output(folder, overwrite=overwrite)
        yield


def check_settings(folder: Path, identity: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Whether the checkpoints in ``folder``, if any, belong to this run.

    Args:
        folder: The run's folder.
        identity: What decides the outcome of the run; JSON values.
        overwrite: Let checkpoints of another run be replaced.

    Returns:
        False where there are none, or where they are to be replaced.

    Raises:
        InputError: If they belong to a run with other settings; names those that differ.
    """
    path = folder / CHECKPOINTS / SETTINGS
    if not path.is_file():
        return False
    then = read_json(path).get("settings", {})
    if not isinstance(then, dict):
        raise InputError(f"{path} is damaged (settings must be an object); start over by removing {path.parent}")
    now = json.loads(json.dumps(dict(identity)))
    differing = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    if differing and not overwrite:
        changes = ", ".join(
            f"{name:.40} {then.get(name)!r:.80} then and {now.get(name)!r:.80} now" for name in differing
        )
        raise InputError(
            f"settings must be those that the checkpoints in {folder / CHECKPOINTS} were made with, got {changes}; "
            "repeat that command to go on, choose another folder, or start over with --overwrite"
        )
    return not differing


def begin(folder: Path, identity: Mapping[str, Any]) -> None:
    """Start a run's checkpoint folder anew, in one step."""
    for left in folder.glob(f".{CHECKPOINTS}.*"):
        shutil.rmtree(left, ignore_errors=True)
    settings = json.dumps(dict(identity), sort_keys=True)
    record = {"hash": hashlib.blake2b(settings.encode(), digest_size=16).hexdigest(), "settings": dict(identity)}
    with atomic_folder(folder / CHECKPOINTS, overwrite=True) as made:
        (made / SETTINGS).write_text(json.dumps(record, indent=2), encoding="utf-8")


def last_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that is whole, see :class:`isthmus.training.callbacks.Checkpoints`."""
    whole = [path.parent for path in (folder / CHECKPOINTS).glob(f"checkpoint-*/{WHOLE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _others(folder: Path) -> list[str]:
    """What lies in a folder beside what a run that was killed while it began has left there."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(f".{CHECKPOINTS}.")]


def write_result(encoder: Any, report: TrainingReport, folder: Path, source: Path | None, section: str = "") -> None:
    """Write the encoder, what a transfer left beside its source, and the report; the checkpoints go.

    ``section`` is Markdown that ends the model card.

    Raises:
        OutputError: If it cannot be written; the checkpoints stay.
    """
    from isthmus.diagnostics.model_card import write_card

    with atomic_folder(folder, overwrite=True) as written:
        encoder.save_pretrained(str(written))
        carry_transfer(source, written)
        report.save(written)
        write_card(written, encoder, section=section)


def weights_digest(encoder: Any) -> str:
    """Hash of all weights by name."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
