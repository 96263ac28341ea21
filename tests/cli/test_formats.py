"""Files as people bring them, from the command line: what is said, counted and refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import write_lines

CORPUS = [
    {"_id": "a", "text": "the house", "metadata": {"language": "en", "year": 2020.0}},
    {"_id": "b", "text": "water and war", "metadata": {"language": "de", "year": 2020}},
    {"_id": "e", "title": "", "text": "", "metadata": {}},
]


@pytest.fixture
def dev(tmp_path: Any) -> Any:
    """A folder with judgements of a split of its own, a passage without text and a judgement of what is not there."""
    write_lines(tmp_path / "corpus.jsonl", CORPUS)
    (tmp_path / "topics.dev.tsv").write_text("q1\thouse\nq2\twar\nq3\tnothing\n")
    (tmp_path / "qrels.dev.tsv").write_text("q1 Q0 a 1.0\nq2 Q0 gone 1\n")
    return tmp_path


def test_evaluate_says_what_it_took_for_granted(call: Any, run: Any, folders: Any, dev: Any) -> None:
    asked = ("evaluate", folders / "source", "--collection", dev, "--split", "dev")
    code, out, err = run(*asked)
    assert code == 0, err
    assert f"{dev.name}: 2 queries, 3 documents; 1 query without a relevant passage left out" in out
    assert "note: 1 passage has no text, no query finds it ('e' in" in err
    assert "note: 1 judgement is of a passage that is not there" in err
    (row,) = call(*asked)
    assert row["settings"]["reading"] == {"passages_without_text": 1, "judgements_of_missing_passages": 1}
    assert row["recall@100"] == 0.5
    code, _, err = run(*asked, "--strict")
    assert (code, "corpus.jsonl, line 3: 'e': passage has no text" in err) == (2, True)
    code, _, err = run(*asked[:-2])
    assert (code, "choose another split with --split (dev)" in err) == (2, True)


def test_bm25_without_a_language_says_what_it_counts(run: Any, dev: Any) -> None:
    code, out, err = run("evaluate", "bm25", "--collection", dev, "--split", "dev")
    assert code == 0, err
    assert "0.500" in out
    assert "note: BM25 counts the subwords of isthmus/mini-bridge" in err


def test_audit_says_what_it_took_for_granted(run: Any, tmp_path: Any) -> None:
    for language in ("en", "de"):
        folder = tmp_path / language
        (folder / "qrels").mkdir(parents=True)
        write_lines(folder / "corpus.jsonl", CORPUS)
        write_lines(folder / "queries.jsonl", [{"_id": "q", "text": "house"}])
        (folder / "qrels" / "test.tsv").write_text("q\ta\t1\n")
    asked = ("audit", "bm25", "--collection", tmp_path, "--languages", "en,de", "--resamples", 10)
    code, out, err = run(*asked, "--json")
    assert code == 0, err
    assert all(json.loads(line)["reading"] == {"passages_without_text": 2} for line in out.splitlines())
    assert "note: 2 passages have no text, no query finds them (first 'e' in" in err
    assert run(*asked, "--strict")[0] == 2


def test_metadata_of_beir_can_be_filtered_by(call: Any, run: Any, folders: Any, dev: Any, tmp_path: Any) -> None:
    (built,) = call("index", folders / "source", dev / "corpus.jsonl", "-o", tmp_path / "idx")
    assert built["reading"] == {"passages_without_text": 1}
    for wanted, expected in (("language=de", {"b"}), ("year=2020", {"a", "b"}), ("year=2020.0", {"a", "b"})):
        (found,) = call("search", tmp_path / "idx", "house war", "--filter", wanted)
        assert {hit["id"] for hit in found["hits"]} == expected
    code, _, err = run("index", folders / "source", dev / "corpus.jsonl", "-o", tmp_path / "strict", "--strict")
    assert (code, "leave out --strict" in err) == (2, True)


@pytest.mark.parametrize("command", ["index", "encode"])
def test_fields_and_delimiters(call: Any, run: Any, folders: Any, tmp_path: Any, command: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("key;head;body\r\n1;T;the house\r\n2;;war\r\n".encode("utf-16"))
    asked = (command, folders / "source", path, "-o", tmp_path / "out")
    code, _, err = run(*asked)
    assert (code, "the fields are key, head, body" in err, "--id-field" in err) == (2, True, True)
    named = ("--id-field", "key", "--title-field", "head", "--text-field", "body")
    (made,) = call(*asked, *named)
    assert (made["documents"], made["reading"]) == (2, {"decoded_files": 1, "other_delimiters": 1})


def test_fields_with_a_lexical_part(call: Any, folders: Any, tmp_path: Any) -> None:
    rows = [{"key": n, "body": text} for n, text in enumerate(("the house", "water", "school .") * 4 + ("",))]
    write_lines(tmp_path / "rows.jsonl", rows)
    named = ("--id-field", "key", "--text-field", "body", "--lexical", "echo")
    (made,) = call("index", folders / "source", tmp_path / "rows.jsonl", "-o", tmp_path / "idx", *named)
    assert (made["documents"], made["reading"]) == (13, {"passages_without_text": 1})


def test_files_of_queries_are_topics_too(call: Any, folders: Any, dev: Any, tmp_path: Any) -> None:
    call("index", folders / "source", dev / "corpus.jsonl", "-o", tmp_path / "idx")
    found = call("search", tmp_path / "idx", "--queries", dev / "topics.dev.tsv")
    assert [(row["id"], row["query"]) for row in found] == [("q1", "house"), ("q2", "war"), ("q3", "nothing")]


def test_warnings_are_one_line(run: Any, folders: Any, tmp_path: Any, recwarn: Any) -> None:
    import warnings

    rows = [{"query": f"q{n}", "pos": ["house"], "neg": ["war"] * (n % 2)} for n in range(4)]
    write_lines(tmp_path / "rows.jsonl", rows)
    run("mine", folders / "source", "--train", tmp_path / "rows.jsonl", "-o", tmp_path / "mined.jsonl")
    (said,) = [warning for warning in recwarn if "fewer negatives" in str(warning.message)]
    shown = warnings.formatwarning(said.message, said.category, said.filename, said.lineno)
    assert shown == f"warning: {said.message}\n"
