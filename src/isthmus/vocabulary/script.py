"""How the readers of a script spell: what a new tokenizer makes of its text."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, normalizers

# Their compatibility forms are the same letters in other shapes; elsewhere (Thai sara am, Hangul letters) they spell.
_COMPATIBLE = frozenset("ARABIC ARMENIAN CJK CYRILLIC GEORGIAN GREEK HEBREW HIRAGANA KATAKANA LATIN".split())
# Vowel marks that writers leave out, and tatweel, which only stretches a word.
_OPTIONAL_MARKS = {
    "ARABIC": "[\u064b-\u065f\u0670\u0640]",
    "HEBREW": "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]",
}
# Chinese and Japanese are written without spaces too, but Chinese characters are taken for words, which measured best.
WITHOUT_SPACES = frozenset("KHMER LAO MYANMAR THAI TIBETAN".split())
_DOTTED_I = ("tr", "az")
_SCRIPT_SHARE = 0.1


def main_script(texts: Iterable[str]) -> str:
    """The script most letters are of, as Unicode names it ("BENGALI"), Latin only where others have less than a tenth.

    Text in other scripts quotes Latin names and code, hardly the other way round. Chinese characters among kana are
    Japanese ("HIRAGANA"). "" where there is no letter.
    """
    counts = Counter[str]()
    for character, count in _count_characters(texts).items():
        if character.isalpha():
            counts[unicodedata.name(character, "UNKNOWN").replace("-", " ").partition(" ")[0]] += count
    total = sum(counts.values())
    latin = counts.pop("LATIN", 0)
    kana = counts["HIRAGANA"] + counts["KATAKANA"]
    if kana > _SCRIPT_SHARE * counts["CJK"]:
        counts["HIRAGANA"] = kana + counts.pop("CJK", 0)
    script, count = max(counts.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    return script if count > _SCRIPT_SHARE * total else "LATIN" if latin else script


def letter_script(text: str) -> str | None:
    """Script of the first letter, as its Unicode name begins: "HANGUL", "LATIN", "CJK"; None without a letter."""
    letter = next((character for character in text if character.isalpha()), None)
    return None if letter is None else unicodedata.name(letter, "UNKNOWN").replace("-", " ").partition(" ")[0]


def normalizer_of(script: str, *, lowercase: bool = True, language: str | None = None) -> Any:
    """What a tokenizer of a script does to text: Unicode form, case, and marks as its readers ignore them.

    Marks that belong to the spelling stay: Indic vowel signs, umlauts, the accents of Latin and Cyrillic letters. Only
    the vowel marks of Arabic and Hebrew go, and tatweel, which writers leave out. Every Chinese character is a
    word.

    Args:
        script: As :func:`main_script` names it.
        lowercase: Lower case.
        language: ISO 639-1 code.
    """
    steps: list[Any] = [normalizers.NFKC() if script in _COMPATIBLE else normalizers.NFC()]
    if lowercase and language is not None and language.lower().split("-")[0] in _DOTTED_I:
        steps += [normalizers.Replace("\u0130", "i"), normalizers.Replace("I", "\u0131")]
    steps.append(normalizers.BertNormalizer(lowercase=lowercase, strip_accents=False))
    if script in _OPTIONAL_MARKS:
        steps.append(normalizers.Replace(Regex(_OPTIONAL_MARKS[script]), ""))
    return normalizers.Sequence(steps)


def alphabet(head: list[str], backend: Any) -> tuple[list[str], list[str]]:
    """Characters that the vocabulary has, and those of them that can go on a word, by frequency.

    Args:
        head: Texts.
        backend: A ``tokenizers.Tokenizer`` with a normalizer and a pre-tokenizer.
    """
    counts = _count_characters(map(backend.normalizer.normalize_str, head))
    # One in a million is noise: letters of other scripts, symbols.
    least = max(1, sum(counts.values()) // 1_000_000)
    kept = sorted((-count, character) for character, count in counts.items() if count >= least)
    single = [character for _, character in kept if not character.isspace()]

    def goes_on(character: str) -> bool:
        pieces = backend.pre_tokenizer.pre_tokenize_str("a" + backend.normalizer.normalize_str(character))
        return [piece for piece, _ in pieces] == ["a" + character]

    return single, [character for character in single if goes_on(character)]


def _count_characters(texts: Iterable[str]) -> Counter[str]:
    counts = Counter[str]()
    for text in texts:
        counts.update(text)
    return counts
