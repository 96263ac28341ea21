"""The folder of a run: one run at a time, and a result that a failing disk or a power cut leaves whole or absent."""

import json
import shutil
import threading

import pytest

from isthmus.errors import OutputError
from isthmus.reading import disk, storage
from isthmus.reading.disk import reserved
from isthmus.training import output, train
from isthmus.training.output import begin, check_output, last_checkpoint, reserved_output, write_result
from tests.faults import OPERATIONS, Fault, PowerCuts, failing, plant, tree
from tests.training.conftest import PAIRS, QUICK


class Encoder:
    """Saves what encoders save."""

    def save_pretrained(self, folder):
        for name in ("modules.json", "model.safetensors", "README.md"):
            with open(f"{folder}/{name}", "w", encoding="utf-8") as stream:  # noqa: PTH123
                stream.write(name)


class Report:
    """Writes itself."""

    def save(self, folder):
        storage.atomic_write(folder / "training_report.json", b"{}")


def finish(folder):
    write_result(Encoder(), Report(), folder, None, "the end")


@pytest.fixture(autouse=True)
def plain_card(monkeypatch):
    """Only a real encoder has something to tell on its card."""

    def write_card(folder, encoder, *, section):
        storage.atomic_write(folder / "README.md", section.encode())

    monkeypatch.setattr("isthmus.diagnostics.model_card.write_card", write_card)


@pytest.fixture
def start(tmp_path):
    """A run with a checkpoint, in a folder of its own."""
    root = tmp_path / "start"
    begin(root / "run", {"steps": 4})
    (root / "run" / "checkpoints" / "checkpoint-2").mkdir()
    (root / "run" / "checkpoints" / "checkpoint-2" / "whole").touch()
    return root


@pytest.fixture(params=[True, False], ids=["in one step", "in two"])
def exchanging(request, monkeypatch):
    """Whether folders can change places."""
    if not request.param:
        monkeypatch.setattr(disk, "exchange", lambda first, second: False)
    return request.param


def test_a_disk_that_fails_leaves_the_checkpoints_or_the_result(start, tmp_path, exchanging):
    before = tree(start)
    shutil.copytree(start, tmp_path / "whole")
    finish(tmp_path / "whole" / "run")
    after = tree(tmp_path / "whole")
    assert "run/training_report.json" in after
    failed = 0
    for operation in OPERATIONS:
        for kind in ("full", "broken", "interrupted"):
            for number in range(100):
                root = tmp_path / "work"
                shutil.copytree(start, root)
                error = None
                with failing(root, Fault(operation, number, kind)) as fault:
                    try:
                        finish(root / "run")
                    except OutputError as caught:
                        error = caught
                        failed += 1
                where = f"{kind} {operation} {number} {error}"
                found = {name: content for name, content in tree(root).items() if name != ".run.lock"}
                assert "\n" not in str(error)
                if "nor can what was there be put back" in str(error):
                    # Only where it takes two steps, and the disk is broken for good between them.
                    assert not exchanging
                    kept = next(root.glob(".run.old.*"))
                    assert tree(kept) == before
                    shutil.rmtree(root)
                    continue
                assert found in (before, after), where
                assert error is not None or found == after, where
                with reserved(root / "run"):
                    pass
                shutil.rmtree(root)
                if not fault.happened:
                    break
    assert failed > 20


def test_a_power_cut_leaves_the_checkpoints_or_the_result(start):
    storage.put_through_all(start)
    before = tree(start / "run")
    with PowerCuts(start) as cuts:
        finish(start / "run")
    after = tree(start / "run")
    for number, state in enumerate(cuts.states + cuts.final):
        planted = plant(state, start.parent / f"cut{number}")
        assert tree(planted / "run") in ((before, after) if number < len(cuts.states) else (after,))
        check_output(planted / "run", overwrite=True)
        assert last_checkpoint(planted / "run") is not None or tree(planted / "run") == after


def test_one_run_at_a_time(start):
    """From another process, as from another thread, a folder is held once."""
    told, go = threading.Event(), threading.Event()

    def hold():
        with reserved_output(start / "run", overwrite=False):
            told.set()
            go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    told.wait()
    try:
        with (
            pytest.raises(OutputError, match="run is being written by another process; wait until it has ended"),
            reserved_output(start / "run", overwrite=True),
        ):
            pass
    finally:
        go.set()
        thread.join()
    with reserved_output(start / "run", overwrite=False):
        # Who holds it puts the result in its place.
        finish(start / "run")
    assert [path.name for path in start.iterdir()] == ["run"]
    with pytest.raises(OutputError, match="already exists"), reserved_output(start / "run", overwrite=False):
        pass


def test_what_ended_since_a_run_began_is_not_replaced(make_sparse, tmp_path, monkeypatch):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    checked = output.check_output

    def then_another_ends(folder, *, overwrite):
        checked(folder, overwrite=overwrite)
        if not folder.exists():
            folder.mkdir()
            (folder / "modules.json").write_text("another's")

    monkeypatch.setattr(output, "check_output", then_another_ends)
    with pytest.raises(OutputError, match="already exists"):
        train(make_sparse(), rows, tmp_path / "out", **QUICK)
    assert tree(tmp_path / "out") == {"modules.json": b"another's"}
