"""Readers of the training text that the recipes use; the folder comes from ISTHMUS_DATA or ``--data``."""

from __future__ import annotations

import argparse
import json
import lzma
import os
import random
from collections.abc import Iterator
from pathlib import Path

SECTION_LANGUAGES = ("ar", "bn", "de", "es", "hi", "ja", "ko", "ru", "te", "vi", "zh")


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Add ``--data`` (default: ISTHMUS_DATA) to a recipe's arguments and parse them."""
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"))
    args = parser.parse_args()
    if args.data is None:
        parser.error("--data must name the folder with the text collections (or set ISTHMUS_DATA)")
    return args


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of an xz-compressed UTF-8 file without their line ends."""
    with lzma.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            yield line.rstrip("\n")


def squad_pairs(data: Path) -> list[tuple[str, str]]:
    """(question, sentence) pairs in file order, which keeps the sentences of an article together."""
    rows = (line.split("\t") for line in lines(data / "retrieval/squad_sentences_train.en.tsv.xz"))
    return [(row[0], row[1]) for row in rows if len(row) == 2]


def medquad_pairs(data: Path) -> list[tuple[str, str]]:
    """(question, answer) pairs, one per distinct answer."""
    rows = (line.split("\t") for line in lines(data / "retrieval/medquad_train.en.tsv.xz"))
    return list({row[1]: (row[0], row[1]) for row in rows if len(row) == 2}.values())


def section_pairs(
    data: Path, split: str = "train", languages: tuple[str, ...] = SECTION_LANGUAGES
) -> list[tuple[str, str]]:
    """English (heading, section) pairs of all languages' files, one per distinct passage."""
    prefix = "dev." if split == "dev" else ""
    pairs: dict[str, tuple[str, str]] = {}
    for language in languages:
        for line in lines(data / f"sections/{prefix}en-{language}.jsonl.xz"):
            row = json.loads(line)
            pairs.setdefault(row["passage_en"], (row["query_en"], row["passage_en"]))
    return list(pairs.values())


def parallel_pairs(data: Path, language: str) -> list[tuple[str, str, str]]:
    """(source, English, other language) rows of the parallel file of ``language``."""
    rows = (line.split("\t") for line in lines(data / f"parallel/en-{language}.tsv.xz"))
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3 and row[1].strip() and row[2].strip()]


def without_development(data: Path, language: str, rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Parallel rows less those whose text stands in the development sections: the same documents, by sentence."""
    held = [json.loads(line) for line in lines(data / f"sections/dev.en-{language}.jsonl.xz")]
    fields = (("query_en", "passage_en"), ("query", "passage"))
    passages = ["\n".join(_plain(row[passage]) for row in held) for _, passage in fields]
    headings = [{_plain(row[query]) for row in held} for query, _ in fields]

    def stands_there(text: str, side: int) -> bool:
        text = _plain(text)
        return text in headings[side] or (len(text) > 20 and text in passages[side])

    return [row for row in rows if not any(stands_there(row[1 + side], side) for side in (0, 1))]


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


class SentenceWindows:
    """Pseudo-paragraphs made of neighbouring sentences of one article."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs
        self.sentences = list(dict.fromkeys(sentence for _, sentence in pairs))
        self.index = {sentence: i for i, sentence in enumerate(self.sentences)}

    def positive(self, sentence: str, rng: random.Random, width: int = 4) -> str:
        """A window of one to ``width`` sentences that holds ``sentence``."""
        size = rng.randint(1, width)
        start = max(0, self.index[sentence] - rng.randint(0, size - 1))
        return " ".join(self.sentences[start : start + size])

    def negative(self, sentence: str, rng: random.Random, width: int = 4) -> str:
        """A nearby window that does not hold ``sentence``: same article in most cases, without the answer."""
        size = rng.randint(1, width)
        at = self.index[sentence]
        start = at + 1 + rng.randint(0, 4) if rng.random() < 0.5 else at - size - rng.randint(0, 4)
        if start < 0 or start >= len(self.sentences):
            start = max(0, at - size) if start >= len(self.sentences) else at + 1
        return " ".join(self.sentences[start : start + size])
