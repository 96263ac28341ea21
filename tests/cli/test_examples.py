"""The examples do what they say, with tiny models."""

import importlib.util
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.conftest import write_lines

EXAMPLES = Path(__file__).parents[2] / "examples"
trains = pytest.mark.skipif(
    not (find_spec("accelerate") and find_spec("datasets")), reason="needs the extra `train`: accelerate and datasets"
)


STEPS = ("--steps", 2, "--batch-size", 2, "--max-active-share", 1)


@pytest.fixture
def example(capsys):
    """Run an example in this process; returns what it printed."""

    def call(name, *arguments):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main(list(map(str, arguments)))
        return capsys.readouterr().out

    return call


@pytest.fixture
def encoder(example, folders, tmp_path):
    output = tmp_path / "encoder"
    out = example(
        "transfer", "--encoder", folders / "source", "--tokenizer", folders / "korean",
        "--vectors", folders / "vectors.safetensors", "--token", "집", "--replace", "-o", output,
    )  # fmt: skip
    assert "집 = [(" in out
    assert (output / "token_map.json").is_file()
    return output


@pytest.fixture
def corpus(tmp_path):
    texts = [f"{word} 집 {number}" for number, word in enumerate(["학교", "전쟁", "물", "the school"] * 3)]
    write_lines(tmp_path / "corpus.jsonl", [{"id": f"d{n}", "text": text} for n, text in enumerate(texts)])
    return tmp_path / "corpus.jsonl"


def test_search_prints_hits_and_why(example, encoder, corpus, tmp_path):
    lines = example("search", encoder, corpus, "학교", "-o", tmp_path / "idx").splitlines()
    assert (tmp_path / "idx" / "manifest.json").is_file()
    assert " x " in lines[-1]


def test_echo_measures_three(example, encoder, folders, tmp_path):
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    write_lines(beir / "corpus.jsonl", [{"_id": f"{n}", "text": f"the house {n}"} for n in range(10)])
    write_lines(beir / "queries.jsonl", [{"_id": "q", "text": "house"}])
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    assert [line.split()[0] for line in example("echo", encoder, "--collection", beir).splitlines()] == [
        "plain", "echo", "BM25",
    ]  # fmt: skip


@pytest.mark.assets
def test_audit_writes_what_it_prints(example, tmp_path):
    out = example("audit", "BM25", "--output", tmp_path / "audit.json")
    assert "BM25  multi  asked in ko: Complete@10 " in out
    assert json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))


@trains
def test_train_takes_pairs_or_text(example, encoder, corpus, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    write_lines(pairs, [{"query": query, "positive": f"{query} 집"} for query in ("학교", "전쟁", "물", "1")])
    example("train", encoder, "--pairs", pairs, *STEPS, "-o", tmp_path / "trained")
    assert (tmp_path / "trained" / "training_report.json").is_file()
    with pytest.raises(SystemExit):
        example("train", encoder, "-o", tmp_path / "nothing")


@trains
def test_align_writes_an_encoder(example, encoder, tmp_path):
    rows = [
        {"pivot_query": english, "pivot_passage": f"the {english}", "query": korean, "passage": f"{korean} ."}
        for english, korean in (("house", "집"), ("school", "학교"), ("1", "물"), ("?", "전쟁"))
    ]
    write_lines(tmp_path / "rows.jsonl", rows)
    example("align", encoder, tmp_path / "rows.jsonl", *STEPS, "-o", tmp_path / "aligned")
    assert (tmp_path / "aligned" / "modules.json").is_file()


def test_chunk_cuts_where_sentences_end(example, tmp_path):
    text = "하나 둘 셋. 넷 다섯 여섯! 일곱 여덟."
    write_lines(tmp_path / "long.jsonl", [{"id": "a", "title": "제목", "text": text, "year": 1}])
    out = example("chunk", tmp_path / "long.jsonl", "-o", tmp_path / "short.jsonl", "--words", 6)
    assert out.startswith("2 passages")
    rows = [json.loads(line) for line in (tmp_path / "short.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == ["하나 둘 셋. 넷 다섯 여섯!", "일곱 여덟."]
    assert rows[0] == {"year": 1, "id": "a-0", "title": "제목", "text": rows[0]["text"], "document": "a"}
    chinese = "".join(f"这是第{number}句话。" for number in "一二三四")
    write_lines(tmp_path / "zh.jsonl", [{"id": "b", "text": chinese}])
    assert example("chunk", tmp_path / "zh.jsonl", "-o", tmp_path / "zh-short.jsonl", "--words", 8).startswith(
        "2 passages"
    )
