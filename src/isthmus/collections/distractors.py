"""Passages from elsewhere that make a pool larger; nothing is relevant to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from isthmus.collections.collection import Collection
from isthmus.errors import CollectionError, InputError
from isthmus.options import ReadOptions
from isthmus.reading.corpus import Corpus, CorpusSource
from isthmus.reading.notes import Notes


def read_distractors(
    path: Path, *, limit: int | None = None, seed: int = 0, options: ReadOptions | None = None
) -> dict[str, str]:
    """Read passages, or a sample of them; those without text are left out.

    Args:
        path: A file or folder of passages, as for :class:`isthmus.reading.corpus.Corpus`.
        limit: Keep this many, drawn without replacement and left in file order; None keeps all.
        seed: Seed of the draw.
        options: Names of fields, and whether to refuse passages without text.

    Raises:
        NotFoundError: If the file is not there.
        CollectionError: If a line is malformed; names file and line.
        InputError: If ``limit`` is negative.
    """
    if limit is not None and limit < 0:
        raise InputError(f"limit must be 0 or more distractors, got {limit}")
    options = options or ReadOptions()
    source = CorpusSource(path, options.field_names(), Notes(options.strict))
    texts = {document.id: document.content for document in Corpus(source) if document.content}
    if limit is None or limit >= len(texts):
        return texts
    kept = np.random.default_rng(seed).choice(len(texts), limit, replace=False)
    ids = list(texts)
    return {ids[i]: texts[ids[i]] for i in sorted(kept.tolist())}


def add_distractors(collection: Collection, distractors: dict[str, str]) -> Collection:
    """Append passages to the corpus of a collection.

    Texts that the corpus holds already are left out: they would be unjudged copies of relevant passages.

    Raises:
        CollectionError: If an id is taken.
    """
    for identifier in distractors:
        if identifier in collection.corpus:
            raise CollectionError(f"distractor id must not be in the corpus of {collection.name!r}, got {identifier!r}")
    known = set(collection.corpus.values())
    added = {identifier: text for identifier, text in distractors.items() if text not in known}
    return replace(collection, corpus={**collection.corpus, **added}, distractors=collection.distractors + len(added))
