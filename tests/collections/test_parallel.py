"""Parallel collections: how passages are aligned, which files are read, and what every refusal names."""

from __future__ import annotations

import json
import lzma
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from isthmus.collections import ParallelCollection, load_parallel
from isthmus.collections.belebele import flores_code
from isthmus.collections.parallel import sample_queries, with_distractors
from isthmus.errors import CollectionError, InputError, MissingExtraError, NotFoundError, UnknownNameError


def squad(contexts: Mapping[str, list[str]]) -> str:
    """A file of contexts, each with the ids of its questions."""
    paragraphs = [
        {"context": context, "qas": [{"id": id, "question": f"{id}?"} for id in ids]}
        for context, ids in contexts.items()
    ]
    return json.dumps({"data": [{"paragraphs": paragraphs}]})


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".xz":
            path.write_bytes(lzma.compress(content.encode()))
        else:
            path.write_text(content, encoding="utf-8")
    return folder


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def belebele(language: str, *, field: str = "flores_passage") -> str:
    return lines(
        *(
            {"link": link, "question_number": number, field: f"{language} {link}", "question": f"{language} {number}?"}
            for link, number in (("a", 1), ("a", 2), ("b", 1))
        )
    )


def test_demo_is_aligned_by_id() -> None:
    demo = load_parallel("demo", languages=["ko", "en", "ar"])
    assert demo.languages == ("ko", "en", "ar")
    assert demo.passages["ko"].keys() == demo.passages["ar"].keys()
    assert demo.qrels["q001"] == ("p001",)
    assert (demo.dropped_queries, demo.dropped_passages, len(demo.qrels)) == (0, 0, 84)


@pytest.mark.parametrize(
    "names", [("x.en.json", "x.ru.json.xz"), ("t-context-en-question-en.json", "t-context-ru-question-ru.json")]
)
def test_squad_files_are_aligned_by_question(tmp_path: Path, names: tuple[str, str]) -> None:
    """Order and grouping differ: what answers the same question in both languages is the same passage."""
    english = squad({"one": ["q1", "q2"], "two": ["q3"], "only english": ["q9"]})
    russian = squad({"два": ["q3"], "раз": ["q1", "q2"]})
    found = load_parallel(write(tmp_path, dict(zip(names, (english, russian), strict=True))), languages=["en", "ru"])
    assert found.passages == {"en": {"p0": "one", "p1": "two"}, "ru": {"p0": "раз", "p1": "два"}}
    assert found.qrels == {"q1": ("p0",), "q2": ("p0",), "q3": ("p1",)}
    assert (found.dropped_queries, found.dropped_passages) == (1, 1)


def test_mlqa_files_with_other_questions_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, {"t-context-en-question-ru.json": squad({"c": ["q"]})})
    with pytest.raises(NotFoundError, match="got none of them"):
        load_parallel(tmp_path, languages=["en", "ru"])


def test_one_text_that_is_two_elsewhere_is_two_passages(tmp_path: Path) -> None:
    files = {"x.en.json": squad({"same": ["q1", "q2"]}), "x.ru.json": squad({"раз": ["q1"], "два": ["q2"]})}
    found = load_parallel(write(tmp_path, files), languages=["en", "ru"])
    assert found.passages == {"en": {"p0": "same", "p0.2": "same"}, "ru": {"p0": "раз", "p0.2": "два"}}
    assert found.qrels == {"q1": ("p0",), "q2": ("p0.2",)}


def test_files_without_common_questions_are_refused(tmp_path: Path) -> None:
    files = {"x.en.json": squad({"c": ["q1"]}), "x.ru.json": squad({"c": ["r1"]})}
    with pytest.raises(CollectionError, match=r"same question ids .*none in common \('q1' in 'en', 'r1' in 'ru'\)"):
        load_parallel(write(tmp_path, files), languages=["en", "ru"])


