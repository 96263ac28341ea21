"""What a disk keeps after a power cut, who may write where, and errors that say what to do."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from isthmus.errors import IsthmusError, OutputError

LOCK = ".lock"
# What file systems answer that keep the entries of folders in their own time.
_UNASKED = (errno.EINVAL, errno.ENOTSUP)
_SWAP = 2
_HERE = -100
_mine = threading.local()


def put_through(path: Path) -> None:
    """Have the content of a file, or the entries of a folder, on the disk: one does not bring the other."""
    is_folder, windows = path.is_dir(), os.name == "nt"
    if is_folder and windows:
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in _UNASKED:
            raise
    finally:
        os.close(descriptor)


def put_through_all(folder: Path) -> None:
    """Have all that is in a folder on the disk, its own entry excepted."""
    for within, _, files in os.walk(folder):
        for name in files:
            put_through(Path(within) / name)
        put_through(Path(within))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and put their entries through."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        put_through(one.parent)


def exchange(first: Path, second: Path) -> bool:
    """Let two folders change places in one step; False where the system cannot, and nothing has happened."""
    with suppress(OSError, TypeError):
        system, paths = ctypes.CDLL(None), (os.fsencode(first), os.fsencode(second))
        if hasattr(system, "renameat2"):
            return bool(system.renameat2(_HERE, paths[0], _HERE, paths[1], _SWAP) == 0)
        if hasattr(system, "renamex_np"):
            return bool(system.renamex_np(*paths, _SWAP) == 0)
    return False


def not_written(path: Path, error: OSError, more: str = "") -> OutputError:
    """The error of somebody who could not write to ``path``; ``more`` ends it."""
    reason = error.strerror or str(error) or type(error).__name__
    return OutputError(f"{path} cannot be written ({reason}); free space or choose another folder{more}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what to do when the body cannot write below ``path``.

    Raises:
        OutputError: If the disk is full or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        # Some of the project's own are OSErrors too, but say already what to do.
        if isinstance(error, IsthmusError):
            raise
        more = ", then run the command again: what was finished before is kept"
        raise not_written(path, error, more) from error


@contextmanager
def locked(folder: Path, share: str = "") -> Iterator[None]:
    """Be the one writer of a folder that is written in place; the lock, a file in it, goes when the process does.

    The folder is made if need be, and goes again if nothing was written.

    Args:
        folder: The folder.
        share: Names what is written of it, where others write other shares at the same time; "" is all of it.

    Raises:
        OutputError: If another writer is at work, or the folder cannot be written.
    """
    name = f"{LOCK}-{share}" if share else LOCK
    with _made(folder) as new, _held(folder / name, folder):
        for other in () if share else folder.glob(f"{LOCK}-*"):
            with _held(other, folder):
                other.unlink()
        try:
            yield
        finally:
            with suppress(OSError):
                if new and [path.name for path in folder.iterdir()] == [name]:
                    (folder / name).unlink()


@contextmanager
def reserved(path: Path) -> Iterator[None]:
    """Be the one who makes a folder that is put in its place whole; the lock, a file beside it, goes afterwards.

    Who holds it may ask again, in the same thread.

    Raises:
        OutputError: If somebody else makes it, or nothing can be written there.
    """
    path = path.absolute()
    mine: set[Path] = vars(_mine).setdefault("paths", set())
    if path in mine:
        yield
        return
    place = path.parent / f".{path.name}{LOCK}"
    with _made(path.parent), _held(place, path):
        mine.add(path)
        try:
            yield
        finally:
            mine.discard(path)
            with suppress(OSError):
                place.unlink()


@contextmanager
def _made(folder: Path) -> Iterator[bool]:
    """Make a folder for the body, which is told whether it is new; what was made and stays empty goes again."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        try:
            make_folder(folder)
        except OSError as error:
            raise not_written(folder, error) from error
        yield bool(missing)
    finally:
        with suppress(OSError):
            for one in missing:
                one.rmdir()


@contextmanager
def _held(file: Path, what: Path) -> Iterator[None]:
    """Hold a lock file."""
    lock = FileLock(file)
    try:
        try:
            if file.is_symlink():
                raise OutputError(f"{file} must not be a symbolic link; remove it")
            file.touch()
            seen = file.stat()
            lock.acquire(timeout=0)
            # Who had it before may have removed it since, and the next one would hold another file.
            if not os.path.samestat(seen, file.stat()):
                raise Timeout(str(file))
        except Timeout as error:
            raise OutputError(f"{what} is being written by another process; wait until it has ended") from error
        except OSError as error:
            raise error if isinstance(error, OutputError) else not_written(what, error) from error
        yield
    finally:
        lock.release()
