import json

import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder

from isthmus.collections import Collection
from isthmus.errors import EncoderError, InputError, MissingExtraError, OutputError, UnknownNameError
from isthmus.evaluation import evaluate_model
from isthmus.lexical import add_lexical
from isthmus.training import TrainOptions, read_training_data, train
from isthmus.training.trainer import _roles
from tests.tiny_encoders import inference_free, splade
from tests.training.conftest import PAIRS, tensors

SCORED = [pair | {"negative": PAIRS[i - 3]["positive"], "scores": [3.0, 1.0]} for i, pair in enumerate(PAIRS)]


@pytest.fixture
def pairs(write):
    return write(PAIRS)


def test_the_loss_goes_down_and_the_result_is_a_plain_encoder(sparse_folder, pairs, tmp_path, settings):
    output = tmp_path / "out"
    report = train(sparse_folder, pairs, output, settings(steps=40))
    losses = [entry["loss"] for entry in report.log]
    assert losses[-1] < 0.6 * losses[0]
    assert (report.steps, report.kept_step, report.fused_heads, report.resumed_from) == (40, 40, 1, None)
    assert report.settings["loss"] == "contrastive"
    assert not (output / "checkpoints").exists()
    assert json.loads((output / "training_report.json").read_text()) == report.to_dict()
    before, after = SparseEncoder(str(sparse_folder), device="cpu"), SparseEncoder(str(output), device="cpu")
    assert after.max_seq_length == before.max_seq_length
    assert [key for key in tensors(output)] == [key for key in tensors(sparse_folder)]
    queries, documents = ([pair[key] for pair in PAIRS] for key in ("query", "positive"))
    scores = after.similarity(after.encode_query(queries), after.encode_document(documents))
    assert (scores.to_dense().argmax(dim=1) == torch.arange(len(PAIRS))).sum() >= 6


@pytest.mark.parametrize("mode", ["echo", "hybrid"])
def test_an_encoder_with_a_lexical_part_is_warned_of(sparse_folder, pairs, tmp_path, settings, mode):
    plain = SparseEncoder(str(sparse_folder), device="cpu")
    texts = [pair["positive"] for pair in PAIRS] + ["the war of water", "a school", "capital homes"]
    add_lexical(plain, texts, mode).save_pretrained(str(tmp_path / "start"))
    with pytest.warns(UserWarning, match=rf"carries a lexical part \({mode}\).*afterwards by .*--lexical {mode}"):
        report = train(tmp_path / "start", pairs, tmp_path / "out", settings(steps=1))
    (warning,) = report.warnings
    assert "train the encoder that the part was added to" in warning
    assert f"  warnings    {warning}" in str(report)
    assert json.loads((tmp_path / "out" / "training_report.json").read_text())["warnings"] == [warning]


def test_nothing_is_warned_of_without_one(sparse_folder, pairs, tmp_path, settings, recwarn):
    plain = SparseEncoder(str(sparse_folder), device="cpu")
    texts = [pair["positive"] for pair in PAIRS] + ["the war of water", "a school", "capital homes"]
    # A calibration scores no words.
    add_lexical(plain, texts, None).save_pretrained(str(tmp_path / "start"))
    for start in (sparse_folder, tmp_path / "start"):
        report = train(start, pairs, tmp_path / f"{start.name}.out", settings(steps=1))
        assert report.to_dict()["warnings"] == []
        assert "warnings" not in str(report)
    assert not [warning for warning in recwarn if "lexical" in str(warning.message)]


@pytest.mark.parametrize("loss", ["auto", "margin-mse", "kl"])
def test_teachers_scores_are_learned(sparse_folder, write, tmp_path, settings, loss):
    report = train(sparse_folder, write(SCORED), tmp_path / "out", settings(steps=30, loss=loss))
    assert report.settings["loss"] == ("margin-mse" if loss == "auto" else loss)
    losses = [entry["base_loss"] for entry in report.log]
    assert losses[-1] < 0.8 * losses[0]


