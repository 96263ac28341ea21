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
