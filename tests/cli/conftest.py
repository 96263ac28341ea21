import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from isthmus.vocabulary import Vocabulary
from tests.tiny_encoders import splade
from tests.tokenizers import wordpiece

KOREAN = ("집", "학교", "전쟁", "물", "##의", "school", "the", "house", ".", "?", "1")


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A tiny English encoder, a Korean tokenizer, bridge vectors and a BEIR collection, on disk."""
    root = tmp_path_factory.mktemp("cli")
    encoder = splade(root / "backbone")
    encoder.save_pretrained(str(root / "source"))
    tokenizer = wordpiece(KOREAN, pad_id=3, max_length=24, lowercase=False)
    tokenizer.save_pretrained(str(root / "korean"))
    sizes = {
        "source": Vocabulary.from_tokenizer(encoder.tokenizer).size,
        "target": Vocabulary.from_tokenizer(tokenizer).size,
    }
    generator = np.random.default_rng(0)
    save_file(
        {side: generator.standard_normal((size, 8)).astype(np.float32) for side, size in sizes.items()},
        root / "vectors.safetensors",
    )
    beir = root / "beir"
    (beir / "qrels").mkdir(parents=True)
    write_lines(beir / "corpus.jsonl", [{"_id": "a", "text": "the house"}, {"_id": "b", "text": "water and war"}])
    write_lines(beir / "queries.jsonl", [{"_id": "q", "text": "house"}])
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    return root


@pytest.fixture
def call(run):
    """Run a command that must succeed; returns its JSON lines."""

    def succeed(*arguments):
        code, out, err = run(*arguments, "--json")
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]

    return succeed


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; returns exit code, stdout and stderr."""
    from isthmus.cli import main

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["isthmus", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def transferred(run, folders, tmp_path):
    """A transferred encoder's folder."""
    output = tmp_path / "splade-ko"
    code, _, err = run(*transfer_arguments(folders, output))
    assert code == 0, err
    return output


def transfer_arguments(folders, output, *more):
    return [
        "transfer", folders / "source", "--target-tokenizer", folders / "korean",
        "--vectors", folders / "vectors.safetensors", "-o", output, *more,
    ]  # fmt: skip
