import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from isthmus.cli import _hub, _printing
from isthmus.token_map import TokenMap
from tests.bridge.test_embed import static_bridge
from tests.cli.conftest import transfer_arguments, write_lines


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


def test_what_is_done_to_mixed_rows_reaches_the_encoder(run, call, folders, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(["집 학교", "물 house", "전쟁의 ."] * 4), encoding="utf-8")
    common = ["transfer", folders / "source", "--target-tokenizer", folders / "korean"]
    common += ["--vectors", folders / "vectors.safetensors", "--sample-texts", tmp_path / "texts.txt"]
    options = ["--norm", "restored", "--own-direction", "0.5", "--bias", "matched"]
    call(*common, "-o", tmp_path / "plain")
    (report,) = call(*common, *options, "-o", tmp_path / "changed")
    shown = {name: report["settings"][name] for name in ("norm", "own_direction", "bias")}
    assert shown == {"norm": "restored", "own_direction": 0.5, "bias": "matched"}
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("plain", "changed")]
    changed = {name for name in weights[0] if not np.array_equal(weights[0][name], weights[1][name])}
    assert {name.rpartition(".")[2] for name in changed} == {"weight", "bias"}
    code, _, err = run(*common, "--method", "mean", "--own-direction", "1", "-o", tmp_path / "mean")
    assert code == 2
    assert "own_direction must come with a method that mixes rows, got 'mean'" in " ".join(err.split())


def test_texts_teach_a_bridge(run, call, folders, tmp_path):
    static_bridge(letters="abcdefghijklmnopqrstuvwxyz집학교전쟁물의").save(str(tmp_path / "bridge"))
    korean = [
        f"{first}{second} {third}"
        for first in "집학교전쟁물의" * 3
        for second in "집학교전쟁"
        for third in "집학교물의"
    ]
    (tmp_path / "ko.txt").write_text("\n".join(f"{text} {i}" for i, text in enumerate(korean * 3)), encoding="utf-8")
    (tmp_path / "few.txt").write_text("집\n물\n", encoding="utf-8")
    common = ["transfer", folders / "source", "--target-tokenizer", folders / "korean", "--bridge", tmp_path / "bridge"]
    (report,) = call(*common, "--bridge-texts", tmp_path / "ko.txt", "-o", tmp_path / "taught")
    assert report["bridge_refinement"]["texts"] == {"target": 3 * len(korean)}
    (report,) = call(*common, "--no-refine", "--no-standardize", "-o", tmp_path / "plain")
    assert report["bridge_refinement"] is None
    assert report["options"]["options"]["standardize"] is False
    for options, message in (
        (["--bridge-texts", tmp_path / "few.txt"], "at least 1,000 distinct ones a language, got 2"),
        (["--bridge-texts", tmp_path / "ko.txt", "--no-refine"], "bridge_texts must come with refine"),
        (["--bridge-source-texts", tmp_path / "none.txt"], "none.txt does not exist"),
    ):
        code, _, err = run(*common, *options, "-o", tmp_path / "refused")
        assert (code, message in " ".join(err.split())) == (2, True), err
        assert not (tmp_path / "refused").exists()


def test_corpora_reach_a_transfer_as_their_texts(run, folders, tmp_path, monkeypatch):
    write_lines(tmp_path / "ko.jsonl", [{"id": "a", "title": "집", "text": "학교"}, {"id": "b", "text": " 물 "}])
    seen = {}

    def transfer(encoder, options, **_):
        seen.update(vars(options) | options.method_options)
        raise KeyboardInterrupt

    monkeypatch.setattr("isthmus.transfer", transfer, raising=False)
    options = ["--method", "focus", "--space", "ppmi"]
    for name in ("--sample-texts", "--idf-texts", "--texts"):
        options += [name, tmp_path / "ko.jsonl"]
    assert run(*transfer_arguments(folders, tmp_path / "out", *options))[0] == 130
    for name in ("sample_texts", "idf_texts", "texts"):
        assert seen[name] == ["집 학교", "물"], name


@pytest.mark.parametrize("option", ["--sample-texts", "--idf-texts", "--texts"])
def test_texts_of_an_unknown_kind_are_refused(run, folders, tmp_path, option):
    (tmp_path / "ko.md").write_text("# 집\n", encoding="utf-8")
    code, _, err = run(*transfer_arguments(folders, tmp_path / "out", "--method", "mean", option, tmp_path / "ko.md"))
    assert code == 2
    assert "texts must end in .txt, .jsonl, .json, .csv, .tsv or .parquet" in err
    assert f"got {tmp_path / 'ko.md'}; rename it" in err


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


def test_inspect_of_a_source_token_alone_looks_the_other_way(run, transferred):
    code, out, err = run("inspect", transferred, "water", "--json")
    assert code == 0, err
    row = json.loads(out)
    assert (row["token"], row["fate"], row["sources"]) == ("water", None, [])
    assert row["used_by"] == [list(pair) for pair in TokenMap.load(transferred).used_by("water")]
    assert row["used_by"]


