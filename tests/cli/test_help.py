"""Help of every command, and misuse of every command."""

import json
import os
import subprocess
import sys

import pytest

from isthmus.cli import COMMANDS, summary


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_short_at_the_top_and_ends_with_an_example(run, command):
    assert 0 < len(summary(command)) <= 70
    code, out, _ = run(command, "--help")
    assert code == 0
    first = next(title for title in ("Arguments:", "Common:", "Options:", "Output:") if f"\n{title}\n" in out)
    told = out.split(f"\n{first}\n")[0].strip().splitlines()
    assert summary(command) in [line.strip() for line in told]
    assert told[-1].startswith(f"  Example: isthmus {command}")
    assert len(told[-1]) <= 80


def test_every_command_stands_in_the_list(run):
    code, out, _ = run("--help")
    assert code == 0
    listed = out.partition("\nCommands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "] == list(COMMANDS)


# The least that a command takes, and a value that one of its options does not.
LEAST = {
    "quickstart": ((), ("xx",)),
    "adapt": (("c.jsonl", "-o", "out"), ("--pool", "some")),
    "tokenizer": (("t.txt", "-o", "out"), ("--vocabulary-size", "some")),
    "transfer": (("-o", "out"), ("--own-direction", "-1")),
    "inspect": (("model", "token"), ("--top-k", "0")),
    "methods": ((), ("extra",)),
    "presets": ((), ("extra",)),
    "recipes": ((), ("extra",)),
    "evaluate": (("m", "--collection", "demo"), ("--batch-size", "0")),
    "audit": (("m", "--collection", "demo", "--languages", "en,ko"), ("--resamples", "some")),
    "train": (("m", "-o", "out", "--train", "t.jsonl"), ("--steps", "0")),
    "mine": (("m", "--train", "t.jsonl", "-o", "out"), ("--negatives", "0")),
    "pairs": (("p.jsonl", "-o", "out"), ("--negatives", "some")),
    "align": (("m", "--train", "t.jsonl", "-o", "out"), ("--loss", "nothing")),
    "encode": (("m", "c.jsonl", "-o", "out"), ("--weights", "u2")),
    "index": (("m", "c.jsonl", "-o", "out"), ("--weights", "u2")),
    "search": (("idx", "query"), ("--top-k", "0")),
    "export": (("idx", "--format", "qdrant", "-o", "out"), ("--format", "nothing")),
    "parity": (("idx", "other"), ("--sample", "0")),
    "serve": (("idx",), ("--port", "some")),
    "doctor": (("model",), ("--batch-size", "0")),
}


@pytest.mark.parametrize("json_too", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_misuse_is_told_and_exits_with_2(run, tmp_path, monkeypatch, command, json_too):
    monkeypatch.chdir(tmp_path)
    more = ("--json",) if json_too else ()
    least, bad = LEAST[command]
    cases = [(*least, "--no-such-option"), (*least, *bad), (*least, "--folder-of-nothing=1")]
    if least:
        cases.append(())
    for arguments in cases:
        code, out, err = run(command, *arguments, *more)
        assert (code, out) == (2, ""), (arguments, err)
        assert "error" in err.lower()
        assert "Traceback" not in err
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("json_too", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "nothing", "token"],
        ["evaluate", "BM25", "--collection", "nothing"],
        ["audit", "BM25", "--collection", "nothing", "--languages", "en,ko"],
        ["search", "nothing", "query"],
        ["parity", "nothing", "other"],
        ["export", "nothing", "--format", "qdrant", "-o", "out"],
        ["doctor", "./nothing"],
        ["tokenizer", "nothing.txt", "-o", "out"],
        ["serve", "nothing"],
    ],
)
def test_a_name_that_is_nowhere_exits_with_2(run, tmp_path, monkeypatch, arguments, json_too):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments, *(["--json"] if json_too else []))
    assert (code, out) == (2, ""), err
    assert "nothing" in err


@pytest.mark.parametrize("arguments", [["no-such-command"], ["--no-such-option"], []])
def test_misuse_of_the_program_exits_with_2(run, arguments):
    code, _, err = run(*arguments)
    assert code == 2
    assert arguments == [] or "error" in err.lower()


def test_json_is_all_there_is_on_stdout(run):
    for command in ("methods", "presets", "recipes"):
        code, out, _ = run(command, "--json")
        assert code == 0
        assert [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("transfer --preset mini-", ["mini-ar", "mini-hi", "mini-ko", "mini-ru", "mini-zh"]),
        ("transfer --method f", ["focus"]),
        ("transfer --bias m", ["mixed", "matched"]),
        ("transfer --target-tokenizer isthmus/tokenizer-k", ["isthmus/tokenizer-ko"]),
        ("transfer --bridge isth", ["isthmus/mini-bridge", "isthmus/mini-splade-en"]),
        ("adapt --preset mini-k", ["mini-ko"]),
        ("align --recipe clear", ["clear-paper"]),
        ("encode isthmus/mini-s", ["isthmus/mini-splade-en"]),
        # The shell completes paths.
        ("encode ", []),
        ("evaluate BM", ["BM25"]),
        ("evaluate --collection kor", ["korquad"]),
        ("evaluate --tokenizer isthmus/tokenizer-z", ["isthmus/tokenizer-zh"]),
        ("search opens", ["opensearch://"]),
        ("index -o seis", ["seismic:"]),
        ("quickstart k", ["ko"]),
        ("tra", ["transfer", "train"]),
    ],
)
def test_values_are_completed_without_torch(words, values):
    line = f"isthmus {words}"
    environment = os.environ | {"_ISTHMUS_COMPLETE": "complete_bash", "COMP_WORDS": line}
    environment["COMP_CWORD"] = str(len(line.split(" ")) - 1)
    code = "import sys; sys.modules['torch'] = None; from isthmus.cli import app; app(prog_name='isthmus')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == values
