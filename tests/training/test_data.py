import gzip
import json
import lzma

import pytest
from datasets import Dataset

from isthmus.errors import CollectionError, InputError, NotFoundError
from isthmus.training import read_training_data

ROW = {"query": "q", "positive": "p"}


def test_columns_go_by_name_in_the_order_of_the_losses(write):
    rows = [{"negative_10": "n10", "id": 7, "passage": "p", "negative": "n", "negative_2": "n2", "anchor": "q"}] * 2
    data = read_training_data(write(rows))
    assert list(data.texts) == ["query", "positive", "negative", "negative_2", "negative_10"]
    assert [texts[0] for texts in data.texts.values()] == ["q", "p", "n", "n2", "n10"]
    assert (len(data), data.negatives, data.scores) == (2, 3, None)


def test_all_formats_read_the_same(write, tmp_path):
    rows = [
        {"query": f"q{i}", "positive": "a, \"b\"\nc", "negative": "집", "scores": [1.5, 0.5]} for i in range(3)
    ]  # fmt: skip
    plain = write(rows)
    expected = read_training_data(plain)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "a.jsonl.xz").write_bytes(lzma.compress(plain.read_bytes()))
    Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    Dataset.from_list([row | {"scores": json.dumps(row["scores"])} for row in rows]).to_csv(tmp_path / "a.csv")
    for name in ("a.jsonl.gz", "a.jsonl.xz", "a.parquet", "a.csv"):
        data = read_training_data(tmp_path / name)
        assert (data.texts, data.scores, data.digest) == (expected.texts, expected.scores, expected.digest), name
    assert read_training_data(write([*rows[:2], rows[2] | {"negative": "학교"}])).digest != expected.digest


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"query": "q"}, r"pairs.jsonl, line 2: 'positive' must be a text, got no such column among 'query'"),
        ({"query": " ", "positive": "p"}, r"line 2: 'query' must not be empty"),
        ({"query": "q", "positive": 3}, r"line 2: 'positive' must be a text, got 3"),
        (ROW | {"negative": "n"}, r"line 2: every row must have the columns of the first, got negative"),
        (ROW | {"scores": 1.0}, r"line 2: every row must have the columns of the first, got scores"),
    ],
)
def test_a_row_that_breaks_the_contract_is_named(write, second, message):
    with pytest.raises(InputError, match=message):
        read_training_data(write([ROW, second]))


@pytest.mark.parametrize(
    "scores", [[1.0], [1.0, 2.0, 3.0], ["a", "b"], [1.0, float("nan")], True, "x", [True, False], {}]
)
def test_scores_must_fit_the_passages(write, scores):
    with pytest.raises(InputError, match=r"line 1: 'scores' must be a"):
        read_training_data(write([ROW | {"negative": "n", "scores": scores}]))


def test_one_number_is_the_margin_of_one_negative(write):
    assert read_training_data(write([ROW | {"negative": "n", "scores": 2}])).scores == [[2.0]]
    two = ROW | {"negative_1": "n", "negative_2": "m", "scores": 2}
    with pytest.raises(InputError, match="each of the 2 negatives"):
        read_training_data(write([two]))
    with pytest.raises(InputError, match="lists in every row or numbers in every row"):
        read_training_data(write([ROW | {"negative": "n", "scores": score} for score in (2, [1, 2])]))


@pytest.mark.parametrize(
    "row",
    [{"question": "q", "positive": "p"}, {"query": "q", "answer": "a"}, ROW | {"anchor": "q"}, ROW | {"passage": "p"}],
)
def test_missing_columns_name_those_found(write, row):
    with pytest.raises(InputError, match="line 1: must have one column") as caught:
        read_training_data(write([row]))
    assert all(repr(column) in str(caught.value) for column in row)


def test_malformed_files_are_named_with_their_line(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"query": "q", "positive": "p"}\n{"query": \n')
    with pytest.raises(CollectionError, match=r"bad.jsonl, line 2: must be JSON"):
        read_training_data(path)
    path.write_text("")
    with pytest.raises(InputError, match="at least one row"):
        read_training_data(path)
    path = tmp_path / "bad.csv"
    path.write_text("query,positive\nq,p\nq,p,r\n")
    with pytest.raises(InputError, match=r"bad.csv, line 3: must have as many fields"):
        read_training_data(path)
    path.write_text("query,positive\nq,\n")
    with pytest.raises(InputError, match=r"bad.csv, line 2: 'positive' must not be empty"):
        read_training_data(path)
    path = tmp_path / "bad.csv.xz"
    path.write_bytes(lzma.compress(b"query,positive\n" + b"q,p\n" * 100)[:-9])
    with pytest.raises(InputError, match=r"bad.csv.xz is damaged after line 101 .*; check it, or fetch it again"):
        read_training_data(path)
    path.write_bytes(b"\xfd7zXZ\x00nothing of the kind")
    with pytest.raises(InputError, match=r"bad.csv.xz, line 0: must be CSV"):
        read_training_data(path)
    path = tmp_path / "bad.parquet"
    path.write_text("no parquet")
    with pytest.raises(InputError, match=r"bad.parquet must be a Parquet file"):
        read_training_data(path)


def test_what_is_not_there_is_told_from_what_is_no_data(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(NotFoundError, match=r"none\.jsonl does not exist"):
        read_training_data(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="must be a file of"):
        read_training_data(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match="must be a file of"):
        read_training_data(tmp_path / "a.txt")
    with pytest.raises(NotFoundError, match="no file and could not be downloaded"):
        read_training_data("nobody/no-such-dataset")
