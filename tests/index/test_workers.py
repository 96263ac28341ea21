"""Whoever makes the parts, they are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import InputError, MissingExtraError, NotFoundError, WorkerError
from isthmus.index.encoded_files import Encode, Inline, read_parts, write_parts
from isthmus.index.encoded_header import EncodedHeader
from isthmus.index.workers import workers
from isthmus.reading.corpus import Corpus
from tests.index.vectors import IDENTITY, SIZE, WordRecipe, documents, encode

ENCODING = EncodedHeader(IDENTITY, SIZE, "f16", 10)
RECIPE = WordRecipe("words", SIZE)
PARENT = """
import time
from isthmus.index.workers import Processes, _make_part
from tests.index.vectors import SIZE, WordRecipe
import os
if __name__ == "__main__":
    pool = Processes(WordRecipe("words", SIZE), 1)
    print(pool._executor.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("ray", [False, True], ids=["processes", "ray"])
def test_parts_are_the_same(tmp_path: Path, ray: bool) -> None:
    if ray:
        pytest.importorskip("ray", reason="needs the extra ray")
    found = documents(75)
    write_parts(Corpus(found), tmp_path / "inline", ENCODING, Inline(encode, SIZE))
    with workers(RECIPE, 2, ray=ray) as pool:
        write_parts(Corpus(found), tmp_path / "pool", ENCODING, pool)
    names = sorted(path.name for path in (tmp_path / "inline").glob("*.*") if path.name != ".lock")
    assert len(names) == 10
    for name in names:
        assert (tmp_path / "inline" / name).read_bytes() == (tmp_path / "pool" / name).read_bytes()


def test_a_worker_that_dies_is_named_and_the_rest_kept(tmp_path: Path) -> None:
    found = documents(30)
    write_parts(Corpus(found[:10]), tmp_path, ENCODING, Inline(encode, SIZE))
    dying = WordRecipe("words", SIZE, dying=True)
    with pytest.raises(WorkerError, match=r"one of processes=2 .* died, .*: finished parts are kept"):
        with workers(dying, 2, ray=False) as pool:
            write_parts(Corpus(found), tmp_path, ENCODING, pool)
    write_parts(Corpus(found), tmp_path, ENCODING, Inline(encode, SIZE))
    assert [one for window, _ in read_parts(tmp_path) for one in window] == found


@dataclass(frozen=True)
class TroubledRecipe(WordRecipe):
    """Trouble in a worker: ``once`` names a file that the first one to die leaves behind."""

    once: str = ""
    missing: bool = False
    refusing: bool = False

    def encode(self, threads: int | None = None) -> Encode:
        if self.missing:
            raise NotFoundError("words does not exist")
        if self.refusing:
            return self._refuse
        return self._die_once if self.once else super().encode(threads)

    def _refuse(self, texts: Any) -> Any:
        raise InputError("weights must fit")

    def _die_once(self, texts: Any) -> Any:
        try:
            Path(self.once).touch(exist_ok=False)
        except FileExistsError:
            return encode(texts)
        os._exit(1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray on this machine, for several tests."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    ray.init(log_to_driver=False, include_dashboard=False)
    yield ray
    ray.shutdown()


def encode_on_ray(folder: Path, recipe: WordRecipe) -> None:
    with workers(recipe, 2, ray=True) as pool:
        write_parts(Corpus(documents(30)), folder, ENCODING, pool)


@pytest.mark.usefixtures("cluster")
def test_a_ray_worker_that_dies_once_is_replaced(tmp_path: Path) -> None:
    encode_on_ray(tmp_path / "out", TroubledRecipe("words", SIZE, once=str(tmp_path / "died")))
    assert (tmp_path / "died").exists()
    assert [one for window, _ in read_parts(tmp_path / "out") for one in window] == documents(30)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("trouble", "error", "message"),
    [
        (
            {"dying": True},
            WorkerError,
            r"^one of processes=2 .* on Ray died for good .*: finished parts are kept$",
        ),
        ({"missing": True}, WorkerError, r"^a worker on Ray could not load words \(.*NotFoundError: words does not"),
        ({"refusing": True}, InputError, r"^weights must fit$"),
    ],
    ids=["dying", "missing", "refusing"],
)
def test_troubles_on_ray_are_told_in_a_line(
    tmp_path: Path, trouble: dict[str, bool], error: type[Exception], message: str
) -> None:
    write_parts(Corpus(documents(10)), tmp_path, ENCODING, Inline(encode, SIZE))
    with pytest.raises(error, match=message) as caught:
        encode_on_ray(tmp_path, TroubledRecipe("words", SIZE, **trouble))
    assert "\n" not in str(caught.value)
    assert len(list(tmp_path.glob("part-*"))) >= 1


def test_a_ray_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra ray")

    def refuse(**_: Any) -> None:
        raise ConnectionError("no GCS at 10.0.0.1:6379")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(WorkerError, match=r"^RAY_ADDRESS must name a running cluster, got '10\.0\.0\.1:6379'"):
        with workers(RECIPE, 2, ray=True):
            pass


@pytest.mark.parametrize(("gpus", "share"), [(0, None), (1, 1 / 3), (2, 1 / 2), (8, 1)])
def test_ray_workers_share_what_gpus_there_are(monkeypatch: pytest.MonkeyPatch, gpus: int, share: float | None) -> None:
    """Three workers: shares of one GPU, and as many as fit on it."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    asked: list[dict[str, Any]] = []

    class Actor:
        @staticmethod
        def remote(recipe: Any) -> None:
            return None

    def remote(**options: Any) -> Any:
        asked.append(options)
        return lambda worker: Actor

    for name, stand_in in {
        "is_initialized": lambda: True,
        "cluster_resources": lambda: {"CPU": 4.0, "GPU": float(gpus)} if gpus else {"CPU": 4.0},
        "remote": remote,
        "kill": lambda worker: None,
    }.items():
        monkeypatch.setattr(ray, name, stand_in)
    with workers(RECIPE, 3, ray=True):
        pass
    assert asked[0].get("num_gpus") == (None if share is None else pytest.approx(share))


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ray_has_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"ray is not installed; run: .*pip install .*\[ray\]'"):
        with workers(RECIPE, 2, ray=True):
            pass
