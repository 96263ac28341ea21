"""Which source token, if any, a target token copies."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.token_map import COPIES, FATES, Fate
from isthmus.vocabulary.options import OverlapOptions
from isthmus.vocabulary.spelling import START, is_han, is_written_byte
from isthmus.vocabulary.token import TEXT_KINDS, Kind, Token, Vocabulary

_Match = tuple[int, Fate]


@dataclass(frozen=True)
class Overlap:
    """The overlapping tokens of two vocabularies.

    Attributes:
        source_ids: Source id that each target id copies, shape (target.size,); -1 where there is none.
        fates: Index into ``token_map.FATES``, shape (target.size,): a copy and its reason, bridged for tokens without a
            match, background for holes.
    """

    source_ids: NDArray[np.int64]
    fates: NDArray[np.uint8]

    def counts(self) -> dict[str, int]:
        """Number of target tokens of each reason to copy, in the order of ``FATES``."""
        return {fate.value: int((self.fates == FATES.index(fate)).sum()) for fate in FATES if fate in COPIES}


def match(
    target: Vocabulary,
    source: Vocabulary,
    options: OverlapOptions | None = None,
    *,
    kept: NDArray[np.bool_] | None = None,
    **changes: Any,
) -> Overlap:
    """Match every target token to at most one source token.

    Special tokens match by role and byte tokens byte to byte, whatever the switches say. Among several candidates the
    identical raw token of the same family comes first, then those of the same kind (word start, continuation), then the
    lowest id. Unused tokens match nothing.

    Args:
        target: The new vocabulary.
        source: The vocabulary whose rows are there to copy.
        options: What counts as the same; None takes the defaults. With ``as_released``, as SemBridge's released code
            has it (arXiv 2605.26002): by spelling only, special tokens too. The highest id among equal canonical
            forms; among equal texts the highest that is in lower case and no word start, else the lowest. All bytes of
            byte-level BPE that are no text alone are U+FFFD, and match.
        kept: Mask of target ids, shape (target.size,), that are the source's own tokens under the same id and stay as
            they are; None where there are none.
        **changes: Fields of ``options`` to replace.

    Returns:
        The match and its reason for every target id.

    Raises:
        InputError: If ``as_released`` is set on a vocabulary that was not read from a tokenizer.

    Example:
        >>> match(korean, english, fuzzy=False).counts()["fuzzy"]  # doctest: +SKIP
        0
    """
    options = OverlapOptions.of(options, **changes)
    lookup: _Lookup | _ReleasedLookup = _ReleasedLookup(target, source) if options.as_released else _Lookup(source)
    source_ids = np.full(target.size, -1, dtype=np.int64)
    fates = np.full(target.size, FATES.index(Fate.BACKGROUND), dtype=np.uint8)
    for token in target.tokens:
        found = lookup.find(token, target.family, options)
        if found is not None:
            source_ids[token.id] = found[0]
        fates[token.id] = FATES.index(Fate.BRIDGED if found is None else found[1])
    if kept is not None:
        source_ids[kept] = np.flatnonzero(kept)
        fates[kept] = FATES.index(Fate.KEPT)
    return Overlap(source_ids, fates)


class _Lookup:
    """The source tokens by every key they can be found with."""

    def __init__(self, source: Vocabulary) -> None:
        self.family = source.family
        self.roles = dict(source.roles)
        self.twins: dict[tuple[str, str | None], int] = {}
        self.raws: dict[tuple[str, str], int] = {}
        self.specials: dict[str, int] = {}
        self.lower_specials: dict[str, int] = {}
        self.bytes: dict[int, int] = {}
        self.characters: dict[int, int] = {}
        self.exact: dict[str, int] = {}
        self.fuzzy: dict[tuple[str, bool], int] = {}
        # The pre-tokenizer of WordPiece models splits Chinese characters off, so "##中" was never produced nor trained:
        # "中" answers for both spellings.
        plain = set()
        if source.family == "wordpiece":
            plain = {token.surface for token in source.tokens if token.word_start and is_han(token.surface)}
        for token in source.tokens:
            value = _byte_value(token, source.family)
            if value is not None:
                (self.bytes if token.kind is Kind.BYTE else self.characters).setdefault(value, token.id)
            if token.kind is Kind.SPECIAL:
                self.twins[token.raw, token.role] = token.id
                self.specials.setdefault(token.raw, token.id)
                self.lower_specials.setdefault(token.raw.lower(), token.id)
            elif token.kind in TEXT_KINDS:
                self.raws.setdefault((token.raw, token.canonical), token.id)
                self._index_text(token, both=token.surface in plain)

    def _index_text(self, token: Token, both: bool) -> None:
        if both and not token.word_start:
            return
        spellings = {token.word_start: token.canonical}
        if both:
            spellings[False] = token.surface
        for start, canonical in spellings.items():
            self.exact.setdefault(canonical, token.id)
            if token.surface:
                self.fuzzy.setdefault((token.surface.lower(), start), token.id)

    def find(self, token: Token, family: str, options: OverlapOptions) -> _Match | None:
        if token.kind is Kind.UNUSED:
            return None
        if token.kind is Kind.SPECIAL:
            return self._find_special(token, options.symbol)
        value = _byte_value(token, family)
        if token.kind is Kind.BYTE:
            id = self.bytes.get(value, self.characters.get(value)) if value is not None else None
            return None if id is None else (id, Fate.BYTE)
        symbol = options.symbol and token.kind is Kind.SYMBOL
        identical = self.raws.get((token.raw, token.canonical)) if family == self.family else None
        if (options.exact or symbol) and identical is not None:
            return identical, Fate.SYMBOL if symbol else Fate.EXACT
        found = self._find_text(token, options, symbol)
        if found is None and value is not None and value in self.bytes:
            return self.bytes[value], Fate.BYTE
        return found

    def _find_special(self, token: Token, symbol: bool) -> _Match | None:
        if token.role in self.roles:
            return self.twins.get((token.raw, token.role), self.roles[token.role]), Fate.SPECIAL
        if not symbol:
            return None
        id = self.specials.get(token.raw, self.lower_specials.get(token.raw.lower()))
        return None if id is None else (id, Fate.SYMBOL)

    def _find_text(self, token: Token, options: OverlapOptions, symbol: bool) -> _Match | None:
        if (options.exact or symbol) and token.canonical in self.exact:
            return self.exact[token.canonical], Fate.SYMBOL if symbol else Fate.EXACT
        if (options.fuzzy or symbol) and token.surface:
            text = token.surface.lower()
            for start in (token.word_start, not token.word_start):
                if (text, start) in self.fuzzy:
                    return self.fuzzy[text, start], Fate.SYMBOL if symbol else Fate.FUZZY
        return None


class _ReleasedLookup:
    """The two views of the released code, and its forms of the target tokens.

    Among source tokens of one canonical form the last one counts. For a fuzzy key it is the last one whose canonical
    form is the key itself (in lower case, not a word start); where there is none, the first.
    """

    def __init__(self, target: Vocabulary, source: Vocabulary) -> None:
        self.exact: dict[str, int] = {}
        self.fuzzy: dict[str, int] = {}
        for id, (canonical, text) in _released_forms(source).items():
            self.exact[canonical] = id
            if canonical == text:
                self.fuzzy[text] = id
            else:
                self.fuzzy.setdefault(text, id)
        self.forms = _released_forms(target)
        self.specials = {token.raw for token in target.tokens if token.kind is Kind.SPECIAL}

    def find(self, token: Token, family: str, options: OverlapOptions) -> _Match | None:
        canonical, text = self.forms[token.id]
        # Nothing but ASCII counts as punctuation there, and "[CLS]" in lower case is no special token.
        symbol = options.symbol and (
            text in self.specials or text.isnumeric() or text.isspace() or set(text) <= set(string.punctuation)
        )
        if (options.exact or symbol) and canonical in self.exact:
            return self.exact[canonical], Fate.SYMBOL if symbol else Fate.EXACT
        if (options.fuzzy or symbol) and text in self.fuzzy:
            return self.fuzzy[text], Fate.SYMBOL if symbol else Fate.FUZZY
        return None


def _released_forms(vocabulary: Vocabulary) -> dict[int, tuple[str, str]]:
    """Canonical form and fuzzy key of every token as the released code makes them, from one decoded token at a time.

    White space before a text is stripped, so the bytes of tab, newline and their like are "". Bytes that are no text
    alone are U+FFFD where they are decoded; those written as "<0xE2>" are not and stay as they are written.
    """
    forms = {}
    for token, decoded in zip(vocabulary.tokens, vocabulary.decoded(), strict=True):
        if vocabulary.family == "wordpiece":
            canonical = decoded[2:] if decoded.startswith("##") else START + decoded
        elif vocabulary.family in ("unigram", "bpe") and is_written_byte(token.raw):
            canonical = token.raw
        else:
            marker = "Ġ" if vocabulary.family == "byte-bpe" else START
            canonical = START * token.raw.startswith(marker) + decoded.lstrip()
        forms[token.id] = canonical, canonical.replace(START, "").lower()
    return forms


def _byte_value(token: Token, family: str) -> int | None:
    """Byte that a token is: byte tokens, and in byte-level BPE the tokens of single ASCII characters."""
    if token.byte is not None:
        return token.byte
    if family == "byte-bpe" and token.kind in TEXT_KINDS and len(token.raw) == 1 and len(token.surface) == 1:
        value = ord(token.surface)
        return value if value < 128 else None
    return None
