"""``isthmus encode``: what a pipe brings, and what is left when the command is killed."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.cli.conftest import write_lines
from tests.tiny_encoders import WORDS

DOCUMENTS, PART_SIZE = 240, 2
PATIENCE = 240.0
# As the installed command is; workers import it before anything else.
SCRIPT = "from isthmus.cli import main\nif __name__ == '__main__':\n    main()\n"


@pytest.mark.parametrize("command", ["encode", "index"])
def test_a_pipe_of_compressed_csv(call, folders, tmp_path, monkeypatch, command):
    content = gzip.compress(b"id,text,language\na,the house,en\nb,war,ko\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    (done,) = call(command, folders / "source", "-", "-o", tmp_path / "out", "--format", "csv")
    assert done["documents"] == 2


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        (["encode", "MODEL", "corpus.csv", "-o", "out"], "the CORPUS corpus.csv"),
        (["index", "MODEL", "corpus.csv", "-o", "out"], "the CORPUS corpus.csv"),
        (["index", "-o", "out", "--compact"], "no CORPUS"),
    ],
)
def test_format_is_for_pipes(run, folders, tmp_path, monkeypatch, arguments, got):
    monkeypatch.chdir(tmp_path)
    known = {"MODEL": folders / "source"}
    code, _, err = run(*(known.get(argument, argument) for argument in arguments), "--format", "csv")
    assert code == 2
    assert f"--format must come with - (stdin), got it with {got}; leave it out" in err


@pytest.fixture
def one_thread():
    """One thread, as each of two workers on two processors has; more cost a tiny model far more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.long
def test_killed_with_its_processes(call, folders, tmp_path):
    """The command is killed with its workers; what comes out is what one run makes.

    Starting it takes most of the time, so it is also frozen at other moments before: a copy of the folder is then what
    a kill at that moment would have left.
    """
    generator = random.Random(0)
    corpus = tmp_path / "corpus.jsonl"
    texts = (" ".join(generator.choices(WORDS, k=6)) for _ in range(DOCUMENTS))
    write_lines(corpus, [{"id": f"d{number}", "text": text} for number, text in enumerate(texts)])
    encode = ["encode", folders / "source", corpus, "--part-size", PART_SIZE]
    killed = tmp_path / "killed"
    script = tmp_path / "command.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), *map(str, encode), "-o", str(killed), "--processes", "2", "--json"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    try:
        for moment in range(3):
            wait_for_parts(child, killed, generator.randint(1, 12))
            os.killpg(child.pid, signal.SIGSTOP)
            os.waitpid(child.pid, os.WUNTRACED)
            shutil.copytree(killed, tmp_path / f"frozen{moment}")
            os.killpg(child.pid, signal.SIGCONT)
        wait_for_parts(child, killed, generator.randint(1, 12))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    # Workers have loaded the model by now, and leave the terminal to the command.
    assert child.communicate()[1] == b""
    call(*encode, "-o", tmp_path / "whole")
    interrupted = [*tmp_path.glob("frozen*"), killed]
    left = [len(list(folder.glob("part-*"))) for folder in interrupted]
    assert len(set(left)) == 4
    assert max(left) < DOCUMENTS // PART_SIZE
    for folder in interrupted:
        call(*encode, "-o", folder)
        assert files(folder) == files(tmp_path / "whole")


def wait_for_parts(child, folder, more):
    """Wait until there are so many more parts than now."""
    count = len(list(folder.glob("part-*"))) + more
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob("part-*"))) < count:
        assert child.poll() is None, "the command ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_shares_of_a_job_array(run, call, folders, tmp_path):
    write_lines(tmp_path / "corpus.jsonl", [{"id": f"d{n}", "text": "the house"} for n in range(7)])
    told = ["encode", folders / "source", tmp_path / "corpus.jsonl", "-o", tmp_path / "out", "--part-size", 2]
    (first,) = call(*told, "--shard", "1/2")
    assert (first["documents"], first["parts"]) == (4, 2)
    code, out, _ = run(*told, "--shard", "2/2")
    assert code == 0
    assert "share 2/2 is in" in out
    assert "without --shard checks and completes it" in out
    (done,) = call(*told)
    assert (done["documents"], done["parts"]) == (7, 4)
    for wrong, words in (("3/2", "shard must be NUMBER/COUNT, as 1/16"), ("1/2", "must come without --shard")):
        code, _, err = run(*told, "--shard", wrong, *(["--lexical", "echo"] if wrong == "1/2" else []))
        assert code == 2
        assert words in err
