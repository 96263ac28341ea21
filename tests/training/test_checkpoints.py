"""Checkpoints while the disk fails, the power is cut or a run is killed: a whole one stays, or a run begins cleanly."""

import resource
import warnings

import pytest
import torch

from isthmus.errors import OutputError
from isthmus.training import train
from isthmus.training.callbacks import Checkpoints
from isthmus.training.output import begin, check_output, last_checkpoint
from tests.faults import Fault, PowerCuts, failing, plant, tree
from tests.training.conftest import PAIRS, tensors


@pytest.fixture
def chosen(settings):
    """Four steps with a checkpoint after two, and a file of Isthmus's own in each."""
    return settings(steps=4, save_steps=2, target_active_dims=8, regularizer_warmup=0.1)


def test_a_cut_at_any_moment_leaves_a_whole_checkpoint(
    sparse_folder, write, tmp_path, chosen, interrupted, monkeypatch
):
    pairs, root = write(PAIRS), tmp_path / "root"
    root.mkdir()
    whole, known = {}, []
    own = Checkpoints.on_save

    def on_save(self, args, state, control, **kwargs):
        own(self, args, state, control, **kwargs)
        name = f"checkpoint-{state.global_step}"
        whole[name] = tree(root / "run" / "checkpoints" / name)
        known.append(len(cuts.states))

    monkeypatch.setattr(Checkpoints, "on_save", on_save)
    with PowerCuts(root) as cuts, interrupted(5):
        train(sparse_folder, pairs, root / "run", chosen, steps=6)
    monkeypatch.setattr(Checkpoints, "on_save", own)
    assert cuts.moments > 100
    assert len(cuts.states) > 20
    first, half = None, None
    for number, state in enumerate(cuts.states + cuts.final):
        run = plant(state, tmp_path / f"cut{number}") / "run"
        check_output(run, overwrite=False)
        found = last_checkpoint(run)
        if found is None:
            assert number <= known[0], sorted(state)
            first = run if (run / "checkpoints" / "settings.json").exists() else first
        else:
            assert tree(found) == whole[found.name]
            others = [path for path in found.parent.iterdir() if path.name.startswith("checkpoint-") and path != found]
            half = run if others else half
    monkeypatch.undo()
    train(sparse_folder, pairs, tmp_path / "whole", chosen, steps=6)
    with pytest.warns(UserWarning, match="stopped before its first checkpoint was whole; it starts from the beginning"):
        assert train(sparse_folder, pairs, first, chosen, steps=6).resumed_from is None
    assert train(sparse_folder, pairs, half, chosen, steps=6).resumed_from in (2, 4)
    for folder in (first, half):
        for name, tensor in tensors(tmp_path / "whole").items():
            torch.testing.assert_close(tensors(folder)[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_cut_while_a_run_begins_leaves_the_old_one_or_the_new(tmp_path, overwrite):
    """Neither of which the next run refuses."""
    root = tmp_path / "root"
    root.mkdir()
    if overwrite:
        begin(root / "run", {"steps": 1})
        (root / "run" / "checkpoints" / "checkpoint-1").mkdir()
    with PowerCuts(root) as cuts:
        begin(root / "run", {"steps": 2})
    for number, state in enumerate(cuts.states + cuts.final):
        run = plant(state, tmp_path / f"cut{number}") / "run"
        check_output(run, overwrite=overwrite)
        begin(run, {"steps": 2})
        assert sorted(tree(run)) == ["checkpoints", "checkpoints/settings.json"]


@pytest.mark.parametrize(("operation", "number"), [("fsync", 2), ("fsync", 12), ("rename", 2)])
def test_a_disk_that_fails_stops_the_run_with_advice(sparse_folder, write, tmp_path, chosen, operation, number):
    pairs, run = write(PAIRS), tmp_path / "root" / "run"
    run.parent.mkdir()
    with (
        failing(run.parent, Fault(operation, number, "broken")) as fault,
        pytest.raises(OutputError, match="cannot be"),
    ):
        train(sparse_folder, pairs, run, chosen)
    assert fault.happened
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert train(sparse_folder, pairs, run, chosen).steps == 4


@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_full_disk_stops_the_run_with_advice(sparse_folder, write, tmp_path, chosen, share):
    """Seen by the libraries that write weights and optimizers themselves: files may not grow beyond a share of them."""
    pairs, run = write(PAIRS), tmp_path / "run"
    size = (sparse_folder / "model.safetensors").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * share), limits[1]))
        with pytest.raises(OutputError, match="free space, then run the command again"):
            train(sparse_folder, pairs, run, chosen)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.warns(UserWarning, match="starts from the beginning"):
        assert train(sparse_folder, pairs, run, chosen).steps == 4
