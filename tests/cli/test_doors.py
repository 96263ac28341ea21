"""A model that cannot be opened: from every command one line with the remedy and exit code 2, before libraries load."""

import json

import pytest

from tests.cli.conftest import write_lines
from tests.encoders.broken import make, stored

__all__ = ["stored"]
LFS = "model.safetensors is a Git LFS pointer of 134 bytes, not the file itself"


@pytest.fixture
def broken(stored, tmp_path):
    return make("lfs-weights", stored, tmp_path / "broken")


@pytest.fixture
def files(tmp_path):
    write_lines(tmp_path / "corpus.jsonl", [{"id": "a", "text": "the house"}, {"id": "b", "text": "water and war"}])
    write_lines(tmp_path / "train.jsonl", [{"query": "house", "positive": "the house", "negative": "war"}])
    return tmp_path


COMMANDS = {
    "evaluate": ["evaluate", "MODEL", "--collection", "BEIR"],
    "audit": ["audit", "MODEL", "--collection", "demo", "--languages", "en,ko"],
    "index": ["index", "MODEL", "CORPUS", "-o", "OUT"],
    "encode": ["encode", "MODEL", "CORPUS", "-o", "OUT"],
    "mine": ["mine", "MODEL", "--train", "TRAIN", "-o", "OUT.jsonl"],
    "train": ["train", "MODEL", "--train", "TRAIN", "-o", "OUT"],
    "align": ["align", "MODEL", "--train", "TRAIN", "-o", "OUT"],
    "transfer": ["transfer", "MODEL", "--target-tokenizer", "isthmus/tokenizer-ko", "--method", "mean", "-o", "OUT"],
    "bridge": [
        "transfer", "isthmus/mini-splade-en", "--target-tokenizer", "isthmus/tokenizer-ko", "--bridge", "MODEL",
        "-o", "OUT",
    ],
    "search": ["search", "OUT", "house", "--model", "MODEL"],
}  # fmt: skip


def arguments(command, model, files, folders):
    stand_for = {
        "MODEL": model, "CORPUS": files / "corpus.jsonl", "TRAIN": files / "train.jsonl", "BEIR": folders / "beir",
        "OUT": files / "out", "OUT.jsonl": files / "out.jsonl",
    }  # fmt: skip
    return [stand_for.get(word, word) for word in command]


@pytest.mark.assets
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_it_in_one_line(command, run, broken, files, folders):
    code, out, err = run(*arguments(COMMANDS[command], broken, files, folders))
    assert (code, out) == (2, ""), err
    assert len(err.splitlines()) == 1
    assert LFS in err
    assert "git lfs pull" in err
    assert not (files / "out").exists()


@pytest.mark.parametrize("name", ["lfs-tokenizer", "spiece", "empty", "mecab"])
def test_target_tokenizers(name, run, stored, folders, tmp_path):
    tokenizer = make(name, stored, tmp_path / "tokenizer")
    code, out, err = run(
        "transfer", folders / "source", "--target-tokenizer", tokenizer, "--method", "mean", "-o", tmp_path / "out"
    )
    assert (code, out) == (2, ""), err
    assert len(err.splitlines()) == 1
    assert "tokenizer must be a folder that transformers opens" in err


def test_commands_look_before_libraries_load(broken, tmp_path):
    import subprocess
    import sys

    code = (
        "import sys\nfrom isthmus.cli import main\n"
        f"sys.argv = ['isthmus', 'doctor', {str(tmp_path)!r} + '/nothing']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 2\n"
        f"sys.argv = ['isthmus', 'encode', {str(broken)!r}, 'x.jsonl', '-o', {str(tmp_path)!r} + '/out']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 2\n"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert LFS in done.stderr.decode()


def test_doctor_reports_faults_as_findings(run, stored, broken, tmp_path):
    (broken / "tokenizer.json").write_text((broken / "model.safetensors").read_text())
    code, out, err = run("doctor", broken, "--json")
    assert (code, err) == (1, "")
    findings = [json.loads(line) for line in out.splitlines()]
    assert [(row["check"], row["level"]) for row in findings] == [("files", "error"), ("files", "error")]
    assert findings[0]["message"] == LFS
    assert all(row["remedy"] for row in findings)
    for name, check in (("onnx", "weights"), ("bias-short", "sizes"), ("model-type", "config"), ("mecab", "packages")):
        code, out, err = run("doctor", make(name, stored, tmp_path / name))
        assert code == 1, err
        assert out.startswith(f"error    {check} ")
        assert "→" in out
        assert "1 error" in out


def test_doctor_refuses_what_is_no_model(run, stored, tmp_path):
    for name in ("empty", "too-high"):
        code, out, err = run("doctor", make(name, stored, tmp_path / name))
        assert (code, out) == (2, "")
        assert "encoder must be a folder that transformers opens" in err


@pytest.mark.assets
@pytest.mark.parametrize("kind", ["lfs-weights", pytest.param("model-type", marks=pytest.mark.long)])
def test_an_audit_shows_what_is_through(kind, run, stored, tmp_path):
    broken = make(kind, stored, tmp_path / "broken")
    page = tmp_path / "report.html"
    audit = ["audit", "BM25", broken, "--collection", "demo", "--languages", "en,ko", "--max-queries", "4"]
    code, out, err = run(*audit, "--html", page)
    assert code == 2
    assert "\nBM25  " in out
    assert str(broken) not in out
    assert page.stat().st_size > 10_000
    assert len(err.splitlines()) == 1
    code, out, err = run(*audit, "--json")
    assert code == 2
    assert {json.loads(line)["model"] for line in out.splitlines()} == {"BM25"}
    code, out, err = run("audit", broken, "BM25", *audit[3:])
    assert (code, out) == (2, "")


@pytest.mark.assets
def test_an_evaluation_shows_what_is_through(run, stored, folders, tmp_path):
    broken = make("lfs-weights", stored, tmp_path / "broken")
    code, out, err = run("evaluate", "BM25", broken, "--collection", folders / "beir", "--language", "en")
    assert code == 2
    assert "BM25" in out.splitlines()[-1]
    assert LFS in err
