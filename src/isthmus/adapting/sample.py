"""What an adaptation has to know of a corpus: some of its documents, its language, its script."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.errors import InputError
from isthmus.reading.corpus import Document
from isthmus.reading.corpus_bar import corpus_bar
from isthmus.training.unlabelled import read_documents
from isthmus.vocabulary.script import main_script

# Texts that tokenizers and statistics are made from.
TEXTS = 50_000
# Where a script has one language that is much more common than the others; a guess that can be overruled.
LANGUAGES = {
    "ARABIC": "ar", "CJK": "zh", "CYRILLIC": "ru", "DEVANAGARI": "hi", "GREEK": "el", "HANGUL": "ko", "HEBREW": "he",
    "HIRAGANA": "ja", "KATAKANA": "ja", "THAI": "th", "BENGALI": "bn", "TAMIL": "ta", "TELUGU": "te", "GEORGIAN": "ka",
    "ARMENIAN": "hy", "KHMER": "km", "LAO": "lo", "MYANMAR": "my",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """Documents drawn from a corpus, and what all of them say.

    Attributes:
        documents: The documents drawn, in the order of the corpus.
        counted: Documents in the corpus.
        empty: Those without text.
        language: Language of the corpus.
        script: Script of most letters, as Unicode names it.
        guessed: Whether the language was told by the script alone.
    """

    documents: tuple[Document, ...]
    counted: int
    empty: int
    language: str
    script: str
    guessed: bool

    def texts(self) -> list[str]:
        """Title and text of every document."""
        return [document.content for document in self.documents]


def draw_sample(
    corpus: Any, *, language: str | None, seed: int, wanted: Sequence[str] = (), show: bool | None = None
) -> Sample:
    """Read a corpus once, and keep at most :data:`TEXTS` of its documents, every one with the same probability.

    Args:
        corpus: As for :func:`isthmus.training.pairs_from_text`.
        language: What the caller says it is.
        seed: Seed of the draw.
        wanted: Ids of documents to keep in any case.
        show: None shows a progress bar on a terminal.

    Raises:
        IsthmusError: If the corpus cannot be read.
        InputError: If there is no text in it, a wanted document is missing, or nothing tells the language.
    """
    source = read_documents(corpus)
    draw = random.Random(seed)
    kept: list[tuple[int, Document]] = []
    asked = {identifier: False for identifier in wanted}
    always: list[tuple[int, Document]] = []
    counted = empty = 0
    stated: Counter[str] = Counter()
    with corpus_bar(source, "reading the corpus", show) as step:
        for document in source:
            counted += 1
            step(1, True)
            if not document.content.strip():
                empty += 1
                continue
            said = document.metadata.get("language")
            if isinstance(said, str):
                stated[said] += 1
            if document.id in asked:
                asked[document.id] = True
                always.append((counted, document))
            elif len(kept) < TEXTS:
                kept.append((counted, document))
            elif (place := draw.randrange(counted - empty)) < TEXTS:
                kept[place] = (counted, document)
    missing = [identifier for identifier, found in asked.items() if not found]
    if missing:
        raise InputError(
            f"questions must name documents of the corpus that have text, got {missing[0]!r}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}; mend the ids"
        )
    documents = tuple(document for _, document in sorted([*kept, *always], key=lambda numbered: numbered[0]))
    if not documents:
        raise InputError(f"CORPUS must hold text, got {counted} documents without any")
    script = main_script(document.content for document in documents[:2000])
    found, guessed = _language(language, stated, script)
    return Sample(documents, counted, empty, found, script, guessed)


def _language(given: str | None, stated: Counter[str], script: str) -> tuple[str, bool]:
    if given is not None:
        return given, False
    others = [code for code, _ in stated.most_common() if not code.startswith("en")]
    if others:
        return others[0], False
    if script in LANGUAGES:
        return LANGUAGES[script], True
    raise InputError(
        f"language must be given for text in the script {script or 'of no letters'}, which many languages share; pass "
        "--language, for example --language de"
    )
