"""Vectors of subwords from vectors of words, read from a file line by line."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus._progress import progress
from isthmus.bridge.embed import unit_rows
from isthmus.bridge.refine import Tokenize
from isthmus.errors import InputError, NotFoundError
from isthmus.reading.lines import read_lines

BATCH = 8192


def check_file(name: str, path: str | Path) -> Path:
    """Return ``path``, or raise NotFoundError where there is no such file."""
    if not Path(path).is_file():
        raise NotFoundError(f"{name} {str(path)!r} does not exist; give a file")
    return Path(path)


def read_word_vectors(path: Path) -> Iterator[tuple[list[str], NDArray[np.float64]]]:
    """Yield batches of words and their vectors, shape (words, dim), of a file in fastText's text format (``.vec``).

    The first line holds the number of words, which is not relied on, and the dimension; every other line a word, which
    may contain spaces, and its values.

    Raises:
        InputError: If a line is malformed; names file and line.
    """
    lines = read_lines(path, keep_blank=True)
    header = next(lines, (1, ""))[1].split()
    if len(header) != 2 or not all(part.isdecimal() for part in header) or int(header[1]) < 1:
        raise InputError(
            f"{path}, line 1: must be the number of words and the dimension, got {' '.join(header)[:60]!r}; give a "
            "file in fastText's text format (.vec)"
        )
    dim = int(header[1])
    while batch := list(itertools.islice(lines, BATCH)):
        words, rows = [], np.empty((len(batch), dim))
        for row, (number, line) in enumerate(batch):
            # fastText ends every line with a space.
            word, *values = line.rstrip(" ").rsplit(" ", dim)
            try:
                rows[row] = [float(value) for value in values]
            except ValueError as error:
                raise InputError(
                    f"{path}, line {number}: must be a word and {dim} numbers, got {line[:60]!r}; fetch the file again"
                ) from error
            words.append(word)
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise InputError(
                f"{path}, line {batch[bad[0]][0]}: must hold finite numbers, got {batch[bad[0]][1][:60]!r}; fetch the "
                "file again"
            )
        yield words, rows


def subword_vectors(
    path: Path, sides: Sequence[tuple[Tokenize, int]], *, show_progress_bar: bool | None = None
) -> list[NDArray[np.float32]]:
    """Mean vector of the words that contain each subword (OFA, arXiv 2311.08849; WECHSEL, arXiv 2112.06598).

    As in OFA's code, every word is tokenized twice, alone and after a space, and counts once for each time: tokenizers
    that tell word starts by the space before them would else give the pieces of a word at the start of a text alone.

    Args:
        path: Word vectors in fastText's text format.
        sides: Tokenizing function and number of ids of each vocabulary.
        show_progress_bar: None shows a bar when stderr is a terminal.

    Returns:
        For each vocabulary unit vectors of shape (ids, dim), zero where no word contains the subword.

    Raises:
        InputError: If the file holds no words.
    """
    sums: list[NDArray[np.float64]] = []
    for words, rows in progress(read_word_vectors(path), desc="word vectors", show=show_progress_bar):
        sums = sums or [np.zeros((size, rows.shape[1])) for _, size in sides]
        places = [place for place, word in enumerate(words) if word.strip()]
        texts = [space + words[place] for space in ("", " ") for place in places]
        for (tokenize, size), total in zip(sides, sums, strict=True):
            ids = [np.unique(np.asarray(found, dtype=np.int64)) for found in tokenize(texts)] if texts else []
            ends = np.cumsum([0, *(len(found) for found in ids)])
            columns = np.concatenate([np.empty(0, np.int64), *ids])
            contains = csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(ids), size))
            used = np.unique(columns)
            total[used] += contains[:, used].T @ rows[places + places]
    if not sums:
        raise InputError(f"{path} must hold at least one word, got none; fetch the file again")
    # The direction of a mean is that of the sum, and cosines are all that is asked for.
    return [unit_rows(total) for total in sums]
