"""What keeps a stored model from being opened, and a look at files without the libraries that read them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Check = Literal["folder", "files", "config", "weights", "sizes", "tokenizer", "packages", "opening"]

AGAIN = "download it again, whole (hf download ID --local-dir FOLDER), or save it again"
_POINTERS = (b"version https://git-lfs", b"/annex/objects/")
# What an interrupted download leaves, by the programs that leave it.
PARTIAL = (".incomplete", ".part", ".partial", ".crdownload", ".aria2", ".tmp")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a stored model.

    Attributes:
        check: What it concerns; ``folder`` where there is no model at all.
        message: What was found, beginning with the file.
        remedy: What to do.
        cause: The error that told, where one did.
    """

    check: Check
    message: str
    remedy: str
    cause: Exception | None = field(default=None, compare=False)


def file_fault(path: Path, name: str) -> Fault | None:
    """What is wrong with a file, whatever it should hold; None where nothing is.

    Args:
        path: The file.
        name: What messages call it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(200)
    except FileNotFoundError:
        if path.is_symlink():
            target = path.readlink()
            return Fault("files", f"{name} is a link to {target}, which is not there", "copy with cp -rL")
        return Fault("files", f"{name} is missing", AGAIN)
    except PermissionError:
        return _unreadable(path, name)
    except OSError as error:
        return Fault("files", f"{name} cannot be read: {error.strerror}", AGAIN)
    if head.startswith(_POINTERS):
        return Fault(
            "files",
            f"{name} is a Git LFS pointer of {path.stat().st_size} bytes, not the file itself",
            "run 'git lfs install' and 'git lfs pull' in the folder, or download it with: hf download ID",
        )
    if not head:
        return Fault("files", f"{name} is empty", AGAIN)
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return Fault("files", f"{name} is a web page, not the file itself", AGAIN)
    return None


def read_json(path: Path, name: str) -> tuple[dict[str, Any], Fault | None]:
    """A JSON object from a file that is there, or what is wrong with it."""
    fault = file_fault(path, name)
    if fault is not None:
        return {}, fault
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return {}, Fault("files", f"{name} is no UTF-8 text", AGAIN)
    except json.JSONDecodeError as error:
        found = f"{name} is no valid JSON (line {error.lineno}: {error.msg})"
        return {}, Fault("files", found, f"mend that line, or {AGAIN}")
    if not isinstance(value, dict):
        found = f"{name} holds a {type(value).__name__}, not an object"
        return {}, Fault("files", found, AGAIN)
    return value, None


def folder_fault(path: Path) -> Fault | None:
    """What keeps a path that exists from being looked into as a folder; None where nothing does."""
    if not path.is_dir():
        return Fault("folder", "it is a file", f"give the folder that it lies in{_unpack(path)}")
    if not os.access(path, os.R_OK | os.X_OK):
        return _unreadable(path, "the folder")
    if not any(path.iterdir()):
        return Fault("folder", "it is empty", "name the folder that the model was saved to, or download it again")
    return None


def _unpack(path: Path) -> str:
    return ", unpacked" if path.suffix in (".zip", ".gz", ".tgz", ".tar", ".xz", ".zst", ".7z") else ""


def _unreadable(path: Path, name: str) -> Fault:
    return Fault("files", f"{name} may not be read by this user", f"give the permission: chmod -R u+rX {path}")
