"""Whoever makes the parts, they are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isthmus.errors import MissingExtraError, WorkerError
from isthmus.search.documents import Corpus
from isthmus.search.parts import Encoding, read_parts
from isthmus.search.pools import workers
from isthmus.search.shards import Inline, write_parts
from tests.search.vectors import IDENTITY, SIZE, WordRecipe, documents, encode

ENCODING = Encoding(IDENTITY, SIZE, "f16", 10)
RECIPE = WordRecipe("words", SIZE)
PARENT = """
import time
from isthmus.search.pools import Processes, _make_part
from tests.search.vectors import SIZE, WordRecipe
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
    with pytest.raises(MissingExtraError, match=r"ray is not installed; run: pip install 'isthmus\[ray\]'"):
        with workers(RECIPE, 2, ray=True):
            pass
