import json

import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder

from tests.cli.conftest import write_lines
from tests.diagnostics.conftest import TEXTS, healthy_folder

__all__ = ["healthy_folder"]
KEYS = {"check", "level", "message", "remedy", "value"}


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_healthy_encoders(kind, run, healthy_folder, lines):
    code, out, err = run("doctor", healthy_folder / kind, "--texts", lines, "--json")
    assert code == 0, err
    findings = [json.loads(line) for line in out.splitlines()]
    assert all(finding.keys() == KEYS for finding in findings)
    assert {finding["level"] for finding in findings[:-1]} == {"ok"}
    assert findings[-1]["check"] == "best-arm"
    assert {"weights", "known-item"} <= {finding["check"] for finding in findings}


def test_errors_give_exit_code_1(run, healthy_folder, lines, tmp_path):
    encoder = SparseEncoder(str(healthy_folder / "sparse"), device="cpu")
    with torch.no_grad():
        encoder[0].model.cls.predictions.bias.fill_(-100.0)
    encoder.save_pretrained(str(tmp_path / "silent"))
    code, out, _ = run("doctor", tmp_path / "silent", "--texts", lines, "--json")
    assert code == 1
    found = {finding["check"]: finding for finding in map(json.loads, out.splitlines())}
    assert found["empty-vectors"]["level"] == "error"
    assert found["empty-vectors"]["remedy"]
    code, out, err = run("doctor", tmp_path / "silent")
    assert code == 1
    assert "error    bias" in out
    assert "→ set the bias" in out
    assert "Traceback" not in err


def test_checkpoint_is_read(run, healthy_folder, tmp_path):
    """A head that the checkpoint does not hold, as when SPLADE modules are put over a plain backbone."""
    encoder = SparseEncoder(str(healthy_folder / "sparse"), device="cpu")
    encoder.save_pretrained(str(tmp_path / "headless"))
    encoder[0].model.base_model.save_pretrained(str(tmp_path / "headless"))
    code, out, _ = run("doctor", tmp_path / "headless", "--json")
    found = {finding["check"]: finding for finding in map(json.loads, out.splitlines())}
    assert code == 1
    assert "cls.predictions" in found["head"]["message"]


def test_warnings_alone_give_exit_code_0(run, healthy_folder, tmp_path):
    dense = SentenceTransformer(str(healthy_folder / "dense"), device="cpu")
    dense[0].model.config.pad_token_id = 5
    dense.save_pretrained(str(tmp_path / "dense"))
    code, out, _ = run("doctor", tmp_path / "dense")
    assert code == 0
    assert "warning  special-tokens" in out
    assert "0 error, 1 warning, 1 note" in out


def test_token_map_beside_the_encoder(run, transferred, tmp_path):
    (tmp_path / "ko.txt").write_text("집 학교 전쟁 물\nschool the house .\n", encoding="utf-8")
    code, out, _ = run("doctor", transferred, "--texts", tmp_path / "ko.txt", "--json")
    found = {finding["check"]: finding for finding in map(json.loads, out.splitlines())}
    assert code in (0, 1)
    assert "of the texts' 8 tokens 50.0% are copied or kept" in found["token-map"]["message"]
    assert "shared-rows" in found
    (transferred / "token_map.json").unlink()
    assert '"token-map"' not in run("doctor", transferred, "--json")[1]


def test_a_corpus_is_read_by_its_texts(run, healthy_folder, lines, tmp_path):
    rows = [{"id": f"d{number}", "text": text, "url": "http://x/{}"} for number, text in enumerate(TEXTS)]
    write_lines(tmp_path / "texts.jsonl", rows)
    told = [
        run("doctor", healthy_folder / "sparse", "--texts", tmp_path / name) for name in ("texts.txt", "texts.jsonl")
    ]
    assert told[0] == told[1]
    assert told[0][0] == 0


def test_input_that_does_not_fit(run, healthy_folder, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    for arguments, message in (
        ([tmp_path / "nothing"], "nothing"),
        (["isthmus/unknown"], "isthmus/unknown"),
        ([healthy_folder / "sparse", "--texts", tmp_path / "none.txt"], "none.txt does not exist"),
        (
            [healthy_folder / "sparse", "--texts", empty],
            "empty.txt must hold at least one line or document that is not blank, got none",
        ),
        ([empty.parent], "encoder must be"),
    ):
        code, out, err = run("doctor", *arguments)
        assert (code, out) == (2, ""), err
        assert message in " ".join(err.split())
        assert "Traceback" not in err


def test_warnings_of_the_transfer_are_findings(run, healthy_folder):
    report = healthy_folder / "sparse" / "transfer_report.json"
    report.write_text(
        json.dumps({"warnings": ["the bridge's similarities are flat: 0.82 on average"]}), encoding="utf-8"
    )
    code, out, err = run("doctor", healthy_folder / "sparse", "--json")
    assert code == 0, err
    found = {finding["check"]: finding for finding in map(json.loads, out.splitlines())}
    assert found["transfer"]["level"] == "warning"
    assert "--bridge-texts" in found["transfer"]["remedy"]
    report.write_text("[]", encoding="utf-8")
    assert '"transfer"' not in run("doctor", healthy_folder / "sparse", "--json")[1]
    report.unlink()
