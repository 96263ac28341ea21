"""What documents and tokens hold moves no cursor and forges no line; ids are what they are."""

import json
import re

import pytest

from tests.cli.conftest import write_lines

EVIL = "water\x1b[2J\x9b31m\x07\r\n  9   99.999  forged \u202edrow [bold]house[/] \u2028x"
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def idx(folders, tmp_path_factory):
    from isthmus.index import SparseIndex

    root = tmp_path_factory.mktemp("hostile")
    rows = [{"id": f"id\n1 {EVIL}", "text": f"house {EVIL}", "title": "war\x1b]0;title\x07", "kind\x1b[2J": EVIL}]
    write_lines(root / "corpus.jsonl", [*rows, {"id": " b ", "text": "house"}, {"id": "c\nd", "text": "house"}])
    SparseIndex.build(str(folders / "source"), str(root / "corpus.jsonl"), root / "idx")
    return root / "idx"


@pytest.mark.parametrize(
    "arguments",
    [["house"], ["house", "--explain"], ["house", "--filter", "kind\x1b[2J=x"], ["house", "--filter", "x=y"]],
)
def test_search_spells_out_what_steers(run, idx, arguments):
    _, out, err = run("search", idx, *arguments)
    assert not STEERING.search(out + err)
    assert "\\x1b[2J" in out + err
    assert not any(line.strip().startswith("9 ") for line in out.splitlines())


def test_json_says_the_same_in_escapes(run, idx):
    code, out, _ = run("search", idx, "house", "--json")
    assert code == 0
    assert not STEERING.search(out)
    hits = json.loads(out)["hits"]
    assert {hit["id"] for hit in hits} == {f"id\n1 {EVIL}", " b ", "c\nd"}


def test_errors_spell_it_out(run, idx, tmp_path):
    (tmp_path / "ids.txt").write_text("no\x1b[2Jthing\n")
    code, _, err = run("index", "-o", idx, "--delete-ids", tmp_path / "ids.txt")
    assert code == 2
    assert "document 'no\\x1b[2Jthing' must be in the index" in err


def test_ids_with_spaces_and_line_breaks_are_deleted(call, run, idx, tmp_path):
    (tmp_path / "ids.txt").write_text(" b \n")
    (changed,) = call("index", "-o", idx, "--delete-ids", tmp_path / "ids.txt")
    assert (changed["documents"], changed["removed"]) == (2, 1)
    write_lines(tmp_path / "ids.jsonl", [{"id": "c\nd"}])
    (changed,) = call("index", "-o", idx, "--delete-ids", tmp_path / "ids.jsonl")
    assert (changed["documents"], changed["removed"]) == (1, 1)
