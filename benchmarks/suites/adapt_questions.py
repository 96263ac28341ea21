"""Questions made of passages alone, in several ways: which of them rank encoders as labels do?"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.encoders.load import load_tokenizer
from isthmus.evaluation import BM25
from isthmus.reading.storage import atomic_write, read_json
from isthmus.training.structure import WordPlaces, take_out

COUNT = 60
SNIPPET, CLOZE, KEYWORDS = (5, 10), 12, 4
SENTENCE_WORDS = (4, 30)
KINDS = {
    "left": "snippet, left in its passage", "snippet": "snippet, cut out", "sentence": "a sentence, cut out",
    "first": "the first sentence, cut out", "rare-removed": "snippet without its rarer words",
    "rare-near": "snippet, rarer words replaced by near ones", "keywords": "four rare words of a passage",
}  # fmt: skip
_END = re.compile(r"(?<=[.!?。！？।॥؟])\s*")
Asked = tuple[str, int, str | None]


def made_of(passages: list[str], words: BM25, near: Mapping[int, int]) -> dict[str, list[Asked]]:
    """Questions by kind: the question, its passage, and that passage without it where it was cut out."""
    found: dict[str, list[Asked]] = {kind: [] for kind in KINDS}
    draw, order = random.Random(0), list(range(len(passages)))
    draw.shuffle(order)
    ids = words.token_ids(passages)
    held = np.zeros(words._size())
    for row in ids:
        held[list(set(row))] += 1

    def add(kind: str, text: str, number: int, rest: str | None = None) -> None:
        if len(found[kind]) < COUNT:
            found[kind].append((text, number, rest))

    for number in order:
        passage = passages[number]
        places = WordPlaces(passage)
        if len(places) < 16:
            continue
        if len(found["left"]) < COUNT:
            start, end = places.draw(draw.randint(*SNIPPET), draw)
            add("left", passage[start:end], number)
        if len(found["snippet"]) < COUNT:
            start, end = places.draw(draw.randint(*SNIPPET), draw)
            add("snippet", passage[start:end], number, take_out(passage, start, end))
        _sentences(passage, number, add, draw, full=len(found["sentence"]) >= COUNT)
        start, end = places.draw(min(CLOZE, len(places) - 1), draw)
        for kind, text in _without_rare(words, passage[start:end], held, near):
            add(kind, text, number)
        rarer = [token for token in sorted(set(ids[number])) if 1 < held[token] < len(passages) * 0.05]
        if len(found["keywords"]) < COUNT and len(rarer) >= KEYWORDS:
            add("keywords", words.tokenizer.decode(draw.sample(rarer, KEYWORDS)), number)
    return found


def _without_rare(words: BM25, text: str, held: Any, near: Mapping[int, int]) -> list[tuple[str, str]]:
    """A snippet without its rarer half, and with that half replaced; nothing where it is short."""
    tokens = words.token_ids([text])[0]
    if len(tokens) < 6:
        return []
    rare = set(sorted(range(len(tokens)), key=lambda k: held[tokens[k]])[: len(tokens) // 2])
    rest = [token for k, token in enumerate(tokens) if k not in rare]
    replaced = [near.get(token, token) if k in rare else token for k, token in enumerate(tokens)]
    return [("rare-removed", words.tokenizer.decode(rest)), ("rare-near", words.tokenizer.decode(replaced))]


def _sentences(passage: str, number: int, add: Any, draw: random.Random, *, full: bool) -> None:
    sentences = [sentence for sentence in _END.split(passage) if sentence.strip()]
    if len(sentences) < 3:
        return
    fitting = [one for one in sentences if SENTENCE_WORDS[0] <= len(WordPlaces(one)) <= SENTENCE_WORDS[1]]
    if fitting and not full:
        chosen = draw.choice(fitting)
        start = passage.index(chosen)
        add("sentence", chosen.strip(), number, take_out(passage, start, start + len(chosen)))
    if 3 <= len(WordPlaces(sentences[0])) <= SENTENCE_WORDS[1]:
        add("first", sentences[0].strip(), number, take_out(passage, 0, len(sentences[0])))


def near_tokens(encoder: Any, tokenizer: str, used: list[int]) -> dict[int, int]:
    """The nearest token of each, whole words for words and pieces for pieces, by the encoder's own rows."""
    rows = encoder[0].auto_model.get_input_embeddings().weight.detach().numpy()
    known, names = encoder.tokenizer.get_vocab(), {i: name for name, i in load_tokenizer(tokenizer).get_vocab().items()}
    used = [token for token in used if token in names and names[token] in known]
    found: dict[int, int] = {}
    for piece in (True, False):
        tokens = [token for token in used if names[token].startswith("##") == piece and _has_letter(names[token])]
        if len(tokens) < 2:
            continue
        vectors = rows[[known[names[token]] for token in tokens]]
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for start in range(0, len(tokens), 512):
            cosines = vectors[start : start + 512] @ vectors.T
            # The token itself, and those made of the same.
            cosines[cosines > 0.9995] = -1
            found |= {tokens[start + k]: tokens[int(best)] for k, best in enumerate(cosines.argmax(axis=1))}
    return found


def _has_letter(token: str) -> bool:
    return any(map(str.isalpha, token))


def remembered(path: Path, make: Any) -> dict[str, list[Asked]]:
    """What ``make`` gives, kept in a file."""
    if not path.is_file():
        import json

        atomic_write(path, json.dumps(make(), ensure_ascii=False).encode())
    return {kind: [(row[0], row[1], row[2]) for row in rows] for kind, rows in read_json(path).items()}
