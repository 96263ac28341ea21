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
        (ROW | {"negative": 7}, r"line 2: 'negative' must be a text, got 7"),
        (ROW | {"neg": ["n", 7]}, r"line 2: 'neg' must hold texts that are not empty, got 7"),
        ({"query": "q", "pos": []}, r"line 2: must have a positive text, got none"),
        (ROW | {"neg": ["n"], "negative_1": "m"}, r"line 2: must have 'negative_1' once, got 'negative_1' as well"),
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
    with pytest.raises(InputError, match=r"bad.csv.xz is damaged after line 0"):
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


def test_negatives_in_lists(write, tmp_path):
    """One file in the ways that people write it; the last row has fewer, and its own again."""
    full = [{"query": f"q{n}", "positive": f"p{n}", "negative_1": f"n{n}", "negative_2": f"m{n}"} for n in range(3)]
    expected = read_training_data(write(full)).texts
    for names in (("positive", "negatives"), ("pos", "neg"), ("positive", "negative"), ("passage", "negs")):
        rows = [
            {"query": row["query"], names[0]: row["positive"], names[1]: [f"n{n}", f"m{n}"]}
            for n, row in enumerate(full)
        ]
        if names[0] == "pos":
            rows = [row | {"pos": [row["pos"]]} for row in rows]
        assert read_training_data(write(rows)).texts == expected, names
    path = tmp_path / "rows.csv"
    path.write_text("query,positive,negatives\n" + "".join(f'q{n},p{n},"[""n{n}"", ""m{n}""]"\n' for n in range(3)))
    assert read_training_data(path).texts == expected


def test_rows_with_fewer_negatives(write):
    rows = [
        {"query": "a", "pos": ["pa"], "neg": []},
        {"query": "b", "pos": ["pb"], "neg": ["n1"]},
        {"query": "c", "pos": ["pc", "pa"], "neg": ["n2", "n3"]},
        ROW | {"negative_1": None, "negative_3": "n4"},
    ]
    with pytest.warns(UserWarning, match=r"3 of 5 rows have fewer negatives than 2; they get their own again, or"):
        texts = read_training_data(write(rows)).texts
    assert texts["query"] == ["a", "b", "c", "c", "q"]
    assert texts["positive"] == ["pa", "pb", "pc", "pa", "p"]
    found = list(zip(*(texts[column] for column in texts if column.startswith("negative")), strict=True))
    # The row without has positives of other queries; pa answers it.
    assert found == [("pb", "pc"), ("n1", "n1"), ("n2", "n3"), ("n2", "n3"), ("n4", "n4")]
    with pytest.raises(InputError, match="must stand beside rows of other queries"):
        read_training_data(write([{"query": "q", "positive": "p"}, {"query": "q", "positive": "p", "negative": "n"}]))
    scored = [ROW | {"negative": "n", "scores": [1.0, 0.0]}, ROW | {"scores": [1.0, 0.0]}]
    with pytest.raises(InputError, match="line 2: 'scores' must be a list"):
        read_training_data(write(scored))


def test_columns_of_negatives_that_are_not_used_are_named(write):
    with pytest.warns(UserWarning, match="not trained with: neg_scores, negative_ids"):
        data = read_training_data(write([ROW | {"neg": ["n"], "neg_scores": [0.1], "negative_ids": ["7"]}]))
    assert list(data.texts) == ["query", "positive", "negative_1"]


def test_triples_in_tsv(tmp_path):
    path = tmp_path / "triples.tsv"
    path.write_text("q\tp\tn\nr\to\tm\n")
    expected = {"query": ["q", "r"], "positive": ["p", "o"], "negative": ["n", "m"]}
    assert read_training_data(path).texts == expected
    path.write_text("anchor\tpositive\tnegative\nq\tp\tn\nr\to\tm\n")
    assert read_training_data(path).texts == expected
    path.write_text("q\tp\nr\to\n")
    assert list(read_training_data(path).texts) == ["query", "positive"]
    path.write_text("1185869\t0\t2942572\n")
    with pytest.raises(InputError, match="line 1: must have texts, got the ids 1185869, 0, 2942572"):
        read_training_data(path)
    path.write_text("a\tb\tc\td\n")
    with pytest.raises(InputError, match="must have query, positive, negative between tabs, or name its columns"):
        read_training_data(path)
