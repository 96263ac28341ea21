"""Bytes become numbered lines of text: decompressed and decoded, with the file and line in every complaint."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any, AnyStr, BinaryIO, cast

from isthmus.errors import CollectionError, InputError, MissingExtraError, NotFoundError
from isthmus.reading.notes import Notes

COMPRESSIONS = ("", ".gz", ".xz", ".zst")
# What reading a damaged file raises.
DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error)
FIRST_BYTES = {".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ\x00", ".zst": b"\x28\xb5\x2f\xfd"}
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# Bytes of a line, and of a file that is read whole: what is packed may be a thousand times as much as lies on the disk.
LINE_BYTES, WHOLE_BYTES = 2**24, 2**27
_CHUNK = 2**16
# What comes out of the frame behind the last one of a .zst file.
_END = b"the end of the file"
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


def check_regular(path: Path, refusal: type[InputError] = CollectionError) -> None:
    """Refuse a named pipe, for whose writer opening would wait, and a device, which has no end.

    Raises:
        InputError: Or the ``refusal`` given.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise refusal(f"{path} must be a file, got a pipe or a device; write its content to a file")


@contextmanager
def opened(path: Path, *, refusal: type[InputError] = CollectionError) -> Iterator[BinaryIO]:
    """The bytes of a file, as they lie on the disk.

    Args:
        path: The file.
        refusal: What to raise where it cannot be read.

    Raises:
        NotFoundError: If it is not there.
        InputError: Or the ``refusal`` given, if it is no file, cannot be read, is a Git LFS pointer, or is compressed
            and does not say so.
    """
    try:
        check_regular(path, refusal)
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
        for number, line in enumerate(_decoded(name, stream, notes, refusal), start=1):
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


def _decoded(name: str, stream: BinaryIO, notes: Notes | None, refusal: type[InputError]) -> Iterator[str]:
    peek = getattr(stream, "peek", None)
    head = b"" if peek is None else peek(4)[:4]
    encoding = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)
    if encoding is None:
        # Decoded line by line, because a text stream reads ahead and could not name the line that is wrong.
        for number, content in enumerate(_bounded(name, stream, refusal)):
            yield content.decode("utf-8" if number else "utf-8-sig")
        return
    if notes is not None:
        notes.take("decoded_files", name, encoding)
    text = io.TextIOWrapper(stream, encoding=encoding, newline="\n")
    try:
        yield from _bounded(name, text, refusal)
    finally:
        # It would close the stream, which is somebody else's, and may have been closed by now.
        if not stream.closed:
            text.detach()


def _bounded(name: str, stream: IO[AnyStr], refusal: type[InputError]) -> Iterator[AnyStr]:
    """The lines of a stream; one that is too long is refused before it is held whole."""
    for number in count(1):
        line = stream.readline(LINE_BYTES + 1)
        if not line:
            return
        if len(line) > LINE_BYTES:
            raise refusal(
                f"{name}, line {number}: must have at most {LINE_BYTES:,} bytes, got more; cut it into documents"
            )
        yield line


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


def joined(name: str, lines: Iterable[str], refusal: type[InputError] = CollectionError) -> str:
    """The lines of a file that has to be held whole, as one list of JSON has.

    Raises:
        InputError: Or the ``refusal`` given, if they are too long together.
    """
    kept, size = [], 0
    for line in lines:
        size += len(line)
        if size > WHOLE_BYTES:
            raise refusal(f"{name} must have at most {WHOLE_BYTES:,} characters, got more; write a row a line (.jsonl)")
        kept.append(line)
    return "".join(kept)


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
    """Unlike the package's own, it refuses half a frame, and raises for damage what files raise.

    One more frame is put behind the file: it comes out whole where the last one of the file was.
    """

    def __init__(self, raw: BinaryIO, zstandard: Any) -> None:
        last = zstandard.compress(_END)
        self._source = _Then(raw, last)
        self._reader = zstandard.ZstdDecompressor().stream_reader(self._source, read_across_frames=True)
        self._error = zstandard.ZstdError
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while len(self._ready) <= len(_END):
            try:
                more = self._reader.read(_CHUNK)
            except self._error as error:
                if not self._source.last:
                    raise EOFError("the compressed file ends early") from error
                raise OSError(str(error)) from error
            if not more and self._ready != _END:
                raise EOFError("the compressed file ends early")
            if not more:
                return 0
            self._ready += more
        size = min(len(buffer), len(self._ready) - len(_END))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


class _Then:
    """A stream, and bytes behind it."""

    def __init__(self, raw: BinaryIO, last: bytes) -> None:
        self._raw, self.last = raw, last

    def read(self, size: int) -> bytes:
        found = self._raw.read(size)
        if not found:
            found, self.last = self.last, b""
        return found
