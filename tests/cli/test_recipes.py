import json

import pytest

from isthmus.training.paper_recipes import RECIPES
from tests.cli.conftest import write_lines
from tests.cli.test_align import ROWS, sections, trains  # noqa: F401
from tests.cli.test_train import PAIRS

TINY = ("--steps", 2, "--batch-size", 2, "--max-length", 24, "--no-bf16", "--max-active-share", 1)


def test_recipes_are_listed_with_where_they_are_known_from(run):
    code, out, _ = run("recipes")
    assert code == 0
    for text in (
        "clear-paper  CLEAR, arXiv 2604.05821: isthmus align --recipe",
        "[code], for e5 either",
        "ours: not known",
    ):
        assert text in out
    code, out, _ = run("recipes", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["recipe"], row["command"]) for row in rows] == [
        ("clear-paper", "align"), ("proximity-paper", "align"), ("sembridge-paper", "train"),
    ]  # fmt: skip
    assert rows[0]["values"]["warmup"] == {"value": 0.05, "known": "code", "note": ""}
    assert rows[2]["values"]["learning_rate"]["known"] == "ours"


@trains
@pytest.mark.parametrize("name", ["clear-paper", "proximity-paper"])
def test_align_tells_a_recipe_and_takes_what_is_given_first(run, transferred, sections, tmp_path, name):  # noqa: F811
    rows, output = tmp_path / "rows.jsonl", tmp_path / "out"
    assert run("pairs", sections, "-o", rows)[0] == 0
    code, out, err = run("align", transferred, "--train", rows, "-o", output, "--recipe", name, *TINY, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["recipe"]["recipe"] == name
    assert report["settings"]["similarity"] == "cosine"
    assert report["settings"]["scale"] == {"clear-paper": 20, "proximity-paper": 1}[name]
    told = {line.split()[0]: " ".join(line.split()[1:]) for line in err.splitlines() if line.startswith("  ")}
    assert err.startswith(f"{name}: {RECIPES[name].title}, arXiv {RECIPES[name].arxiv}")
    assert told["batch_size"].startswith("2 given; the recipe has 64 ")
    if name == "clear-paper":
        assert told["alpha"] == "0.4 [code]"
        assert told["bf16"] == "no given; the recipe has yes [code]"
        assert told["skip"].startswith("50 [inf]")


@trains
def test_train_by_a_recipe_on_the_first_rows(run, transferred, tmp_path):
    write_lines(tmp_path / "pairs.jsonl", PAIRS)
    arguments = ("--train", tmp_path / "pairs.jsonl", "-o", tmp_path / "out", "--recipe", "sembridge-paper", *TINY)
    more = ("--limit-rows", 3, "--scheduler", "cosine", "--warmup", 0.5)
    code, out, err = run("train", transferred, *arguments, *more, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["data"]["rows"] == 3
    assert report["recipe"]["changed"].items() >= {"scheduler": "cosine", "warmup": 0.5, "limit_rows": 3}.items()
    assert "hyper-parameters were not found anywhere" in err.lower()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("align", "--train", "x.jsonl", "--recipe", "clear"), "recipe must be one of clear-paper"),
        (("align", "--train", "x.jsonl", "--recipe", "sembridge-paper"), "it belongs to isthmus train"),
        (("align", "--train", "x.jsonl", "--recipe", "clear-paper", "--loss", "infonce"), "loss must be 'clear'"),
        (("align", "--train", "x.jsonl", "--skip", 3, "--last-rank", 5), "last_rank must be at least skip + negatives"),
        (("align", "--train", "x.jsonl", "--warmup", 1), "warmup must be 0 or more and below 1"),
        (("train", "--train", "x.jsonl", "--recipe", "clear-paper"), "it belongs to isthmus align"),
        (("train", "--self-supervised", "x.txt", "--recipe", "sembridge-paper"), "--recipe must come with --train"),
    ],
)
def test_refusals(run, folders, tmp_path, arguments, message):
    code, out, err = run(arguments[0], folders / "source", *arguments[1:], "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


@trains
def test_unlabelled_text_has_no_first_rows(run, folders, tmp_path):
    (tmp_path / "x.txt").write_text("the house of water and war\n" * 3)
    code, _, err = run(
        "train", folders / "source", "--self-supervised", tmp_path / "x.txt", "--limit-rows", 2, "-o", tmp_path / "out"
    )
    assert code == 2
    assert "limit_rows must be left out for unlabelled text" in " ".join(err.split())


@trains
def test_mine_draws_from_a_window(run, folders, tmp_path):
    write_lines(tmp_path / "pairs.jsonl", PAIRS)
    arguments = ("--train", tmp_path / "pairs.jsonl", "-o", tmp_path / "mined.jsonl", "--negatives", 1, "--skip", 0)
    code, out, err = run("mine", folders / "source", *arguments, "--last-rank", 2, "--max-score", 1000, "--json")
    assert code == 0, err
    assert json.loads(out)["negatives"] == 1
    code, _, err = run("mine", folders / "source", *arguments, "--last-rank", 0, "--overwrite")
    assert code == 2
    assert "last_rank must be at least" in " ".join(err.split())
