"""Pools: what is in each, and what is relevant in it."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.auditing.pools import RULES, Documents, Pool, build_pools, with_copies
from isthmus.collections import ParallelCollection
from isthmus.collections.parallel import with_distractors
from isthmus.errors import InputError, UnknownNameError

LANGUAGES = ("en", "ko", "ru")


@pytest.fixture
def collection() -> ParallelCollection:
    """Passages a to d; a and b have the same text in Korean; d is relevant to nothing."""
    passages = {code: {id: f"{code} {id}" for id in "abcd"} for code in LANGUAGES}
    passages["ko"]["b"] = passages["ko"]["a"]
    qrels = {"q1": ("a",), "q2": ("b",), "q3": ("b", "c")}
    return ParallelCollection("c", passages, {code: {id: id for id in qrels} for code in LANGUAGES}, qrels)


def texts(pool: Pool, documents: Documents, query: int | None = None) -> set[str]:
    places = pool.places if query is None else pool.candidates(query)
    return {documents.texts[place] for place in places}


def golds(pool: Pool, documents: Documents) -> list[set[str]]:
    return [{documents.texts[place] for place in relevant} for relevant in pool.golds]


def built(collection: ParallelCollection, *names: str, **options: float) -> tuple[list[Pool], Documents]:
    documents = Documents(collection)
    return build_pools(collection, documents, names, **options), documents  # type: ignore[arg-type]


def test_same_texts_of_a_language_are_one_document(collection: ParallelCollection) -> None:
    documents = Documents(collection, seed=3)
    assert len(documents) == 11
    assert documents.place["ko", "a"] == documents.place["ko", "b"]
    assert documents.place["en", "a"] != documents.place["ko", "a"]
    assert documents.ids[documents.place["ko", "b"]] == "a"
    assert documents.texts != Documents(collection, seed=4).texts
    assert documents.texts == Documents(collection, seed=3).texts


def test_mono_pools(collection: ParallelCollection) -> None:
    pools, documents = built(collection, "mono-same", "mono-cross")
    assert [pool.info.key for pool in pools] == [
        *(("mono-same", code, (code,)) for code in LANGUAGES),
        *(("mono-cross", code, (other,)) for code in LANGUAGES for other in LANGUAGES if other != code),
    ]
    korean = pools[1]
    assert texts(korean, documents) == {"ko a", "ko c", "ko d"}
    assert golds(korean, documents) == [{"ko a"}, {"ko a"}, {"ko a", "ko c"}]
    info = korean.info
    assert (info.documents, info.duplicates, info.distractors) == (3, 1, 0)
    assert (info.golds, info.golds_range, info.documents_by_language) == (4 / 3, (1, 2), {"ko": 3})
    assert info.rule == RULES["mono-same"]
    assert "same text" in info.deduplication
    assert "Irrelevant documents come before" in info.ties


def test_multi_and_pairs(collection: ParallelCollection) -> None:
    (english, *_, russian), documents = built(collection, "multi")
    assert texts(english, documents) == texts(russian, documents) == set(documents.texts)
    assert golds(english, documents)[2] == {f"{code} {id}" for code in LANGUAGES for id in "bc"} - {"ko b"} | {"ko a"}
    assert english.info.documents_by_language == {"en": 4, "ko": 3, "ru": 4}
    pairs, _ = built(collection, "pairs")
    keys = [(pool.info.query_language, pool.info.languages) for pool in pairs]
    assert keys[:3] == [("en", ("en", "ko")), ("en", ("en", "ru")), ("ko", ("en", "ko"))]
    assert len(pairs) == 6


def test_partly_parallel(collection: ParallelCollection) -> None:
    pools, documents = built(collection, "partly-parallel", share=1.0)
    assert len({frozenset(texts(pool, documents)) for pool in pools}) == 1
    there = texts(pools[0], documents)
    for passage in "ac":
        assert sum(f"{code} {passage}" in there for code in LANGUAGES) >= 1
    assert {f"{code} d" for code in LANGUAGES} <= there
    # Two passages share a Korean text, so a question may have a document more than the draw left it.
    assert all(1 <= len(relevant) <= 2 for relevant in golds(pools[0], documents)[:2])
    whole, _ = built(collection, "partly-parallel", share=0.0)
    assert whole[0].info.documents == 11
    some, _ = built(collection, "partly-parallel", share=1 / 3)
    assert 11 > some[0].info.documents >= 8
    again, _ = built(collection, "partly-parallel", share=1.0)
    assert [pool.places.tolist() for pool in again] == [pool.places.tolist() for pool in pools]


def test_english_distractors(collection: ParallelCollection) -> None:
    """Each question has the passages that answer it in its own language, and the others in English."""
    extended = with_distractors(collection, {"en": {"x": "en x"}, "ru": {"y": "ru y"}})
    (korean, russian), documents = built(extended, "english-distractors")
    assert (korean.info.query_language, korean.info.languages) == ("ko", ("en", "ko"))
    assert texts(korean, documents, 0) == {"ko a", "en b", "en c", "en d", "en x"}
    assert texts(korean, documents, 2) == {"ko a", "ko c", "en a", "en d", "en x"}
    assert texts(russian, documents, 2) == {"ru b", "ru c", "en a", "en d", "en x"}
    assert golds(russian, documents)[2] == {"ru b", "ru c"}
    assert (korean.info.documents, korean.info.distractors) == (5, 1)
    assert all(np.all(np.diff(korean.candidates(query)) > 0) for query in range(3))


def test_distractors_join_the_pools_of_their_language(collection: ParallelCollection) -> None:
    extended = with_distractors(collection, {"ko": {"x": "ko x"}})
    pools, documents = built(extended, "mono-same", "multi")
    assert [pool.info.distractors for pool in pools] == [0, 1, 0, 1, 1, 1]
    assert "ko x" in texts(pools[1], documents)
    assert all("ko x" not in relevant for relevant in golds(pools[3], documents))


def test_refusals(collection: ParallelCollection) -> None:
    with pytest.raises(UnknownNameError, match=r"pool must be one of .*multi.*; got 'both'"):
        built(collection, "both")
    with pytest.raises(InputError, match="pools must be one or more different names, got none"):
        built(collection)
    with pytest.raises(InputError, match="different names, got multi, multi"):
        built(collection, "multi", "multi")
    with pytest.raises(InputError, match=r"share must be in 0\.\.1, got 2"):
        built(collection, "multi", share=2)
    rest = {code: collection.passages[code] for code in ("ko", "ru")}
    without = ParallelCollection("c", rest, {code: collection.queries[code] for code in rest}, collection.qrels)
    with pytest.raises(InputError, match="must include 'en' for the pool 'english-distractors', got ko, ru"):
        built(without, "english-distractors")


def test_with_copies_no_two_questions_share_a_document(collection: ParallelCollection) -> None:
    """q1 asks a, q2 asks b, q3 asks b and c: four copies in each language, and d, which nobody asks for."""
    copied = with_copies(collection)
    documents = Documents(copied, keep_copies=True)
    assert len(documents) == 3 * (4 + 1)
    english, korean, _ = build_pools(copied, documents, ["mono-same"], keep_copies=True)
    assert sorted(documents.texts[place] for place in english.places) == ["en a", "en b", "en b", "en c", "en d"]
    assert golds(korean, documents) == [{"ko a"}, {"ko a"}, {"ko a", "ko c"}]
    assert len(np.unique(np.concatenate(korean.golds))) == 4
    # What has the same text is told, within a language.
    places = korean.places
    assert len(np.unique(documents.text_numbers[places])) == 3
    assert len(np.unique(documents.text_numbers)) == 4 + 3 + 4
    info = korean.info
    assert (info.documents, info.duplicates, info.golds_range, info.keep_copies) == (5, 0, (1, 2), True)
    assert "copies of its own" in info.deduplication
    assert "irrelevant" in info.deduplication
    merged, _ = built(collection, "mono-same")
    assert not merged[0].info.keep_copies


def test_english_distractors_with_copies(collection: ParallelCollection) -> None:
    """English copies of other questions stay, also where they translate what is relevant."""
    copied = with_copies(collection)
    documents = Documents(copied, keep_copies=True)
    russian = build_pools(copied, documents, ["english-distractors"], keep_copies=True)[-1]
    found = sorted(documents.texts[place] for place in russian.candidates(1))
    assert found == ["en a", "en b", "en c", "en d", "ru b"]
