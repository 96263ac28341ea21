"""Whether a tokenizer can be a target, and how well it covers a language."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from isthmus.errors import InputError, TokenizerError
from isthmus.vocabulary.spelling import START, backend_of
from isthmus.vocabulary.token import Kind, Vocabulary

_SAMPLE = 2000
_UNREACHABLE = 0.1
_BATCH = 256
# Chinese characters and kana; Thai, Lao, Tibetan, Burmese and Khmer letters with the marks on them.
_LETTER = "[\u0e01-\u0fff\u1000-\u109f\u1780-\u17ff]"
_CHARACTER = (
    "(?:[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    rf"|{_LETTER}(?:(?!\w){_LETTER})*)"
)
_WORD = re.compile(rf"{_CHARACTER}|(?:(?!{_CHARACTER})\S)+")
_CHARACTER_WORD = re.compile(_CHARACTER)


def check_target(tokenizer: Any, vocabulary: Vocabulary, name: str = "target tokenizer") -> None:
    """Refuse a tokenizer that cannot serve a transferred encoder.

    Args:
        tokenizer: The target tokenizer.
        vocabulary: What ``Vocabulary.from_tokenizer`` read from it.
        name: What messages call it.

    Raises:
        TokenizerError: If it has no pad token; no unknown token, unless it spells every byte; or a normalizer that
            rewrites more than 10 % of its own word tokens into something that is tokenised otherwise (of up to 2000
            evenly spaced word starts), such as lower-casing over a cased vocabulary or stripping accents over Hangul.
    """
    if vocabulary.role("pad") is None:
        raise TokenizerError(
            f"{name} must have a pad token, got none; set tokenizer.pad_token to a token of its vocabulary"
        )
    spelled = {token.byte for token in vocabulary.tokens if token.byte is not None}
    if vocabulary.role("unk") is None and vocabulary.family != "byte-bpe" and len(spelled) < 256:
        raise TokenizerError(
            f"{name} must have an unknown token or a token for each of the 256 bytes, got no unknown "
            f"token and {len(spelled)} byte tokens; set tokenizer.unk_token to a token of its vocabulary"
        )
    tried, lost = unreachable(tokenizer, vocabulary)
    if len(lost) > _UNREACHABLE * tried:
        examples = ", ".join(f"{surface!r} becomes {normalised!r}" for surface, normalised in lost[:5])
        raise TokenizerError(
            f"{name} must be able to produce its own tokens, got a normalizer that makes {len(lost)} of "
            f"{tried} sampled word tokens unreachable ({examples}); switch its lower-casing or accent stripping off "
            "(do_lower_case=False, strip_accents=False) or choose another tokenizer"
        )


def unreachable(tokenizer: Any, vocabulary: Vocabulary, sample: int = _SAMPLE) -> tuple[int, list[tuple[str, str]]]:
    """Find word-start tokens that the normalizer rewrites and that their own text therefore never yields.

    Args:
        tokenizer: The tokenizer.
        vocabulary: What was read from it.
        sample: At most this many word starts, evenly spaced over the ids.

    Returns:
        How many were tried, and the surface and normalised text of those that are lost.

    Raises:
        TokenizerError: If the tokenizer has no backend.
    """
    starts = [token for token in vocabulary.tokens if token.kind is Kind.WORD_START and token.surface]
    count = min(sample, len(starts))
    chosen = [starts[index * len(starts) // count] for index in range(count)]
    normalizer = backend_of(tokenizer).normalizer
    if normalizer is None:
        return count, []
    # Normalizers that only write the word-start marker change no text.
    normalised = [normalizer.normalize_str(token.surface).replace(START, " ").strip() for token in chosen]
    changed = [(token, text) for token, text in zip(chosen, normalised, strict=True) if text != token.surface]
    if not changed:
        return count, []
    lead = " " if vocabulary.family == "byte-bpe" else ""
    encoded = encode(tokenizer, [lead + token.surface for token, _ in changed])
    return count, [
        (token.surface, text) for (token, text), ids in zip(changed, encoded, strict=True) if token.id not in ids
    ]


@dataclass(frozen=True)
class Coverage:
    """How a tokenizer splits a sample of texts.

    Attributes:
        words: Words: runs between white space, in which every character of a language without spaces (Chinese,
            Japanese, Thai, Lao, Khmer, Burmese) is a word of its own.
        tokens: Tokens, without special ones around the text.
        fertility: Tokens per word.
        unk_rate: Share of the tokens that are unknown, 0..1.
        per_character: Whether more than half of the words are such characters: fertility is then in effect
            tokens per character and not comparable with languages that write spaces.
    """

    words: int
    tokens: int
    fertility: float
    unk_rate: float
    per_character: bool


def is_character_word(text: str) -> bool:
    """Whether ``text`` is one character of a language without spaces, which counts as a word."""
    return _CHARACTER_WORD.fullmatch(text) is not None


def coverage(tokenizer: Any, texts: Iterable[str]) -> Coverage:
    """Measure fertility and the rate of unknown tokens of ``tokenizer`` on ``texts``.

    Raises:
        InputError: If ``texts`` is a single string or holds no word.

    Example:
        >>> coverage(tokenizer, ["수도는 어디인가"]).fertility  # doctest: +SKIP
    """
    if isinstance(texts, str):
        raise InputError("texts must be an iterable of strings, got one string; put it into a list")
    unknown = tokenizer.unk_token_id
    words = characters = tokens = unknowns = 0
    remaining = iter(texts)
    while batch := list(itertools.islice(remaining, _BATCH)):
        for text in batch:
            words += len(_WORD.findall(text))
            characters += len(_CHARACTER_WORD.findall(text))
        for ids in encode(tokenizer, batch):
            tokens += len(ids)
            unknowns += ids.count(unknown)
    if not words:
        raise InputError("texts must hold at least one word, got none; pass sample texts of the target language")
    return Coverage(words, tokens, tokens / words, unknowns / tokens if tokens else 0.0, characters > words / 2)


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """The ids of whole texts, without special ones around them."""
    encoded: list[list[int]] = tokenizer(
        texts, add_special_tokens=False, truncation=False, padding=False, verbose=False
    )["input_ids"]  # fmt: skip
    return encoded