def test_two_files_of_one_language_are_refused(tmp_path: Path) -> None:
    files = dict.fromkeys(("x.en.json", "y.en.json", "x.ru.json"), squad({"c": ["q1"]}))
    with pytest.raises(CollectionError, match=r"one file in 'en', got x.en.json, y.en.json"):
        load_parallel(write(tmp_path, files), languages=["en", "ru"])


@pytest.mark.parametrize("names", [("eng_Latn.jsonl", "kor_Hang.jsonl.xz"), ("en.jsonl", "ko.jsonl")])
def test_belebele_files(tmp_path: Path, names: tuple[str, str]) -> None:
    files = {names[0]: belebele("en"), names[1]: belebele("ko", field="passage")}
    found = load_parallel(write(tmp_path, files), languages=["en", "ko"])
    assert found.passages == {"en": {"p0": "en a", "p1": "en b"}, "ko": {"p0": "ko a", "p1": "ko b"}}
    assert found.queries["ko"] == {"a#1": "ko 1?", "a#2": "ko 2?", "b#1": "ko 1?"}
    assert found.qrels["a#2"] == ("p0",)
    with pytest.raises(NotFoundError, match=rf"must be among those of .*{names[0].split('.')[0]}.*got hi"):
        load_parallel(tmp_path, languages=["en", "hi"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"link": "a", "question_number": 1, "question": "q"}, "line 1: 'flores_passage' must be text"),
        ({"link": "a", "question_number": 1, "flores_passage": "p", "question": " "}, "'question' must be text"),
        ({"link": "a", "flores_passage": "p", "question": "q"}, "'question_number' must be a number, got None"),
    ],
)
def test_belebele_rows_that_do_not_fit(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(CollectionError, match=message):
        load_parallel(write(tmp_path, {"en.jsonl": lines(row), "ko.jsonl": lines(row)}), languages=["en", "ko"])


def test_belebele_from_the_data_folder_and_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(*arguments: str, **options: str) -> list[dict[str, Any]]:
        asked.append((arguments, options))
        return [{"link": "a", "question_number": 1, "flores_passage": arguments[1], "question": "q"}]

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    found = load_parallel("belebele", languages=["en", "ko"])
    assert asked == [(("facebook/belebele", code), {"split": "test"}) for code in ("eng_Latn", "kor_Hang")]
    assert found.passages == {"en": {"p0": "eng_Latn"}, "ko": {"p0": "kor_Hang"}}
    write(tmp_path / "belebele", {"en.jsonl": belebele("en"), "ko.jsonl": belebele("ko")})
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path))
    assert len(load_parallel("belebele", languages=["en", "ko"]).qrels) == 3


def test_belebele_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*arguments: str, **options: str) -> None:
        raise ConnectionError("offline")

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(NotFoundError, match=r"ISTHMUS_DATA is not set\) and for facebook/belebele eng_Latn"):
        load_parallel("belebele", languages=["en", "ko"])
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match="\\[hub\\]"):
        load_parallel("belebele", languages=["en", "ko"])


def test_flores_codes() -> None:
    assert [flores_code(code) for code in ("zh", "zh-Hant", "khk_Cyrl")] == ["zho_Hans", "zho_Hant", "khk_Cyrl"]
    assert flores_code("xx", default="xx") == "xx"
    with pytest.raises(UnknownNameError, match="language"):
        flores_code("xx")


def beir(folder: Path, corpus: str, queries: str, qrels: str) -> Path:
    return write(folder, {"corpus.jsonl": corpus, "queries.jsonl": queries, "qrels/test.tsv": qrels})


def test_beir_folder_per_language(tmp_path: Path) -> None:
    qrels = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td2\t1\n"
    for code, corpus in (("en", ("d1", "d2", "d3")), ("ru", ("d2", "d1"))):
        passages = lines(*({"_id": id, "text": f"{code} {id}"} for id in corpus))
        queries = lines(*({"_id": id, "text": f"{code} {id}"} for id in ("q1", "q2")))
        beir(tmp_path / code, passages, queries, qrels)
    found = load_parallel(tmp_path, languages=["en", "ru"])
    assert found.qrels == {"q1": ("d1",), "q2": ("d2",)}
    assert (len(found.passages["en"]), len(found.passages["ru"])) == (3, 2)
    (tmp_path / "ru" / "qrels" / "test.tsv").write_text("q1\td2\t1\n")
    with pytest.raises(CollectionError, match=r"query 'q1' .*got d2 in 'ru' and d1 before"):
        load_parallel(tmp_path, languages=["en", "ru"])


