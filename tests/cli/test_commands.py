import json
import subprocess
import sys

import pytest

from isthmus.token_map import TokenMap
from tests.cli.conftest import transfer_arguments


def test_transfer_writes_a_plain_encoder_with_its_report(run, folders, tmp_path):
    output = tmp_path / "splade-ko"
    code, out, err = run(*transfer_arguments(folders, output, "--json"))
    assert code == 0, err
    report = json.loads(out)
    assert {"target_tokens", "copied", "bridged", "sampled", "seconds"} <= report.keys()
    assert report["copied"] + report["bridged"] + report["sampled"] + report["background"] == report["target_tokens"]
    assert json.loads((output / "transfer_report.json").read_text(encoding="utf-8"))["bridged"] == report["bridged"]
    code = "import sys; from sentence_transformers import SparseEncoder; e = SparseEncoder(sys.argv[1]); "
    code += "assert 'isthmus' not in sys.modules; assert e.encode(['집 학교']).to_dense().max() > 0"
    assert subprocess.run([sys.executable, "-c", code, str(output)], check=False).returncode == 0


def test_inspect_shows_both_directions(run, transferred):
    code, out, err = run("inspect", transferred, "집", "house", "--json")
    assert code == 0, err
    home, house = map(json.loads, out.splitlines())
    token_map = TokenMap.load(transferred)
    assert home["fate"] == "bridged"
    assert home["sources"] == [list(pair) for pair in token_map.explain("집")]
    assert house["fate"] == "exact"
    assert house["sources"] == [["house", 1.0]]
    assert ["house", 1.0] in house["used_by"]
    code, out, _ = run("inspect", transferred, "집")
    assert home["sources"][0][0] in out


def test_inspect_splits_a_word_into_its_tokens(run, transferred):
    code, out, err = run("inspect", transferred, "학교의", "--json")
    assert code == 0, err
    assert [json.loads(line)["token"] for line in out.splitlines()] == ["학교", "##의"]


def test_inspect_refuses_what_neither_vocabulary_knows(run, transferred):
    code, _, err = run("inspect", transferred, "☃")
    assert code == 2
    assert "☃" in err


def test_inspect_needs_a_transferred_encoder(run, folders):
    code, _, err = run("inspect", folders / "source", "house")
    assert code == 2
    assert "isthmus transfer" in err


def test_methods_lists_every_method(run):
    from isthmus.initializers import INITIALIZERS

    code, out, _ = run("methods", "--json")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["method"] for row in rows} == set(INITIALIZERS)
    assert next(row for row in rows if row["method"] == "sembridge")["options"]["alpha"] == 4.0
    code, out, _ = run("methods")
    assert all(name in out for name in INITIALIZERS)


def test_evaluate_prints_the_contract_keys(run, folders):
    code, out, err = run("evaluate", folders / "source", "BM25", "--collection", folders / "beir",
                         "--tokenizer", folders / "source", "--json")  # fmt: skip
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 2
    keys = {"ndcg@10", "mrr@10", "recall@100", "flops", "query_active_dims", "document_active_dims", "queries"}
    for row in rows:
        assert keys | {"documents", "seconds"} <= row.keys()
        assert (row["queries"], row["documents"]) == (1, 2)
    assert rows[1]["ndcg@10"] == 1.0
    code, out, _ = run("evaluate", "BM25", "--collection", folders / "beir", "--tokenizer", folders / "source")
    assert "1.000" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--bias", "sideways"], "sideways"),
        (["--method", "magic"], "magic"),
        (["--alpha", "0.5"], "alpha"),
        (["--sample-texts", "nowhere.txt"], "nowhere.txt"),
        (["--vectors", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_bad_input_names_the_value_and_leaves_nothing(run, folders, tmp_path, change, message):
    output = tmp_path / "out"
    code, _, err = run(*transfer_arguments(folders, output, *change))
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_encoder_is_named(run, folders, tmp_path):
    code, _, err = run("transfer", "./nowhere", "--target-tokenizer", folders / "korean", "-o", tmp_path / "out")
    assert code == 2
    assert "./nowhere" in err


def test_an_existing_folder_is_kept_unless_told(run, folders, transferred):
    before = (transferred / "token_map.json").stat().st_mtime_ns
    code, _, err = run(*transfer_arguments(folders, transferred))
    assert code == 1
    assert "--overwrite" in err
    assert (transferred / "token_map.json").stat().st_mtime_ns == before
    code, _, err = run(*transfer_arguments(folders, transferred, "--overwrite"))
    assert code == 0, err
    assert (transferred / "token_map.json").stat().st_mtime_ns != before


def test_a_crash_midway_leaves_nothing(run, folders, tmp_path, monkeypatch):
    from isthmus.transfer import TransferReport

    def crash(self, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(TransferReport, "save", crash)
    code, _, _ = run(*transfer_arguments(folders, tmp_path / "out"))
    assert code == 130
    assert list(tmp_path.iterdir()) == []


def test_help_is_quick_to_load_and_lists_the_commands(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out for name in ("quickstart", "transfer", "inspect", "methods", "evaluate"))
