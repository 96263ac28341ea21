"""Pools of one or several languages, built from a parallel collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.auditing.audit_result import PoolInfo
from isthmus.auditing.measures import ENGLISH
from isthmus.collections import ParallelCollection
from isthmus.errors import InputError, UnknownNameError

RULES = {
    "mono-same": "Passages in the question's language.",
    "mono-cross": "Passages in one other language.",
    "multi": "Every passage in all of the languages.",
    "pairs": "Every passage in the question's language and in one other.",
    "partly-parallel": "Every passage in all of the languages, but a drawn share of the relevant ones in one alone.",
    "english-distractors": (
        "The relevant passages in the question's language alone, and every irrelevant passage in English alone."
    ),
}
DEFAULT_POOLS = ("mono-same", "mono-cross", "multi")
DEDUPLICATION = (
    "Passages of one language with the same text are one document, relevant to the questions of each; texts of "
    "different languages are never merged."
)
COPIES = (
    "None: every question has copies of its own of the passages that answer it, one in each language. Other questions' "
    "copies of the same text are irrelevant to it, so even a perfect ranker has a Complete@10 below 100 where many "
    "questions share a passage."
)
TIES = (
    "Irrelevant documents come before relevant ones of the same score; otherwise equal scores, and copies of one text, "
    "follow an order of all documents that is drawn once by the seed."
)
Places = NDArray[np.int64]


class Documents:
    """Every document of a parallel collection once, distractors included.

    A document is a distinct text of one language, or with ``keep_copies`` every passage, whatever its text. They stand
    in an order drawn by ``seed``, so that equal scores favour no language.

    Attributes:
        ids: Id of each document, that of the first passage with its text.
        texts: Text of each.
        languages: Language of each, an array of codes.
        distractors: Whether each is relevant to nothing because it comes from elsewhere, a boolean array.
        blank: Whether each has no text, a boolean array; no question finds it.
        text_numbers: A number for each that it shares with its copies alone, an integer array.
        place: Document by (language, passage id); passages with the same text share one unless copies are kept.
    """

    def __init__(self, collection: ParallelCollection, *, seed: int = 0, keep_copies: bool = False) -> None:
        # Each by what makes it one: language and text, and with copies the passage.
        found: dict[tuple[str, ...], tuple[str, bool]] = {}
        place_of: dict[tuple[str, str], tuple[str, ...]] = {}
        for language in collection.languages:
            extra = collection.distractors.get(language, {})
            for texts, distractor in ((collection.passages[language], False), (extra, True)):
                for identifier, text in texts.items():
                    key = (language, text, identifier) if keep_copies else (language, text)
                    place_of[language, identifier] = key
                    found.setdefault(key, (identifier, distractor))
        keys = list(found)
        order = np.random.default_rng(seed).permutation(len(keys))
        drawn = [keys[i] for i in order]
        position = {key: place for place, key in enumerate(drawn)}
        self.ids = [found[key][0] for key in drawn]
        self.texts = [key[1] for key in drawn]
        self.blank = np.array([not text for text in self.texts], dtype=bool)
        self.languages = np.array([key[0] for key in drawn])
        numbers: dict[tuple[str, ...], int] = {}
        self.text_numbers = np.array([numbers.setdefault(key[:2], len(numbers)) for key in drawn])
        self.distractors = np.array([found[key][1] for key in drawn], dtype=bool)
        self.place = {passage: position[key] for passage, key in place_of.items()}

    def __len__(self) -> int:
        return len(self.ids)


def with_copies(collection: ParallelCollection) -> ParallelCollection:
    """A collection in which no two questions share a passage, because each has copies of its own.

    That the pools of arXiv 2604.05684 hold a passage for each question and language is inferred from its numbers: a
    mean Max@R of 651 does not fit into the 480 distinct passages of two languages of XQuAD. Passages that answer no
    question stay as they are.
    """
    asked = {passage for relevant in collection.qrels.values() for passage in relevant}
    copies = {query: {passage: f"{passage}:{query}" for passage in found} for query, found in collection.qrels.items()}
    passages = {
        language: {identifier: text for identifier, text in texts.items() if identifier not in asked}
        | {copy: texts[passage] for of_query in copies.values() for passage, copy in of_query.items()}
        for language, texts in collection.passages.items()
    }
    return replace(
        collection, passages=passages, qrels={query: tuple(of_query.values()) for query, of_query in copies.items()}
    )


@dataclass(frozen=True, eq=False)
class Pool:
    """What the questions of one language are ranked against.

    Attributes:
        info: Its description.
        places: Its documents, as places in :class:`Documents`, ascending, which is the order of equal scores.
        golds: Relevant documents of each question.
        hidden: Documents that a question is not ranked against, by question; None where all share the pool.
    """

    info: PoolInfo
    places: Places
    golds: tuple[Places, ...]
    hidden: tuple[Places, ...] | None = None

    def candidates(self, query: int) -> Places:
        """What question number ``query`` is ranked against, ascending."""
        if self.hidden is None:
            return self.places
        return np.setdiff1d(self.places, self.hidden[query], assume_unique=True)


def build_pools(
    collection: ParallelCollection,
    documents: Documents,
    names: Sequence[str] = DEFAULT_POOLS,
    *,
    share: float = 0.5,
    seed: int = 0,
    keep_copies: bool = False,
) -> list[Pool]:
    """Build the pools of every query language.

    Args:
        collection: Passages and questions.
        documents: Its documents.
        names: Keys of :data:`RULES`.
        share: Share of the relevant passages that ``partly-parallel`` leaves in one language.
        seed: Seed of that draw; it is the same for all query languages.
        keep_copies: Whether ``collection`` is one :func:`with_copies` and ``documents`` keep them, to be stated.

    Returns:
        By name in the order given, then by query language. ``mono-cross`` and ``pairs`` give one pool for each other
        language; ``english-distractors`` none for English questions.

    Raises:
        UnknownNameError: If a name is unknown.
        InputError: If no pool or no question fits, a name comes twice, or ``share`` is not in 0..1.
    """
    _check(collection, names, share)
    alone = _left_in_one_language(collection, share, seed) if "partly-parallel" in names else {}
    pools = []
    for name in names:
        for own in collection.languages:
            if name != "english-distractors":
                left = alone if name == "partly-parallel" else {}
                searched = _searched(name, own, collection.languages)
                pools += [_pool(name, collection, documents, own, languages, left) for languages in searched]
            elif own != ENGLISH:
                pools.append(_english_distractors(collection, documents, own))
    if keep_copies:
        return [replace(pool, info=replace(pool.info, deduplication=COPIES, keep_copies=True)) for pool in pools]
    return pools


def _check(collection: ParallelCollection, names: Sequence[str], share: float) -> None:
    for name in names:
        if name not in RULES:
            raise UnknownNameError("pool", name, RULES)
    if not names or len(set(names)) < len(names):
        raise InputError(f"pools must be one or more different names, got {', '.join(names) or 'none'}")
    if not 0 <= share <= 1:
        raise InputError(f"share must be in 0..1, got {share}")
    if "english-distractors" in names and ENGLISH not in collection.languages:
        raise InputError(
            f"languages must include {ENGLISH!r} for the pool 'english-distractors', got "
            f"{', '.join(collection.languages)}"
        )


def _searched(name: str, own: str, languages: Sequence[str]) -> list[list[str]]:
    """Languages of each pool that questions in ``own`` search, in the order of ``languages``."""
    others = [language for language in languages if language != own]
    if name == "mono-same":
        return [[own]]
    if name == "mono-cross":
        return [[other] for other in others]
    if name == "pairs":
        return [[language for language in languages if language in (own, other)] for other in others]
    return [list(languages)]


def _left_in_one_language(collection: ParallelCollection, share: float, seed: int) -> dict[str, str]:
    """The language that each drawn relevant passage is left in."""
    relevant = list(dict.fromkeys(passage for passages in collection.qrels.values() for passage in passages))
    generator = np.random.default_rng(seed)
    drawn = np.sort(generator.choice(len(relevant), round(share * len(relevant)), replace=False))
    languages = generator.integers(0, len(collection.languages), len(drawn))
    return {relevant[i]: collection.languages[place] for i, place in zip(drawn, languages, strict=True)}


def _pool(
    name: str,
    collection: ParallelCollection,
    documents: Documents,
    query_language: str,
    languages: Sequence[str],
    alone: Mapping[str, str],
) -> Pool:
    """A pool that all questions share; ``alone`` holds the passages that only one language has."""
    passages = [
        (language, passage)
        for language in languages
        for passage in collection.passages[language]
        if alone.get(passage, language) == language
    ]
    places = _places(documents, passages)
    extra = _places(documents, _distractors(collection, languages))
    golds = tuple(
        np.intersect1d(
            _places(documents, [(language, passage) for language in languages for passage in relevant]), places
        )
        for relevant in collection.qrels.values()
    )
    everything = np.union1d(places, extra)
    duplicates = len(passages) - len(places)
    return Pool(_info(name, query_language, languages, documents, everything, golds, duplicates), everything, golds)


def _english_distractors(collection: ParallelCollection, documents: Documents, query_language: str) -> Pool:
    english = [(ENGLISH, passage) for passage in collection.passages[ENGLISH]]
    golds = tuple(
        _places(documents, [(query_language, passage) for passage in relevant])
        for relevant in collection.qrels.values()
    )
    translations = tuple(
        _places(documents, [(ENGLISH, passage) for passage in relevant]) for relevant in collection.qrels.values()
    )
    own = np.unique(np.concatenate(golds))
    irrelevant = _places(documents, [*english, *_distractors(collection, [ENGLISH])])
    everything = np.union1d(own, irrelevant)
    hidden = tuple(
        np.union1d(np.setdiff1d(own, gold), translation) for gold, translation in zip(golds, translations, strict=True)
    )
    ordered = [language for language in collection.languages if language in (ENGLISH, query_language)]
    sizes = [len(everything) - len(out) for out in hidden]
    duplicates = len(english) - len(_places(documents, english))
    info = _info(
        "english-distractors", query_language, ordered, documents, everything, golds, duplicates,
        size=round(float(np.mean(sizes))),
    )  # fmt: skip
    return Pool(info, everything, golds, hidden)


def _distractors(collection: ParallelCollection, languages: Iterable[str]) -> list[tuple[str, str]]:
    return [(language, identifier) for language in languages for identifier in collection.distractors.get(language, {})]


def _places(documents: Documents, passages: Iterable[tuple[str, str]]) -> Places:
    return np.unique(np.fromiter((documents.place[passage] for passage in passages), dtype=np.int64))


def _info(
    name: str,
    query_language: str,
    languages: Sequence[str],
    documents: Documents,
    places: Places,
    golds: Sequence[Places],
    duplicates: int,
    *,
    size: int | None = None,
) -> PoolInfo:
    counts = [len(gold) for gold in golds]
    return PoolInfo(
        name=name,
        query_language=query_language,
        languages=tuple(languages),
        documents=len(places) if size is None else size,
        documents_by_language={
            language: int((documents.languages[places] == language).sum()) for language in languages
        },
        golds=float(np.mean(counts)),
        golds_range=(min(counts), max(counts)),
        duplicates=duplicates,
        distractors=int(documents.distractors[places].sum()),
        rule=RULES[name],
        deduplication=DEDUPLICATION,
        ties=TIES,
    )
