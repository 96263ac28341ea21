import json
import shutil

import pytest
import torch
from sentence_transformers import SparseEncoder

from isthmus.collections import Collection
from isthmus.errors import InputError
from isthmus.evaluation import evaluate_model
from isthmus.training import train
from isthmus.training.callbacks import Monitor
from tests.training.conftest import PAIRS, tensors


class Killed(Exception):
    pass


@pytest.fixture
def killed_at(monkeypatch):
    """Let training break off after a step."""

    def call(step):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == step:
                raise Killed

        monkeypatch.setattr(Monitor, "on_step_end", on_step_end)

    return call


@pytest.mark.parametrize("changes", [{}, {"target_active_dims": 8, "regularizer_warmup": 0.1}])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(make_sparse, write, tmp_path, settings, killed_at, changes):
    folder, pairs = make_sparse(dropout=0.1), write(PAIRS)
    chosen = settings(steps=14, save_steps=5, batch_size=3, **changes)
    whole = train(folder, pairs, tmp_path / "whole", chosen)
    killed_at(7)
    with pytest.raises(Killed):
        train(folder, pairs, tmp_path / "out", chosen)
    checkpoints = tmp_path / "out" / "checkpoints"
    record = json.loads((checkpoints / "settings.json").read_text())
    assert record["settings"]["learning_rate"] == chosen.learning_rate
    assert [path.name for path in checkpoints.glob("checkpoint-*")] == ["checkpoint-5"]
    killed_at(None)
    report = train(folder, pairs, tmp_path / "out", chosen)
    assert (report.resumed_from, report.steps) == (5, 14)
    assert [entry["step"] for entry in report.log] == [entry["step"] for entry in whole.log]
    assert [e["loss"] for e in report.log] == pytest.approx([e["loss"] for e in whole.log], rel=1e-3)
    weights = [entry["document_regularizer_weight"] for entry in report.log]
    assert weights == pytest.approx([entry["document_regularizer_weight"] for entry in whole.log])
    resumed = tensors(tmp_path / "out")
    for name, tensor in tensors(tmp_path / "whole").items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-4, atol=1e-5)


def test_other_settings_do_not_go_on(sparse_folder, write, tmp_path, settings, killed_at):
    pairs, output = write(PAIRS), tmp_path / "out"
    killed_at(7)
    with pytest.raises(Killed):
        train(sparse_folder, pairs, output, settings(save_steps=5))
    killed_at(None)
    with pytest.raises(InputError, match=r"learning_rate 0\.01 then and 0\.02 now"):
        train(sparse_folder, pairs, output, settings(save_steps=5, learning_rate=2e-2))
    with pytest.raises(InputError, match="train_data"):
        train(sparse_folder, write(PAIRS[1:]), output, settings(save_steps=5))
    with pytest.raises(InputError, match="model"):
        train(tmp_path_copy(sparse_folder, tmp_path), write(PAIRS), output, settings(save_steps=5))
    assert train(sparse_folder, write(PAIRS), output, settings(save_steps=5, logging_steps=4)).resumed_from == 5
    killed_at(7)
    with pytest.raises(Killed):
        train(sparse_folder, pairs, output, settings(save_steps=5), overwrite=True)
    assert (output / "modules.json").exists()
    killed_at(None)
    over = train(sparse_folder, pairs, output, settings(save_steps=5, learning_rate=2e-2), overwrite=True)
    assert over.resumed_from is None


def test_a_half_written_checkpoint_is_passed_over(sparse_folder, write, tmp_path, settings, killed_at):
    pairs, output = write(PAIRS), tmp_path / "out"
    killed_at(7)
    with pytest.raises(Killed):
        train(sparse_folder, pairs, output, settings(save_steps=5))
    (output / "checkpoints" / "checkpoint-7").mkdir()
    killed_at(None)
    assert train(sparse_folder, pairs, output, settings(save_steps=5)).resumed_from == 5


@pytest.mark.parametrize("batch_size", [8, 3])
def test_a_run_killed_while_writing_its_result_only_writes(
    sparse_folder, write, tmp_path, settings, monkeypatch, batch_size
):
    pairs, output, chosen = write(PAIRS), tmp_path / "out", settings(steps=7, batch_size=batch_size)

    def fail(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("isthmus.training.output.write_result", fail)
        with pytest.raises(Killed):
            train(sparse_folder, pairs, output, chosen)
    kept = tensors(output / "checkpoints" / "checkpoint-7")
    report = train(sparse_folder, pairs, output, chosen)
    assert (report.steps, report.resumed_from) == (7, 7)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in tensors(output).items())


def test_a_run_killed_after_its_early_stop_keeps_the_best(sparse_folder, write, tmp_path, settings, monkeypatch):
    texts = {key: {str(i): pair[key] for i, pair in enumerate(PAIRS)} for key in ("positive", "query")}
    collection = Collection("toy", texts["positive"], texts["query"], {i: {i: 1} for i in texts["query"]})
    chosen = settings(steps=300, save_steps=10, patience=2, learning_rate=2e-2)
    arguments = (sparse_folder, write(PAIRS), tmp_path / "out", chosen)

    def fail(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("isthmus.training.output.write_result", fail)
        with pytest.raises(Killed):
            train(*arguments, development=collection)
    report = train(*arguments, development=collection)
    assert report.resumed_from == report.steps == report.kept_step + 20
    assert report.stopped_early
    kept = SparseEncoder(str(tmp_path / "out"), device="cpu")
    assert evaluate_model(kept, collection)["ndcg@10"] == pytest.approx(report.development["best"], abs=1e-4)


def tmp_path_copy(folder, tmp_path):
    """The same encoder with one changed weight."""
    from safetensors.torch import save_file

    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    changed = tensors(copy)
    next(iter(changed.values())).view(-1)[0] += 1
    save_file(changed, copy / "model.safetensors", metadata={"format": "pt"})
    return copy
