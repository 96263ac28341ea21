"""Writing files and folders so that a reader never sees half of one; and small JSON files read back."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from isthmus.errors import InputError, IsthmusError, NotFoundError, OutputError
from isthmus.reading.disk import exchange, make_folder, not_written, put_through, put_through_all, reserved


def atomic_write(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``: the old file or the new one is seen, never a part, and it outlasts a power cut.

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
            make_folder(path.parent)
            handle, temporary[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary[path]).chmod(0o666 & ~_umask())
        for path, name in temporary.items():
            Path(name).replace(path)
        for path in {path.parent: path for path in contents}.values():
            put_through(path.parent)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        for name in temporary.values():
            with suppress(OSError):
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
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} must be a JSON file, got {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes ``path`` when the body succeeds and disappears when it does not.

    It is on the disk, and not only in memory, before it takes its place.

    Args:
        path: The folder to make; nobody else can make it meanwhile, see :func:`isthmus.reading.disk.reserved`.
        overwrite: Replace a folder that is already there.

    Raises:
        OutputError: If ``path`` exists and ``overwrite`` is off, it cannot be written, or somebody else makes it.
    """
    if not overwrite:
        _refuse_existing(path)
    with reserved(path):
        temporary: Path | None = None
        try:
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            for written in temporary.rglob("*"):
                # safetensors leaves its files readable to their owner alone.
                if written.is_file():
                    written.chmod(0o666 & ~_umask())
            put_through_all(temporary)
            _move_into_place(temporary, path, overwrite)
            put_through(path.parent)
        except (OSError, SafetensorError) as error:
            # NotFoundError is an OSError too, but it is about what the body reads.
            if isinstance(error, IsthmusError):
                raise
            raise OutputError(f"{path} cannot be written ({error}); free space or choose another folder") from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(temporary: Path, path: Path, overwrite: bool) -> None:
    """Rename ``temporary`` to ``path``; what was there is in its place afterwards, or gone."""
    if not overwrite or not path.exists():
        _refuse_existing(path)
        temporary.replace(path)
        return
    if path.is_dir() and not path.is_symlink() and exchange(temporary, path):
        return
    # Two steps, where the system does not know one: what was there comes back unless both succeed.
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    kept = old / path.name
    try:
        path.replace(kept)
        temporary.replace(path)
    except BaseException:
        if kept.exists():
            try:
                kept.replace(path)
            except OSError as error:
                raise OutputError(
                    f"{path} cannot be written, nor can what was there be put back ({error.strerror or error}); it is "
                    f"whole in {kept}: move it back"
                ) from error
        raise
    finally:
        if not kept.exists() or path.exists():
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def reserved_folder(path: Path, *, overwrite: bool = False, marker: str) -> Iterator[None]:
    """Check a folder as :func:`check_folder` does, and let nobody else make it while the body works on its content.

    Raises:
        OutputError: As for :func:`check_folder`, or if somebody else makes it.
    """
    # What is refused is not made, so not even the folders above it come into being.
    check_folder(path, overwrite=overwrite, marker=marker)
    with reserved(path):
        check_folder(path, overwrite=overwrite, marker=marker)
        yield


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
