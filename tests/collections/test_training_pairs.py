import json

import pytest

from isthmus.collections.training_pairs import build_pairs
from isthmus.errors import InputError, NotFoundError


def row(number, language="ko", **changes):
    own = {"query": f"{language} q{number}", "passage": f"{language} p{number}"}
    return {"query_en": f"q{number}", "passage_en": f"p{number}", "translated_by": "human", **own, **changes}


@pytest.fixture
def write(tmp_path):
    def call(name, rows):
        path = tmp_path / name
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        return path

    return call


def test_rows_get_their_roles_and_keep_where_they_come_from(write):
    path = write("en-ko.jsonl", [row(1, source="docs", doc="a/b", score=3)])
    pairs = build_pairs([path])
    assert pairs.rows == [
        {
            "language": "ko", "pivot_language": "en", "query": "ko q1", "passage": "ko p1", "pivot_query": "q1",
            "pivot_passage": "p1", "translated_by": "human", "source": "docs", "doc": "a/b",
        }
    ]  # fmt: skip
    assert not pairs.left_out


def test_the_language_is_given_or_told_by_rows_or_the_file_name(write):
    plain, told = write("rows.jsonl", [row(1)]), write("told.jsonl", [row(1) | {"language": "zh"}])
    named = write("dev.en-ru.jsonl", [row(1)])
    found = build_pairs([f"hi={plain}", told, named])
    assert [one["language"] for one in found.rows] == ["hi", "zh", "ru"]
    with pytest.raises(InputError, match=r"rows\.jsonl, line 1: must have a column 'language'"):
        build_pairs([plain])


def test_any_language_can_be_the_pivot(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("query_ko\tpassage_ko\tquery_zh\tpassage_zh\nq\tp\tQ\tother\n", encoding="utf-8")
    (one,) = build_pairs([f"zh={path}"], pivot="ko").rows
    assert (one["query"], one["pivot_query"], one["pivot_language"]) == ("Q", "q", "ko")
    assert one["pivot_passage"] == "p"
    with pytest.raises(InputError, match="another than the pivot"):
        build_pairs([f"ko={path}"], pivot="ko")


def test_what_a_batch_could_not_tell_apart_is_left_out(write):
    rows = [row(1), row(2, query="KO  Q1"), row(3, passage_en="p1"), row(4, passage="P4 "), row(5)]
    pairs = build_pairs([write("en-ko.jsonl", rows), write("en-zh.jsonl", [row(1, "zh")])])
    assert [one["query"] for one in pairs.rows] == ["ko q1", "ko q5", "zh q1"]
    assert pairs.left_out == {"duplicate": 2, "not translated": 1}


def test_negatives_keep_their_roles_by_either_name(write):
    given = {
        "negative_pivot_passage_2": "n2", "negative_passage_en_1": "n1", "negative_query_ko": "k",
        "negative_query_3": "K", "negative_passage": "", "negative_1": "of what?", "negatives": ["some"],
    }  # fmt: skip
    pairs = build_pairs([write("en-ko.jsonl", [row(1, **given), row(2)])])
    assert {name: text for name, text in pairs.rows[0].items() if name.startswith("negative")} == {
        "negative_pivot_passage_2": "n2", "negative_pivot_passage_1": "n1", "negative_query_1": "k",
        "negative_query_3": "K",
    }  # fmt: skip
    assert not any(name.startswith("negative") for name in pairs.rows[1])
    assert pairs.left_out == {"negatives without a known role": 2}


def test_negatives_reach_alignment(write):
    from isthmus.training.align_data import read_align_data

    pairs = build_pairs([write("en-ko.jsonl", [row(1, negative_passage_en_1="no"), row(2)])])
    data = read_align_data(write("rows.jsonl", pairs.rows), ["pivot_query"], negatives=["pivot_passage"])
    assert data.negatives == {"pivot_passage": {1: ["no", None]}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"negative_passage_1": ["a"]}, r"'negative_passage_1' must be a text, or empty .*, got \['a'\]"),
        (
            {"negative_passage": "a", "negative_passage_ko_1": "b"},
            "must have 'negative_passage_1' once, got 'negative_",
        ),
    ],
)
def test_negatives_that_do_not_fit_are_refused(write, given, message):
    with pytest.raises(InputError, match=rf"en-ko\.jsonl, line 1: {message}"):
        build_pairs([write("en-ko.jsonl", [row(1, **given)])])


def test_the_limit_is_spread_and_drawn_by_the_seed(write):
    many = write("en-ko.jsonl", [row(number) for number in range(50)])
    few = write("en-zh.jsonl", [row(number, "zh") for number in range(3)])
    first, same, other = (build_pairs([many, few], limit=20, seed=seed) for seed in (0, 0, 1))
    assert first.counts() == {"ko": {"human": 17}, "zh": {"human": 3}}
    assert first.rows == same.rows
    assert first.rows != other.rows
    assert first.left_out["over the limit"] == 33
    numbers = [int(one["query"][4:]) for one in first.rows if one["language"] == "ko"]
    assert numbers == sorted(numbers)


def test_machine_translations_are_counted_or_left_out(write):
    rows = [row(1), row(2, translated_by="machine"), {k: v for k, v in row(3).items() if k != "translated_by"}]
    path = write("en-ko.jsonl", rows)
    assert build_pairs([path]).counts() == {"ko": {"human": 1, "machine": 1, "unknown": 1}}
    human = build_pairs([path], human_only=True)
    assert [one["pivot_query"] for one in human.rows] == ["q1"]
    assert human.left_out == {"not by a human translator": 2}
    with pytest.raises(InputError, match="2 not by a human translator"):
        build_pairs([write("en-zh.jsonl", rows[1:])], human_only=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("en-ko.jsonl", '{"query_en": "a"}\n', "must have a text in 'passage_en'|must have a text in 'query_ko'"),
        ("en-ko.jsonl", json.dumps(row(1, query=" ")) + "\n", "line 1: must have a text in 'query_ko' or 'query', got"),
        ("en-ko.tsv", "query\tpassage\nonly one\n", "line 2: must have the 2 fields of the header, got 1"),
        ("en-ko.tsv", "query\tpassage\tquery\na\tb\tc\n", "line 1: must name every column once, got 'query' twice"),
        ("xquad.en.json", "{}", "such as SQuAD files, are not to be trained on"),
        ("en-ko.jsonl", "", "empty files"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        build_pairs([tmp_path / name])


def test_arguments_out_of_range_are_refused(tmp_path):
    with pytest.raises(InputError, match="limit must be 1 or more"):
        build_pairs([tmp_path / "en-ko.jsonl"], limit=0)
    with pytest.raises(InputError, match="at least one parallel file"):
        build_pairs([])
    with pytest.raises(NotFoundError):
        build_pairs([tmp_path / "en-ko.jsonl"])
