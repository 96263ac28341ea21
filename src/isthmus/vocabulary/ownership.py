"""Which tokenizer of several reads a script, and which letters of the Latin script a language has of its own."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence

from isthmus.vocabulary.token import TEXT_KINDS, Token, Vocabulary

# First words of names that are no script: Latin letters, marks and digits of any text, and letters used as symbols.
_SOURCES = frozenset(
    "LATIN COMBINING DIGIT FULLWIDTH ALEF ANGSTROM BET BLACK CARON DALET DOUBLE EULER FEMININE GIMEL INFORMATION "
    "KELVIN MASCULINE MATHEMATICAL MICRO MODIFIER OHM PLANCK ROMAN SCRIPT SUBSCRIPT SUPERSCRIPT TURNED".split()
)
# Letters in fewer tokens are of foreign names: every vocabulary spells some. Letters beyond those of the large European
# languages (Vietnamese tones) are in few names, and each of them in few words.
_LETTER_SHARE, _RARE_LETTER_SHARE, _COMMON = 0.0009, 0.0002, "\u017f"


def text_tokens(vocabulary: Vocabulary) -> list[Token]:
    """The tokens that stand for text."""
    return [token for token in vocabulary.tokens if token.kind in TEXT_KINDS]


def script_of(character: str) -> str:
    """The script a character is named after, "" for Latin and what any text has."""
    if character.isascii():
        return ""
    name = unicodedata.name(character, "").replace("-", " ").partition(" ")[0]
    return "" if name in _SOURCES else name


@functools.lru_cache(maxsize=1 << 15)
def _letter_script(character: str) -> str:
    return script_of(character) if unicodedata.category(character)[0] == "L" else ""


def is_latin(character: str) -> bool:
    """Whether a character is a letter of the Latin script."""
    return character.isalpha() and (character.isascii() or unicodedata.name(character, "").startswith("LATIN "))


def letter_scripts(token: Token) -> set[str]:
    """The scripts of a token's letters, without Latin."""
    return {script for character in token.surface if (script := _letter_script(character))}


def script_owners(vocabularies: Sequence[Vocabulary]) -> dict[str, int]:
    """Script -> index of the vocabulary with most tokens that hold a letter of it, the first of several."""
    counts = [_script_counts(vocabulary) for vocabulary in vocabularies]
    scripts = set[str]().union(*counts)
    return {script: max(range(len(counts)), key=lambda index: counts[index][script]) for script in scripts}


def own_scripts(vocabulary: Vocabulary, index: int, owners: dict[str, int]) -> set[str]:
    """Scripts whose tokens a target brings: those it owns, and the one it mostly writes if another target owns it."""
    most = max(_script_counts(vocabulary).items(), key=lambda item: item[1], default=("", 0))[0]
    return {script for script, owner in owners.items() if owner == index or (owner and script == most)}


def is_latin_vocabulary(vocabulary: Vocabulary) -> bool:
    """Whether more than half of a vocabulary's text tokens have a Latin letter."""
    tokens = text_tokens(vocabulary)
    return 2 * sum(any(map(is_latin, token.surface)) for token in tokens) > len(tokens)


def latin_letters(vocabulary: Vocabulary) -> set[str]:
    """Letters beyond a-z that words of a language in the Latin script are spelled with."""
    tokens = text_tokens(vocabulary)
    counts = Counter(letter for token in tokens for letter in set(token.surface) if not letter.isascii())
    return {
        letter
        for letter, count in counts.items()
        if is_latin(letter) and count >= (_LETTER_SHARE if letter <= _COMMON else _RARE_LETTER_SHARE) * len(tokens)
    }


def _script_counts(vocabulary: Vocabulary) -> Counter[str]:
    return Counter(script for token in text_tokens(vocabulary) for script in letter_scripts(token))
