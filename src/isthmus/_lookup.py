"""Finding a token in a list of raw tokens by what a reader types."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from isthmus.errors import InputError

# Before the name of a column that the tokenizer beside it never reads: no tokenizer has a space before a token's text.
UNREAD = " "


def find_token(tokens: Sequence[str], token: str | int, side: str) -> int:
    """Resolve an id, a raw token, or a text: the raw token comes first, then a word start, then a continuation.

    Args:
        tokens: Raw tokens by id, "" where an id is a hole.
        token: Id, raw token, or the text of one without its marker, in any family's spelling.
        side: "source" or "target", for the message.

    Raises:
        InputError: If there is no such token.
    """
    if isinstance(token, (int, np.integer)):
        if not 0 <= token < len(tokens):
            raise InputError(f"token id must be in 0..{len(tokens) - 1} of the {side} vocabulary, got {token}")
        return int(token)
    for spelling in _spellings(token) if token else ():
        if spelling in tokens:
            return tokens.index(spelling)
    raise InputError(f"token must be in the {side} vocabulary, got {token!r}; try a part of it, or an id")


def _spellings(text: str) -> tuple[str, ...]:
    spaced, in_bytes = text.replace(" ", "▁"), spell_in_byte_alphabet(text)
    return (text, f"▁{spaced}", f"Ġ{in_bytes}", f"{text}</w>", f"##{text}", spaced, in_bytes, UNREAD + text)


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """Byte value of each character of the byte alphabet of byte-level BPE (GPT-2).

    Visible Latin-1 characters stand for themselves; the other bytes, in order, for the characters from U+0100 on.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [value for value in range(256) if value not in visible]
    return {chr(value): value for value in visible} | {chr(256 + place): value for place, value in enumerate(hidden)}


def spell_in_byte_alphabet(text: str) -> str:
    """Write ``text`` as byte-level BPE stores it: "집" is "ì§ĳ"."""
    characters = {value: character for character, value in byte_alphabet().items()}
    return "".join(characters[value] for value in text.encode("utf-8", errors="replace"))
