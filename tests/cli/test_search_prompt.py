"""``isthmus search``: queries asked for, queries from stdin, and filters that nothing fits."""

import io
import json

import pytest

from tests.cli.conftest import write_lines


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def idx(call, folders, tmp_path):
    rows = [
        {"id": "a", "text": "the house", "language": "en", "year": 2001},
        {"id": "b", "text": "water and war", "language": "ko", "year": 2002},
        {"id": "c", "text": "school", "language": "ko"},
        {"id": "d", "text": "house war", "language": "zh"},
    ]
    write_lines(tmp_path / "rows.jsonl", rows)
    call("index", folders / "source", tmp_path / "rows.jsonl", "-o", tmp_path / "idx")
    return tmp_path / "idx"


@pytest.fixture
def types(monkeypatch):
    """Let somebody type at a terminal; how often a model is opened is counted."""
    import isthmus.encoders.load as load

    opened = []
    original = load.load_encoder
    monkeypatch.setattr(load, "load_encoder", lambda *a, **k: opened.append(a) or original(*a, **k))
    monkeypatch.setattr("isthmus.encoders.fingerprint.load_encoder", load.load_encoder, raising=False)

    def typed(text):
        monkeypatch.setattr("sys.stdin", Terminal(text))
        return opened

    return typed


@pytest.mark.parametrize("end", ["\nschool\n", ""])
def test_queries_are_asked_for_until_an_empty_line_or_the_end(run, idx, types, end):
    opened = types("house\nwater\n" + end)
    code, out, err = run("search", idx, "--json")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["query"] for row in rows] == ["house", "water"]
    assert rows[1]["hits"][0]["id"] == "b"
    assert err.count("query> ") == 3
    assert len(opened) == 1
    types("war\n\n")
    code, out, _ = run("search", idx, "--top-k", "1")
    assert (code, out.count("  1 ")) == (0, 1)


def test_a_query_that_fails_does_not_end_the_asking(run, idx, types, monkeypatch):
    from isthmus.engines.embedded import EmbeddedEngine
    from isthmus.errors import EngineError

    search = EmbeddedEngine.search_many
    failed = []

    def once(self, *arguments, **options):
        if not failed:
            failed.append(1)
            raise EngineError("the server is away")
        return search(self, *arguments, **options)

    monkeypatch.setattr(EmbeddedEngine, "search_many", once)
    types("house\nhouse\n\n")
    code, out, err = run("search", idx, "--json")
    assert code == 0
    assert len(out.splitlines()) == 1
    assert "the server is away" in err


def test_without_a_terminal_a_query_must_be_given(run, idx, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"house\n")))
    code, out, err = run("search", idx)
    assert (code, out) == (2, "")
    assert "--queries - reads stdin" in " ".join(err.split())


def test_queries_come_from_stdin(run, call, idx, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\ufeffhouse\r\n\n  school \n".encode())))
    assert [row["query"] for row in call("search", idx, "--queries", "-")] == ["house", "school"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"house\n\xff\n")))
    code, _, err = run("search", idx, "--queries", "-")
    assert code == 2
    assert "stdin, line 2: must be UTF-8 text" in " ".join(err.split())


def test_the_values_that_there_are_are_told(run, call, folders, idx, tmp_path):
    for more in ([], ["--json"]):
        code, out, err = run("search", idx, "house", "--filter", "language=xx", *more)
        assert code == 0
        assert "no document has language=xx; language has ko, en, zh" in err
        assert "xx" not in out
    assert run("search", idx, "house", "--filter", "language=ko")[2] == ""
    # Numbers are the same with a point.
    assert run("search", idx, "house", "--filter", "year=2001.0")[2] == ""
    code, _, err = run("search", idx, "house", "--filter", "place=here")
    assert code == 2
    assert "language, year" in err
    # Values of deleted documents are no longer there.
    (tmp_path / "ids.txt").write_text("b\nc\n")
    call("index", "-o", idx, "--delete-ids", tmp_path / "ids.txt")
    assert "language=ko; language has en, zh" in run("search", idx, "house", "--filter", "language=ko")[2]


def test_at_most_ten_values_are_told(run, call, folders, tmp_path):
    rows = [{"id": f"d{n}", "text": "house", "part": f"p{n:02}"} for n in range(13)]
    write_lines(tmp_path / "rows.jsonl", rows)
    call("index", folders / "source", tmp_path / "rows.jsonl", "-o", tmp_path / "idx")
    err = run("search", tmp_path / "idx", "house", "--filter", "part=none")[2]
    assert "p09, and 3 more" in err
    assert "p10" not in err
