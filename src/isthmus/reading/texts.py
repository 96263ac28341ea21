"""Raw text as it comes: plain files of one text a line, and corpora of documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from isthmus.errors import CollectionError, NotFoundError
from isthmus.reading.corpus import CORPUS_FILES, Corpus
from isthmus.reading.lines import compression_of, read_lines
from isthmus.reading.records import found_files, kind_of


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
        if not found_files(path, *CORPUS_FILES):
            raise CollectionError(
                f"texts must be a file or a folder with corpus.jsonl, got the folder {path} without one; name its "
                f"files, as in {path / '*.txt'}"
            )
        return Corpus(path)
    if Path(path.name.removesuffix(compression_of(path))).suffix == ".txt":
        return path
    if kind_of(path) is None:
        raise CollectionError(
            "texts must end in .txt, .jsonl, .json, .csv, .tsv or .parquet (all but the last also .gz, .xz or .zst), "
            f"got {path}; rename it"
        )
    return Corpus(path)


def _texts(source: Path | Corpus) -> Iterator[str]:
    if isinstance(source, Corpus):
        yield from (document.content for document in source)
    else:
        yield from (line for _, line in read_lines(source, refusal=CollectionError))
