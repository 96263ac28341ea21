import json
from dataclasses import replace

import pytest
import torch
from sentence_transformers import SentenceTransformer

from isthmus.errors import InputError, TrainingError
from isthmus.training import AlignOptions, align, train
from isthmus.training.batching import BatchCollator, OwnTextsBatchSampler
from isthmus.training.data import read_training_data
from isthmus.training.objective import training_task
from isthmus.training.task import Prepared
from isthmus.training.trainer import build_trainer
from tests.losses import literal
from tests.training.conftest import PAIRS, QUICK
from tests.training.test_align import ROWS, prepare, read

WORDS = ["house", "water", "school", "war", "korea", "capital", "home"]
# Queries and passages of their own, and no two pivots alike.
MANY = [
    {
        "query": f"{WORDS[i % 7]} {i // 7}", "pivot_query": f"the {WORDS[i % 7]} {i // 7}",
        "pivot_passage": f"{WORDS[i % 7]} of {i // 7}",
    }
    for i in range(29)
]  # fmt: skip


@pytest.fixture
def trainer_of(dense_folder, write, tmp_path):
    """A trainer for rows, its prepared data, and its batches of rows."""

    def call(rows, loss="clear", batch_size=8, **options):
        chosen = AlignOptions.of(loss=loss, **QUICK | {"batch_size": batch_size, "negatives": 5} | options)
        encoder = SentenceTransformer(str(dense_folder), device="cpu")
        prepared = prepare(encoder, read(write(rows), chosen), chosen)
        trainer, _ = build_trainer(encoder, prepared, chosen, tmp_path, lambda: None, show=False)
        batches = [
            [trainer.train_dataset[row] for row in batch] for batch in trainer.get_train_dataloader().batch_sampler
        ]
        return trainer, prepared, batches

    return call


def split(row):
    """A row's own texts, and its negatives by column."""
    own = {text for column, text in row.items() if column != "label" and not column.startswith("negative")}
    return own, {column: text for column, text in row.items() if column.startswith("negative")}


def test_all_batches_but_the_last_are_full_in_spite_of_negatives(trainer_of):
    _, prepared, batches = trainer_of(MANY)
    assert sum(column.startswith("negative_") for column in prepared.texts) == 10
    assert list(map(len, batches)) == [8, 8, 8, 5]


def test_rows_that_share_a_text_do_not_meet(trainer_of):
    rows = [*ROWS, *(row | {"query": f"{row['query']} 1", "language": "vi"} for row in ROWS)]
    _, _, batches = trainer_of(rows, batch_size=6)
    assert sum(map(len, batches)) == 16
    for batch in batches:
        own = [text for row in batch for text in split(row)[0]]
        assert len(set(own)) == len(own)


def test_no_negative_of_a_batch_is_a_text_of_a_row_or_there_twice(trainer_of):
    trainer, _, batches = trainer_of(MANY)
    left_out = 0
    for batch in batches:
        separated = trainer.data_collator.separate(batch)
        own = {text for row in batch for text in split(row)[0]}
        there = []
        for before, after in zip(batch, separated, strict=True):
            assert split(before)[0] == split(after)[0]
            pairs = zip(split(before)[1].items(), split(after)[1].items(), before["label"], after["label"], strict=True)
            for (column, text), (_, now), had, has in pairs:
                if has:
                    assert now == text
                    there.append(now)
                else:
                    assert now == after["query" if "query" in column else "pivot_passage"]
                    # Left out for a reason alone.
                    assert not had or text in own or text in there
                    left_out += had
        assert there
        assert not set(there) & own
        assert len(set(there)) == len(there)
    assert left_out


def test_the_loss_of_a_batch_is_that_without_the_negatives_that_do_not_fit(trainer_of):
    rows = [row | {"negative_pivot_passage_1": "2 and 1"} for row in ROWS[:4]]
    rows[0]["negative_pivot_passage_1"] = rows[2]["pivot_passage"]
    rows[1]["negative_pivot_passage_1"] = "wars ?"
    trainer, prepared, _ = trainer_of(rows, "infonce")
    batch = [trainer.train_dataset[row] for row in range(4)]
    features, labels = trainer.collect_features(trainer.data_collator(batch))
    assert labels.tolist() == [[0], [1], [1], [0]]
    found = trainer.loss(features, labels)["nce_loss"]

    def vectors(texts):
        encoder = trainer.model.eval()
        return torch.tensor(encoder.encode(texts), dtype=torch.float64)

    anchors, positives = vectors(prepared.texts["query"]), vectors(prepared.texts["pivot_passage"])
    first, second = vectors(["wars ?", "2 and 1"])
    expected = literal.contrast(literal.ranked(literal.cosine, 20.0, anchors, positives, [[None, first, second, None]]))
    with_all = [[positives[2], first, second, second]]
    other = literal.contrast(literal.ranked(literal.cosine, 20.0, anchors, positives, with_all))
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    assert found.item() != pytest.approx(other.item(), rel=1e-3)


