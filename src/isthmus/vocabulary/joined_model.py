"""New tokens in the model of a tokenizer, without another word for text that has none of their characters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus._lookup import byte_alphabet, spell_in_byte_alphabet
from isthmus.vocabulary.coverage import is_character_word
from isthmus.vocabulary.spelling import Spelling
from isthmus.vocabulary.token import TEXT_KINDS, Token

EXTENDED = ("wordpiece", "byte-bpe", "unigram")
# Scores are logarithms of frequencies: those of new tokens, the more frequent first, lie in the middle of a vocabulary.
_BEST, _WORST = -9.0, -10.0
_MARKERS = str.maketrans("", "", "Ġ▁")


def spell(token: Token, spelling: Spelling) -> str:
    """How a vocabulary stores a token of another one; a vocabulary with a prefix takes only its own kind."""
    if spelling.prefix or token.kind not in TEXT_KINDS:
        return token.raw
    # Between characters that are words there is no space, whatever their own tokenizer marks.
    if token.word_start and not is_character_word(token.surface[:1]):
        return spell_start(token, spelling)
    return _spell_body(token, spelling)


def spell_start(token: Token, spelling: Spelling) -> str:
    """The same of a token behind a space."""
    return ("Ġ" if spelling.byte_level else spelling.marker) + _spell_body(token, spelling)


def _spell_body(token: Token, spelling: Spelling) -> str:
    return spell_in_byte_alphabet(token.surface) if spelling.byte_level else token.surface


def add_to_model(model: dict[str, Any], raws: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Put new tokens into the JSON description of a model, in place.

    Args:
        model: WordPiece, BPE or Unigram.
        raws: Tokens by id, "" at holes, those added beside the model included.
        taken: New ones, as the model stores them, the most frequent first.

    Returns:
        What was added behind ``raws``, in the order of ids: BPE needs the steps between, too.
    """
    new = list(taken)
    if model["type"] == "Unigram":
        lowest = min(score for _, score in model["vocab"])
        # Tokens that were added beside the model would be renumbered to come after the model's.
        model["vocab"] += [[raw, lowest] for raw in raws[len(model["vocab"]) :]]
        step = (_BEST - _WORST) / max(1, len(new))
        # What an unknown character costs depends on the lowest score, which therefore stays.
        model["vocab"] += [[raw, max(lowest, _BEST - place * step)] for place, raw in enumerate(new)]
        return new
    if model["type"] == "BPE":
        new = _add_merges(model, set(raws), new)
    model["vocab"].update((raw, id) for id, raw in enumerate([*raws, *new]) if raw)
    return new


def _add_merges(model: dict[str, Any], have: set[str], taken: Sequence[str]) -> list[str]:
    """Merges that lead to each new token, behind those that there are.

    A merge that comes last is done last, and only where its two parts stand side by side. Characters are put together
    from their bytes first, and one part of every other merge holds one of them, so that no other text is changed.
    """
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    ranks = {(first, second): rank for rank, (first, second) in enumerate(merges)}
    new: list[str] = []

    def reach(text: str) -> None:
        while len(parts := _symbols(text, ranks)) > 1:
            place = max(i for i in range(len(parts) - 1) if _is_new(parts[i] + parts[i + 1]))
            ranks[parts[place], parts[place + 1]] = len(ranks)
            joined = parts[place] + parts[place + 1]
            if joined not in have:
                have.add(joined)
                new.append(joined)

    for character in dict.fromkeys(character for raw in taken for character in _characters(raw)):
        reach(character)
    for raw in sorted(taken, key=len):
        reach(raw)
    model["merges"] = [list(pair) for pair in ranks]
    return new


def _symbols(text: str, ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """What byte pair encoding makes of one word."""
    parts = list(text)
    while len(parts) > 1:
        found = [ranks.get(pair, len(ranks)) for pair in itertools.pairwise(parts)]
        rank = min(found)
        if rank == len(ranks):
            break
        place = found.index(rank)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def _is_new(part: str) -> bool:
    """Whether it holds part of a character beyond ASCII; word starts are marked beside that."""
    return not part.translate(_MARKERS).isascii()


def _characters(raw: str) -> list[str]:
    """The characters of a token in the byte alphabet, each as its bytes; nothing where bytes are not spelled."""
    alphabet = byte_alphabet()
    try:
        text = bytes(alphabet[letter] for letter in raw).decode()
    except (KeyError, UnicodeDecodeError):
        return []
    return [spell_in_byte_alphabet(character) for character in text if len(character.encode()) > 1]
