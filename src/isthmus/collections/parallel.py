"""Parallel collections: the same passages and questions in several languages, aligned by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from isthmus.collections.collection import Collection
from isthmus.errors import CollectionError, InputError, NotFoundError
from isthmus.reading.notes import Notes

Texts = dict[str, dict[str, str]]

BY_ID = "passages and questions with the same id are the same in every language"
BY_QUESTION = "questions with the same id are the same, and so are the passages that answer them"


@dataclass(frozen=True)
class ParallelCollection:
    """Passages and judged questions in several languages.

    Attributes:
        name: What it is called in results.
        passages: Text by language and passage id; an id means the same passage in every language that has it.
        queries: Text by language and question id; every language asks every question.
        qrels: Ids of the passages that are relevant to each question; every language has them all.
        alignment: How it is known what is parallel, one sentence.
        dropped_queries: Questions left out because a language lacks them or a passage that is relevant to them.
        dropped_passages: Passages left out because no question tells what they are parallel to, over all languages.
        distractors: Text by language and id of passages from elsewhere that nothing is relevant to.
        notes: What was taken for granted when it was read.
    """

    name: str
    passages: Texts
    queries: Texts
    qrels: dict[str, tuple[str, ...]]
    alignment: str = BY_ID
    dropped_queries: int = 0
    dropped_passages: int = 0
    distractors: Texts = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes, compare=False)

    def __post_init__(self) -> None:
        if self.passages.keys() != self.queries.keys():
            raise CollectionError(
                f"passages and queries of {self.name!r} must be in the same languages, got {', '.join(self.passages)} "
                f"and {', '.join(self.queries)}"
            )
        if not self.qrels:
            raise CollectionError(
                f"collection {self.name!r} must hold a question that every language asks and can answer, got none of "
                f"{self.dropped_queries} in {', '.join(self.languages)}"
            )
        for language in self.languages:
            if self.queries[language].keys() != self.qrels.keys():
                raise CollectionError(f"qrels of {self.name!r} must judge exactly the questions in {language!r}")
            for query, relevant in self.qrels.items():
                missing = [passage for passage in relevant if passage not in self.passages[language]]
                if missing or not relevant:
                    raise CollectionError(
                        f"question {query!r} of {self.name!r} must have its relevant passages in {language!r}, got "
                        f"none for {missing or 'it'}"
                    )

    @property
    def languages(self) -> tuple[str, ...]:
        """Its languages, in the order they were asked for."""
        return tuple(self.passages)


def check_languages(languages: Sequence[str]) -> tuple[str, ...]:
    """The languages of a parallel collection.

    Raises:
        InputError: If there are fewer than two, or one comes twice.
    """
    if isinstance(languages, str):
        raise InputError(f"languages must be a list of codes, got the text {languages!r}; split it")
    codes = tuple(languages)
    if len(codes) < 2 or len(set(codes)) < len(codes) or not all(codes):
        raise InputError(f"languages must be two or more different codes, got {', '.join(codes) or 'none'}")
    return codes


def require_languages(languages: Sequence[str], there: Sequence[str], what: str) -> None:
    """Refuse languages that are not there.

    Raises:
        NotFoundError: Names them, and those that are.
    """
    missing = [language for language in languages if language not in there]
    if missing:
        raise NotFoundError(
            f"languages must be among those of {what} ({', '.join(sorted(there)) or 'none'}), got {', '.join(missing)}"
        )


def keep_shared(
    name: str,
    passages: Texts,
    queries: Texts,
    relevant: Mapping[str, Sequence[str]],
    *,
    alignment: str = BY_ID,
    notes: Notes | None = None,
) -> ParallelCollection:
    """Keep the questions that every language asks and has the relevant passages of; keep all passages.

    Raises:
        CollectionError: If no question is left.
    """
    known = dict.fromkeys(query for texts in queries.values() for query in texts)
    shared = [
        query
        for query in known
        if relevant.get(query)
        and all(query in texts for texts in queries.values())
        and all(passage in texts for texts in passages.values() for passage in relevant[query])
    ]
    if known and not shared:
        examples = ", ".join(f"{next(iter(texts))!r} in {language!r}" for language, texts in queries.items() if texts)
        raise CollectionError(
            f"collection {name!r} must hold a question that every language asks and can answer, got none of "
            f"{len(known)}: questions and passages are matched by their ids ({examples}); give the same id to what is "
            "parallel"
        )
    return ParallelCollection(
        name,
        passages,
        {language: {query: texts[query] for query in shared} for language, texts in queries.items()},
        {query: tuple(relevant[query]) for query in shared},
        alignment,
        len(known) - len(shared),
        notes=notes or Notes(),
    )


def align_by_id(name: str, collections: Mapping[str, Collection]) -> ParallelCollection:
    """Join collections whose passage and query ids mean the same in every language.

    Args:
        name: Name of the result.
        collections: One by language.

    Raises:
        CollectionError: If a query has other relevant passages in another language, or no query is shared.
    """
    relevant: dict[str, tuple[str, ...]] = {}
    notes = Notes()
    for collection in collections.values():
        notes.add(collection.notes)
    for language, collection in collections.items():
        for query, grades in collection.qrels.items():
            found = tuple(sorted(passage for passage, grade in grades.items() if grade > 0))
            if relevant.setdefault(query, found) != found:
                raise CollectionError(
                    f"query {query!r} of {name!r} must have the same relevant passages in every language, got "
                    f"{', '.join(found)} in {language!r} and {', '.join(relevant[query])} before"
                )
    return keep_shared(
        name,
        {language: collection.corpus for language, collection in collections.items()},
        {language: collection.queries for language, collection in collections.items()},
        relevant,
        notes=notes,
    )


def align_by_question(name: str, collections: Mapping[str, Collection]) -> ParallelCollection:
    """Join collections whose question ids mean the same in every language, while passages have no common ids.

    The passages that answer a question in each language are one passage. Where a language answers two questions by one
    text and another by two, there are two passages, with the same text in the first language. Questions that a language
    lacks are left out, and so are passages that answer no shared question.

    Args:
        name: Name of the result.
        collections: One by language, with one relevant passage per question, as
            :mod:`isthmus.collections.squad` reads them.

    Raises:
        CollectionError: If no question is in every language.
    """
    languages = list(collections)
    first = collections[languages[0]]
    known = {query for collection in collections.values() for query in collection.queries}
    shared = [query for query in first.queries if all(query in c.queries for c in collections.values())]
    if not shared:
        examples = ", ".join(f"{next(iter(c.queries))!r} in {language!r}" for language, c in collections.items())
        raise CollectionError(
            f"files of {name!r} must use the same question ids in every language, got none in common ({examples}); "
            "give translations of one set of questions"
        )
    ids: dict[tuple[str, ...], str] = {}
    seen: dict[str, int] = {}
    qrels: dict[str, tuple[str, ...]] = {}
    for query in shared:
        answers = tuple(next(iter(collections[language].qrels[query])) for language in languages)
        if answers not in ids:
            seen[answers[0]] = seen.get(answers[0], 0) + 1
            ids[answers] = answers[0] if seen[answers[0]] == 1 else f"{answers[0]}.{seen[answers[0]]}"
        qrels[query] = (ids[answers],)
    return ParallelCollection(
        name,
        {
            language: {passage: collections[language].corpus[answers[place]] for answers, passage in ids.items()}
            for place, language in enumerate(languages)
        },
        {language: {query: collections[language].queries[query] for query in shared} for language in languages},
        qrels,
        BY_QUESTION,
        len(known) - len(shared),
        sum(
            len(collections[language].corpus) - len({answers[place] for answers in ids})
            for place, language in enumerate(languages)
        ),
    )


def sample_queries(collection: ParallelCollection, limit: int, seed: int = 0) -> ParallelCollection:
    """Keep ``limit`` questions, drawn without replacement, the same in every language; all passages stay.

    Raises:
        InputError: If ``limit`` is below 1.
    """
    if limit < 1:
        raise InputError(f"max_queries must be 1 or more, got {limit}")
    ids = list(collection.qrels)
    if limit >= len(ids):
        return collection
    places = np.sort(np.random.default_rng(seed).choice(len(ids), limit, replace=False))
    kept = [ids[place] for place in places]
    return replace(
        collection,
        queries={language: {query: texts[query] for query in kept} for language, texts in collection.queries.items()},
        qrels={query: collection.qrels[query] for query in kept},
    )


def with_distractors(collection: ParallelCollection, distractors: Texts) -> ParallelCollection:
    """Add passages from elsewhere; texts that the language's passages hold already are left out.

    Raises:
        CollectionError: If a language is unknown or an id is that of a passage.
    """
    unknown = set(distractors) - set(collection.languages)
    if unknown:
        raise CollectionError(
            f"distractors must be in the languages of {collection.name!r} ({', '.join(collection.languages)}), got "
            f"{', '.join(sorted(unknown))}"
        )
    added: Texts = {}
    for language, texts in distractors.items():
        taken = texts.keys() & collection.passages[language].keys()
        if taken:
            raise CollectionError(
                f"distractor ids in {language!r} must not be those of passages of {collection.name!r}, got "
                f"{min(taken)!r}"
            )
        known = set(collection.passages[language].values())
        added[language] = {identifier: text for identifier, text in texts.items() if text not in known}
    return replace(collection, distractors=added)
