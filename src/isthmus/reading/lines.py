"""Bytes become numbered lines of text: decompressed and decoded, with the file and line in every complaint."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from isthmus.errors import CollectionError, InputError, MissingExtraError, NotFoundError
from isthmus.reading.notes import Notes

COMPRESSIONS = ("", ".gz", ".xz", ".zst")
# What reading a damaged file raises.
DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error)
FIRST_BYTES = {".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ\x00", ".zst": b"\x28\xb5\x2f\xfd"}
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_COMPRESSED_BYTES = 2**16
# The longer mark goes first: one begins with the other.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def compression_of(path: Path) -> str:
    """``.gz``, ``.xz``, ``.zst`` or nothing, by the name of a file."""
    return path.suffix if path.suffix in COMPRESSIONS else ""


@contextmanager
def opened(path: Path, *, refusal: type[InputError] = CollectionError) -> Iterator[BinaryIO]:
    """The bytes of a file, as they lie on the disk.

    Args:
        path: The file.
        refusal: What to raise where it cannot be read.

    Raises:
        NotFoundError: If it is not there.
        InputError: Or the ``refusal`` given, if it cannot be read, is a Git LFS pointer, or is compressed and does not
            say so.
    """
    try:
        raw = path.open("rb")
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except OSError as error:
        raise refusal(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    with raw:
        head = raw.peek(len(LFS_POINTER))
        if head.startswith(LFS_POINTER):
            raise refusal(f"{path} is a Git LFS pointer and not the file itself; run git lfs pull in its folder")
        packed = next((suffix for suffix, first in FIRST_BYTES.items() if head.startswith(first)), "")
        if packed not in ("", compression_of(path)):
            raise refusal(f"{path} is compressed and must end in {packed}; rename it")
        yield raw


def decompressed(raw: BinaryIO, compression: str) -> BinaryIO:
    """The bytes of a file that ends in ``compression``: ``.gz``, ``.xz``, ``.zst`` or nothing.

    Raises:
        MissingExtraError: If it is ``.zst`` and zstandard is not installed.
    """
    if compression == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if compression == ".xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    return _zstd_stream(raw) if compression == ".zst" else raw


def numbered_lines(
    name: str,
    stream: BinaryIO,
    *,
    blank: bool = False,
    refusal: type[InputError] = CollectionError,
    notes: Notes | None = None,
) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1 and their ends.

    They are UTF-8, with or without a byte-order mark, or UTF-16 or UTF-32 with one. Only a line feed ends a line: words
    may hold what ``str.splitlines`` takes for an end.

    Args:
        name: Of the file, for messages.
        stream: What it holds, decompressed.
        blank: Give blank lines too.
        refusal: What to raise where the content does not fit.
        notes: Where UTF-16 is noted.

    Raises:
        InputError: Or the ``refusal`` given, if it is not text, or the file is damaged; names the line.
    """
    number = 0
    try:
        for number, line in enumerate(_decoded(name, stream, notes), start=1):
            if number == 1 and "\x00" in line:
                raise refusal(
                    f"{name}, line 1: must be UTF-8 text, got zero bytes (UTF-16 without its mark?); convert the file"
                )
            if blank or line.strip():
                yield number, line
    except UnicodeDecodeError as error:
        raise refusal(f"{name}, line {number + 1}: must be UTF-8 text ({error}); convert the file") from error
    except DAMAGE as error:
        raise refusal(f"{name} is damaged after line {number} ({error}); check it, or fetch it again") from error


def _decoded(name: str, stream: BinaryIO, notes: Notes | None) -> Iterator[str]:
    peek = getattr(stream, "peek", None)
    head = b"" if peek is None else peek(4)[:4]
    encoding = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)
    if encoding is None:
        # Decoded line by line, because a text stream reads ahead and could not name the line that is wrong.
        for number, content in enumerate(stream):
            yield content.decode("utf-8" if number else "utf-8-sig")
        return
    if notes is not None:
        notes.take("decoded_files", name, encoding)
    text = io.TextIOWrapper(stream, encoding=encoding, newline="\n")
    try:
        yield from text
    finally:
        # It would close the stream, which is somebody else's, and may have been closed by now.
        if not stream.closed:
            text.detach()


def read_lines(
    path: Path, *, keep_blank: bool = False, refusal: type[InputError] = InputError, notes: Notes | None = None
) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a text file, decompressing ``.xz``, ``.gz`` and ``.zst``.

    Args:
        path: The file.
        keep_blank: Yield blank lines too.
        refusal: What to raise where the content does not fit.
        notes: Where it is noted that the file is UTF-16.

    Raises:
        NotFoundError: If the file is not there.
        InputError: Or the ``refusal`` given, if it is not text, or damaged.
        MissingExtraError: If it ends in ``.zst`` and zstandard is not installed.
    """
    with opened(path, refusal=refusal) as raw:
        stream = decompressed(raw, compression_of(path))
        for number, line in numbered_lines(str(path), stream, blank=keep_blank, refusal=refusal, notes=notes):
            yield number, line.rstrip("\r\n")


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be encoded; lone surrogates, which JSON may hold, cannot, and tokenizers refuse them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _zstd_stream(raw: BinaryIO) -> BinaryIO:
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtraError("zstandard", "zstd") from error
    return cast(BinaryIO, io.BufferedReader(_ZstdStream(raw, zstandard)))


class _ZstdStream(io.RawIOBase):
    """Unlike the package's own, it refuses half a frame, and raises for damage what files raise."""

    def __init__(self, raw: BinaryIO, zstandard: Any) -> None:
        self._raw = raw
        self._zstandard = zstandard
        self._frame: Any = None
        self._compressed = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if self._frame is not None and self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
            self._compressed = self._compressed or self._raw.read(_COMPRESSED_BYTES)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("the compressed file ends early")
                return 0
            self._frame = self._frame or self._zstandard.ZstdDecompressor().decompressobj()
            try:
                self._ready = self._frame.decompress(self._compressed)
            except self._zstandard.ZstdError as error:
                raise OSError(str(error)) from error
            self._compressed = b""
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size
