"""One normalizer that treats every character as the tokenizer that reads it does."""

from __future__ import annotations

import functools
import itertools
import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.vocabulary.charsmap import every_character, probe, table_normalizers
from isthmus.vocabulary.ownership import is_latin, script_of

# Before a word whose accents go: the source's normalizer removes it, so no text that is read holds it.
_WORD = "\x01"
_LETTER = r"[\p{L}\p{M}]"
_ACCENT = r"[\x{300}-\x{36f}]"


@functools.lru_cache(maxsize=8)
def joined_normalizer(
    descriptions: tuple[str, ...],
    owners: tuple[tuple[str, int], ...],
    letters: tuple[tuple[str, int], ...] = (),
    plain: tuple[str, ...] = (),
) -> Any:
    """The normalizer that treats every character as its owner among those described in JSON does.

    Args:
        descriptions: Normalizers as ``tokenizer.json`` holds them, the source's first.
        owners: Index of the one that owns a script; the first owns the others.
        letters: The same of letters of the Latin script, in lower case.
        plain: Words with such letters that are the source's all the same, in lower case: their accents go.
    """
    from tokenizers import normalizers

    readers = [_read_normalizer(description) for description in descriptions]
    table = _table(readers, dict(owners), dict(letters))
    composed, decomposed = probe(readers[0], ["\u00e9", "e\u0301"])
    steps = []
    if composed == decomposed:
        steps = [*_plain_words(plain), normalizers.NFC()]
    pad = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False)
    pads = table.get("中") == " 中 "
    if pads:
        # A hundred thousand ideographs are too many for the table, so their spaces come from a step of their own.
        padded = {character: text.strip(" ") for character, text in table.items() if text[:1] == text[-1:] == " "}
        for (character, bare), text in zip(padded.items(), probe(pad, list(padded.values())), strict=True):
            if text == table[character]:
                table[character] = bare
    return normalizers.Sequence([*steps, *table_normalizers(table), *([pad] if pads else [])])


@functools.lru_cache(maxsize=8)
def owned_normalizer(descriptions: tuple[str, ...], owners: tuple[tuple[str, int], ...]) -> list[Any]:
    """Steps before the source's own normalizer, whatever that does: they treat the characters that others own."""
    readers = [None, *map(_read_normalizer, descriptions[1:])]
    # Where word starts are marked, spaces around a character would make it one.
    table = {character: text.strip(" ") or text for character, text in _table(readers, dict(owners), {}).items()}
    return table_normalizers({character: text for character, text in table.items() if text != character})


def described(pipeline: Mapping[str, Any]) -> str:
    """What a tokenizer's normalizer does to single characters, as :func:`joined_normalizer` takes it."""
    steps = [step for step in _steps(pipeline["normalizer"]) if not _spans_characters(step)]
    return json.dumps({"type": "Sequence", "normalizers": steps} if steps else None)


def spanning_steps(normalizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a normalizer that are known to look at more than one character; of regular expressions none is."""
    return [step for step in _steps(normalizer) if _spans_characters(step)]


def _steps(normalizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    if normalizer is None:
        return []
    return [step for part in normalizer.get("normalizers", ()) for step in _steps(part)] or [normalizer]


def _spans_characters(step: dict[str, Any]) -> bool:
    return step["type"] in ("Prepend", "Strip") or len(step.get("pattern", {}).get("String", "")) > 1


def _table(readers: list[Any], owner_of: dict[str, int], letters: dict[str, int]) -> dict[str, str]:
    """What becomes of every character that its owner changes."""
    owned: list[list[str]] = [[] for _ in readers]
    for character in every_character():
        owned[owner_of.get(script_of(character), 0)].append(character)
    table: dict[str, str] = {}
    for reader, characters in zip(readers, owned, strict=True):
        table.update(zip(characters, probe(reader, characters), strict=True))
    latin = [character for character in owned[0] if letters and not character.isascii() and is_latin(character)]
    for index in set(letters.values()):
        reader, own = readers[index], {letter for letter, owner in letters.items() if owner == index}
        texts = zip(latin, probe(reader, latin), strict=True)
        table.update((character, text) for character, text in texts if text in own)
    return {character: text for character, text in table.items() if text != character}


def _plain_words(words: Iterable[str]) -> list[Any]:
    """Steps that take the accents off whole words: café becomes cafe, and cafés only where it is one of them."""
    from tokenizers import Regex, normalizers

    decomposed = sorted({unicodedata.normalize("NFD", word) for word in words})
    if not decomposed:
        return []
    # Accents first, then what is before: text without accents must not be looked at letter by letter.
    before = "|".join(f"{_WORD}{_LETTER * length}." for length in range(1, max(map(len, decomposed))))
    return [
        normalizers.NFD(),
        normalizers.Replace(Regex(f"(?<!{_LETTER})(?={_any_of(decomposed)}(?!{_LETTER}))"), _WORD),
        normalizers.Replace(Regex(f"{_ACCENT}(?<={before})"), ""),
        normalizers.Replace(_WORD, ""),
    ]


def _any_of(words: Iterable[str]) -> str:
    """The regular expression of sorted words in either case, letter by letter, longer ones first."""
    found = []
    for first, group in itertools.groupby(words, key=lambda word: word[:1]):
        rest = [word[1:] for word in group]
        either = f"[{first}{first.upper()}]" if first.isascii() and first.isalpha() else first
        found.append(either + (_any_of(rest) if any(rest) else "") if first else "")
    return found[0] if len(found) == 1 else f"(?:{'|'.join(reversed(found))})"


def _read_normalizer(description: str) -> Any:
    from tokenizers import Tokenizer, models

    pipeline = json.loads(Tokenizer(models.WordPiece()).to_str())
    return Tokenizer.from_str(json.dumps(pipeline | {"normalizer": json.loads(description)})).normalizer