def mixed(id: str, language: str, **more: Any) -> dict[str, Any]:
    return {"_id": id, "text": f"text {id}", "language": language, **more}


def test_beir_folder_with_a_language_field(tmp_path: Path) -> None:
    corpus = lines(
        mixed("d1-en", "en"),
        mixed("d1-ko", "ko"),
        mixed("x", "en", parallel_id="d2"),
        {"_id": "y", "text": "y", "metadata": {"language": "ko", "parallel_id": 2}},
        {"_id": "z", "text": "z", "metadata": {"language": "ko", "parallel_id": "d2"}},
        mixed("d1-ru", "ru"),
    )
    queries = lines(*(mixed(f"q{n}_{code}", code) for n in (1, 2, 3) for code in ("en", "ko")), mixed("q1_ru", "ru"))
    qrels = "q1_en\td1-en\t1\nq1_ko\td1-ko\t1\nq2_en\tz\t1\nq2_en\td1-en\t0\nq3_ko\ty\t1\n"
    found = load_parallel(beir(tmp_path, corpus, queries, qrels), languages=["en", "ko"])
    assert found.passages["en"] == {"d1": "text d1-en", "d2": "text x"}
    assert found.passages["ko"] == {"d1": "text d1-ko", "2": "y", "d2": "z"}
    assert found.qrels == {"q1": ("d1",), "q2": ("d2",)}
    assert found.queries["ko"]["q2"] == "text q2_ko"
    assert found.dropped_queries == 1
    assert "parallel id" in found.alignment


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (lines({"_id": "d-en", "text": "t"}), r"corpus.jsonl, line 1: 'language' of 'd-en' must be a code, got None"),
        (lines(mixed("d", "en")), r"line 1: 'd' must have a 'parallel_id', or an '_id' that ends in -en"),
        (lines(mixed("d-en", "en"), mixed("d_en", "en"), mixed("d-ko", "ko")), r"'d' must come once in 'en'"),
        (lines(mixed("d-en", "en")), r"must be among those of .*corpus.jsonl \(en\), got ko"),
    ],
)
def test_mixed_beir_folders_that_do_not_fit(tmp_path: Path, corpus: str, message: str) -> None:
    queries = lines(mixed("q-en", "en"), mixed("q-ko", "ko"))
    first = json.loads(corpus.splitlines()[0])["_id"]
    with pytest.raises((CollectionError, NotFoundError), match=message):
        load_parallel(beir(tmp_path, corpus, queries, f"q-en\t{first}\t1\n"), languages=["en", "ko"])


@pytest.mark.parametrize("languages", [["en"], ["en", "en"], [], ["en", ""]])
def test_two_languages_are_needed(languages: list[str]) -> None:
    with pytest.raises(InputError, match="languages must be two or more different codes"):
        load_parallel("demo", languages=languages)


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    with pytest.raises(InputError, match="languages must be a list of codes, got the text 'en,ko'"):
        load_parallel("demo", languages="en,ko")
    with pytest.raises(NotFoundError, match=r"those of demo \(ar, en, hi, ko, ru, zh\), got xx, yy"):
        load_parallel("demo", languages=["en", "xx", "yy"])
    with pytest.raises(NotFoundError, match=r"'xquad' must be in one of ar, .*; got language 'ko'"):
        load_parallel("xquad", languages=["ko", "en"])
    with pytest.raises(UnknownNameError, match="parallel collection"):
        load_parallel("nothing", languages=["en", "ko"])
    with pytest.raises(NotFoundError, match="does not exist"):
        load_parallel(tmp_path / "nothing", languages=["en", "ko"])
    with pytest.raises(NotFoundError, match=r"for each of en, ko, got none of them"):
        load_parallel(tmp_path, languages=["en", "ko"])
    (tmp_path / "x.en.json").write_text("{}")
    with pytest.raises(InputError, match="must be a folder with a file per language, got the file"):
        load_parallel(tmp_path / "x.en.json", languages=["en", "ko"])


