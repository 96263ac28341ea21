"""Mistyped paths, names and values are told before torch is imported, which takes seconds."""

import json
import os
import subprocess
import sys

import pytest

from tests.cli.conftest import write_lines

# Runs every line of a file as a command, with imports of these refused; prints what was refused or the exit code.
SCRIPT = """
import contextlib, io, json, sys

class Refused(BaseException): pass

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers", "sentence_transformers"):
            raise Refused(name)

sys.meta_path.insert(0, Finder())
from isthmus.cli import _printing, main

for line in sys.stdin:
    sys.argv = ["isthmus", *json.loads(line)]
    err = io.StringIO()
    _printing.errors.file = err
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(err):
            _printing.console.file = out
            main()
        result = 0
    except SystemExit as stop:
        result = stop.code
    except Refused as refused:
        result = f"{refused} was imported"
    sys.__stdout__.write(json.dumps([result, err.getvalue()]) + "\\n")
"""

MINI = "isthmus/mini-splade-en"
KO = ["transfer", "--preset", "mini-ko", "-o", "new"]
DEMO = ["--collection", "demo", "--language", "ko"]
IN_KO = ["--languages", "en,ko"]
# Exit code, what is told, and the command.
CASES = [
    (2, "must be one of ar, hi, ko, ru, zh", ["quickstart", "xx"]),
    (1, "full already exists", ["quickstart", "-o", "full"]),
    (2, "none.jsonl does not exist", ["adapt", "./none.jsonl", "--preset", "mini-ko", "-o", "new"]),
    (2, "did you mean 'mini-ko'", ["adapt", "c.jsonl", "--preset", "mini-kk", "-o", "new"]),
    (2, "./none does not", ["adapt", "c.jsonl", "--encoder", "./none", "--bridge", "isthmus/mini-bridge", "-o", "new"]),
    (2, "./none does not", ["adapt", "c.jsonl", "--encoder", MINI, "--bridge", "./none", "-o", "new"]),
    (2, "none does not exist", ["adapt", "c.jsonl", "--preset", "mini-ko", "--questions", "./none", "-o", "new"]),
    (1, "full already holds", ["adapt", "c.jsonl", "--preset", "mini-ko", "-o", "full"]),
    (2, "none.txt does not exist", ["tokenizer", "./none.txt", "-o", "new"]),
    (1, "full already exists", ["tokenizer", "t.txt", "-o", "full"]),
    (2, "./none does not exist", [*KO, "--target-tokenizer", "./none"]),
    (2, "./none does not exist", [*KO, "--bridge", "./none"]),
    (2, "none.npz does not exist", [*KO, "--vectors", "none.npz"]),
    *((2, "none.txt does not exist", [*KO, f"--{name}", "none.txt"])
      for name in ("sample-texts", "idf-texts", "bridge-texts", "bridge-source-texts")),
    (2, "none.txt does not exist", [*KO, "--method", "focus", "--texts", "none.txt"]),
    (2, "none.txt does not exist", [*KO, "--lexical", "echo", "--lexical-texts", "none.txt"]),
    (2, "none.txt does not exist", ["transfer", MINI, "--method", "mean", "--target-text", "none.txt", "-o", "new"]),
    (2, "none.vec' does not exist", [*KO, "--method", "ofa", "--word-vectors", "none.vec"]),
    (2, "method must be one of", [*KO, "--method", "magic"]),
    (2, "alpha", [*KO, "--alpha", "0.5"]),
    (1, "full already exists", ["transfer", "--preset", "mini-ko", "-o", "full"]),
    (2, "token_map.json", ["inspect", "none", "token"]),
    (2, "./none does not exist", ["evaluate", "./none", *DEMO]),
    (2, "got './none'", ["evaluate", "BM25", "--collection", "./none"]),
    (2, "did you mean 'demo'", ["evaluate", "BM25", "--collection", "demoo"]),
    (2, "got language 'xx'", ["evaluate", "BM25", "--collection", "demo", "--language", "xx"]),
    (2, "none.jsonl", ["evaluate", "BM25", *DEMO, "--distractors", "none.jsonl"]),
    (2, "./none does not exist", ["evaluate", "BM25", *DEMO, "--tokenizer", "./none"]),
    (2, "./none does not exist", ["audit", "./none", "--collection", "demo", *IN_KO]),
    (2, "none", ["audit", "BM25", "--collection", "./none", *IN_KO]),
    (2, "got xx", ["audit", "BM25", "--collection", "demo", "--languages", "en,xx"]),
    (1, "full is a folder", ["audit", "BM25", "--collection", "demo", *IN_KO, "--html", "full"]),
    (2, "./none does not exist", ["train", "./none", "--train", "c.jsonl", "-o", "new"]),
    (2, "none.jsonl does not exist", ["train", MINI, "--train", "none.jsonl", "-o", "new"]),
    (2, "none.jsonl does not exist", ["train", MINI, "--self-supervised", "none.jsonl", "-o", "new"]),
    (2, "got './none'", ["train", MINI, "--train", "c.jsonl", "--eval", "./none", "-o", "new"]),
    (2, "./none does", ["train", MINI, "--self-supervised", "c.jsonl", "--teacher", "./none", "-o", "new"]),
    (1, "full already exists", ["train", MINI, "--train", "c.jsonl", "-o", "full"]),
    (2, "recipe must be one of", ["train", MINI, "--train", "c.jsonl", "--recipe", "none", "-o", "new"]),
    (2, "none.jsonl does not exist", ["mine", MINI, "--train", "none.jsonl", "-o", "new"]),
    (1, "t.txt already exists", ["mine", MINI, "--train", "c.jsonl", "-o", "t.txt"]),
    (2, "none.jsonl does not exist", ["pairs", "none.jsonl", "-o", "new"]),
    (2, "none.jsonl does not exist", ["align", MINI, "--train", "none.jsonl", "-o", "new"]),
    (2, "got './none'", ["align", MINI, "--train", "c.jsonl", "--eval", "./none", "-o", "new"]),
    (1, "full already exists", ["align", MINI, "--train", "c.jsonl", "-o", "full"]),
    (2, "./none does not exist", ["encode", "./none", "c.jsonl", "-o", "new"]),
    (2, "none.jsonl does not exist", ["encode", MINI, "none.jsonl", "-o", "new"]),
    (1, "full must be empty or an encoded", ["encode", MINI, "c.jsonl", "-o", "full"]),
    (1, "full already exists and was not made by", ["encode", MINI, "c.jsonl", "-o", "new", "--lexical", "echo",
                                                    "--lexical-folder", "full"]),
    (2, "./none does not exist", ["index", "./none", "c.jsonl", "-o", "new"]),
    (2, "none.jsonl does not exist", ["index", MINI, "none.jsonl", "-o", "new"]),
    (1, "full must be empty or an index", ["index", MINI, "c.jsonl", "-o", "full"]),
    (1, "full already exists", ["index", MINI, "c.jsonl", "-o", "new", "--lexical", "echo",
                                "--lexical-folder", "full"]),
    (2, "new must be an index", ["index", MINI, "c.jsonl", "-o", "new", "--add"]),
    (2, "none.txt does not exist", ["index", "-o", "new", "--delete-ids", "none.txt"]),
    (2, "full must be an index", ["index", "-o", "full", "--verify"]),
    (2, "did you mean 'opensearch'", ["index", MINI, "c.jsonl", "-o", "opensarch://localhost/x"]),
    (2, "none must be an index", ["search", "none", "query"]),
    (2, "none.txt does not exist", ["search", "none", "--queries", "none.txt"]),
    (2, "none must be an index", ["export", "none", "--format", "qdrant", "-o", "new"]),
    (2, "none must be an index", ["parity", "none", "other"]),
    (2, "none must be an index", ["serve", "none"]),
    (2, "./none does not exist", ["doctor", "./none"]),
    (2, "none.txt does not exist", ["doctor", MINI, "--texts", "none.txt"]),
    (2, "did you mean 'isthmus/mini-splade-en'", ["doctor", "isthmus/mini-splade-e"]),
    (2, "nobody/nothing does not exist", ["doctor", "nobody/nothing"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Exit code and stderr of every case, in one process."""
    root = tmp_path_factory.mktemp("mistakes")
    (root / "full").mkdir()
    (root / "full" / "thesis.tex").write_text("")
    (root / "t.txt").write_text("text\n")
    write_lines(root / "c.jsonl", [{"id": "a", "text": "the house", "query": "house", "positive": "the house"}])
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    lines = "".join(json.dumps(arguments) + "\n" for _, _, arguments in CASES)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=lines, capture_output=True, text=True, check=True, cwd=root, env=environment,
    )  # fmt: skip
    assert sorted(path.name for path in root.iterdir()) == ["c.jsonl", "full", "t.txt"]
    assert [path.name for path in (root / "full").iterdir()] == ["thesis.tex"]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: " ".join(CASES[number][2]))
def test_a_mistake_is_told_before_libraries_load(told, number):
    code, message, arguments = CASES[number]
    if arguments[0] == "serve":
        pytest.importorskip("fastapi", reason="needs pip install 'isthmus[serve]'")
    found, err = told[number]
    assert found == code, err
    assert message in " ".join(err.split())
