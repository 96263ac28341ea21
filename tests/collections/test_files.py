"""Readers of single formats: what they accept, and what every refusal names."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus.collections import Collection, load
from isthmus.collections.distractors import add_distractors, read_distractors
from isthmus.collections.squad import read_squad
from isthmus.errors import CollectionError, InputError, NotFoundError

CORPUS = ['{"_id": "d1", "title": "Rain", "text": "It falls."}', '{"_id": "d2", "title": "", "text": " Snow. "}', ""]
QUERIES = ['{"_id": "q1", "text": "wet?"}', '{"_id": "q2", "text": "cold?"}', '{"_id": "q3", "text": "unknown?"}']
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t1", "q2\td2\t2", "q2\td1\t0"]


def beir(folder: Path, corpus: Any = CORPUS, queries: Any = QUERIES, qrels: Any = QRELS) -> Path:
    """Write a BEIR folder; None leaves a file out."""
    (folder / "qrels").mkdir(parents=True)
    for name, lines in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/test.tsv", qrels)):
        if lines is not None:
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def squad(*paragraphs: dict[str, Any]) -> str:
    return json.dumps({"data": [{"paragraphs": list(paragraphs)}]})


def question(identifier: str, text: str = "who?", **more: Any) -> dict[str, Any]:
    return {"id": identifier, "question": text, **more}


def test_beir_folder(tmp_path: Path) -> None:
    collection = load(beir(tmp_path / "weather"), language="en")
    assert collection == Collection(
        name="weather",
        corpus={"d1": "Rain It falls.", "d2": "Snow."},
        queries={"q1": "wet?", "q2": "cold?"},
        qrels={"q1": {"d1": 1}, "q2": {"d2": 2, "d1": 0}},
        language="en",
        dropped_queries=1,
    )


def test_qrels_without_header(tmp_path: Path) -> None:
    assert load(beir(tmp_path / "c", qrels=QRELS[1:])) == load(beir(tmp_path / "d" / "c"))


def test_escaped_text_beyond_the_first_plane(tmp_path: Path) -> None:
    corpus = ['{"_id": "d1", "text": "\\ud83d\\ude00"}', '{"_id": "d2", "text": "C:\\\\udir"}']
    assert load(beir(tmp_path / "c", corpus)).corpus == {"d1": "\U0001f600", "d2": "C:\\udir"}


def test_whole_numbers_as_ids(tmp_path: Path) -> None:
    corpus, queries = ['{"_id": 1, "text": "a"}'], ['{"_id": 7, "text": "b"}']
    assert load(beir(tmp_path / "c", corpus, queries, ["7\t1\t1"])).qrels == {"7": {"1": 1}}


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_compressed_files(tmp_path: Path, suffix: str, opener: Callable[..., Any]) -> None:
    folder = beir(tmp_path / "c", corpus=None)
    with opener(folder / f"corpus.jsonl{suffix}", "wt", encoding="utf-8") as stream:
        stream.write("\n".join(CORPUS))
    assert len(load(folder).corpus) == 2
    with opener(tmp_path / f"s.json{suffix}", "wt", encoding="utf-8") as stream:
        stream.write(squad({"context": "c", "qas": [question("1")]}))
    assert load(tmp_path / f"s.json{suffix}").name == "s"


def test_zstandard(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="needs the extra zstd")
    folder = beir(tmp_path / "c", corpus=None)
    (folder / "corpus.jsonl.zst").write_bytes(zstandard.compress("\n".join(CORPUS).encode()))
    assert len(load(folder).corpus) == 2
    content = zstandard.compress(squad({"context": "c", "qas": [question("1")]}).encode())
    (tmp_path / "s.json.zst").write_bytes(content)
    assert load(tmp_path / "s.json.zst").name == "s"
    for damaged in (content[:-4], content[:5] + b"\xff" * 9, b"no zstandard"):
        (tmp_path / "s.json.zst").write_bytes(damaged)
        with pytest.raises(CollectionError, match="is damaged"):
            load(tmp_path / "s.json.zst")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"corpus": ['{"_id": "d1", "text": "a"}', '{"_id": "d2"']}, r"corpus.jsonl, line 2: must be JSON"),
        ({"corpus": ["[1]"]}, "corpus.jsonl, line 1: must be an object with id and text, got list"),
        ({"corpus": ['{"text": "a"}']}, "line 1: id must be a string that is not empty, got None"),
        (
            {"corpus": ['{"_id": "d1"}']},
            "line 1: text .* of 'd1' must be a string, got None; the fields are _id; .*--text-field",
        ),
        (
            {"corpus": [CORPUS[0], CORPUS[1].replace("d2", "d1")]},
            "line 2: id must be unique, got 'd1' again, with other contents; remove one",
        ),
        ({"corpus": [], "qrels": []}, "at least one passage"),
        ({"queries": ['{"_id": "q1", "text": ""}']}, "queries.jsonl, line 1: text of 'q1' must not be empty"),
        ({"corpus": ['{"_id": "d1", "text": "a \\uD800"}']}, "line 1: id, text and title of 'd1' must be Unicode"),
        ({"corpus": ["[" * 100_000]}, r"line 1: must be JSON, got '\[\["),
        ({"qrels": ["q1\td1"]}, "test.tsv, line 1: must be query id, passage id, grade"),
        ({"qrels": ["q1\td1\tyes"]}, "line 1: grade must be a whole number, got 'yes'"),
        ({"qrels": [*QRELS[:2], "q1\td2\tscore"]}, "line 3: grade must be a whole number, got 'score'"),
        (
            {"qrels": ["q9\td1\t1"]},
            "test.tsv: judgements must be of the queries .* got none that is .the first is of 'q9' and 'd1'.",
        ),
        ({"qrels": ["q1\td9\t1"]}, "got none that is .the first is of 'q1' and 'd9'."),
        ({"qrels": ["q1\td1\t1", "q1\td1\t2"]}, "line 2: a passage must be judged once per query, .* 2 after 1"),
        ({"qrels": ["q1\td1\t0"]}, "at least one query with a relevant passage, got none of 3"),
    ],
)
def test_beir_refusals(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    with pytest.raises(CollectionError, match=message):
        load(beir(tmp_path / "c", **files))


@pytest.mark.parametrize("missing", ["queries", "qrels"])
def test_missing_beir_files(tmp_path: Path, missing: str) -> None:
    with pytest.raises(NotFoundError, match=f"{missing}.* does not exist; the folder holds"):
        load(beir(tmp_path / "c", **{missing: None}))


def test_missing_split_lists_the_others(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"dev.tsv does not exist; the folder holds test.tsv"):
        load(beir(tmp_path / "c"), split="dev")


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    folder = beir(tmp_path / "c")
    (folder / "corpus.jsonl").write_bytes(CORPUS[0].encode() + b'\n{"_id": "d2", "text": "\xff"}\n')
    with pytest.raises(CollectionError, match=r"corpus.jsonl, line 2: must be UTF-8 text"):
        load(folder)


def test_damaged_compression(tmp_path: Path) -> None:
    (tmp_path / "s.json.xz").write_bytes(lzma.compress(b"{}" * 5000)[:40])
    (tmp_path / "s.json.gz").write_bytes(b"no gzip")
    for suffix in (".xz", ".gz"):
        with pytest.raises(CollectionError, match="is damaged"):
            load(tmp_path / f"s.json{suffix}")


def test_squad_contexts_become_passages(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(
        squad(
            {"context": " one ", "qas": [question("a", " first? "), question("b")]},
            {"context": "two", "qas": [question("c", is_impossible=True), question("d", "")]},
            {"context": "one", "qas": [question("e", is_impossible=False)]},
        )
    )
    assert read_squad(path, language="en") == Collection(
        name="facts",
        corpus={"p0": "one", "p1": "two"},
        queries={"a": "first?", "b": "who?", "e": "who?"},
        qrels={"a": {"p0": 1}, "b": {"p0": 1}, "e": {"p0": 1}},
        language="en",
        dropped_queries=2,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [\n1,\n}', r"facts.json, line 3: must be JSON"),
        ("[]", "'data' must be a list, got NoneType; is this a SQuAD file"),
        ("[" * 100_000, "facts.json is damaged"),
        ('{"data": ' + "9" * 5000 + "}", "facts.json is damaged"),
        (squad({"context": "\ud800", "qas": []}), "'context' must be text, got"),
        ('{"data": [{}]}', r"data\[0\]: 'paragraphs' must be a list"),
        (squad({"qas": []}), r"data\[0\].paragraphs\[0\]: 'context' must be text, got None"),
        (squad({"context": " ", "qas": []}), "'context' must not be empty"),
        (squad({"context": "c"}), "'qas' must be a list"),
        (squad({"context": "c", "qas": [{"id": "1"}]}), r"qas\[0\]: 'question' must be text, got None"),
        (squad({"context": "c", "qas": [{"question": "q"}]}), "'id' must be a string that is not empty, got None"),
        (squad({"context": "c", "qas": [question("1"), question("1")]}), "question id must be unique, got '1' again"),
        (
            squad({"context": "c", "qas": [question("1", "")]}),
            "at least one query with a relevant passage, got none of 1",
        ),
    ],
)
def test_squad_refusals(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "facts.json"
    path.write_text(content)
    with pytest.raises(CollectionError, match=message):
        load(path)


def test_distractors_enlarge_the_pool(tmp_path: Path) -> None:
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join(json.dumps({"id": f"x{i}", "text": f"text {i}"}) for i in range(20)))
    plain = load(beir(tmp_path / "c"))
    whole = load(tmp_path / "c", distractors=path)
    assert list(whole.corpus) == ["d1", "d2", *(f"x{i}" for i in range(20))]
    assert (whole.distractors, whole.qrels) == (20, plain.qrels)
    some = load(tmp_path / "c", distractors=path, max_distractors=5, seed=1)
    assert some.distractors == 5
    assert some == load(tmp_path / "c", distractors=path, max_distractors=5, seed=1)
    assert some != load(tmp_path / "c", distractors=path, max_distractors=5, seed=2)
    assert [i for i in whole.corpus if i in some.corpus] == list(some.corpus)
    assert load(tmp_path / "c", distractors=path, max_distractors=0) == plain
    with pytest.raises(InputError, match="limit must be 0 or more"):
        read_distractors(path, limit=-1)


def test_distractors_equal_to_a_passage_are_left_out() -> None:
    collection = Collection("c", {"d": "same"}, {"q": "?"}, {"q": {"d": 1}})
    assert add_distractors(collection, {"x": "same", "y": "other"}).corpus == {"d": "same", "y": "other"}
    with pytest.raises(CollectionError, match="must not be in the corpus of 'c', got 'd'"):
        add_distractors(collection, {"d": "other"})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"qrels": {"q": {"d": 1}, "r": {"d": 1}}}, "must name known queries, got 'r'"),
        ({"qrels": {"q": {"d": 0}}}, "query 'q' of 'c' must have a relevant passage"),
        ({"queries": {}, "qrels": {}}, "at least one query"),
    ],
)
def test_collection_is_checked(parts: dict[str, Any], message: str) -> None:
    whole: dict[str, Any] = {"corpus": {"d": "text"}, "queries": {"q": "?"}, "qrels": {"q": {"d": 1}}}
    with pytest.raises(CollectionError, match=message):
        Collection("c", **{**whole, **parts})


def test_json_complaint_names_the_column_and_one_line_only(tmp_path: Path) -> None:
    folder = beir(tmp_path / "c", corpus=['{"_id": "d1", "text": "a"}', '{"_id" "d2"}'])
    with pytest.raises(
        CollectionError,
        match=r"line 2: must be JSON, got .* \(Expecting ':' delimiter, column 8\); mend the line or remove it$",
    ):
        load(folder)


def test_missing_id_lists_the_fields(tmp_path: Path) -> None:
    folder = beir(tmp_path / "c", corpus=['{"key": "d1", "text": "a"}'])
    with pytest.raises(CollectionError, match=r"id must be .* got None; the fields are key, text; .*--id-field"):
        load(folder)
