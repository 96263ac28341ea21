import json
from dataclasses import replace

import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder

from isthmus.errors import InputError
from isthmus.losses import CachedCLEARLoss, CachedNamedSpladeLoss, CLEARLoss, NamedSpladeLoss
from isthmus.training import AlignOptions, align
from isthmus.training.align_data import read_align_data
from isthmus.training.aligning import build_loss, find_terms, mine_negatives, prepare
from isthmus.training.trainer import build_trainer
from tests.losses.conftest import CLEAR
from tests.training.conftest import QUICK, tensors

ENGLISH = ["house", "the water", "school of war", "korea", "1 home", "capital", "wars", "2 ."]
OTHER = ["home", "water .", "schools", "the capital", "houses 1", "korea ?", "war of", "of 2"]
ROWS = [
    {
        "language": "ko" if i < 5 else "zh", "translated_by": "human" if i % 2 else "machine",
        "query": OTHER[i], "passage": f"{OTHER[i]} and {OTHER[i - 1]}", "pivot_query": ENGLISH[i],
        "pivot_passage": f"{ENGLISH[i]} of the {ENGLISH[i - 2]}",
    }
    for i in range(8)
]  # fmt: skip


@pytest.fixture
def chosen():
    """Settings under which the tiny encoders learn the rows by heart."""

    def call(loss="clear", training=None, **options):
        return AlignOptions.of(loss=loss, **QUICK | (training or {}) | {"negatives": 2} | options)

    return call


def read(path, settings, **options):
    roles = sorted({role for term in find_terms(settings) for role in term})
    return read_align_data(path, roles, negatives=[positive for _, positive in find_terms(settings)], **options)


