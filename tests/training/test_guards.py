import types

import pytest
import torch

from isthmus.errors import IsthmusError, TrainingError
from isthmus.training import train
from isthmus.training.callbacks import ActiveDimsController, EarlyStop, Monitor
from isthmus.training.objective import Window
from tests.training.conftest import PAIRS


def test_a_training_error_is_no_input_error():
    assert issubclass(TrainingError, IsthmusError)
    assert not issubclass(TrainingError, ValueError)


def test_dead_vectors_stop_the_run(make_sparse, write, tmp_path, settings):
    with pytest.raises(TrainingError, match="active dimensions, got none at step 5"):
        train(make_sparse(bias=-50.0), write(PAIRS), tmp_path / "out", settings())
    assert not (tmp_path / "out" / "modules.json").exists()


def test_dense_vectors_stop_the_run_once_the_regulariser_is_warm(make_sparse, write, tmp_path, settings):
    folder, pairs = make_sparse(bias=50.0), write(PAIRS)
    with pytest.raises(TrainingError, match=r"at most 50% of 22 columns active, got 22 at step 15"):
        train(folder, pairs, tmp_path / "out", settings(steps=25, regularizer_warmup=0.5, max_active_share=0.5))
    assert train(folder, pairs, tmp_path / "other", settings(max_active_share=1.0)).steps == 20


@pytest.mark.parametrize("fixture", ["sparse_folder", "dense_folder"])
def test_a_loss_that_is_no_number_stops_the_run(fixture, request, write, tmp_path, settings, monkeypatch):
    from isthmus.training import objective

    kinds = objective.SPARSE if fixture == "sparse_folder" else objective.DENSE
    plain = kinds["contrastive"]

    class Broken(plain):
        def compute_loss_from_embeddings(self, embeddings, labels):
            return super().compute_loss_from_embeddings(embeddings, labels) * float("nan")

    monkeypatch.setitem(kinds, "contrastive", Broken)
    with pytest.raises(TrainingError, match="loss must be finite, got nan at step 5"):
        train(request.getfixturevalue(fixture), write(PAIRS), tmp_path / "out", settings())


@pytest.mark.parametrize(("target", "grows"), [(2, True), (20, False)])
def test_the_weight_moves_towards_the_target(make_sparse, write, tmp_path, settings, target, grows):
    chosen = settings(target_active_dims=target, regularizer_warmup=0.1, learning_rate=1e-3)
    report = train(make_sparse(bias=-1.0), write(PAIRS), tmp_path / "out", chosen)
    weights = [entry["document_regularizer_weight"] for entry in report.log]
    start = chosen.document_regularizer_weight
    assert all(weight > start for weight in weights) if grows else all(weight < start for weight in weights)
    assert weights == sorted(weights, reverse=not grows)


@pytest.mark.parametrize("start", [1e-6, 1.0])
def test_the_controller_settles_on_a_simple_plant(start):
    """Active dimensions that fall with the logarithm of the weight, with a lag of twenty steps."""
    loss = types.SimpleNamespace(document_regularizer=types.SimpleNamespace(window=Window))
    scheduler = types.SimpleNamespace(max_document_regularizer_weight=start, warmup_steps=0)
    controller = ActiveDimsController(loss, scheduler, 100, None)
    dims, lowest = 1000.0, 1000.0
    for step in range(1500):
        settled = 100.0 * (scheduler.max_document_regularizer_weight / 1e-3) ** -0.5
        dims += (min(settled, 5000.0) - dims) / 20
        vectors = torch.zeros(1, 6000)
        vectors[0, : int(dims)] = 1
        controller.window.add(vectors)
        controller.on_step_end(None, types.SimpleNamespace(global_step=step), None)
        lowest = min(lowest, dims)
    assert 95 < dims < 105
    # Without the proportional term it falls to 77 from the low start.
    assert lowest > (95 if start < 1e-3 else 10)


def test_patience_counts_evaluations_since_the_best():
    stop = EarlyStop(patience=2)
    for scores, stopped in (([0.1, 0.2, 0.2], False), ([0.1, 0.2, 0.2, 0.1], True), ([0.3, 0.2], False)):
        control = types.SimpleNamespace(should_training_stop=False)
        log = [{"step": step, "eval_ndcg@10": score} for step, score in enumerate(scores)]
        stop.on_evaluate(None, types.SimpleNamespace(log_history=log), control)
        assert control.should_training_stop is stopped


def test_the_monitor_passes_over_other_log_entries():
    Monitor(None, max_active_share=0.5, warmup=0.3).on_log(None, None, None, logs={"eval_ndcg@10": float("nan")})
