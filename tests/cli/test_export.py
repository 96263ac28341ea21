"""``isthmus export``, ``isthmus parity``, and ``index`` and ``search`` with the URL of a server."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import write_lines
from tests.engines.fake import serving

ROWS = [
    {"id": "a", "text": "the house of water", "language": "en"},
    {"id": "b", "text": "war", "language": "ko"},
    {"id": "c", "text": "", "language": "en"},
]


@pytest.fixture
def corpus(tmp_path):
    write_lines(tmp_path / "corpus.jsonl", ROWS)
    return tmp_path / "corpus.jsonl"


@pytest.fixture
def idx(run, folders, corpus, tmp_path):
    code, _, err = run("index", folders / "source", corpus, "-o", tmp_path / "idx", "--json")
    assert code == 0, err
    return tmp_path / "idx"


@pytest.mark.parametrize("format", ["qdrant", "anserini", "vespa", "opensearch"])
def test_export(run, idx, tmp_path, format):
    code, out, err = run("export", idx, "--format", format, "-o", tmp_path / "out", "--json")
    assert code == 0, err
    done = json.loads(out)
    assert (done["format"], done["documents"]) == (format, 3)
    assert done["postings"] > 0
    code, out, err = run("export", idx, "--format", format, "-o", tmp_path / "out", "--overwrite")
    assert code == 0, err
    assert "3 documents" in out
    assert ("impacts are rint(weight * 100)" in out) == (format == "anserini")


def test_export_refuses(run, idx, tmp_path):
    code, _, err = run("export", idx, "--format", "qdrant", "-o", idx)
    assert code == 1
    assert "already exists" in err
    code, _, err = run("export", tmp_path / "none", "--format", "qdrant", "-o", tmp_path / "out")
    assert code == 2
    assert "must be an index" in err
    for url in ("opensearch://127.0.0.1:9200/docs", f"seismic:{idx}", "milvus:docs.db"):
        code, _, err = run("export", url, "--format", "qdrant", "-o", tmp_path / "out")
        assert code == 2
        assert url in "".join(err.splitlines())
        assert "must be an index folder" in err
    assert not (tmp_path / "out").exists()


def test_a_server_by_changing_the_url(run, folders, corpus, idx, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENSEARCH_API_KEY", raising=False)
    with serving() as fake:
        url = f"opensearch://127.0.0.1:{fake.port}/docs"
        code, out, err = run("index", folders / "source", corpus, "-o", url, "--json")
        assert code == 0, err
        built = json.loads(out)
        assert (built["documents"], built["empty"], built["bytes"]) == (3, 1, 7)
        assert built["postings"] > 0
        assert built.keys() >= {"seconds", "model"}
        code, out, err = run("search", url, "house", "--json", "--explain", "--filter", "language=en")
        assert code == 0, err
        (hit,) = json.loads(out)["hits"]
        assert (hit["id"], hit["text"]) == ("a", ROWS[0]["text"])
        assert sum(match["score"] for match in hit["matches"]) == pytest.approx(hit["score"], rel=1e-5)
        code, out, err = run("index", folders / "source", corpus, "-o", url, "--update")
        assert code == 0, err
        assert "3 documents" in out
        assert f"isthmus search {url}" in "".join(out.splitlines())

        (tmp_path / "queries.txt").write_text("house\nwar\n")
        code, out, err = run("parity", idx, url, "--queries", tmp_path / "queries.txt", "--json")
        assert code == 0, err
        assert json.loads(out)["queries"] == 2
        assert run("parity", idx, url)[0] == 0
        for features in (row.get("vector", {}) for row in fake.indexes["docs"]["rows"].values()):
            for name in features:
                features[name] *= 1.1
        code, out, _ = run("parity", idx, url)
        assert code == 1
        assert "a score differs by" in out

        for arguments in (["--verify"], ["--compact"], ["--add"]):
            more = [folders / "source", corpus] if arguments == ["--add"] else []
            assert run("index", *more, "-o", url, *arguments)[0] == 2


def test_a_server_that_is_not_there(run, idx, monkeypatch):
    from isthmus.engines import http

    monkeypatch.setattr(http, "ATTEMPTS", 0)
    code, _, err = run("search", "opensearch://127.0.0.1:9/docs", "house")
    assert code == 1
    assert "does not answer" in err
    code, _, err = run("search", "opensaerch://127.0.0.1:9/docs", "house")
    assert code == 2
    assert "did you mean 'opensearch'" in err


def test_topics_out_and_a_run_back(run, idx, tmp_path):
    """The whole way to Lucene and back, with a run that stands for what Lucene found."""
    folder = tmp_path / "collection"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", [{"_id": row["id"], "text": row["text"] or "x"} for row in ROWS])
    queries = [{"_id": "q1", "text": "house"}, {"_id": "q2", "text": "war"}]
    write_lines(folder / "queries.jsonl", queries)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\nq2\tb\t1\n")
    code, out, err = run(
        "export", idx, "--format", "anserini", "--queries", folder / "queries.jsonl", "-o", tmp_path / "out"
    )
    assert code == 0, err
    assert "2 queries in topics.tsv" in out
    topics = (tmp_path / "out" / "topics.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in topics] == ["q1", "q2"]
    assert all(line.split("\t")[1] for line in topics)
    (tmp_path / "plain.txt").write_text("house\n")
    run("export", idx, "--format", "anserini", "--queries", tmp_path / "plain.txt", "-o", tmp_path / "two", "--json")
    assert (tmp_path / "two" / "topics.tsv").read_text().startswith("1\t")
    found = tmp_path / "run.txt"
    found.write_text("q1 Q0 a 1 9.5 Anserini\nq2 Q0 a 1 8 Anserini\nq2 Q0 b 2 7 Anserini\n")
    code, out, err = run("evaluate", "--run", found, "--collection", folder, "--json")
    assert code == 0, err
    row = json.loads(out)
    assert (row["model"], row["mrr@10"], row["recall@100"], row["flops"]) == ("run.txt", 0.75, 1.0, None)
    code, out, _ = run("evaluate", "--run", found, "--run", found, "--collection", folder)
    assert code == 0
    assert out.count("run.txt") == 2
    code, _, err = run("evaluate", "--collection", folder)
    assert code == 2
    assert "MODEL or --run must be given" in err
    code, _, err = run("evaluate", "--run", tmp_path / "none.txt", "--collection", folder)
    assert code == 2


def test_the_request_that_an_application_sends(run, idx, folders, corpus):
    with serving() as fake:
        url = f"opensearch://127.0.0.1:{fake.port}/docs"
        code, _, err = run("index", folders / "source", corpus, "-o", url)
        assert code == 0, err
        fake.requests.clear()
        code, out, err = run("search", url, "house", "--show-request", "--top-k", "3", "--filter", "language=en")
        assert code == 0, err
        # What values the field has is asked, the query is not.
        assert all("aggs" in json.loads(one.body) for one in fake.requests if one.path.endswith("_search"))
        assert "POST /docs/_search" in err
        code, _, err = run("search", url, "house", "--top-k", "3", "--filter", "language=en")
        assert code == 0, err
        assert json.loads(out) == json.loads(fake.requests[-1].body)
        assert json.loads(out)["query"]["bool"]["filter"] == [{"terms": {"labels": ["language=en"]}}]
    code, _, err = run("search", idx, "house", "--show-request")
    assert code == 2
    assert "must come with opensearch:// or elasticsearch://" in err


def test_a_query_with_too_many_dimensions_is_told(run, folders, corpus, monkeypatch):
    monkeypatch.setattr("isthmus.engines.opensearch.CLAUSES", 3)
    monkeypatch.setattr("isthmus.engines.opensearch.clause_limit", lambda reply: 3)
    with serving() as fake:
        url = f"opensearch://127.0.0.1:{fake.port}/docs"
        run("index", folders / "source", corpus, "-o", url)
        fake.most_clauses = 3
        code, out, err = run("search", url, "the house of water", "--json")
        assert code == 0, err
        row = json.loads(out)
        assert row["left_out"] > 0
        code, out, err = run("search", url, "the house of water")
        assert code == 0, err
        assert f"{row['left_out']:,} of {row['left_out'] + 3:,} dimensions were left out" in " ".join(err.split())


def test_an_alias_is_moved(run, folders, corpus):
    with serving() as fake:
        url = f"opensearch://127.0.0.1:{fake.port}/docs"
        build = ["index", folders / "source", corpus, "-o", url, "--alias"]
        code, out, err = run(*build, "--json")
        assert code == 0, err
        told = json.loads(out)
        assert (told["documents"], told["alias"], told["previous"], told["dropped"]) == (3, "docs", None, [])
        # As if a day had passed.
        first = "docs-20200101-000000"
        fake.indexes[first] = fake.indexes.pop(told["index"])
        fake.aliases["docs"] = [first]
        code, out, err = run(*build)
        assert code == 0, err
        assert f"docs is {fake.aliases['docs'][0]} now; {first} is kept, to go back to" in out.replace("\n", " ")
        for more in (["--overwrite"], ["--update"]):
            code, _, err = run(*build, *more)
            assert code == 2
            assert "alias" in err


def test_several_indexes_have_names(idx):
    from isthmus.cli.serve import _named
    from isthmus.errors import InputError

    assert _named([str(idx)]) == {"": str(idx)}
    assert _named(["postgresql://h/db?table=docs"]) == {"": "postgresql://h/db?table=docs"}
    assert _named([f"a={idx}", "b=opensearch://h/docs"]) == {"a": str(idx), "b": "opensearch://h/docs"}
    for wrong in ([str(idx), "a=x"], ["a=x", "a=y"], ["a=x", "opensearch://h/docs"]):
        with pytest.raises(InputError, match="must be NAME=IDX with a name of its own"):
            _named(wrong)