def test_a_single_number_is_a_margin(sparse_folder, write, tmp_path, settings):
    rows = [row | {"scores": 2.0} for row in SCORED]
    lists = train(sparse_folder, write(SCORED), tmp_path / "lists", settings())
    numbers = train(sparse_folder, write(rows), tmp_path / "numbers", settings())
    assert [entry["loss"] for entry in numbers.log] == pytest.approx([entry["loss"] for entry in lists.log])


@pytest.mark.parametrize("loss", ["contrastive", "margin-mse", "kl"])
def test_dense_encoders_train_too(dense_folder, write, tmp_path, settings, loss):
    output = tmp_path / "out"
    report = train(dense_folder, write(SCORED), output, settings(steps=30, learning_rate=3e-3, loss=loss))
    losses = [entry["loss"] for entry in report.log]
    assert losses[-1] < 0.8 * losses[0]
    assert report.fused_heads == 0
    assert SentenceTransformer(str(output), device="cpu").encode(["the house"]).shape == (1, 16)


def test_fused_and_stock_heads_train_the_same(sparse_folder, pairs, tmp_path, settings):
    fused = train(sparse_folder, pairs, tmp_path / "fused", settings())
    stock = train(sparse_folder, pairs, tmp_path / "stock", settings(stock_head=True))
    assert (fused.fused_heads, stock.fused_heads) == (1, 0)
    for key in ("loss", "document_active_dims"):
        assert [entry[key] for entry in fused.log] == pytest.approx([entry[key] for entry in stock.log], rel=2e-3)


def test_inference_free_queries_are_routed(write, tmp_path, settings):
    inference_free(tmp_path / "backbone").save_pretrained(str(tmp_path / "encoder"))
    report = train(tmp_path / "encoder", write(PAIRS), tmp_path / "out", settings(learning_rate=1e-3))
    assert report.steps == 20
    assert SparseEncoder(str(tmp_path / "out"), device="cpu").encode_query("house").coalesce().values().numel() == 1


def test_what_a_transfer_left_is_carried_along(sparse_folder, pairs, tmp_path, settings):
    source = tmp_path / "source"
    SparseEncoder(str(sparse_folder), device="cpu").save_pretrained(str(source))
    (source / "transfer_report.json").write_text('{"a": 1}')
    train(source, pairs, tmp_path / "out", settings(steps=1))
    assert (tmp_path / "out" / "transfer_report.json").read_text() == '{"a": 1}'


def test_a_development_collection_keeps_the_best_and_stops(sparse_folder, pairs, tmp_path, settings):
    corpus = {str(i): pair["positive"] for i, pair in enumerate(PAIRS)}
    queries = {str(i): pair["query"] for i, pair in enumerate(PAIRS)}
    collection = Collection("toy", corpus, queries, {i: {i: 1} for i in queries})
    chosen = settings(steps=300, save_steps=10, patience=2, max_length=8, learning_rate=2e-2)
    report = train(sparse_folder, pairs, tmp_path / "out", chosen, development=collection)
    found = report.development
    assert found is not None
    assert report.stopped_early
    assert report.steps < 300
    assert report.steps - report.kept_step == 20
    assert found["best"] > found["before"]
    assert found["evaluations"][0] == {"step": 0, "ndcg@10": found["before"]}
    kept = SparseEncoder(str(tmp_path / "out"), device="cpu")
    assert kept.max_seq_length == SparseEncoder(str(sparse_folder), device="cpu").max_seq_length
    assert evaluate_model(kept, collection)["ndcg@10"] == pytest.approx(found["best"], abs=1e-4)


