import json

import pytest

from isthmus.errors import InputError, UnknownNameError
from isthmus.losses.options import CLEAROptions
from isthmus.training import AlignOptions, TrainOptions
from isthmus.training.align_data import read_align_data
from isthmus.training.aligning import _columns

ROW = {"query": "집", "pivot_query": "house", "pivot_passage": "a house"}
REQUIRED = ["query", "pivot_query", "pivot_passage"]


def read(path, columns=None):
    return read_align_data(path, REQUIRED, columns, negatives=["pivot_passage", "query"])


def test_columns_go_by_name_and_negatives_may_be_missing(write):
    rows = [
        ROW | {"negative_query_2": "물", "translated_by": "human", "other": 3},
        ROW | {"negative_query_2": "", "negative_query": "학교", "language": "ko"},
        ROW | {"negative_pivot_passage_1": "war", "negative_passage_1": "left out", "language": "zh"},
    ]
    data = read(write(rows))
    assert data.texts == {role: [ROW[role]] * 3 for role in REQUIRED}
    assert data.negatives == {
        "pivot_passage": {1: [None, None, "war"]},
        "query": {1: [None, "학교", None], 2: ["물", None, None]},
    }
    assert data.provenance == {"language": ["unknown", "ko", "zh"], "translated_by": ["human", "unknown", "unknown"]}
    assert data.counts()["translated_by"] == {"unknown": 2, "human": 1}
    assert len(data) == 3


def test_other_names_are_mapped(write):
    rows = [{"q": "집", "query": "house", "text": "a house", "bad": "war", "lang": "ko"}]
    columns = {"query": "q", "pivot_query": "query", "pivot_passage": "text"}
    columns |= {"negative_pivot_passage_1": "bad", "language": "lang"}
    data = read(write(rows), columns)
    assert data.texts == {role: [ROW[role]] for role in REQUIRED}
    assert data.negatives["pivot_passage"] == {1: ["war"]}
    assert data.provenance == {"language": ["ko"]}


def test_csv_is_read_too(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("query,pivot_query,pivot_passage,negative_query_1\n집,house,a house,\n", encoding="utf-8")
    assert read(path).negatives == {"pivot_passage": {}, "query": {}}


def test_a_missing_negative_is_replaced_by_the_positive_and_marked(write):
    data = read(write([ROW | {"negative_query_1": "물"}, ROW | {"query": "물"}]))
    columns, labels = _columns(data, data.negatives, REQUIRED)
    assert list(columns) == [*REQUIRED, "negative_query_1"]
    assert columns["negative_query_1"] == ["물", "물"]
    assert labels == {"label": [[1], [0]]}
    full = read(write([ROW | {"negative_query_1": "물"}]))
    assert _columns(full, full.negatives, REQUIRED)[1] == {"label": [[1]]}
    none = read(write([ROW]))
    assert _columns(none, none.negatives, REQUIRED)[1] == {}


def test_the_hash_changes_with_the_rows(write):
    first, same, other = (read(write([ROW | {"pivot_query": text}])) for text in ("a", "a", "b"))
    assert first.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([ROW, {"query": "집", "pivot_query": "a"}], None, "line 2: 'pivot_passage' must be a text"),
        ([ROW | {"query": " "}], None, "line 1: 'query' must not be empty"),
        ([ROW | {"query": 3}], None, "line 1: 'query' must be a text, got 3"),
        ([ROW | {"negative_query_1": ["a"]}], None, "'negative_query_1' must be a text, or empty"),
        ([ROW | {"negative_query_1": "a", "negative_query": "b"}], None, "negative 1 of 'query' once"),
        ([], None, "at least one row"),
        ([ROW], {"query": "q"}, "line 1: must have the column 'q' for 'query'"),
        ([ROW], {"title": "query"}, "got 'title'; write ROLE=NAME"),
    ],
)
def test_rows_that_do_not_fit_are_named(write, rows, columns, message):
    with pytest.raises(InputError, match=message):
        read(write(rows), columns)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "triplet"}, "loss"),
        ({"loss": "proximity", "alpha": 0.4}, "alpha must be left out with loss 'proximity', got 0.4"),
        ({"loss": "clear", "temperature": 0.4}, "it belongs to 'proximity'"),
        ({"loss": "infonce", "kl": False}, "it belongs to 'clear'"),
        ({"alpha": 0.9}, "alpha \\+ beta must be at most 1"),
        ({"loss": "proximity", "temperature": -1.0}, "temperature"),
        ({"loss": "infonce", "anchor": "text"}, "anchor"),
        ({"scale": -1.0}, "scale"),
        ({"negatives": -1}, "negatives"),
        ({"skip": -1}, "skip"),
        ({"max_score": 0.0}, "max_score"),
        ({"mini_batch_size": 0}, "mini_batch_size"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises((InputError, UnknownNameError), match=message):
        AlignOptions.of(**options)


def test_settings_say_what_will_run():
    settings = AlignOptions.of(loss="clear", alpha=0.3, scale=10.0)
    assert settings.loss == CLEAROptions(alpha=0.3, scale=10.0, gather_across_devices=False)
    stated = settings.to_dict()
    assert (stated["alpha"], stated["beta"], stated["kl"], stated["negatives"]) == (0.3, 0.2, True, 5)
    assert "temperature" not in stated
    assert stated["loss"] == "clear"
    assert AlignOptions.of(loss="proximity").to_dict()["negatives"] == 0
    assert json.dumps(stated)
    trained = TrainOptions(batch_size=64, learning_rate=5e-5).identity()
    assert settings.identity().items() >= {name: trained[name] for name in trained if name != "loss"}.items()


def test_lists_and_plain_names_of_negatives(write):
    """FlagEmbedding's names with columns of the pivot beside them; the negatives are of the passage."""
    row = {"query": "집", "pos": ["큰 집"], "neg": ["물", "불"], "pivot_query": "house", "pivot_passage": "a big house"}
    required = ["query", "passage", "pivot_query", "pivot_passage"]
    data = read_align_data(write([row]), required, negatives=["passage"])
    assert data.texts["passage"] == ["큰 집"]
    assert data.negatives == {"passage": {1: ["물"], 2: ["불"]}}
    listed = {**row, "passage": "큰 집", "negative_query": ["a", "b"]}
    del listed["pos"], listed["neg"]
    data = read_align_data(write([listed]), required, negatives=["query"])
    assert data.negatives == {"query": {1: ["a"], 2: ["b"]}}
    with pytest.warns(UserWarning, match="not aligned with: negative_passage_1, negative_passage_2"):
        read_align_data(write([row]), required, negatives=["query"])
