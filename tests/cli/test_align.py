import json
from importlib.util import find_spec

import pytest

from tests.cli.conftest import write_lines

ROWS = [
    {
        "query_en": english, "passage_en": f"the {english} ?", "query": korean, "passage": f"{korean} .",
        "translated_by": "human" if number else "machine",
    }
    for number, (english, korean) in enumerate([("house", "집"), ("school", "학교"), ("water", "물"), ("war", "전쟁")])
]  # fmt: skip
OPTIONS = ("--steps", 2, "--batch-size", 2, "--max-active-share", 1, "--no-bf16", "--negatives", 1)
trains = pytest.mark.skipif(
    not (find_spec("accelerate") and find_spec("datasets")), reason="needs the extra `train`: accelerate and datasets"
)


@pytest.fixture
def sections(tmp_path):
    write_lines(tmp_path / "en-ko.jsonl", ROWS)
    return tmp_path / "en-ko.jsonl"


def test_pairs_counts_who_translated(run, sections, tmp_path):
    output = tmp_path / "rows.jsonl"
    code, out, err = run("pairs", sections, "-o", output)
    assert code == 0, err
    assert "4 rows, en and ko" in out
    assert "translated by: 3 human, 1 machine" in out
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert rows[0]["pivot_passage"] == "the house ?"
    code, _, err = run("pairs", sections, "-o", output)
    assert code == 1
    assert "already exists" in err
    code, out, err = run("pairs", sections, "-o", output, "--overwrite", "--human-only", "--limit", 2, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["translated_by"] == {"ko": {"human": 2}}
    assert found["left_out"] == {"not by a human translator": 1, "over the limit": 1}


@pytest.mark.parametrize("prefix", ["", "ko="])
def test_pairs_does_not_write_over_what_it_reads(run, sections, prefix):
    before = sections.read_bytes()
    code, _, err = run("pairs", f"{prefix}{sections}", "-o", sections, "--overwrite")
    assert code == 1
    assert "must be another file than those that are read" in " ".join(err.split())
    assert sections.read_bytes() == before


@trains
@pytest.mark.parametrize(
    "options", [("--loss", "clear", "--no-kl"), ("--loss", "proximity", "--mini-batch-size", 1, "--stock-head")]
)
def test_align_goes_on_from_pairs_and_a_transfer(run, transferred, sections, tmp_path, options):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "aligned"
    assert run("pairs", sections, "-o", rows)[0] == 0
    code, out, err = run("align", transferred, "--train", rows, "-o", output, *OPTIONS, *options, "--json")
    assert code == 0, err
    assert err == ""
    (line,) = out.splitlines()
    report = json.loads(line)
    assert (report["steps"], report["settings"]["loss"], report["folder"]) == (2, options[1], str(output))
    assert (output / "token_map.json").read_bytes() == (transferred / "token_map.json").read_bytes()


@trains
def test_align_maps_columns_and_prints_what_it_read(run, folders, sections, tmp_path):
    columns = ("--column", "pivot_query=query_en", "--column", "pivot_passage=passage_en")
    code, out, err = run(
        "align",
        folders / "source",
        "--train",
        sections,
        *columns,
        "-o",
        tmp_path / "out",
        *OPTIONS,
        "--loss",
        "infonce",
    )
    assert code == 0, err
    assert "Trained 2 steps on 4 rows" in out
    assert "human 3, machine 1" in out
    assert "negatives of pivot_passage per row" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", 2, "--epochs", 1), "--steps and --epochs must not come together"),
        (("--language", "ko"), "--language must come with --eval"),
        (("--column", "query"), "--column must be ROLE=NAME, got 'query'"),
        (("--loss", "proximity", "--alpha", 0.1), "alpha must be left out with loss 'proximity'"),
        (("--alpha", 0.9), "alpha + beta must be at most 1"),
    ],
)
def test_align_refuses_early(run, folders, sections, tmp_path, arguments, message):
    code, out, err = run("align", folders / "source", "--train", sections, "-o", tmp_path / "out", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
