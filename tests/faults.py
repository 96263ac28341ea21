"""A disk that fails: the n-th call of an operation goes wrong, or the power is cut and only what was put through stays.

The operations are those that Isthmus makes from Python, below one folder: opening, writing (also by ``open``), putting
through (fsync), renaming, exchanging, making folders. What libraries write by themselves, as safetensors does, is not
seen.
"""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from isthmus.reading import disk, storage

SHORT = 0
ERRORS = {"full": errno.ENOSPC, "broken": errno.EIO, "interrupted": errno.EINTR, "short": SHORT}
OPERATIONS = ("open", "write", "fsync", "rename", "mkdir")
# A tree of files by their paths; folders are None.
Tree = dict[str, bytes | None]


@dataclass
class Fault:
    """What goes wrong.

    Attributes:
        operation: One of :data:`OPERATIONS`.
        number: Which call of it, from 0.
        kind: One of :data:`ERRORS`; a full disk stays full, the others happen once.
        happened: Whether it came to it.
    """

    operation: str
    number: int
    kind: str
    happened: bool = False
    _calls: int = 0

    def strike(self, operation: str) -> bool:
        """Fail if it is time; tells whether a write is to be short."""
        if operation != self.operation:
            # On a full disk nothing can be written at all, also while things are cleaned up.
            if self.happened and self.kind == "full" and operation == "write":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return False
        self._calls += 1
        due = self._calls > self.number if self.kind == "full" else self._calls == self.number + 1
        if not due:
            return False
        self.happened = True
        if self.kind == "short":
            return operation == "write"
        raise OSError(ERRORS[self.kind], os.strerror(ERRORS[self.kind]))


def path_of(descriptor: int) -> str:
    """The path of what is open."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


class _File(io.FileIO):
    """A file whose writes are watched."""

    watch: Callable[[str, str], bool]

    def write(self, content: Any) -> int:
        short = type(self).watch("write", path_of(self.fileno()))
        view = memoryview(content).cast("B")
        return super().write(view[: max(1, len(view) // 2)] if short else view) or 0


@contextmanager
def watched(  # noqa: C901
    root: Path, watch: Callable[[str, str], bool]
) -> Iterator[None]:
    """Call ``watch`` with the name of every operation below ``root``, and its path, before it happens."""
    below = f"{root.absolute()}{os.sep}"

    def within(path: Any) -> bool:
        if isinstance(path, int):
            path = path_of(path)
        return f"{Path(path).absolute()}{os.sep}".startswith(below)

    def wrapped(original: Callable[..., Any], operation: str) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            # Only what removes folders opens others from within one.
            removing = "dir_fd" in kwargs
            whole = path if kwargs.get("dir_fd") is None else Path(path_of(kwargs["dir_fd"]), path)
            # Files are read as before; folders are opened to be put through to the disk.
            reading = operation == "open" and not args[0] & (os.O_WRONLY | os.O_RDWR) and Path(whole).is_file()
            if within(whole) and not reading and not (removing and operation == "open"):
                watch(operation, str(whole))
                if operation == "fsync":
                    # What would be kept is told by the watch, and no disk need be waited for.
                    return None
            return original(path, *args, **kwargs)

        return call

    class Watched(_File):
        pass

    Watched.watch = staticmethod(watch)  # type: ignore[assignment]
    own_open = io.open

    def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any) -> Any:
        if not within(file) or not set(mode) & set("wax+"):
            return own_open(file, mode, buffering, *args, **kwargs)
        if not isinstance(file, int):
            watch("open", str(file))
        raw = Watched(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        # Small, so that much is left for closing to write, and large enough to be used at all.
        stream = io.BufferedRandom(raw, 512) if "+" in mode else io.BufferedWriter(raw, 512)
        return stream if "b" in mode else io.TextIOWrapper(stream, *args, **kwargs)

    def exchanged(first: Path, second: Path) -> bool:
        watch("rename", str(first))
        return own_exchange(first, second)

    own_exchange = disk.exchange
    with mock.patch.object(io, "open", opened), mock.patch.object(builtins, "open", opened):
        patches = [mock.patch.object(storage, "exchange", exchanged)]
        names = [("open", "open"), ("write", "write"), ("fsync", "fsync"), ("replace", "rename"), ("rename", "rename")]
        # Removing is watched for the moments at which the power may be cut; it does not fail.
        names += [("mkdir", "mkdir"), ("unlink", "unlink"), ("rmdir", "unlink")]
        patches += [mock.patch.object(os, name, wrapped(getattr(os, name), operation)) for name, operation in names]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in reversed(patches):
                patch.stop()


@contextmanager
def failing(root: Path, fault: Fault) -> Iterator[Fault]:
    """A disk with a fault."""
    with watched(root, lambda operation, path: fault.strike(operation)):
        yield fault


def tree(folder: Path) -> Tree:
    """What is in a folder."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else None
    return found


