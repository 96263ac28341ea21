"""Words that must stay split as they are, and the pieces that would split them anew."""

from __future__ import annotations

import functools
import operator
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any

from isthmus import assets
from isthmus.collections import load
from isthmus.reading.texts import read_texts
from isthmus.vocabulary.coverage import encode

_BLOCK = 1000


@functools.cache
def english_words() -> tuple[str, ...]:
    """155,000 English words in lower case: a spelling dictionary (SCOWL), and words of web text and documentation."""
    return tuple(read_texts([assets.english_words()]))


@functools.cache
def english_lines(*, words: bool) -> tuple[str, ...]:
    """English at hand without any data: the demo passages and questions, and one word in ten of the list if wanted."""
    demo = load("demo", language="en")
    return (*demo.corpus.values(), *demo.queries.values(), *(english_words()[::10] if words else ()))


def plain_words(letters: Collection[str]) -> tuple[str, ...]:
    """English words that some of ``letters`` are in and that nothing but accents keeps from being ASCII: café."""
    kept = set(letters)
    return tuple(word for word in english_words() if kept.intersection(word) and _without_accents(word).isascii())


def _without_accents(word: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))


def words_of(texts: Iterable[str], backend: Any) -> set[str]:
    """The distinct words that a tokenizer's model is given."""
    found: set[str] = set()
    block: list[str] = []
    for text in (*texts, ""):
        block.append(text)
        if len(block) == _BLOCK or not text:
            joined = "\n".join(block)
            if backend.normalizer is not None:
                joined = backend.normalizer.normalize_str(joined)
            found.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(joined))
            block = []
    return found


def shadowing(pieces: Collection[str], words: Iterable[str], model: Any, prefix: str) -> set[str]:
    """Pieces that would split one of ``words`` anew if a WordPiece model had them.

    The model takes the longest piece at every place, so a word stays as it is exactly if no new piece fits at a
    boundary of it and is longer than the piece there: every piece can be judged alone.

    Args:
        pieces: New ones, with ``prefix`` where they continue a word.
        words: As :func:`words_of` gives them.
        model: The model of a ``tokenizers.Tokenizer``.
        prefix: Marker of continuations.
    """
    new, found = set(pieces), set[str]()
    longest = max(map(len, new), default=0)
    for word in words:
        start = 0
        for token in model.tokenize(word):
            marker = prefix if start else ""
            if not word.startswith(token.value.removeprefix(marker), start):
                break  # unknown, as a whole
            end = start + len(token.value) - len(marker)
            for stop in range(end + 1, min(len(word), start + longest) + 1):
                piece = marker + word[start:stop]
                if piece in new:
                    found.add(piece)
            start = end
    return found


def unchanged_share(texts: Collection[str], before: Any, after: Any) -> float:
    """Share of texts that two tokenizers give the same ids, 0..1.

    Args:
        texts: At least one.
        before: A transformers tokenizer.
        after: Another one.
    """
    same, lines = 0, list(texts)
    for start in range(0, len(lines), _BLOCK):
        block = lines[start : start + _BLOCK]
        same += sum(map(operator.eq, encode(before, block), encode(after, block)))
    return same / len(lines)
