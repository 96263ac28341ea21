"""Raw text as it comes: plain files of one text a line, and corpora of documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from isthmus.errors import CollectionError, NotFoundError
from isthmus.search.documents import COMPRESSIONS, SUFFIXES, Corpus, decompressed, numbered_lines


def read_texts(paths: Iterable[str | Path]) -> Iterator[str]:
    """Give the texts of files, one after the other: the lines of ``.txt``, title and text of what ``Corpus`` reads.

    Args:
        paths: ``.txt``, ``.jsonl``, ``.csv`` or ``.parquet`` files, all but the last also ``.gz``, ``.xz`` or ``.zst``,
            or BEIR folders. They are looked for at once, and read as they are asked for.

    Raises:
        NotFoundError: If there is no such file.
        CollectionError: If it is of another kind, damaged or not UTF-8; names the line.
        MissingExtraError: If its kind needs a package that is not installed.
    """
    sources = [_open(Path(path)) for path in paths]
    return (text for source in sources for text in _texts(source))


def _open(path: Path) -> Path | Corpus:
    if not path.exists():
        raise NotFoundError(f"{path} does not exist")
    if path.is_dir():
        return Corpus(path)
    kind = Path(path.name.removesuffix(_compression(path))).suffix
    if kind == ".txt":
        return path
    if kind not in SUFFIXES:
        raise CollectionError(
            "texts must end in .txt, .jsonl, .csv or .parquet (all but the last also .gz, .xz or .zst), got "
            f"{path}; rename it"
        )
    return Corpus(path)


def _compression(path: Path) -> str:
    return path.suffix if path.suffix in COMPRESSIONS else ""


def _texts(source: Path | Corpus) -> Iterator[str]:
    if isinstance(source, Corpus):
        yield from (document.content for document in source)
        return
    try:
        raw = source.open("rb")
    except OSError as error:
        raise CollectionError(f"{source} cannot be read ({error.strerror})") from error
    with raw:
        lines = numbered_lines(str(source), decompressed(raw, _compression(source)))
        yield from (line.rstrip("\r\n") for _, line in lines)
