"""Checks of how the tokenizer reads the texts."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.diagnostics.finding import Finding, Level
from isthmus.diagnostics.inspected import InspectedParts
from isthmus.vocabulary import coverage

UNKNOWN = 0.01
UNKNOWN_ERROR = 0.1
# English has about 1.3 tokens per word in its own tokenizer, a language that the tokenizer does not know 5 and more.
FERTILITY = 4.0
# Of text without spaces: one token per character is what a character vocabulary gives, bytes are three.
FERTILITY_PER_CHARACTER = 1.5
# Mean characters between white space; the longest-worded languages that write spaces stay below ten.
SPACELESS = 15.0
CUT = 0.1
ANOTHER = "transfer the encoder to a tokenizer of this language (isthmus transfer)"


def is_spaceless(texts: Sequence[str]) -> bool:
    """Whether the texts are of a language that writes no spaces, such as Chinese, Japanese or Thai."""
    words = [word for text in texts for word in text.split()]
    return sum(map(len, words)) > SPACELESS * len(words)


def check_reading(parts: InspectedParts, texts: Sequence[str]) -> list[Finding]:
    """Check unknown tokens, fertility and truncation; texts are not empty."""
    tokenizer = parts.tokenizer
    found = coverage(tokenizer, texts)
    rate = f"{found.unk_rate:.1%} of the texts' {found.tokens} tokens are unknown"
    findings = []
    if found.unk_rate > UNKNOWN:
        level: Level = "error" if found.unk_rate > UNKNOWN_ERROR else "warning"
        findings.append(Finding("unknown", level, rate, ANOTHER, found.unk_rate))
    else:
        findings.append(Finding("unknown", "ok", rate, value=found.unk_rate))
    findings.append(_fertility(texts, found.tokens, found.fertility))
    limit = parts.transformers[0].max_seq_length if parts.transformers else None
    if limit is not None:
        findings.append(_cut(tokenizer, texts, int(limit)))
    return findings


def _fertility(texts: Sequence[str], tokens: int, per_word: float) -> Finding:
    spaceless = is_spaceless(texts)
    characters = sum(len(word) for text in texts for word in text.split())
    value, limit, unit = (
        (tokens / characters, FERTILITY_PER_CHARACTER, "character") if spaceless else (per_word, FERTILITY, "word")
    )
    message = f"{value:.2f} tokens per {unit}"
    if value > limit:
        return Finding("fertility", "warning", f"{message}: the tokenizer spells this language out", ANOTHER, value)
    return Finding("fertility", "ok", message, value=value)


def _cut(tokenizer: object, texts: Sequence[str], limit: int) -> Finding:
    share = sum(len(ids) > limit for ids in _ids(tokenizer, texts)) / len(texts)
    message = f"{share:.1%} of the texts are longer than {limit} tokens and lose their end"
    if share > CUT:
        remedy = "split them into passages, or raise encoder.max_seq_length where the model has positions for it"
        return Finding("cut-texts", "note", message, remedy, share)
    return Finding("cut-texts", "ok", message, value=share)


def _ids(tokenizer: object, texts: Sequence[str]) -> list[list[int]]:
    encoded: list[list[int]] = tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]  # type: ignore[operator]
    return encoded
