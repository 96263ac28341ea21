"""Writing files and folders so that a reader never sees half of one; and small JSON files read back."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from isthmus.errors import InputError, IsthmusError, NotFoundError, OutputError


def atomic_write(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``: the old file or the new one is seen, never a part.

    Raises:
        OutputError: If the folder or the file cannot be written; no temporary file is left behind.
    """
    atomic_write_all({path: content})


def atomic_write_all(contents: Mapping[Path, bytes]) -> None:
    """Write several files, each as :func:`atomic_write`; none is replaced before all are on the disk.

    Raises:
        OutputError: If a folder or a file cannot be written; no temporary file is left behind.
    """
    temporary: dict[Path, str] = {}
    path = Path()
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary[path]).chmod(0o666 & ~_umask())
        for path, name in temporary.items():
            Path(name).replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{path} cannot be written ({reason}); free space or choose another folder") from error
    finally:
        for name in temporary.values():
            Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        NotFoundError: If the file is not there.
        InputError: If it is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must be a JSON file, got {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes ``path`` when the body succeeds and disappears when it does not.

    Args:
        path: The folder to make; when two writers race, the later one fails or, with ``overwrite``, wins.
        overwrite: Replace a folder that is already there.

    Raises:
        OutputError: If ``path`` exists and ``overwrite`` is off, or it cannot be written.
    """
    if not overwrite:
        _refuse_existing(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for written in temporary.rglob("*"):
            # safetensors leaves its files readable to their owner alone.
            if written.is_file():
                written.chmod(0o666 & ~_umask())
        _move_into_place(temporary, path, overwrite)
    except (OSError, SafetensorError) as error:
        # NotFoundError is an OSError too, but it is about what the body reads.
        if isinstance(error, IsthmusError):
            raise
        raise OutputError(f"{path} cannot be written ({error}); free space or choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(temporary: Path, path: Path, overwrite: bool) -> None:
    """Rename ``temporary`` to ``path``; what was there comes back unless that succeeds."""
    old = None
    if overwrite and path.exists():
        old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    try:
        if old is not None:
            path.replace(old / path.name)
        _refuse_existing(path)
        temporary.replace(path)
    except BaseException:
        if old is not None and (old / path.name).exists() and not path.exists():
            (old / path.name).replace(path)
        raise
    finally:
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def check_folder(path: Path, *, overwrite: bool = False, marker: str) -> None:
    """Tell before long work that :func:`atomic_folder` would refuse its result; writes nothing.

    Args:
        path: The folder to make.
        overwrite: Replace a folder that is already there.
        marker: A file that a folder must hold to be replaced, so that no folder of another kind is lost.

    Raises:
        OutputError: If ``path`` exists and must not be replaced, or no folder can be made there.
    """
    if not overwrite:
        _refuse_existing(path)
    elif path.exists() and not (path / marker).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} must hold {marker} to be overwritten, got something else; choose another folder")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise OutputError(f"{path} cannot be written (no folder can be made in {parent}); choose another folder")


def _refuse_existing(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} already exists; choose another folder or pass --overwrite")
