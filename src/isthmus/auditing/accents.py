"""The colour of a language: the same on every page, whatever else stands there."""

from __future__ import annotations

from collections.abc import Iterable

ACCENTS = 8
# English has a colour to itself. Those after it take turns: the first eight languages never share one.
_ORDER = "en ko zh ru ar de es hi ja vi th el tr fr id pt it bn sw te ro".split()


def accents(languages: Iterable[str]) -> dict[str, int]:
    """Number of the colour of each language, 0 to 7.

    Where two languages with the same one meet, the rarer one takes the next that is free, as long as there are enough.
    """
    given: dict[str, int] = {}
    for code in sorted(set(languages), key=lambda code: (_place(code), code)):
        own = _place(code) if code == "en" else 1 + (_place(code) - 1) % (ACCENTS - 1)
        if own in given.values():
            free = [number for number in range(1, ACCENTS) if number not in given.values()]
            own = next((number for number in free if number > own), free[0] if free else own)
        given[code] = own
    return given


def _place(code: str) -> int:
    """Where a language stands in the order; those without a place follow by their letters, whoever is beside them."""
    return _ORDER.index(code) if code in _ORDER else len(_ORDER) + sum(code.encode("utf-8", "surrogatepass"))
