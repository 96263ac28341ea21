"""Indexes of passages, shown as the documents that they are of: hits, and which passages a document has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from isthmus.encoders.splitting import passage_id
from isthmus.index.hits import Hit
from isthmus.reading.corpus import Document

# Passages asked for at first, for each document wanted; and how many times more where that was not enough.
FIRST, _MORE = 4, 4


def document_hits(ask: Callable[[int], Sequence[Hit]], top_k: int, *, first: int, most: int) -> list[Hit]:
    """The best documents, each by its best passage.

    Args:
        ask: Gives so many of the best passages, best first.
        top_k: Documents at most.
        first: Passages to ask for at first.
        most: Passages that can be asked for.

    Returns:
        As many as there are, up to ``top_k``. The id is the document's; what is stored is the passage.
    """
    asked = min(first, most)
    while True:
        found = ask(asked)
        best: dict[str, Hit] = {}
        for hit in found:
            best.setdefault(hit.document.document_id, hit)
        if len(best) >= top_k or len(found) < asked or asked == most:
            return [replace(hit, id=document) for document, hit in best.items()][:top_k]
        asked = min(asked * _MORE, most)


def stored_passages(firsts: Mapping[str, int], missing: Callable[[Sequence[str]], Sequence[str]]) -> list[str]:
    """Ids of the passages that documents have; they are numbered without gaps, so it is enough to ask how far.

    Args:
        firsts: The number to begin with, by id of the document.
        missing: Says which ids of a list are not there.
    """
    found: list[str] = []
    waiting, step = dict(firsts), 1
    while waiting:
        asked = {id: [passage_id(id, number + more) for more in range(step)] for id, number in waiting.items()}
        absent = set(missing([passage for ids in asked.values() for passage in ids]))
        found += [passage for ids in asked.values() for passage in ids if passage not in absent]
        waiting = {id: waiting[id] + step for id, ids in asked.items() if ids[-1] not in absent}
        step *= 2
    return found


def joined(passages: Sequence[Document]) -> Document:
    """The document whose passages these are, in their order; what lay between them is spaces."""
    text = ""
    for document in passages:
        start = 0 if document.passage is None else document.passage.start
        text = text[:start].ljust(start) + document.text
    first = passages[0]
    return Document(first.document_id, text.strip(), first.title, first.metadata)
