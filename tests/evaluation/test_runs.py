"""Runs of other engines, read back."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from isthmus.collections import Collection
from isthmus.errors import InputError, NotFoundError
from isthmus.evaluation.runs import evaluate_run, read_run

COLLECTION = Collection(
    "c", {f"d{n}": "x" for n in range(5)}, {"q1": "a", "q2": "b"}, {"q1": {"d1": 2, "d2": 1}, "q2": {"d3": 1}}
)
RUN = """q1 Q0 d0 1 3.5 tag
q1 Q0 d2 2 9.0 tag
q1\tQ0\td1\t3\t3.5\ttag

q9 Q0 d3 1 1 tag
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run.txt").write_text(RUN)
    return tmp_path / "run.txt"


def test_the_order_is_that_of_the_scores_and_then_of_the_file(run: Path, tmp_path: Path) -> None:
    found = {"q1": ["d2", "d0", "d1"], "q9": ["d3"]}
    assert read_run(run) == found
    with gzip.open(tmp_path / "run.txt.gz", "wt") as stream:
        stream.write(RUN)
    assert read_run(tmp_path / "run.txt.gz") == found


def test_a_query_that_the_run_leaves_out_scores_nothing(run: Path) -> None:
    result = evaluate_run(run, COLLECTION)
    assert (result.model, result.queries, result.documents) == ("run.txt", 2, 5)
    assert result.per_query["mrr@10"].tolist() == [1.0, 0.0]
    assert result.per_query["recall@100"].tolist() == [1.0, 0.0]
    # Gains 1, 0, 2; the best order is 2, 1.
    assert result.per_query["ndcg@10"][0] == pytest.approx((1 + 2 / 2) / (2 + 1 / 1.584962500721156))
    assert result.settings["queries_without_hits"] == 1


def test_what_lies_behind_the_hundredth_counts_nothing(tmp_path: Path) -> None:
    ids = [f"d{n}" for n in range(150)]
    pool = Collection("c", dict.fromkeys(ids, "x"), {"q": "a"}, {"q": {"d99": 1, "d100": 1}})
    (tmp_path / "run").write_text("".join(f"q Q0 {one} {n} {-n} t\n" for n, one in enumerate(ids)))
    assert evaluate_run(tmp_path / "run", pool)["recall@100"] == 0.5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 d0 3.5", "line 6: a run must have 6 columns"),
        ("q1 Q0 d9 1 high tag", "6 columns"),
        ("q1 Q0 d0 1 3.5 tag", "got 'd0' twice for 'q1'"),
        ("q1 Q0 d9 1 nan tag", "got 'd9' without one"),
    ],
)
def test_what_is_no_run_is_refused(run: Path, line: str, message: str) -> None:
    run.write_text(RUN + line + "\n")
    with pytest.raises(InputError, match=message):
        read_run(run)


def test_a_run_of_another_collection_is_refused(run: Path, tmp_path: Path) -> None:
    run.write_text("q7 Q0 d0 1 1 t\n")
    with pytest.raises(InputError, match="must be a run of 'c', got none of its queries"):
        evaluate_run(run, COLLECTION)
    run.write_text("q1 Q0 z 1 1 t\n")
    with pytest.raises(InputError, match="got none of its documents"):
        evaluate_run(run, COLLECTION)
    with pytest.raises(NotFoundError):
        read_run(tmp_path / "none")
