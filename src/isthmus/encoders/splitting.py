"""Long documents cut into overlapping passages that an encoder reads to their end."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from isthmus.encoders.prompts import prompt_for
from isthmus.errors import InputError
from isthmus.options import EncodeOptions
from isthmus.reading.corpus import Document, Passage, in_windows

Span = tuple[int, int]
_AT_ONCE = 256
# Share of a passage that the last sentence of the one before may take; pieces of longer sentences are no longer.
_OVERLAP = 4
# A tokenizer without a limit says so by a number as large as this.
_ENDLESS = 10**9
# Marks that end a sentence where a space follows; marks that do by themselves; a line's end; in Thai and Lao, a space.
_MARKS = r"\u3002\uff01\uff1f\uff61\u061f\u06d4\u0964\u0965\u104b\u17d4\u17d5\u1362\u1367\u0589"
_CLOSING = r"""["'\u201d\u2019\u00bb\u300d\u300f\uff09)\]]*"""
_THAI = r"[\u0e00-\u0eff]"
_ENDS = re.compile(
    rf"[.!?\u2026\u203d]+{_CLOSING}(?=\s)|[{_MARKS}]+{_CLOSING}|\uff0e(?!\d)|\s*\n\s*|(?<={_THAI})\s+(?={_THAI})"
)
_SPACE = re.compile(r"\s+")
_JOINERS = "\u200c\u200d"
_VIRAMA = 9


def passage_id(document: str, number: int) -> str:
    """Id of a passage: no two documents share one, as long as none is called like another's passage."""
    return f"{document}#p{number}"


class Splitter:
    """Cuts documents into passages, measured in the encoder's own tokens.

    A passage is as many sentences as fit, behind the document's title. Its first sentence is the last one of the
    passage before, if that is not long. A sentence that does not fit is cut at words, and a word that does not at
    characters. A document that fits is one passage.

    Args:
        encoder: A SparseEncoder or SentenceTransformer.
        options: How texts are encoded: a prompt takes room.

    Raises:
        InputError: If prompt and special tokens leave no room.
    """

    def __init__(self, encoder: Any, options: EncodeOptions) -> None:
        module = encoder[0]
        routes = getattr(module, "sub_modules", None)
        if routes is not None:
            module = (routes["document"] if "document" in routes else next(iter(routes.values())))[0]
        self._tokenizer = module.tokenizer
        limit = getattr(module, "document_length", None) or getattr(module, "max_seq_length", None)
        self._room: int | None = None
        if limit is None or limit > _ENDLESS:
            return
        prompt = prompt_for(encoder, "document", options)
        taken = self._tokenizer.num_special_tokens_to_add(pair=False) + sum(self._lengths([prompt]))
        self._room = limit - taken
        if self._room < 1:
            raise InputError(
                f"document_prompt must leave room for a text, got one that fills the encoder's {limit} tokens; "
                "shorten it (--document-prompt)"
            )

    def __call__(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Give the passages of documents, those of one document one after another.

        Their ids are :func:`passage_id`; title and metadata are the document's. A title that would take more than half
        of the room becomes the start of the text.
        """
        for window in in_windows(documents, _AT_ONCE):
            lengths = self._lengths([document.content for document in window])
            for document, length in zip(window, lengths, strict=True):
                yield from self._passages(document, length)

    def _passages(self, document: Document, length: int) -> Iterator[Document]:
        spans = [(0, len(document.text))]
        if self._room is not None and length > self._room:
            title = sum(self._lengths([document.title.strip()]))
            if title > self._room // 2:
                document, title = replace(document, title="", text=document.content), 0
            spans = self._spans(document, self._room - title)
        for number, (start, end) in enumerate(spans):
            passage = Passage(document.id, number, len(spans), start, end)
            identifier = passage_id(document.id, number)
            yield replace(document, id=identifier, text=document.text[start:end], passage=passage)

    def _spans(self, document: Document, room: int) -> list[Span]:
        """Where the passages lie; they are measured, because what is joined may have more tokens than its parts."""
        while True:
            spans = self._packed(document.text, room)
            contents = [replace(document, text=document.text[start:end]).content for start, end in spans]
            over = max(self._lengths(contents)) - (self._room or 0)
            if over <= 0 or room == 1:
                return spans
            room = max(1, room - over)

    def _packed(self, text: str, room: int) -> list[Span]:
        parts, sizes = self._parts(text, room)
        spans: list[Span] = []
        first = 0
        while first < len(parts):
            last, total = first, sizes[first]
            while last + 1 < len(parts) and total + sizes[last + 1] <= room:
                last += 1
                total += sizes[last]
            spans.append((parts[first][0], parts[last][1]))
            again = (
                first < last < len(parts) - 1
                and sizes[last] <= max(1, room // _OVERLAP)
                and sizes[last] + sizes[last + 1] <= room
            )
            first = last if again else last + 1
        return spans

    def _parts(self, text: str, room: int) -> tuple[list[Span], list[int]]:
        """Sentences, and the pieces of those that do not fit, with their numbers of tokens."""
        done: list[tuple[Span, int]] = []
        waiting, most = sentences(text), room
        while waiting:
            sizes = self._lengths([text[start:end] for start, end in waiting])
            found = list(zip(waiting, sizes, strict=True))
            done += [(span, size) for span, size in found if size <= most or span[1] - span[0] < 2]
            long = [span for span, size in found if size > most and span[1] - span[0] > 1]
            waiting, most = [half for span in long for half in halves(text, *span)], max(1, room // _OVERLAP)
        done.sort()
        return [span for span, _ in done], [size for _, size in done]

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of texts, without special ones."""
        if self._tokenizer is None or not hasattr(self._tokenizer, "num_special_tokens_to_add"):
            return [0] * len(texts)
        switches = {"add_special_tokens": False, "truncation": False, "padding": False, "verbose": False}
        return [len(ids) for ids in self._tokenizer(list(texts), **switches)["input_ids"]]


def sentences(text: str) -> list[Span]:
    """Where the sentences of a text lie, in any script, without white space around them."""
    spans, start = [], 0
    for match in _ENDS.finditer(text):
        following = text[match.end() : match.end() + 2].strip()
        # "approx. ten", "e.g. this".
        if match[0] == "." and following.islower():
            continue
        spans.append((start, match.end()))
        start = match.end()
    spans.append((start, len(text)))
    return [stripped for span in spans if (stripped := _stripped(text, *span)) is not None]


def halves(text: str, start: int, end: int) -> list[Span]:
    """A span of a text in two, cut at the white space next to its middle, or else between two characters."""
    middle = (start + end) // 2
    spaces = (match.start() for match in _SPACE.finditer(text, start + 1, end - 1))
    cut = min(spaces, key=lambda place: abs(place - middle), default=None)
    if cut is None:
        cut = next((place for place in range(middle, end) if _is_apart(text, place)), middle)
    return [half for span in ((start, cut), (cut, end)) if (half := _stripped(text, *span)) is not None]


def _is_apart(text: str, place: int) -> bool:
    """Whether a reader sees one character end and another one begin."""
    before, behind = text[place - 1], text[place]
    return not (
        unicodedata.category(behind)[0] == "M"
        or behind in _JOINERS
        or before in _JOINERS
        or unicodedata.combining(before) == _VIRAMA
    )


def _stripped(text: str, start: int, end: int) -> Span | None:
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    kept = part.strip()
    return (start, start + len(kept)) if kept else None
