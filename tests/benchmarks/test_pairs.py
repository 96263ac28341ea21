"""Development pairs of the benchmarks, on small files of the same shape."""

import json
import lzma

import pytest

from benchmarks import pairs


@pytest.fixture
def data(tmp_path):
    rows = [
        {"query": f"질문 {i}", "query_en": f"query {i}", "passage": f"글 {i}", "passage_en": f"text {i}"}
        for i in range(9)
    ]
    rows += [rows[0] | {"query": "again"}, rows[1] | {"query": " ", "passage": "untitled"}]
    rows += [rows[2] | {"query_en": "", "passage": "no English"}]
    (tmp_path / "sections").mkdir()
    with lzma.open(tmp_path / "sections" / "dev.en-ko.jsonl.xz", "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    sources = ["tatoeba"] * 5 + ["wmt_newstest2019"] * 7 + ["tico19"] * 12
    (tmp_path / "parallel").mkdir()
    with lzma.open(tmp_path / "parallel" / "en-ko.tsv.xz", "wt", encoding="utf-8") as stream:
        stream.writelines(f"{source}\tsentence {i}\t문장 {i}\n" for i, source in enumerate(sources))
    return tmp_path


def test_sections_are_distinct_passages_with_a_heading(data):
    found = pairs.sections(data, "ko", 100, 0)
    assert list(found.corpus.values()) == [*(f"글 {i}" for i in range(9)), "no English"]
    assert found.queries["q0"] == "again", "of equal passages the last heading counts"
    assert found.qrels["q3"] == {"d3": 1}
    both = pairs.section_rows(data, "ko", 100, 0, queries=("query", "query_en"))
    assert [row["passage"] for row in both] == [f"글 {i}" for i in range(9)]


def test_a_sample_is_in_order_and_depends_on_the_seed(data):
    first, again, other = (list(pairs.sections(data, "ko", 4, seed).corpus.values()) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 4
    assert first == sorted(first)


def test_cloze_passages_are_runs_of_prose_without_their_query(data):
    blocks = pairs.prose_blocks(data, "ko")
    starts = [5, 12, 17]
    assert blocks == [[(f"sentence {i}", f"문장 {i}") for i in range(start, start + 5)] for start in starts]
    found = pairs.cloze(data, "ko", 100, 0)
    for number, block in enumerate(blocks):
        query = found.queries[f"q{number}"]
        sentences = [sentence for _, sentence in block]
        assert query in sentences
        sentences.remove(query)
        assert found.corpus[f"d{number}"] == " ".join(sentences)