def test_a_shorter_length_is_for_training_alone(sparse_folder, pairs, tmp_path, settings):
    corpus = {str(i): pair["positive"] for i, pair in enumerate(PAIRS)}
    collection = Collection("toy", corpus, {"0": PAIRS[0]["query"]}, {"0": {"0": 1}})
    short = train(sparse_folder, pairs, tmp_path / "short", settings(steps=1, max_length=3), development=collection)
    whole = train(sparse_folder, pairs, tmp_path / "whole", settings(steps=1), development=collection)
    assert abs(short.log[0]["loss"] - whole.log[0]["loss"]) > 1e-3
    assert short.development["before"] == whole.development["before"]
    lengths = [SparseEncoder(str(tmp_path / name), device="cpu").max_seq_length for name in ("short", "whole")]
    assert lengths == [24, 24]


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (PAIRS, {"loss": "kl"}, "'kl' needs a column 'scores'"),
        (PAIRS, {"loss": "margin-mse"}, "'margin-mse' needs a column 'scores'"),
        ([row | {"scores": 1.0} for row in SCORED], {"loss": "kl"}, "scores as lists"),
        (PAIRS[:1], {}, "2 or more without negatives"),
        (PAIRS, {"max_length": 99}, "at most the encoder's own 24, got 99"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(sparse_folder, write, tmp_path, settings, rows, changes, message):
    with pytest.raises(InputError, match=message):
        train(sparse_folder, write(rows), tmp_path / "out", settings(**changes))
    assert not (tmp_path / "out").exists()


def test_a_dense_encoder_has_no_active_dims_to_steer(dense_folder, pairs, tmp_path, settings):
    with pytest.raises(InputError, match="left out for a dense encoder, got 5"):
        train(dense_folder, pairs, tmp_path / "out", settings(target_active_dims=5))


def test_output_that_is_there_is_not_lost(sparse_folder, pairs, tmp_path, settings):
    output = tmp_path / "out"
    train(sparse_folder, pairs, output, settings(steps=1))
    with pytest.raises(OutputError, match="already exists"):
        train(sparse_folder, pairs, output, settings(steps=2))
    assert train(sparse_folder, pairs, output, settings(steps=2), overwrite=True).steps == 2
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("text")
    with pytest.raises(OutputError):
        train(sparse_folder, pairs, other, settings(steps=1), overwrite=True)
    assert (other / "thesis.txt").exists()


def test_a_model_that_is_none_is_refused(pairs, tmp_path, settings):
    (tmp_path / "model").mkdir()
    with pytest.raises(EncoderError):
        train(tmp_path / "model", pairs, tmp_path / "out", settings())


@pytest.mark.parametrize(
    "changes",
    [{"steps": 0}, {"epochs": 0.0}, {"learning_rate": float("nan")}, {"query_regularizer_weight": -1.0},
     {"regularizer_warmup": 0.0}, {"max_active_share": 1.5}, {"patience": 0}, {"seed": -1},
     {"target_active_dims": 5, "document_regularizer_weight": 0.0}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(InputError, match=next(iter(changes)) if len(changes) == 1 else "document_regularizer_weight"):
        TrainOptions(**changes)


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="margin-mse"):
        TrainOptions(loss="hinge")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="all-but-new"):
        TrainOptions(freeze="some")  # type: ignore[arg-type]


def test_texts_get_the_prompts_that_the_encoder_searches_with(tmp_path, write):
    prompted = splade(tmp_path / "prompted", prompts={"query": "the ", "document": "of ", "other": "x"})
    data = read_training_data(write(SCORED))
    given = {"query": "the ", "positive": "of ", "negative": "of "}
    assert _roles(prompted, data) == {"prompts": given, "router_mapping": {}}
    routed = inference_free(tmp_path / "routed")
    routes = {"query": "query", "positive": "document", "negative": "document"}
    assert _roles(routed, data) == {"prompts": None, "router_mapping": routes}


def test_a_missing_extra_is_named(sparse_folder, pairs, tmp_path, settings, monkeypatch):
    monkeypatch.setattr("isthmus.training.output.find_spec", lambda name: None if name == "accelerate" else name)
    with pytest.raises(MissingExtraError, match=r"accelerate is not installed; run: .*pip install .*\[train\]'"):
        train(sparse_folder, pairs, tmp_path / "out", settings())
