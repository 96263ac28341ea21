"""``isthmus pairs``: what becomes of negatives."""

import json

from tests.cli.conftest import write_lines


def test_negatives_are_carried_through_or_counted(run, tmp_path):
    texts = {"query_en": "q", "passage_en": "p", "query": "Q", "passage": "another"}
    write_lines(tmp_path / "en-ko.jsonl", [texts | {"negative_passage_en_1": "other", "negative_1": "whose?"}])
    rows = tmp_path / "rows.jsonl"
    code, out, err = run("pairs", tmp_path / "en-ko.jsonl", "-o", rows)
    assert code == 0, err
    assert json.loads(rows.read_text(encoding="utf-8"))["negative_pivot_passage_1"] == "other"
    assert "left out    1 negatives without a known role" in out