def plant(found: Tree, folder: Path) -> Path:
    """Make a folder of a tree."""
    folder.mkdir(parents=True)
    for name, content in sorted(found.items()):
        path = folder / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


@dataclass
class PowerCuts:
    """What a disk could hold if the power were cut before any of the operations in the body of ``with``.

    A file's content is sure once the file is put through, a folder's entries once the folder is, one by one. Of what is
    not sure, any could be there or not; four ways are tried: entries of the folder at the top and of those below are
    the last sure ones or those of now, and contents those of now or the last sure ones.

    Attributes:
        root: The folder.
        states: The different trees, in the order in which they could first be found.
        final: Those that could be found once the body was through.
    """

    root: Path
    states: list[Tree] = field(default_factory=list)
    final: list[Tree] = field(default_factory=list)
    moments: int = 0

    def __enter__(self) -> PowerCuts:
        self._seen: set[str] = set()
        # Open, so that no other file gets the same number.
        self._open: dict[tuple[int, int], int] = {}
        self._contents: dict[tuple[int, int], bytes] = {}
        self._entries: dict[tuple[int, int], dict[str, tuple[int, int]]] = {}
        for path in [self.root, *self.root.rglob("*")]:
            self._sure(path)
        self._fsync = os.fsync
        self._watch = watched(self.root, self._moment)
        self._watch.__enter__()
        self._patch = mock.patch.object(os, "fsync", self._put_through)
        self._patch.start()
        return self

    def __exit__(self, *of_error: Any) -> None:
        self._patch.stop()
        self._watch.__exit__(*of_error)
        self.final = self._now()
        for descriptor in self._open.values():
            os.close(descriptor)

    def _moment(self, operation: str, path: str) -> bool:
        self.moments += 1
        self._note()
        return False

    def _put_through(self, descriptor: int) -> None:
        self._note()
        self._sure(Path(path_of(descriptor)))

    def _note(self) -> None:
        self.moments += 1
        for found in self._now():
            key = hashlib.sha1(repr(sorted(found.items())).encode()).hexdigest()
            if key not in self._seen:
                self._seen.add(key)
                self.states.append(found)

    def _sure(self, path: Path) -> None:
        key = self._key(path)
        if path.is_dir():
            self._entries[key] = self._listed(path)
        else:
            self._contents[key] = path.read_bytes()

    def _listed(self, path: Path) -> dict[str, tuple[int, int]]:
        return {one.name: self._key(one) for one in path.iterdir()}

    def _key(self, path: Path) -> tuple[int, int]:
        stat = path.stat()
        key = (stat.st_dev, stat.st_ino)
        if key not in self._open:
            self._open[key] = _OPEN(path, os.O_RDONLY)
        return key

    def _now(self) -> list[Tree]:
        folders, files = {}, {}
        for path in [self.root, *self.root.rglob("*")]:
            if path.is_dir():
                folders[self._key(path)] = self._listed(path)
            else:
                files[self._key(path)] = path.read_bytes()
        top = self._key(self.root)
        sure, found = self._entries, []
        for entries in (
            folders,
            {**sure, top: folders[top]},
            sure,
            {**folders, top: sure[top]},
        ):
            for contents in ({**self._contents, **files}, self._contents):
                found.append(self._reached(top, entries, contents, ""))
        return found

    def _reached(self, key: Any, entries: Any, contents: Any, place: str) -> Tree:
        found: Tree = {}
        for name, inner in entries.get(key, {}).items():
            if self._is_folder(inner):
                found[place + name] = None
                found |= self._reached(inner, entries, contents, f"{place}{name}/")
            else:
                found[place + name] = contents.get(inner, b"")
        return found

    def _is_folder(self, key: tuple[int, int]) -> bool:
        return Path(f"/proc/self/fd/{self._open[key]}").is_dir()


_OPEN = os.open
