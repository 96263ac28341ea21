"""Changes of valid bytes by chance; the same generator state makes the same change."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308, float("nan"), "", "a", "0", "\ud800", "\x00",
    "../../victim", "/etc/passwd", "x" * 5000, [], {}, [[]], {"a": {}}, [None] * 3, [0, 1, 2],
)  # fmt: skip
TOKENS = (b"\x00", b"\xff", b"\n", b'"', b"[" * 2000, b"{", b"}", b",", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe")


def mutated(content: bytes, generator: random.Random) -> bytes:
    """One to three changes."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [_flip, _cut, _insert, _repeat, _number]
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        changed = _fields(content, generator) if generator.random() < 0.6 else None
        content = generator.choice(ways)(content, generator) if changed is None else changed
    return content


def _place(content: bytes, generator: random.Random) -> int:
    # Headers are short and decide much.
    within = min(len(content), 256) if generator.random() < 0.5 else len(content)
    return generator.randrange(within + 1)


def _flip(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 8)) if content else 0):
        changed[_place(content[:-1], generator)] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _cut(content: bytes, generator: random.Random) -> bytes:
    start = _place(content, generator)
    return content[:start] + (content[_place(content, generator) :] if generator.random() < 0.3 else b"")


def _insert(content: bytes, generator: random.Random) -> bytes:
    place = _place(content, generator)
    return content[:place] + generator.choice(TOKENS) + content[place:]


def _repeat(content: bytes, generator: random.Random) -> bytes:
    start, stop = sorted((_place(content, generator), _place(content, generator)))
    return content[:stop] + content[start:stop] * generator.choice((1, 2, 50)) + content[stop:]


def _number(content: bytes, generator: random.Random) -> bytes:
    """A length or an offset, as binary formats have them."""
    place, size = _place(content, generator), generator.choice((1, 2, 4, 8))
    value = generator.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, generator.getrandbits(64)))
    return content[:place] + (value % 256**size).to_bytes(size, "little") + content[place + size :]


def _fields(content: bytes, generator: random.Random) -> bytes | None:
    """A field of a JSON file, or of one of its lines, is removed, renamed, or gets another value; None for no JSON."""
    lines = [content]
    row = 0
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        lines = content.splitlines(keepends=True)
        if not lines:
            return None
        row = generator.randrange(len(lines))
        try:
            value = json.loads(lines[row])
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, (dict, list)) or not value:
        return None
    _change(value, generator)
    end = b"\n" if lines[row].endswith(b"\n") else b""
    lines[row] = json.dumps(value, ensure_ascii=generator.random() < 0.5).encode("utf-8", "surrogatepass") + end
    return b"".join(lines)


def _change(value: Any, generator: random.Random) -> None:
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = generator.choice(keys)
    if isinstance(value[key], (dict, list)) and value[key] and generator.random() < 0.8:
        _change(value[key], generator)
    elif generator.random() < 0.2:
        del value[key]
    elif isinstance(value, dict) and generator.random() < 0.1:
        value[generator.choice(("", "x", "\ud800"))] = value.pop(key)
    else:
        value[key] = generator.choice(VALUES)
