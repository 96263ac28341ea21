import json
from importlib.util import find_spec

import pytest
from sentence_transformers import SparseEncoder

from tests.cli.conftest import write_lines

pytestmark = pytest.mark.skipif(
    not (find_spec("accelerate") and find_spec("datasets")), reason="needs the extra `train`: accelerate and datasets"
)

PAIRS = [
    {"query": "집", "positive": "학교 의 집"},
    {"query": "물", "positive": "물 전쟁 ."},
    {"query": "학교", "positive": "the school 학교"},
    {"query": "1", "positive": "house 1 ?"},
]
OPTIONS = ("--steps", 2, "--batch-size", 2, "--max-active-share", 1, "--no-bf16")


@pytest.fixture
def pairs(tmp_path):
    write_lines(tmp_path / "pairs.jsonl", PAIRS)
    return tmp_path / "pairs.jsonl"


def test_train_goes_on_from_a_transfer(run, transferred, pairs, tmp_path):
    output = tmp_path / "trained"
    code, out, err = run(
        "train", transferred, "--train", pairs, "-o", output, *OPTIONS, "--freeze", "all-but-new", "--json"
    )
    assert code == 0, err
    assert err == ""
    (line,) = out.splitlines()
    report = json.loads(line)
    assert report["steps"] == 2
    assert report["folder"] == str(output)
    assert json.loads((output / "training_report.json").read_text()).items() <= report.items()
    assert (output / "token_map.json").read_bytes() == (transferred / "token_map.json").read_bytes()
    assert SparseEncoder(str(output), device="cpu").encode("집").is_sparse
    code, out, err = run("inspect", output, "집")
    assert code == 0, err


def test_train_prints_a_report_and_evaluates(run, folders, pairs, tmp_path):
    code, out, err = run(
        "train", folders / "source", "--train", pairs, "-o", tmp_path / "trained", *OPTIONS, "--eval", folders / "beir"
    )
    assert code == 0, err
    assert "Trained 2 steps on 4 rows" in out
    assert "ndcg@10" in out
    assert "{" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", 2, "--epochs", 1), "--steps and --epochs must not come together"),
        (("--language", "ko"), "--language must come with --eval"),
        (("--loss", "hinge"), "hinge"),
        (("--loss", "kl"), "needs a column 'scores'"),
        (("--batch-size", 0), "batch_size must be 1 or more, got 0"),
        (("--freeze", "all-but-new"), "needs the token map"),
        (("--train", "none.jsonl"), "none.jsonl does not exist"),
    ],
)
def test_input_that_does_not_fit_exits_with_2(run, folders, pairs, tmp_path, arguments, message):
    command = ("train", folders / "source", "--train", pairs, "-o", tmp_path / "trained", *arguments)
    code, out, err = run(*command)
    assert code == 2
    assert message in err
    assert out == ""
    assert not (tmp_path / "trained").exists()


def test_a_bad_line_is_named(run, folders, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"query": "q", "positive": "p"}\n{"query": "q"}\n')
    code, _, err = run("train", folders / "source", "--train", tmp_path / "bad.jsonl", "-o", tmp_path / "trained")
    assert code == 2
    assert "bad.jsonl, line 2: 'positive'" in err


def test_an_output_that_is_there_exits_with_1(run, folders, pairs):
    code, _, err = run("train", folders / "source", "--train", pairs, "-o", folders / "source")
    assert code == 1
    assert "already exists" in err


def test_mine_writes_what_train_reads(run, folders, pairs, tmp_path):
    mined = tmp_path / "mined.jsonl"
    arguments = ("mine", folders / "source", "--train", pairs, "-o", mined, "--negatives", 1, "--skip", 0)
    code, out, err = run(*arguments, "--max-score", 100, "--json")
    assert code == 0, err
    assert json.loads(out) == {"file": str(mined), "rows": 4, "left_out": 0, "negatives": 1}
    rows = [json.loads(line) for line in mined.read_text(encoding="utf-8").splitlines()]
    assert [list(row) for row in rows] == [["query", "positive", "negative_1"]] * 4
    code, _, err = run(*arguments)
    assert code == 1
    assert "already exists" in err
    code, out, err = run("train", folders / "source", "--train", mined, "-o", tmp_path / "trained", *OPTIONS, "--json")
    assert code == 0, err
    assert json.loads(out)["data"]["columns"] == ["query", "positive", "negative_1"]


def test_too_many_negatives_exit_with_2(run, folders, pairs, tmp_path):
    code, _, err = run("mine", folders / "source", "--train", pairs, "-o", tmp_path / "m.jsonl", "--negatives", 9)
    assert code == 2
    assert "lower them" in err
    assert not (tmp_path / "m.jsonl").exists()


UNLABELLED = [
    {"id": "a", "title": "The school", "text": "집 학교 전쟁 물 the house 집 학교 school 1 ?"},
    {"id": "b", "text": "# 물\n\n물 전쟁 물 전쟁 school . the house\n\n# 집\n\nhouse the house 1 집 1 집"},
    {"id": "c", "text": "물"},
]


@pytest.fixture
def corpus(tmp_path):
    write_lines(tmp_path / "corpus.jsonl", UNLABELLED)
    return tmp_path / "corpus.jsonl"


