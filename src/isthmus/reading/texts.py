"""Raw text as it comes: plain files of one text a line, and corpora of documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from isthmus.errors import CollectionError, NotFoundError
from isthmus.reading.corpus import COMPRESSIONS, SUFFIXES, Corpus, decompressed, numbered_lines


def read_texts(paths: Iterable[str | Path]) -> Iterator[str]:
    """Give the texts of files, one after the other: the lines of ``.txt``, title and text of what ``Corpus`` reads.

    Args:
        paths: ``.txt``, ``.jsonl``, ``.csv`` or ``.parquet`` files, all but the last also ``.gz``, ``.xz`` or ``.zst``,
            or BEIR folders. They are looked for at once, and read as they are asked for.

    Raises:
        NotFoundError: If there is no such file.
        CollectionError: If it is of another kind, damaged or not UTF-8, which names the line; or if there is nothing
            but white space in all of them.
        MissingExtraError: If its kind needs a package that is not installed.
    """
    names = [str(path) for path in paths]
    return _checked(names, [_open(Path(name)) for name in names])


def check_texts(paths: Iterable[str | Path]) -> None:
    """Refuse what :func:`read_texts` does not read by its name, without reading it.

    Raises:
        IsthmusError: As :func:`read_texts`.
    """
    for path in paths:
        _open(Path(path))


def check_text(path: str | Path) -> None:
    """As :func:`check_texts`, of one file."""
    check_texts([path])


def read_samples(path: str | Path) -> list[str]:
    """Read all texts of one file as :func:`read_texts` does, without blank ones and the white space around them.

    Raises:
        IsthmusError: As :func:`read_texts`.
    """
    return [found for text in read_texts([path]) if (found := text.strip())]


def _checked(names: list[str], sources: list[Path | Corpus]) -> Iterator[str]:
    blank = True
    for source in sources:
        for text in _texts(source):
            blank = blank and not text.strip()
            yield text
    if blank:
        raise CollectionError(
            f"{', '.join(names) or 'texts'} must hold at least one line or document that is not blank, got none; give "
            "a file with text"
        )


def _open(path: Path) -> Path | Corpus:
    if not path.exists():
        raise NotFoundError(f"{path} does not exist; give a file of texts")
    if path.is_dir():
        if not any((path / f"corpus.jsonl{suffix}").is_file() for suffix in COMPRESSIONS):
            raise CollectionError(
                f"texts must be a file or a folder with corpus.jsonl, got the folder {path} without one; name its "
                f"files, as in {path / '*.txt'}"
            )
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
        raise CollectionError(f"{source} cannot be read ({error.strerror}); check its permissions") from error
    with raw:
        lines = numbered_lines(str(source), decompressed(raw, _compression(source)))
        yield from (line.rstrip("\r\n") for _, line in lines)