@pytest.mark.parametrize("loss", ["clear", "proximity", "infonce"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_loss_goes_down_and_its_parts_are_logged(request, write, tmp_path, chosen, loss, kind):
    folder, output = request.getfixturevalue(f"{kind}_folder"), tmp_path / "out"
    rate = 1e-2 if kind == "sparse" else 3e-3
    settings = chosen(loss, {"learning_rate": rate, "steps": 40}, negatives=0)
    report = align(folder, write(ROWS), output, settings)
    losses = [entry["loss"] for entry in report.log]
    assert losses[-1] < 0.95 * losses[0]
    parts = {
        "clear": {"forward_loss", "reverse_loss", "kl_loss"},
        "proximity": {"jsd_loss", "nce_loss"},
        "infonce": {"nce_loss"},
    }[loss]
    if kind == "sparse":
        parts = parts | {"document_regularizer_loss", "query_regularizer_loss"}
        assert report.log[-1]["document_active_dims"] > 0
    for entry in report.log:
        assert parts < entry.keys()
        assert sum(entry[part] for part in parts) == pytest.approx(entry["loss"], abs=1e-3)
    assert report.settings["loss"] == loss
    assert not (output / "checkpoints").exists()
    family = SparseEncoder if kind == "sparse" else SentenceTransformer
    assert family(str(output), device="cpu").encode(["the house"]).shape[0] == 1


def test_card_and_report_say_how_it_was_made(dense_folder, write, tmp_path, chosen):
    align(dense_folder, write(ROWS, "rows.jsonl"), tmp_path / "out", chosen("clear", alpha=0.3))
    report = json.loads((tmp_path / "out" / "training_report.json").read_text())
    assert report["data"]["counts"] == {
        "language": {"ko": 5, "zh": 3},
        "translated_by": {"machine": 4, "human": 4},
    }
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "with CLEAR (arXiv 2604.05821) on 8 rows of rows.jsonl" in card
    assert "- Rows by translated by: machine 4, human 4" in card
    assert "mined with the model as it was before" in card
    assert "alpha 0.3, beta 0.2, kl True" in card
    assert str(tmp_path) not in card
    assert "- alignment" in card
    assert "lee-etal-2026-clear" in card


def test_negatives_come_from_the_rows_own_language(dense_folder, write, chosen):
    encoder = SentenceTransformer(str(dense_folder), device="cpu")
    settings = chosen(negatives=3, skip=0, max_score=None)
    data = read(write(ROWS), settings)
    found = mine_negatives(encoder, data, "pivot_passage", "query", settings)
    assert list(found) == [1, 2, 3]
    for row in range(8):
        mine = [found[number][row] for number in found if found[number][row] is not None]
        own = OTHER[:5] if row < 5 else OTHER[5:]
        assert len(mine) == (3 if row < 5 else 2)
        assert set(mine) <= set(own) - {OTHER[row]}
        scores = encoder.similarity(encoder.encode_document([ROWS[row]["pivot_passage"]]), encoder.encode_query(mine))
        assert (scores.diff() <= 1e-6).all()
    pivots = mine_negatives(encoder, data, "pivot_query", "pivot_passage", settings)
    mixed = {row["pivot_passage"] for row in ROWS[5:]}
    assert any(text in mixed for column in pivots.values() for text in column[:5])


def test_given_negatives_are_not_mined_again(dense_folder, write, chosen):
    encoder = SentenceTransformer(str(dense_folder), device="cpu")
    rows = [row | {"negative_query_1": "war"} for row in ROWS]
    prepared = prepare(encoder, read(write(rows), chosen()), chosen())
    assert prepared.texts["negative_query_1"] == ["war"] * 8
    assert "negative_query_2" not in prepared.texts
    assert "negative_pivot_passage_1" in prepared.texts
    assert list(prepared.stated["mined"]) == ["pivot_passage"]
    none = prepare(encoder, read(write(ROWS), chosen()), chosen(negatives=0))
    assert sorted(none.texts) == sorted(CLEAR)
    assert none.stated["mined"] == {}


def test_prompts_go_before_queries_and_passages(dense_folder, write, tmp_path, chosen):
    settings = chosen(query_prompt="the ", passage_prompt="of ", negatives=1)
    encoder = SentenceTransformer(str(dense_folder), device="cpu")
    prepared = prepare(encoder, read(write(ROWS), settings), settings)
    trainer, _ = build_trainer(encoder, prepared, settings, tmp_path, lambda: None, show=False)
    expected = {column: "the " if "query" in column else "of " for column in prepared.texts}
    assert trainer.data_collator.inner.prompts == expected
    align(dense_folder, write(ROWS), tmp_path / "out", replace(settings, steps=1))
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").prompts == {"query": "the ", "document": "of "}


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_mini_batches_train_the_same(request, write, tmp_path, chosen, kind):
    folder, path = request.getfixturevalue(f"{kind}_folder"), write(ROWS)
    encoder = (SparseEncoder if kind == "sparse" else SentenceTransformer)(str(folder), device="cpu")
    plain, cached = (build_loss(encoder, CLEAR, chosen(mini_batch_size=size)) for size in (None, 3))
    assert type(plain) is (NamedSpladeLoss if kind == "sparse" else CLEARLoss)
    assert type(cached) is (CachedNamedSpladeLoss if kind == "sparse" else CachedCLEARLoss)
    training = {"learning_rate": 1e-3}
    whole = align(folder, path, tmp_path / "whole", chosen("clear", training))
    small = align(folder, path, tmp_path / "small", chosen("clear", training, mini_batch_size=3))
    assert [e["loss"] for e in small.log] == pytest.approx([e["loss"] for e in whole.log], rel=2e-3)


def test_a_broken_off_run_goes_on(dense_folder, write, tmp_path, chosen, interrupted):
    settings, path = chosen("proximity", {"save_steps": 5, "batch_size": 3}), write(ROWS)
    whole = align(dense_folder, path, tmp_path / "whole", settings)

    with interrupted(12):
        align(dense_folder, path, tmp_path / "out", settings)
    with pytest.raises(InputError, match=r"jsd_weight 1\.0 then and 0\.5 now"):
        align(dense_folder, path, tmp_path / "out", AlignOptions.of(settings, jsd_weight=0.5))
    report = align(dense_folder, path, tmp_path / "out", settings)
    assert (report.resumed_from, report.steps) == (10, 20)
    assert [e["loss"] for e in report.log] == pytest.approx([e["loss"] for e in whole.log], rel=1e-3)
    resumed = tensors(tmp_path / "out")
    for name, tensor in tensors(tmp_path / "whole").items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-4, atol=1e-5)


def test_one_row_a_batch_needs_negatives(dense_folder, write, tmp_path, chosen):
    with pytest.raises(InputError, match="must be 2 or more without negatives, got 1 and 8"):
        align(dense_folder, write(ROWS), tmp_path / "out", chosen(negatives=0, training={"batch_size": 1}))


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS[:1] * 3])
def test_rows_that_give_no_negatives_are_refused(dense_folder, write, tmp_path, chosen, rows):
    with pytest.raises(InputError, match="'pivot_passage' must be 2 or more without negatives, got 2 and 1"):
        align(dense_folder, write(rows), tmp_path / "out", chosen(negatives=1, training={"batch_size": 2}))