def test_inspect_splits_a_word_into_its_tokens(run, transferred):
    code, out, err = run("inspect", transferred, "학교의", "--json")
    assert code == 0, err
    assert [json.loads(line)["token"] for line in out.splitlines()] == ["학교", "##의"]


def test_inspect_shows_no_padding(run, transferred):
    path = transferred / "tokenizer.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    padding = {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None}
    stored["padding"] = padding | {"pad_id": 3, "pad_type_id": 0, "pad_token": "[PAD]"}
    stored["truncation"] = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    path.write_text(json.dumps(stored), encoding="utf-8")
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
    from isthmus.transferring import TransferReport

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


def test_overwrite_spares_folders_that_hold_no_encoder(run, folders, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    code, _, err = run(*transfer_arguments(folders, tmp_path, "--overwrite"))
    assert code == 1
    assert "modules.json" in err
    assert (tmp_path / "thesis.tex").exists()


def test_nothing_is_written_before_the_transfer_is_done(run, folders, tmp_path, monkeypatch):
    seen = []

    def transfer(*_, **__):
        seen.extend(tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("isthmus.transfer", transfer, raising=False)
    assert run(*transfer_arguments(folders, tmp_path / "out"))[0] == 130
    # What tells other writers to keep away is no result, and goes with the command.
    assert [path for path in seen if not path.name.startswith(".")] == []
    assert list(tmp_path.iterdir()) == []


def test_help_cuts_no_option_off(run):
    code, out, _ = run("transfer", "--help")
    assert code == 0
    assert all(option in out for option in ("--target-tokenizer", "--trust-remote-code", "--no-strip-marker"))
    assert "Usage: isthmus transfer" in out
    assert "--no-overwrite" not in out


def test_a_table_in_a_pipe_keeps_long_model_names(run, folders, tmp_path):
    name = tmp_path / ("a-model-with-quite-a-long-name" * 4)
    name.symlink_to(folders / "source")
    code, out, err = run("evaluate", name, "--collection", folders / "beir")
    assert code == 0, err
    _, header, row = out.splitlines()
    assert str(name) in row
    assert header.split() == ["model", "ndcg@10", "mrr@10", "recall@100", "flops", "dims", "q/d", "time"]
    assert "\x1b" not in out


def test_what_is_measured_stays_when_a_later_model_fails(run, folders, tmp_path):
    (tmp_path / "empty").mkdir()
    more = ("--collection", folders / "beir", "--tokenizer", folders / "source")
    code, out, err = run("evaluate", "BM25", tmp_path / "empty", *more, "--json")
    assert code == 2
    assert json.loads(out)["model"] == "BM25"
    assert "Traceback" not in err
    assert "BM25" in run("evaluate", "BM25", tmp_path / "empty", *more)[1]


@pytest.mark.parametrize("change", [["./nowhere"], ["isthmus/nothing"], ["--tokenizer", "./nowhere"]])
def test_evaluate_checks_every_name_first(run, folders, change):
    code, out, err = run("evaluate", "BM25", *change, "--collection", folders / "beir", "--language", "en", "--json")
    assert (code, out) == (2, "")
    assert change[-1] in err


def test_evaluate_states_how_distractors_were_drawn(run, folders, tmp_path):
    write_lines(tmp_path / "more.jsonl", [{"id": f"m{i}", "text": f"war {i}"} for i in range(5)])
    arguments = ["evaluate", "BM25", "--collection", folders / "beir", "--tokenizer", folders / "source",
                 "--max-distractors", "3", "--json"]  # fmt: skip
    code, out, err = run(*arguments, "--distractors", tmp_path / "more.jsonl", "--seed", "7")
    assert code == 0, err
    row = json.loads(out)
    assert row["documents"] == 5
    assert (row["settings"]["seed"], row["settings"]["max_distractors"]) == (7, 3)
    code, _, err = run(*arguments)
    assert code == 2
    assert "--distractors" in err


def test_output_is_utf8_whatever_the_locale(transferred):
    command = [sys.executable, "-m", "isthmus", "inspect", str(transferred), "집"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert "집" in done.stdout.decode("utf-8")


@pytest.mark.parametrize(("answers", "offline"), [(False, "1"), (True, None)])
def test_without_a_network_hub_ids_are_left_to_the_cache(monkeypatch, capsys, answers, offline):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(_hub, "hub_answers", lambda: answers)
    monkeypatch.setattr(_hub, "_check_downloaded", lambda names: None)
    _hub.check_names([None], ["isthmus/tokenizer-ko", None])
    assert "HF_HUB_OFFLINE" not in os.environ
    _hub.check_names(["somebody/something"])
    assert os.environ.get("HF_HUB_OFFLINE") == offline
    assert ("somebody/something" in capsys.readouterr().err) is not answers


def test_hub_answers_is_no_without_a_server(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert not _hub.hub_answers()


def test_long_report_lines_go_on_below_their_text(capsys):
    _printing.print_report("Head\n  warnings    " + "word " * 30)
    head, first, second, *_ = capsys.readouterr().out.splitlines()
    assert head == "Head"
    assert first.startswith("  warnings    word")
    assert second.startswith(" " * 14 + "word")
    assert max(len(first), len(second)) <= 80