def test_train_on_unlabelled_text(run, transferred, corpus, tmp_path):
    output = tmp_path / "trained"
    command = ("train", transferred, "--self-supervised", corpus, "-o", output, *OPTIONS)
    code, out, err = run(*command, "--json")
    assert code == 0, err
    made = json.loads(out)["data"]["unlabelled"]
    assert made == {
        "documents": 3,
        "pairs": {"title": 1, "heading": 2},
        "snippets_kept": 0,
        "left_out": {"too short": 1},
        "negatives": 0,
        "negatives_drawn": 0,
    }
    code, out, err = run(*command, "--overwrite", "--kinds", "heading", "--max-pairs", 2, "--mine-negatives", 1)
    assert code == 0, err
    assert json.loads((output / "training_report.json").read_text())["data"]["columns"][2:] == ["negative_1"]
    assert "2 by heading; 3 unlabelled documents" in " ".join(out.split())
    assert SparseEncoder(str(output), device="cpu").encode("집").is_sparse


def test_train_by_the_encoder_s_own_echo(run, transferred, tmp_path):
    words = "집 학교 전쟁 물 the house school home war water".split()
    lines = [" ".join([words[i], words[(i + j) % 10], words[i]] * 5) for i in range(10) for j in (1, 3)]
    (tmp_path / "corpus.txt").write_text("\n".join(lines), encoding="utf-8")
    command = ("train", transferred, "--self-supervised", tmp_path / "corpus.txt", "-o", tmp_path / "taught", *OPTIONS)
    code, out, err = run(*command, "--teacher", "echo", "--mine-negatives", 1, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["settings"]["teacher"] == "echo"
    assert report["settings"]["loss"] == "margin-mse"
    assert report["data"]["unlabelled"]["snippets_kept"] == report["data"]["rows"]
    assert report["data"]["columns"] == ["query", "positive", "negative_1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "exactly one of --train and --self-supervised must be given, got neither"),
        (("--train", "a.jsonl", "--self-supervised", "b.jsonl"), "must be given, got both"),
        (("--train", "a.jsonl", "--keep-snippet", 0), "--keep-snippet must come with --self-supervised, got 0.0"),
        (("--train", "a.jsonl", "--mine-negatives", 2), "`isthmus mine` adds negatives to pairs"),
        (("--self-supervised", "none.jsonl"), "none.jsonl does not exist"),
        (("--self-supervised", "none.pdf"), "corpus must end in .jsonl"),
        (("--self-supervised", "CORPUS", "--kinds", "heading,tittle"), "did you mean 'title'"),
        (("--self-supervised", "CORPUS", "--keep-snippet", 2), "keep_snippet must be a probability in 0..1, got 2.0"),
        (("--self-supervised", "CORPUS", "--loss", "kl"), "must be auto or contrastive without labels"),
        (("--train", "a.jsonl", "--teacher", "echo"), "--teacher must come with --self-supervised, got 'echo'"),
        (("--self-supervised", "CORPUS", "--teacher", "echo", "--mine-negatives", 0), "negatives must be 1 or more"),
        (("--self-supervised", "CORPUS", "--teacher", "isthmus/non"), "isthmus/non"),
        (
            ("--self-supervised", "CORPUS", "--kinds", "title"),
            "at least 2 pairs to train on, got 1 pair from 3 documents (left out",
        ),
    ],
)
def test_text_that_does_not_fit_exits_with_2(run, folders, corpus, tmp_path, arguments, message):
    given = [corpus if argument == "CORPUS" else argument for argument in arguments]
    code, out, err = run("train", folders / "source", "-o", tmp_path / "trained", *given)
    assert code == 2
    assert message in err
    assert out == ""
    assert not (tmp_path / "trained").exists()


def test_bm25_is_refused_before_the_hub_is_asked(run, folders, corpus, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("isthmus.cli._hub.hub_answers", lambda: pytest.fail("the hub was asked"))
    arguments = ("--self-supervised", corpus, "--teacher", "bm25", "-o", tmp_path / "trained")
    code, out, err = run("train", folders / "source", *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: teacher must be an encoder, echo or hybrid, got 'bm25'")


def test_a_static_encoder_trains_on_negatives_and_has_no_teacher(run, corpus, tmp_path):
    command = ("train", "isthmus/mini-bridge", "--self-supervised", corpus, "-o", tmp_path / "trained", *OPTIONS)
    code, _, err = run(*command, "--teacher", "echo")
    assert code == 2
    assert "model must be a SparseEncoder to learn from a teacher, got the dense encoder 'isthmus/mini-bridge'" in err
    code, out, err = run(*command, "--mine-negatives", 1, "--json")
    assert code == 0, err
    assert json.loads(out)["data"]["columns"] == ["query", "positive", "negative_1"]


def test_a_bad_line_of_a_corpus_is_named(run, folders, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": 3}\n')
    arguments = ("--self-supervised", tmp_path / "bad.jsonl", "-o", tmp_path / "trained")
    code, _, err = run("train", folders / "source", *arguments)
    assert code == 2
    assert "bad.jsonl, line 2: text" in err
