"""The recipes of the papers: their values are typed from what is known of the papers, not from the code."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from isthmus.errors import InputError, UnknownNameError
from isthmus.training import AlignOptions, TrainOptions, align, paper_settings, read_training_data, train
from isthmus.training.paper_recipes import RECIPES, find_recipe, show
from tests.training.conftest import PAIRS
from tests.training.test_align import ROWS

DOCS = Path(__file__).parents[2] / "docs"
# arXiv 2604.05821 and its released code; "inf" is inferred from the name of a file.
CLEAR = {
    "loss": ("clear", "abs"), "kl": (True, "code"), "alpha": (0.4, "code"), "beta": (0.2, "code"),
    "detach": ("none", "code"), "similarity": ("cosine", "code"), "scale": (20, "code"), "negatives": (5, "code"),
    "skip": (50, "inf"), "last_rank": (100, "inf"), "query_prompt": ("", "code"), "passage_prompt": ("", "code"),
    "gather_across_devices": (False, "code"), "batch_size": (64, "code"), "mini_batch_size": (32, "code"),
    "steps": (50, "code"), "learning_rate": (5e-5, "code"), "scheduler": ("cosine", "code"), "warmup": (0.05, "code"),
    "bf16": (True, "code"), "max_length": (512, "code"), "limit_rows": (500, "code"),
}  # fmt: skip
# arXiv 2604.05684.
PROXIMITY = {
    "loss": ("proximity", "abs"), "temperature": (1, "2nd"), "normalize": (False, "2nd"),
    "eps_placement": ("outside", "2nd"), "jsd_weight": (1, "2nd"), "nce_weight": (1, "2nd"),
    "similarity": ("cosine", "2nd"), "scale": (1, "2nd"), "negatives": (0, "2nd"),
}  # fmt: skip
# arXiv 2605.26002.
SEMBRIDGE = {"loss": ("contrastive", "2nd")}
KNOWN = {"clear-paper": CLEAR, "proximity-paper": PROXIMITY, "sembridge-paper": SEMBRIDGE}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_of_a_paper_is_set_and_the_rest_is_said_to_be_ours(name):
    settings, values = paper_settings(name), RECIPES[name].values
    stated = settings.to_dict()
    for field, (value, known) in KNOWN[name].items():
        assert stated[field] == value, field
        assert (values[field].value, values[field].known) == (value, known), field
    others = {field: value for field, value in values.items() if field not in KNOWN[name]}
    assert {value.known for value in others.values()} == {"ours"}
    assert others
    for field, value in others.items():
        assert stated[field] == value.value, field
    assert settings.recipe == name


def test_a_recipe_leaves_out_no_setting_that_decides_the_outcome():
    decides = TrainOptions().identity().keys() - {"recipe"}
    looks_on = {"freeze", "stock_head", "save_steps", "max_active_share", "patience"}
    for recipe in RECIPES.values():
        assert decides - looks_on <= recipe.values.keys()


def test_what_is_given_comes_first():
    settings = paper_settings("clear-paper", alpha=0.3, steps=7, query_prompt="query: ")
    assert (settings.loss.alpha, settings.loss.beta, settings.steps, settings.query_prompt) == (0.3, 0.2, 7, "query: ")
    epochs = paper_settings("clear-paper", epochs=2.0)
    assert (epochs.steps, epochs.epochs) == (None, 2.0)
    assert paper_settings("sembridge-paper", batch_size=8) == TrainOptions(
        loss="contrastive", batch_size=8, recipe="sembridge-paper"
    )


def test_refusals():
    with pytest.raises(UnknownNameError, match="did you mean 'clear-paper'"):
        paper_settings("clear_paper")
    with pytest.raises(UnknownNameError, match="setting of sembridge-paper"):
        paper_settings("sembridge-paper", alpha=0.3)
    with pytest.raises(InputError, match="loss must be 'clear' with recipe 'clear-paper', got 'infonce'"):
        paper_settings("clear-paper", loss="infonce")
    with pytest.raises(InputError, match="got 'sembridge-paper'; it belongs to isthmus train"):
        find_recipe("sembridge-paper", "align")
    with pytest.raises(UnknownNameError, match="recipe"):
        TrainOptions(recipe="clear")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "step"}, "scheduler must be one of cosine, linear"),
        ({"warmup": 1.0}, "warmup must be 0 or more and below 1"),
        ({"warmup": -0.1}, "warmup must be 0 or more"),
        ({"limit_rows": 0}, "limit_rows must be 1 or more"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        TrainOptions(**changes)


def test_a_window_too_small_for_the_negatives_is_refused():
    with pytest.raises(InputError, match=r"last_rank must be at least skip \+ negatives \(50 \+ 5\), got 52"):
        AlignOptions(skip=50, last_rank=52)


@pytest.mark.parametrize("scheduler", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_the_learning_rate_goes_as_asked(dense_folder, write, tmp_path, settings, scheduler, warmup):
    chosen = settings(steps=10, learning_rate=1e-2, scheduler=scheduler, warmup=warmup, logging_steps=1)
    log = train(dense_folder, write(PAIRS), tmp_path / "out", chosen).log
    rises = math.ceil(10 * warmup)

    def rate(done):
        if done < rises:
            return 1e-2 * done / rises
        left = (10 - done) / (10 - rises)
        return 1e-2 * (left if scheduler == "linear" else (1 + math.cos(math.pi * (1 - left))) / 2)

    found = [entry["learning_rate"] for entry in log]
    # Whether the rate of the step that was or of the one that comes is logged is up to the trainer.
    expected = [[rate(step) for step in range(first, first + 10)] for first in (0, 1)]
    assert found in [pytest.approx(rates, abs=1e-9) for rates in expected]


def test_the_first_rows_are_taken(write):
    path = write(PAIRS)
    first = read_training_data(path, limit=3)
    assert first.texts["query"] == [pair["query"] for pair in PAIRS[:3]]
    assert first.digest == read_training_data(write(PAIRS[:3], "three.jsonl")).digest
    assert len(read_training_data(path, limit=99)) == len(PAIRS)


def test_align_by_a_recipe_says_where_its_values_are_from(dense_folder, write, tmp_path):
    # The tiny encoder reads 24 tokens, and eight rows have no rank 50.
    settings = paper_settings(
        "clear-paper", steps=2, batch_size=4, mini_batch_size=2, max_length=24, bf16=False, limit_rows=6
    )
    report = align(dense_folder, write(ROWS, "rows.jsonl"), tmp_path / "out", settings)
    assert report.data["rows"] == 6
    assert report.data["mined"] == {"pivot_passage": 0.0, "query": 0.0}
    saved = json.loads((tmp_path / "out" / "training_report.json").read_text())["recipe"]
    assert (saved["recipe"], saved["arxiv"]) == ("clear-paper", "2604.05821")
    assert saved["values"]["alpha"] == {"value": 0.4, "known": "code", "note": ""}
    assert saved["values"]["skip"]["known"] == "inf"
    assert saved["changed"] == {
        "steps": 2, "batch_size": 4, "mini_batch_size": 2, "max_length": 24, "bf16": False, "limit_rows": 6,
    }  # fmt: skip
    assert "recipe      clear-paper; changed: " in str(report)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "`clear-paper`: what is known of the training of CLEAR (arXiv 2604.05821)." in card
    assert "[inf] inferred" in card
    assert "| `scheduler` | cosine | [code] |" in card
    assert "| `seed` | 0 | ours: not known |" in card


def test_train_by_a_recipe_and_without_one(sparse_folder, write, tmp_path, settings):
    options = {"steps": 2, "batch_size": 4, "bf16": False, "max_active_share": 1.0}
    report = train(sparse_folder, write(PAIRS), tmp_path / "out", paper_settings("sembridge-paper", **options))
    assert report.recipe["changed"] == {"steps": 2, "batch_size": 4}
    assert "`sembridge-paper`" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    plain = train(sparse_folder, write(PAIRS), tmp_path / "plain", settings(**options))
    assert plain.recipe is None


def test_the_name_of_a_recipe_does_not_keep_a_run_from_going_on():
    named = paper_settings("sembridge-paper")
    assert named.identity() == replace(named, recipe=None).identity()


@pytest.mark.parametrize(
    "kept", [{"query": "query: ", "passage": "passage: "}, {"query": "query: ", "document": "d: "}]
)
def test_an_empty_prompt_takes_the_encoders_own_away(dense_folder, write, tmp_path, kept):
    encoder = SentenceTransformer(str(dense_folder), device="cpu", prompts=kept)
    encoder.save_pretrained(str(tmp_path / "e5"))
    options = {"steps": 1, "batch_size": 4, "mini_batch_size": None, "max_length": 24, "bf16": False}
    report = align(tmp_path / "e5", write(ROWS), tmp_path / "out", paper_settings("clear-paper", **options))
    assert (report.settings["query_prompt"], report.settings["passage_prompt"]) == ("", "")
    result = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    bare = SentenceTransformer(str(tmp_path / "out"), device="cpu", prompts={"query": "", "document": ""})
    assert not any(result.prompts.values())
    assert (result.encode_query(["house"]) == bare.encode(["house"])).all()


@pytest.mark.parametrize("name", ["clear-paper", "proximity-paper", "sembridge-paper"])
def test_the_page_shows_the_recipes(name):
    text = (DOCS / "results" / "papers.md").read_text(encoding="utf-8")
    shown = text.split(f"<!-- recipe:{name} -->\n")[1].split("\n<!-- /recipe -->")[0]
    assert shown == RECIPES[name].table()


def test_values_are_shown_as_people_read_them():
    assert [show(value) for value in (None, "", True, False, 5e-5, 20.0, 64, "cosine")] == [
        "-", "none", "yes", "no", "5e-05", "20", "64", "cosine",
    ]  # fmt: skip
