"""Files of an index that stay open: read piece by piece, because a mapped file that is cut off kills the process."""

from __future__ import annotations

import os
import threading
import weakref
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import IndexFileError
from isthmus.index.format import REBUILD, Stored, write_header

# A .npy file: magic and version, the header's length, the header.
_VERSION_END, _PREAMBLE = 8, 10
_seeking = threading.Lock()


def _read_at(descriptor: int, buffers: list[memoryview], place: int) -> int:
    """What ``os.preadv`` does, where the system has none."""
    with _seeking:
        os.lseek(descriptor, place, os.SEEK_SET)
        found = os.read(descriptor, len(buffers[0]))
    buffers[0][: len(found)] = found
    return len(found)


_preadv = getattr(os, "preadv", _read_at)


class OpenFile:
    """A file as it was when it was opened.

    It stays readable when it is removed or another file takes its place. Where it is changed itself, cut off or written
    over, reading raises.

    Args:
        path: The file.
        expected: What the manifest says about it.

    Raises:
        IndexFileError: If it is missing, cannot be read, or is of another size.
    """

    def __init__(self, path: Path, expected: Stored) -> None:
        self.path = path
        self.expected = expected
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            how = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise IndexFileError(f"{path} {how} ({error.strerror}); {REBUILD}") from error
        weakref.finalize(self, os.close, self._descriptor)
        self._stamp = self._look()
        if self._stamp[0] != expected.bytes:
            raise IndexFileError(
                f"{path} must have {expected.bytes} bytes, got {self._stamp[0]}; it is damaged: {REBUILD}"
            )

    def __len__(self) -> int:
        return self.expected.bytes

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from ``start`` to ``stop``, as far as there are any; errors as for :meth:`read_into`."""
        start, stop, _ = slice(start, stop).indices(self.expected.bytes)
        content = bytearray(max(0, stop - start))
        self.read_into(memoryview(content), start)
        return bytes(content)

    def read_into(self, buffer: memoryview, start: int) -> None:
        """Fill a buffer with the bytes from ``start`` on, which the file must have.

        Raises:
            IndexFileError: If the file has changed since it was opened, or cannot be read.
        """
        try:
            while buffer:
                count = _preadv(self._descriptor, [buffer], start)
                if not count:
                    break
                buffer, start = buffer[count:], start + count
            # Last: what was read before a change is not part of it.
            seen = self._look()
        except OSError as error:
            raise IndexFileError(f"{self.path} cannot be read ({error.strerror}); {REBUILD}") from error
        if seen != self._stamp:
            raise IndexFileError(f"{self.path} was changed while it was open; if it is not whole again, {REBUILD}")

    def _look(self) -> tuple[int, int]:
        """Size and time of the last change; a removed file keeps both."""
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns


class StoredArray:
    """A ``.npy`` file of one dimension, read slice by slice.

    The header must be the one that is expected, so nothing of the file is evaluated: no pickle, and no Python literal,
    which CPython 3.11 before 3.11.5 cannot parse in several threads.

    Args:
        path: The file.
        expected: What the manifest says about it.
        dtype: Of the array.
        length: Of the array.

    Raises:
        IndexFileError: If it is missing, or does not hold an array of this dtype and length.
    """

    def __init__(self, path: Path, expected: Stored, dtype: Any, length: int) -> None:
        self.dtype = np.dtype(dtype)
        self._length = length
        self._file = OpenFile(path, expected)
        wanted = BytesIO()
        write_header(wanted, dtype, (length,))
        head = self._file.read(0, _PREAMBLE)
        self._start = _PREAMBLE + int.from_bytes(head[-2:], "little")
        # The padding behind a header is up to numpy.
        if (
            head[:_VERSION_END] != wanted.getvalue()[:_VERSION_END]
            or self._file.read(_PREAMBLE, self._start).rstrip() != wanted.getvalue()[_PREAMBLE:].rstrip()
            or len(self._file) != self._start + length * self.dtype.itemsize
        ):
            raise IndexFileError(f"{path} must hold {length} numbers of {self.dtype}; it is damaged: {REBUILD}")

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, span: slice) -> NDArray[Any]:
        """Read a slice; errors as for :meth:`OpenFile.read_into`."""
        start, stop, _ = span.indices(self._length)
        return self.read_into(np.empty(max(0, stop - start), self.dtype), start)

    def read_into(self, array: NDArray[Any], start: int) -> NDArray[Any]:
        """Fill an array of the same dtype with what stands from ``start`` on, and give it back."""
        self._file.read_into(array.data.cast("B"), self._start + start * self.dtype.itemsize)
        return array
