"""Normalizers that treat every character alone: read off what one does, and write one from a table."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from isthmus.errors import InputError

_SEPARATOR = "|"
_BLOCK = 4096
_VALUE = 1 << 31
_LEAF = 1 << 8


def every_character() -> list[str]:
    """Return all 1,112,064 code points that text can hold, in order."""
    return [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def probe(normalizer: Any, texts: Sequence[str]) -> list[str]:
    """Return what ``normalizer`` makes of each of ``texts`` alone; None changes nothing."""
    if normalizer is None:
        return list(texts)
    found: list[str] = []
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        parts = normalizer.normalize_str(_SEPARATOR.join(block)).split(_SEPARATOR)
        # A text that holds the separator, or becomes it, makes one part too many.
        whole = len(parts) == len(block)
        found += parts if whole else [normalizer.normalize_str(text) for text in block]
    return found


def table_normalizers(table: Mapping[str, str]) -> list[Any]:
    """Return the ``tokenizers`` normalizers that, one after the other, replace every character as ``table`` says.

    Args:
        table: What becomes of single characters, "" for none; the others stay.

    Raises:
        InputError: As :func:`build_charsmap`.
    """
    from tokenizers import Regex
    from tokenizers.normalizers import Precompiled, Replace

    changed = {character: text for character, text in table.items() if text and text != character}
    removed = [character for character, text in table.items() if not text]
    steps: list[Any] = [Replace(Regex(_class(removed)), "")] if removed else []
    if not changed:
        return steps
    replace = Precompiled(build_charsmap(changed))
    # Precompiled replaces a short grapheme cluster by what its first character becomes and loses the rest ("A" and a
    # keycap become "a"), so clusters are taken apart before and their parts rejoined after.
    joining = _joining()
    following = [character for character in joining if table.get(character) != ""]
    if not following:
        return [*steps, replace]
    # A wedge must be told from the text's own characters. Where none is removed, a noncharacter has to do.
    wedge = min(set(removed).difference(joining, "\0", *changed.values()), default="\uffff")
    between = f"(?<={_class(changed)})(?={_class(following)})"
    return [*steps, Replace(Regex(between), wedge), replace, Replace(wedge, "")]


def build_charsmap(table: Mapping[str, str]) -> bytes:
    """Write ``table`` as a SentencePiece precompiled charsmap, which ``tokenizers.normalizers.Precompiled`` reads.

    It is a trie over the UTF-8 bytes of the keys, as a double array: the child of a node along byte c is the unit at
    the node's base ^ c. Then come the replacements, each ended by a NUL.

    Args:
        table: Replacements of single characters.

    Raises:
        InputError: If a key is not one character, or a replacement is empty; the format has no NUL in either.
    """
    for key, text in table.items():
        if len(key) != 1 or key == "\0" or not text or "\0" in text:
            raise InputError(
                f"table must replace single characters by non-empty texts, without NUL, got {key!r}: {text!r}; "
                "remove characters with a Replace normalizer"
            )
    # UTF-8 continuation bytes differ in six bits only, so the children of a node fill one block of 64 units; as no two
    # nodes share a block, no unit answers for two parents. Lead bytes have the first 256 units, at base 0.
    blocks: dict[bytes, int] = {b"": 0}
    for data in map(str.encode, table):
        for end in range(1, len(data)):
            blocks.setdefault(data[:end], len(blocks) + 3)

    def base(prefix: bytes) -> int:
        return blocks[prefix] * 64 ^ (0x80 if prefix else 0)

    # Replacements come in 256-aligned units of their own, which are no node's base: bytes after a match find nothing.
    first = _aligned((len(blocks) + 3) * 64)
    values: dict[str, int] = {}
    for text in table.values():
        values.setdefault(text, first + len(values))
    units = np.zeros(_aligned(first + len(values)), dtype=np.uint32)
    for prefix in filter(None, blocks):
        place = base(prefix[:-1]) ^ prefix[-1]
        units[place] = _unit(place ^ base(prefix), prefix[-1])
    for data, text in zip(map(str.encode, table), table.values(), strict=True):
        place = base(data[:-1]) ^ data[-1]
        units[place] = _unit(place ^ values[text], data[-1]) | _LEAF
    texts = [text.encode() + b"\0" for text in values]
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    units[first : first + len(values)] = starts.astype(np.uint32) | np.uint32(_VALUE)
    data = units.astype("<u4").tobytes()
    return len(data).to_bytes(4, "little") + data + b"".join(texts)


@functools.cache
def _joining() -> list[str]:
    """The characters that stand in one grapheme cluster with others before them, as ``tokenizers`` has it."""
    from tokenizers.normalizers import Precompiled

    characters = every_character()
    clusters = probe(Precompiled(build_charsmap({"A": "a"})), ["A" + character for character in characters])
    # A line feed joins a carriage return and nothing else.
    return ["\n", *(character for character, text in zip(characters, clusters, strict=True) if text == "a")]


def _aligned(size: int) -> int:
    return -(-size // 256) * 256


def _unit(offset: int, label: int) -> int:
    """A unit that leads from its own place to ``place ^ offset``: 21 bits of offset, or 29 whose last 8 are 0."""
    return offset << 10 | label


def _class(characters: Iterable[str]) -> str:
    """The regular expression of any one of ``characters``, in code points."""
    ranges: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in ranges) + "]"