def small() -> ParallelCollection:
    passages = {code: {"a": f"{code} a", "b": f"{code} b"} for code in ("en", "ko")}
    queries = {code: {f"q{n}": f"{code} {n}" for n in range(6)} for code in ("en", "ko")}
    return ParallelCollection("small", passages, queries, {f"q{n}": ("ab"[n % 2],) for n in range(6)})


def test_collections_that_contradict_themselves() -> None:
    collection = small()
    with pytest.raises(CollectionError, match="same languages"):
        replace(collection, queries={"en": {}})
    with pytest.raises(CollectionError, match="a question that every language asks"):
        replace(collection, qrels={})
    with pytest.raises(CollectionError, match="judge exactly the questions in 'en'"):
        replace(collection, qrels={"q0": ("a",)})
    with pytest.raises(CollectionError, match=r"relevant passages in 'en', got none for \['c'\]"):
        replace(collection, qrels={f"q{n}": ("c",) for n in range(6)})


def test_sampled_questions_are_the_same_everywhere_and_repeat() -> None:
    sampled = sample_queries(small(), 3, seed=1)
    assert list(sampled.qrels) == list(sampled.queries["en"]) == list(sampled.queries["ko"])
    assert len(sampled.qrels) == 3
    assert sampled.passages == small().passages
    assert sample_queries(small(), 3, seed=1) == sampled
    assert {tuple(sample_queries(small(), 3, seed=seed).qrels) for seed in range(5)} > {tuple(sampled.qrels)}
    assert sample_queries(small(), 6) == small()
    with pytest.raises(InputError, match="max_queries must be 1 or more, got 0"):
        sample_queries(small(), 0)
    with pytest.raises(InputError, match="seed must be 0 or more, got -1"):
        load_parallel("demo", languages=["en", "ko"], max_queries=3, seed=-1)


def test_distractors_by_language(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            f"{code}.jsonl": lines(*({"id": f"x{n}", "text": f"{code} {'ab.'[n]}"} for n in range(3)))
            for code in ("en", "ko")
        },
    )
    with pytest.raises(InputError, match=r"must be a path with {language} in it"):
        load_parallel("demo", languages=["en", "ko"], distractors=tmp_path / "en.jsonl")
    with pytest.raises(InputError, match="max_distractors must come with distractors, got 2 alone"):
        load_parallel("demo", languages=["en", "ko"], max_distractors=2)
    found = load_parallel("demo", languages=["en", "ko"], distractors=tmp_path / "{language}.jsonl", max_distractors=2)
    assert {code: len(texts) for code, texts in found.distractors.items()} == {"en": 2, "ko": 2}
    added = with_distractors(small(), {"en": {"x": "en a", "y": "new"}})
    assert added.distractors == {"en": {"y": "new"}}
    with pytest.raises(CollectionError, match=r"distractor ids in 'en' .*got 'a'"):
        with_distractors(small(), {"en": {"a": "new"}})
    with pytest.raises(CollectionError, match=r"languages of 'small' \(en, ko\), got ru"):
        with_distractors(small(), {"ru": {}})


@pytest.mark.data
@pytest.mark.skipif("ISTHMUS_DATA" not in os.environ, reason="ISTHMUS_DATA is not set")
def test_published_xquad_is_parallel() -> None:
    found = load_parallel("xquad", languages=["en", "ar", "zh"])
    assert {len(texts) for texts in found.passages.values()} == {240}
    assert (len(found.qrels), found.dropped_queries, found.dropped_passages) == (1190, 0, 0)
