"""``isthmus audit``: options, what is printed, what is refused."""

import json

import pytest

from tests.cli.conftest import write_lines

AUDIT = ["audit", "isthmus/mini-bridge", "--collection", "demo", "--languages", "en,ko"]


@pytest.mark.assets
def test_table_fits_and_says_what_it_is(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(*AUDIT, "--max-queries", "10")
    assert code == 0, err
    assert out.startswith("demo: 10 questions in each of en, ko; a small sample, below 300\n")
    assert all(len(line) <= 80 for line in out.splitlines())
    table = [line.split() for line in out.splitlines() if line.startswith(("mono-", "multi ")) and ":" not in line]
    assert [row[:4] for row in table[-2:]] == [["multi", "en", "en+ko", "168"], ["multi", "ko", "en+ko", "168"]]
    assert "Korean questions in the pool multi: an irrelevant English passage" in out
    assert "First 10 hits of multi, asked in en: en " in out
    assert "Deduplication: " in out
    assert "Ties: " in out


@pytest.mark.assets
def test_json_is_rows_and_nothing_else(run):
    code, out, err = run(*AUDIT, "BM25", "--max-queries", "10", "--pools", "multi,english-distractors", "--json")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["model"], row["pool"], row["query_language"]) for row in rows[:3]] == [
        ("isthmus/mini-bridge", "multi", "en"),
        ("isthmus/mini-bridge", "multi", "ko"),
        ("isthmus/mini-bridge", "english-distractors", "ko"),
    ]
    assert [row["model"] for row in rows[3:]] == ["BM25"] * 3
    assert rows[0]["documents"] == 168
    assert rows[0]["pool_languages"] == ["en", "ko"]
    assert ["vs_first" in row for row in rows] == [False] * 3 + [True] * 3
    assert rows[3]["vs_first"]["complete@10"].keys() >= {"difference", "low", "high", "p_value"}


@pytest.mark.assets
def test_options_reach_the_audit(run, tmp_path):
    for language in ("en", "ko"):
        write_lines(tmp_path / f"more.{language}.jsonl", [{"id": f"x{n}", "text": f"text {n}"} for n in range(5)])
    pattern = tmp_path / "more.{language}.jsonl"
    code, out, err = run(
        *AUDIT, "--json", "--model-name", "bridge", "--distractors", pattern, "--max-distractors", "3",
        "--max-queries", "4", "--seed", "3", "--pools", "multi,partly-parallel", "--partly-parallel-share", "1",
        "--resamples", "20",
    )  # fmt: skip
    assert code == 0, err
    row, *_, partly = map(json.loads, out.splitlines())
    assert (row["model"], row["documents"], row["queries"]) == ("bridge", 174, 4)
    assert (partly["pool"], partly["golds"]) == ("partly-parallel", 1)
    assert row["gap"] is None
    assert partly["gap"]["max@r"]["resamples"] == 20


@pytest.mark.assets
def test_copies_are_kept_where_asked_for(run):
    """Every passage of the demo answers one question, so the pools are as large, and the rule is another."""
    for options, kept in ((["--keep-copies"], True), ([], False)):
        code, out, err = run(*AUDIT, "--max-queries", "4", "--pools", "multi", *options)
        assert code == 0, err
        assert ("a copy of its passage for each" in out) == kept
        assert ("copies of its own" in " ".join(out.split())) == kept
    code, out, err = run(*AUDIT, "--json", "--max-queries", "4", "--keep-copies")
    assert code == 0, err
    assert all(json.loads(line)["keep_copies"] for line in out.splitlines())


@pytest.mark.assets
def test_html_is_written_beside_what_is_printed(run, tmp_path):
    page, other = tmp_path / "report.html", tmp_path / "other.html"
    code, out, err = run(*AUDIT, "--max-queries", "4", "--html", page)
    assert code == 0, err
    assert f"report in {page}" in out
    assert "demo" in page.read_text(encoding="utf-8")
    code, out, err = run(*AUDIT, "--max-queries", "4", "--html", other, "--json")
    assert code == 0, err
    assert all(json.loads(line)["queries"] == 4 for line in out.splitlines())
    assert other.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--languages", "en,xx"], "among those of demo (ar, en, hi, ko, ru, zh), got xx"),
        (["--languages", "en"], "languages must be two or more different codes, got en"),
        (["--languages", "en,ko", "--pools", "both"], "pool must be one of"),
        (["--languages", "en,ko", "--max-distractors", "3"], "max_distractors must come with distractors, got 3"),
        (["--languages", "en,ko", "--model-name", "a", "--model-name", "b"], "one for each of 1 models, got a, b"),
        (["--languages", "ko,ru", "--pools", "english-distractors"], "must include 'en'"),
    ],
)
def test_input_that_does_not_fit(run, options, message):
    code, out, err = run("audit", "BM25", "--collection", "demo", *options)
    assert code == 2
    assert message in err
    assert out == ""


@pytest.mark.parametrize("option", [("--partly-parallel-share", "1.5"), ("--resamples", "0"), ("--split", "none")])
def test_values_that_do_not_fit_are_named(run, tmp_path, monkeypatch, option):
    monkeypatch.setenv("COLUMNS", "200")
    for language in ("en", "ko"):
        (tmp_path / language / "qrels").mkdir(parents=True)
        write_lines(tmp_path / language / "corpus.jsonl", [{"_id": "a", "text": f"{language} text"}])
        write_lines(tmp_path / language / "queries.jsonl", [{"_id": "q", "text": language}])
        (tmp_path / language / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    code, out, err = run("audit", "BM25", "--collection", tmp_path, "--languages", "en,ko", *option)
    assert (code, out) == (2, "")
    named = option[0].removeprefix("--").replace("-", "_")
    assert (f"{named} must be" if option[0] != "--split" else "none.tsv") in err


def test_a_page_that_cannot_be_written_is_refused_before_the_audit(run, tmp_path):
    code, out, err = run(*AUDIT, "--html", tmp_path)
    assert (code, out) == (1, "")
    assert "is a folder; give the file that --html is to write" in " ".join(err.split())
