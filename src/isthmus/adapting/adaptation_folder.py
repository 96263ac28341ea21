"""The folder of an adaptation: what it may be, and what it remembers; no torch."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isthmus.adapting.options import AdaptOptions
from isthmus.adapting.outcome import Adaptation, ArmResult
from isthmus.errors import InputError, OutputError
from isthmus.reading.disk import LOCK
from isthmus.reading.storage import atomic_folder, atomic_write, read_json

STATE = "adapt.json"
ARMS = "arms"


def settings_of(options: AdaptOptions, encoder: str | Path, bridge: str | Path) -> dict[str, str]:
    """What tells one adaptation from another."""
    return {"encoder": str(encoder), "bridge": str(bridge), **{k: str(v) for k, v in options.to_dict().items()}}


def check_place(folder: Path, asked: dict[str, str], *, overwrite: bool = False) -> dict[str, Any] | None:
    """Look at the folder of an adaptation, before anything is loaded or written.

    Args:
        folder: The folder.
        asked: As :func:`settings_of` gives it.
        overwrite: Replace another adaptation.

    Returns:
        What this adaptation left there; None where it starts anew.

    Raises:
        OutputError: If something else is there.
    """
    known = read_json(folder / STATE) if (folder / STATE).is_file() else None
    if known is not None and known.get("key") == _key(asked):
        return known
    others = folder.exists() and any(path.name != LOCK for path in folder.iterdir())
    if others and (not overwrite or known is None):
        raise OutputError(
            f"{folder} already holds something else than this adaptation; choose another folder"
            f"{' or pass overwrite (--overwrite)' if known is not None else ''}"
        )
    return None


def _key(asked: dict[str, str]) -> str:
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=8).hexdigest()


class Run:
    """The folder of an adaptation: arms that are finished stay, so that it can be broken off."""

    def __init__(self, folder: Path, asked: dict[str, str], *, overwrite: bool) -> None:
        self.folder = folder
        self._started = time.perf_counter()
        known = check_place(folder, asked, overwrite=overwrite)
        if known is None and folder.exists():
            for name in (ARMS, "encoder", "index"):
                shutil.rmtree(folder / name, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._state: dict[str, Any] = known or {"key": _key(asked), "done": {}, "seconds": 0.0}
        self._before = float(self._state["seconds"])

    def seconds(self) -> float:
        """Wall time, that of earlier runs included."""
        return self._before + time.perf_counter() - self._started

    def finished(self) -> Adaptation | None:
        """The outcome, if this very run was finished before and its encoder is there."""
        found = self._state.get("finished")
        if found is None or not (self.folder / "encoder" / "modules.json").is_file():
            return None
        arms = tuple(arm for told in found["arms"] if (arm := self.done(told["name"])) is not None)
        kept = {name: value for name, value in found.items() if name != "verdict"}
        return Adaptation(**{**kept, "arms": arms, "warnings": tuple(found["warnings"])})

    def done(self, name: str) -> ArmResult | None:
        """The result of an arm, if it is finished."""
        found = self._state["done"].get(name)
        return None if found is None else ArmResult(**{**found, "per_query": tuple(found["per_query"])})

    def record(self, arm: ArmResult) -> ArmResult:
        """Remember a finished arm."""
        self._state["done"][arm.name] = asdict(arm)
        self._write()
        return arm

    def place(self, name: str) -> Path:
        """Folder of an arm's encoder."""
        plain = name.replace(", ", "-").replace(" ", "-")
        if not plain or plain.startswith(".") or "/" in plain or "\\" in plain:
            raise InputError(f"{self.folder / STATE} must name arms that Isthmus has, got {name!r:.80}; start anew")
        return self.folder / ARMS / plain

    def keep(self, name: str) -> None:
        """Put the encoder of an arm where it is asked for; the arms stay until the run is finished."""
        with atomic_folder(self.folder / "encoder", overwrite=True) as written:
            shutil.copytree(self.place(name), written, dirs_exist_ok=True)

    def finish(self, found: Adaptation) -> None:
        """Write what was found, and remove the arms."""
        self._state |= {"finished": found.to_dict()}
        self._write()
        shutil.rmtree(self.folder / ARMS, ignore_errors=True)

    def _write(self) -> None:
        self._state["seconds"] = self.seconds()
        content = json.dumps(self._state, ensure_ascii=False, indent=1)
        atomic_write(self.folder / STATE, (content + "\n").encode())
