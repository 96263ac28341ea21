"""``isthmus encode``, ``index`` and ``search``: what scripts read, and what people are told."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import write_lines
from tests.tiny_encoders import splade

ROWS = [
    {"id": "a", "text": "the house of water", "language": "en", "year": 2001},
    {"id": "b", "text": "war", "title": "capital", "language": "ko", "year": 2002},
    {"id": "c", "text": "", "language": "en", "year": 2002},
    {"id": "d", "text": "school school", "language": "zh", "year": 2001},
]


@pytest.fixture
def corpus(tmp_path):
    write_lines(tmp_path / "corpus.jsonl", ROWS)
    return tmp_path / "corpus.jsonl"


def test_index_and_search(call, run, folders, corpus, tmp_path):
    idx = tmp_path / "idx"
    (built,) = call("index", folders / "source", corpus, "-o", idx)
    assert {"documents", "postings", "bytes", "seconds"} <= built.keys()
    assert (built["documents"], built["empty"], built["model"]) == (4, 1, str(folders / "source"))
    (found,) = call("search", idx, "house", "--explain", "--top-k", 2)
    assert found["query"] == "house"
    assert [hit["score"] for hit in found["hits"]] == sorted((hit["score"] for hit in found["hits"]), reverse=True)
    texts = {row["id"]: row["text"] for row in ROWS}
    for hit in found["hits"]:
        assert hit["text"] == texts[hit["id"]]
        assert sum(match["score"] for match in hit["matches"]) == pytest.approx(hit["score"], rel=1e-5)
    code, out, err = run("search", idx, "house", "--explain")
    assert code == 0, err
    assert found["hits"][0]["matches"][0]["token"] in out
    assert "the house of water" in out


def test_index_of_an_encoded_folder(call, run, folders, corpus, tmp_path):
    arguments = ["encode", folders / "source", corpus, "-o", tmp_path / "encoded", "--part-size", 3, "--weights", "u8"]
    (done,) = call(*arguments)
    assert (done["documents"], done["parts"], done["empty"]) == (4, 2, 1)
    assert done["error"] > 0
    code, out, err = run(*arguments)
    assert code == 0, err
    assert "stored weights are off by at most" in out
    assert "isthmus index" in out
    (built,) = call("index", folders / "source", tmp_path / "encoded", "-o", tmp_path / "idx")
    assert (built["documents"], built["postings"]) == (4, done["postings"])


def test_filters_and_files_of_queries(call, run, folders, corpus, tmp_path):
    idx = tmp_path / "idx"
    call("index", folders / "source", corpus, "-o", idx)
    (found,) = call(
        "search", idx, "house", "--filter", "language=ko", "--filter", "language=zh", "--filter", "year=2002"
    )
    assert {hit["id"] for hit in found["hits"]} == {"b"}
    (tmp_path / "queries.txt").write_text("house\n\nwar\n")
    assert [row["query"] for row in call("search", idx, "--queries", tmp_path / "queries.txt")] == ["house", "war"]
    write_lines(tmp_path / "queries.jsonl", [{"id": "q1", "text": "house"}, {"id": "q2", "text": "war"}])
    rows = call("search", idx, "--queries", tmp_path / "queries.jsonl")
    assert [row["id"] for row in rows] == ["q1", "q2"]
    (alone,) = call("search", idx, "war")
    assert [hit["id"] for hit in rows[1]["hits"]] == [hit["id"] for hit in alone["hits"]]
    code, out, _ = run("search", idx, "house", "--filter", "language=xx")
    assert code == 0
    assert "none fits the filter" in out


def test_add_update_delete_compact_verify(call, run, folders, corpus, tmp_path):
    idx = tmp_path / "idx"
    call("index", folders / "source", corpus, "-o", idx)
    more = tmp_path / "more.jsonl"
    write_lines(more, [{"id": "e", "text": "home"}, {"id": "a", "text": "korea"}])
    code, _, err = run("index", folders / "source", more, "-o", idx, "--add")
    assert code == 2
    assert "document 'a' is in the index already" in err
    (changed,) = call("index", folders / "source", more, "-o", idx, "--update")
    assert (changed["documents"], changed["added"], changed["deleted"]) == (5, 2, 1)
    (tmp_path / "gone.txt").write_text("b\nd\n")
    (changed,) = call("index", "-o", idx, "--delete-ids", tmp_path / "gone.txt")
    assert (changed["documents"], changed["removed"], changed["deleted"]) == (3, 2, 3)
    (changed,) = call("index", "-o", idx, "--compact", "--verify")
    assert (changed["documents"], changed["deleted"], changed["segments"]) == (3, 0, 1)
    code, out, err = run("index", "-o", idx, "--verify")
    assert code == 0, err
    assert "all files are as they were written" in out
    rows = next((idx / "segments").glob("*/rows.npy"))
    rows.write_bytes(rows.read_bytes()[:-1] + b"\xff")
    code, _, err = run("index", "-o", idx, "--verify")
    assert code == 2
    assert "is damaged" in err


def test_a_corpus_from_a_pipe(call, folders, tmp_path, monkeypatch):
    import io

    content = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    (built,) = call("index", folders / "source", "-", "-o", tmp_path / "idx")
    assert built["documents"] == 4


def test_another_model_has_to_be_asked_for(call, run, folders, corpus, tmp_path):
    idx = tmp_path / "idx"
    call("index", folders / "source", corpus, "-o", idx)
    splade(tmp_path / "backbone", seed=3).save_pretrained(str(tmp_path / "other"))
    code, _, err = run("search", idx, "house", "--model", tmp_path / "other")
    assert code == 2
    assert "--any-model" in err
    assert call("search", idx, "house", "--model", tmp_path / "other", "--any-model")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "-o", "idx"], "MODEL and CORPUS must be given"),
        (["index", "MODEL", "-o", "idx"], "CORPUS must be given"),
        (["index", "MODEL", "CORPUS", "-o", "idx", "--compact"], "must come with --add or --update"),
        (["index", "MODEL", "CORPUS", "-o", "idx", "--add", "--overwrite"], "--overwrite builds a new index"),
        (["index", "MODEL", "CORPUS", "-o", "opensearch://h/test-*", "--overwrite"], "wildcards, lists"),
        (["index", "MODEL", "CORPUS", "-o", "opensearch://h/x", "--update", "--shards", "2"], "with a new index"),
        (["index", "MODEL", "CORPUS", "-o", "idx", "--replicas", "2"], "replicas must come with opensearch://"),
        (["index", "MODEL", "none.jsonl", "-o", "idx"], "none.jsonl does not exist"),
        (["index", "none/model/x", "CORPUS", "-o", "idx"], "does not exist"),
        (["encode", "MODEL", "corpus.txt", "-o", "enc"], "must end in .jsonl, .csv or .parquet"),
        (["search", "idx"], "QUERY or --queries must be given, got neither"),
        (["search", "idx", "house", "--queries", "q.txt"], "got both"),
        (["search", "idx", "house", "--filter", "ko"], "--filter must be FIELD=VALUE"),
        (["search", "idx", "house"], "must be an index, but has no manifest.json"),
    ],
)
def test_refusals(run, folders, corpus, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    known = {"MODEL": folders / "source", "CORPUS": corpus}
    code, _, err = run(*(known.get(argument, argument) for argument in arguments))
    assert code == 2
    assert message in err
    assert not (tmp_path / "idx").exists()
    assert not (tmp_path / "enc").exists()