def pairs_of(write, settings, rows):
    """A collator without labels, over rows of ``train``."""
    data = training_task(read_training_data(write(rows)), "contrastive", settings()).prepare(None)

    class Inner:
        valid_label_columns = ("label",)

    return BatchCollator(Inner(), data)


def test_losses_without_labels_get_another_negative(write, settings):
    rows = [pair | {"negative": PAIRS[i - 1]["positive"]} for i, pair in enumerate(PAIRS)]
    rows[0]["negative"] = "home ?"
    collator = pairs_of(write, settings, rows)
    batch = [rows[0], rows[1], rows[5], rows[2]]
    found = collator.separate(batch)
    assert found == collator.separate(batch)
    own = {text for row in batch for text in split(row)[0]}
    negatives = [row["negative"] for row in found]
    assert [split(row)[0] for row in found] == [split(row)[0] for row in batch]
    assert (negatives[0], negatives[2]) == ("home ?", rows[5]["negative"])
    assert not set(negatives) & own
    assert len(set(negatives)) == 4
    assert set(negatives) <= {row["negative"] for row in rows}


def test_where_no_negative_fits_one_comes_twice_or_nothing_changes(write, settings):
    rows = [
        PAIRS[0] | {"negative": "war of 1"},
        PAIRS[1] | {"negative": PAIRS[0]["positive"]},
    ]
    assert [row["negative"] for row in pairs_of(write, settings, rows).separate(rows)] == ["war of 1"] * 2
    rows[0]["negative"] = PAIRS[1]["positive"]
    assert pairs_of(write, settings, rows).separate(rows) == rows


def test_batches_of_losses_over_scores_pass_as_they_are():
    class Inner:
        valid_label_columns = ("scores",)

    texts = {"query": ["a", "b"], "positive": ["c", "d"], "negative": ["d", "d"]}
    collator = BatchCollator(Inner(), Prepared(texts, {"scores": [1.0, 1.0]}, lambda encoder: None, distinct=False))
    rows = [{column: values[row] for column, values in texts.items()} for row in range(2)]
    assert collator.separate(rows) == rows


@pytest.mark.parametrize("steps", [4, 6])
def test_the_report_says_how_many_rows_a_step_had(dense_folder, write, tmp_path, steps):
    chosen = AlignOptions(**QUICK | {"steps": steps, "logging_steps": steps}, negatives=5)
    report = align(dense_folder, write(MANY), tmp_path / "out", chosen)
    # 29 rows are batches of 8, 8, 8 and 5; the second epoch is broken off after two of them.
    mean = sum([8, 8, 8, 5, 8, 8][:steps]) / steps
    assert report.rows_per_step == pytest.approx(mean, abs=0.01)
    assert f"{mean:.1f} per step, of a batch size of 8" in str(report)
    assert json.loads((tmp_path / "out" / "training_report.json").read_text())["rows_per_step"] == report.rows_per_step
    full = replace(chosen, batch_size=29)
    assert "per step" not in str(align(dense_folder, write(MANY), tmp_path / "full", full))


@pytest.mark.parametrize("batches", [0, 2])
def test_a_run_that_ends_before_its_steps_is_an_error(sparse_folder, write, tmp_path, settings, monkeypatch, batches):
    def one_pass(self, *arguments):
        yield from ([[0, 1, 2]] * batches if self.epoch == 0 else [])

    monkeypatch.setattr(OwnTextsBatchSampler, "_iter_one_pass", one_pass)
    # Resampling within the epoch would make up for it.
    monkeypatch.setattr(OwnTextsBatchSampler, "__len__", lambda self: max(batches, 1))
    with pytest.raises(
        TrainingError, match=rf"must take 20 steps, got {batches}: .* batches of 3 .*; lower batch_size"
    ):
        train(sparse_folder, write(PAIRS), tmp_path / "out", settings(batch_size=3))
    assert not (tmp_path / "out" / "modules.json").exists()


def test_processes_that_cannot_each_fill_a_batch_are_refused(trainer_of, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match="number of rows, got 8 times 4 for 29 rows; lower batch_size"):
        trainer_of(MANY)
