"""The places in a text of the tokens that gave it its score."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from isthmus.encoders.fingerprint import EXACT
from isthmus.errors import TokenizerError
from isthmus.index.hits import Match
from isthmus.serve.words import Words
from isthmus.vocabulary.spelling import backend_of

# Share of the heaviest span below which one is noise, and tokens named with one.
_FAINT = 0.05
_NAMED = 3
_WORD_SEARCHED = 24
# Characters of a text that are read for each token that the encoder takes, at first and at most.
_FIRST, _MOST = 8, 64
# Tokens at the end of what is read may be others where the text goes on.
_SPARE = 16
# Marks that a letter may have.
_MARKS = 32
# Tokens of encoders without a bound of their own.
_UNBOUNDED = 8192


@dataclass(frozen=True)
class Span:
    """A part of a text.

    Attributes:
        start: Its first character, counted in Unicode code points.
        end: The one behind it.
        score: What its token shares in the document's score.
        terms: The dimensions that the share comes from, heaviest first, three at most.
    """

    start: int
    end: int
    score: float
    terms: tuple[str, ...]

    def moved(self, by: int, length: int) -> Span | None:
        """The part of it in a text of ``length`` characters that starts at ``by``; None where there is none."""
        start, end = max(self.start - by, 0), min(self.end - by, length)
        return Span(start, end, self.score, self.terms) if start < end else None


class Highlighter:
    """Finds a document's matching tokens in its text.

    A token of the text counts with the product of each dimension that it is; where the token map knows what it was
    made of, with their products too, each times its weight. That is a reading aid: what the encoder computed for a
    dimension may come from any place of the text.

    Args:
        encoder: A SparseEncoder.
        words: Its vocabulary.
    """

    def __init__(self, encoder: Any, words: Words) -> None:
        self._words = words
        self._room = _UNBOUNDED
        self._tokenizer: Any = None
        try:
            backend = backend_of(encoder.tokenizer)
        except TokenizerError:
            return
        # A copy, because the encoder sets truncation and padding on its own while it works in another thread.
        self._tokenizer = Tokenizer.from_str(backend.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if encoder.max_seq_length is not None:
            self._room = int(encoder.max_seq_length) - self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def spans(self, text: str, matches: Sequence[Match]) -> list[Span]:
        """Parts of a text that ``matches`` are about, in their order and apart from each other.

        Args:
            text: A document's content, of which the encoder reads only the start when it is long.
            matches: From :meth:`isthmus.SparseIndex.explain`.
        """
        if self._tokenizer is None or not matches:
            return []
        encoded = self._read(text)
        scores: dict[int, float] = {}
        for match in matches:
            # A token's meaning and its occurrence are dimensions of their own in a hybrid, and one place in the text.
            id = self._words.ids.get(match.token.removesuffix(EXACT))
            if id is not None:
                scores[id] = scores.get(id, 0.0) + match.score
        shares: dict[int, dict[int, float]] = {}
        found: list[Span] = []
        for id, (start, end) in zip(encoded.ids[: self._room], encoded.offsets, strict=False):
            if id not in shares:
                shares[id] = self._shares(id, scores)
            share = shares[id]
            if share and start < end:
                terms = sorted(share, key=lambda term: -share[term])[:_NAMED]
                start, end = _whole(text, start, end)
                named = tuple(self._words.show(self._words.tokens[term]) for term in terms)
                found.append(Span(start, end, sum(share.values()), named))
        least = _FAINT * max((span.score for span in found), default=0.0)
        return _apart([span for span in found if span.score >= least])

    def knows(self, text: str) -> bool | None:
        """Whether the vocabulary has any character of a text; None where its tokens cannot be looked into."""
        if self._tokenizer is None:
            return None
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return any(id not in self._words.foreign for id in ids)

    def read(self, title: str, text: str) -> int | None:
        """Characters of a text that the encoder reads behind its title; None where that is all of it."""
        if self._tokenizer is None:
            return None
        # In the content a space stands between title and text.
        first = len(title) + 1 if title else 0
        offsets = self._read(f"{title} {text}" if title else text).offsets
        if len(offsets) <= self._room:
            return None
        return max(0, offsets[self._room - 1][1] - first) if self._room > 0 else 0

    def _read(self, text: str) -> Any:
        """The tokens of the part of a text that the encoder reads, and some more.

        Truncation of the tokenizer would come too late: it splits all of a text before it cuts.
        """
        length = _FIRST * self._room
        while True:
            encoded = self._tokenizer.encode(text[:length], add_special_tokens=False)
            if length >= min(len(text), _MOST * self._room) or len(encoded.ids) >= self._room + _SPARE:
                return encoded
            length *= 2

    def _shares(self, id: int, scores: Mapping[int, float]) -> dict[int, float]:
        """What a token counts, by dimension."""
        tokens, token_map = self._words.tokens, self._words.token_map
        shares = {id: scores[id]} if id in scores else {}
        written_as = self._words.ids.get(self._words.written_as.get(tokens[id], ""))
        if written_as is not None and written_as in scores:
            shares[written_as] = scores[written_as]
        if token_map is not None and id < token_map.shape[0]:
            weights = token_map.weights
            # A slice, because taking a row of a sparse matrix is slow.
            row = slice(weights.indptr[id], weights.indptr[id + 1])
            for source, weight in zip(weights.indices[row].tolist(), weights.data[row].tolist(), strict=True):
                # Source tokens have dimensions where their vocabulary was kept; ids are the same then.
                own = source < len(tokens) and tokens[source] == token_map.source_tokens[source]
                if own and source in scores and weight > 0:
                    shares[source] = max(shares.get(source, 0.0), weight * scores[source])
        return shares


def excerpt(text: str, spans: Sequence[Span], length: int) -> tuple[int, int]:
    """Start and end of the part of a text, at most ``length`` characters, whose spans weigh most.

    Args:
        text: The whole text.
        spans: Its spans in their order.
        length: Characters at most.
    """
    if len(text) <= length or not spans:
        return 0, min(length, len(text))
    # Some of what leads to the first span belongs to it.
    lead = length // 6
    starts = [max(0, min(span.start - lead, len(text) - length)) for span in spans]
    ends = np.array([span.end for span in spans])
    sums = np.concatenate([[0.0], np.cumsum([span.score for span in spans])])
    weights = [sums[np.searchsorted(ends, s + length, side="right")] - sums[i] for i, s in enumerate(starts)]
    start = starts[int(np.argmax(weights))] if sums[np.searchsorted(ends, length, side="right")] < max(weights) else 0
    if start:
        first = next((span.start for span in spans if span.start >= start), start)
        start = max(start, text.find(" ", start, min(first, start + _WORD_SEARCHED)) + 1)
    return start, min(start + length, len(text))


def _whole(text: str, start: int, end: int) -> tuple[int, int]:
    """The same part with the marks that belong to its first and last letter, which must not be drawn apart."""
    first, last = max(start - _MARKS, 0), min(end + _MARKS, len(text))
    while start > first and unicodedata.category(text[start])[0] == "M":
        start -= 1
    while end < last and unicodedata.category(text[end])[0] == "M":
        end += 1
    return start, end


def _apart(spans: list[Span]) -> list[Span]:
    kept: list[Span] = []
    for span in spans:
        if kept and span.start < kept[-1].end:
            last = kept.pop()
            heavier = max(last, span, key=lambda one: one.score)
            span = Span(last.start, max(last.end, span.end), heavier.score, heavier.terms)
        kept.append(span)
    return kept
