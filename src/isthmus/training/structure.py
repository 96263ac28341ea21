"""What a text's own structure says without labels: its headings, its passages, and pieces of them; no torch.

A word is what stands between white space. Scripts that are written without spaces are counted by characters, two to a
word, text by text and within a text, so that mixed text is cut where its words end.
"""

from __future__ import annotations

import random
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

# Code points of the scripts that are written without spaces between words, with their punctuation and full-width forms.
_SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3001, 0x312F),  # punctuation, kana, bopomofo
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Chinese characters
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF01, 0xFF9F),
    (0x20000, 0x3FFFF),
)
# Variation selectors, and the combining characters of the scripts above that are small enough to go through.
_MARKS = "\ufe00-\ufe0f\U000e0100-\U000e01ef" + "".join(
    chr(code)
    for first, last in _SPACELESS[:6]
    for code in range(first, last + 1)
    if unicodedata.category(chr(code)).startswith("M")
)
_RANGES = "".join(f"{chr(first)}-{chr(last)}" for first, last in _SPACELESS)
_UNIT = re.compile(f"([{_RANGES}][{_MARKS}]*)|[^\\s{_RANGES}]+")
_SENTENCE_END = re.compile(r"[.!?。！？｡।॥؟۔…][\"'”’»)\]」』）]*$")
# Up to a sign that ends it, with closing quotes; a point within a word or a number ends nothing.
_SENTENCE = re.compile(r"\S(?:[^\n]*?(?:[.!?।॥؟۔…][\"'”’»)\]]*(?=\s|$)|[。！？][”’」』）]*|(?=\n|$)))")
_CHARACTERS_PER_WORD = 2

_ATX = re.compile(r" {0,3}#{1,6}[ \t]+(.*)")
# What opens with backticks has none after them, or it is code within a line.
_FENCE = re.compile(r" {0,3}(?:(`{3,})[^`]*$|(~{3,}))")
_UNDERLINE = re.compile(r" {0,3}([=\-~^\"])\1{2,}[ \t]*$")


@dataclass(frozen=True)
class Block:
    """A stretch of text under one heading.

    Attributes:
        heading: The heading, or None for what comes before the first one.
        text: What stands below it, up to the next heading.
    """

    heading: str | None
    text: str


def blocks(text: str) -> list[Block]:
    """Cut a text at its headings, of any level.

    Headings are those of Markdown (``# Heading``, or a line of its own underlined with ``=`` or ``-``) and of
    reStructuredText (underlined with ``~``, ``^`` or ``"``, as long as the heading). Code in fences holds none, and
    front matter of YAML is left out. A text without headings is one block.
    """
    found: list[tuple[str | None, list[str]]] = [(None, [])]
    fence = ""
    for line in _without_front_matter(text).splitlines():
        own = found[-1][1]
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            own.append(line)
        elif match := _ATX.match(line):
            found.append((_without_closing(match[1].strip()), []))
        elif _is_underline(line, own):
            heading = own.pop().strip()
            # An overline goes with its heading.
            if own and _UNDERLINE.match(own[-1]):
                own.pop()
            found.append((heading, []))
        else:
            if match := _FENCE.match(line):
                fence = match[1] or match[2]
            own.append(line)
    stripped = [Block(heading, "\n".join(own).strip()) for heading, own in found]
    return [block for block in stripped if block.heading is not None or block.text]


def _without_closing(heading: str) -> str:
    """A heading without the ``#`` that may close it."""
    bare = heading.rstrip("#")
    return bare.rstrip() if bare != bare.rstrip() or not bare else heading


def _is_underline(line: str, before: list[str]) -> bool:
    """Whether ``line`` underlines the last one of ``before``, which must be a line of its own."""
    match = _UNDERLINE.match(line)
    if match is None or not before or not before[-1].strip() or _UNDERLINE.match(before[-1]):
        return False
    if len(before) > 1 and before[-2].strip() and not _UNDERLINE.match(before[-2]):
        return False
    return match[1] in "=-" or len(line.strip()) >= len(before[-1].strip())


def _without_front_matter(text: str) -> str:
    if not text.startswith("---\n"):
        return text
    _, closed, rest = text[4:].partition("\n---\n")
    return rest if closed else text


def units(text: str) -> list[str]:
    """What a text is counted by: runs without white space, and characters of scripts that write none."""
    return [match[0] for match in _UNIT.finditer(text)]


class WordPlaces:
    """The words of a text, with their places in it.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts: list[int] = []
        self._ends: list[int] = []
        # Words before each unit, in units of a character of a script without spaces.
        self._before = [0]
        for match in _UNIT.finditer(text):
            self._starts.append(match.start())
            self._ends.append(match.end())
            self._before.append(self._before[-1] + (1 if match[1] else _CHARACTERS_PER_WORD))

    def __len__(self) -> int:
        """Number of words, the last half one rounded down."""
        return self._before[-1] // _CHARACTERS_PER_WORD

    def draw(self, length: int, generator: random.Random) -> tuple[int, int]:
        """Start and end in the text of ``length`` consecutive words; the text must have as many."""
        wanted = length * _CHARACTERS_PER_WORD
        # Places from which enough is left.
        places = bisect_right(self._before, self._before[-1] - wanted)
        first = generator.randrange(places)
        last = bisect_left(self._before, self._before[first] + wanted) - 1
        return self._starts[first], self._ends[last]

    def passages(self, length: int, least: int) -> Iterator[str]:
        """Cut the text into passages of at most about ``length`` words, at ends of sentences and lines where it can.

        Args:
            length: Most words of a passage; a shorter one than ``least`` that would be left goes with the one before.
            least: Fewest words of a passage.
        """
        first, units = 0, len(self._starts)
        while first < units:
            start = self._before[first]
            last = units
            if self._before[-1] - start > (length + least) * _CHARACTERS_PER_WORD:
                # At most one unit over, for half words; at least one.
                last = max(first + 1, bisect_left(self._before, start + length * _CHARACTERS_PER_WORD))
                last = next((end for end in range(last, (first + last) // 2, -1) if self._ends_here(end)), last)
            yield self.text[self._starts[first] : self._ends[last - 1]]
            first = last

    def _ends_here(self, end: int) -> bool:
        """Whether a sentence or a line ends with the unit before ``end``."""
        gap = self.text[self._ends[end - 1] : self._starts[end]] if end < len(self._starts) else "\n"
        if "\n" in gap:
            return True
        # A closing bracket can be a unit of its own.
        close = self._ends[end - 1]
        return _SENTENCE_END.search(self.text[max(0, close - 4) : close]) is not None


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of every sentence, by the signs that end one; a line ends one too."""
    return [match.span() for match in _SENTENCE.finditer(text)]


def take_out(text: str, start: int, end: int) -> str:
    """The text without a piece, white space closed up."""
    before, after = text[:start].rstrip(), text[end:].lstrip()
    spaced = text[:start] != before or text[end:] != after
    return f"{before}{' ' if spaced else ''}{after}".strip()
