"""The papers' tables from end to end, on tiny models and on replicas of a handful of rows in the columns of the hub."""

import gzip
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding

from isthmus.errors import InputError, NotFoundError
from tests.tiny_encoders import WORDS, splade
from tests.tokenizers import wordpiece

pytestmark = pytest.mark.skipif(
    not (find_spec("accelerate") and find_spec("datasets")), reason="needs the extra `train`: accelerate and datasets"
)
ROOT = Path(__file__).parents[2]
RUSSIAN = ["дом", "война", "вода", "школа", "столица", "корея"]
ENGLISH = ["house", "war", "water", "school", "capital", "korea"]
# The tiny encoders read 24 tokens; so few rows have no rank 50.
TINY = ["--set", "steps=2", "--set", "batch_size=2", "--set", "bf16=false", "--set", "max_length=24",
        "--set", "max_active_share=1.0"]  # fmt: skip
ALIGNED = [*TINY, "--set", "mini_batch_size=2", "--set", "skip=0", "--set", "last_rank=4", "--set", "negatives=1"]


@pytest.fixture
def paper():
    """The modules of the suite."""
    from benchmarks.suites import paper, paper_data, paper_tables

    paper_data.webfaq_pairs.cache_clear()
    return paper, paper_data, paper_tables


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """A folder with the data and the models of all tables, in the columns of the hub."""
    from datasets import Dataset

    data = tmp_path_factory.mktemp("replicas")

    def parquet(path, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list(rows).to_parquet(str(path))

    webfaq = data / "PaDaS-Lab" / "webfaq-retrieval"
    passages = [{"_id": f"d{i}", "title": "", "text": f"{word} {RUSSIAN[i - 1]}"} for i, word in enumerate(RUSSIAN)]
    parquet(webfaq / "rus-corpus" / "corpus.parquet", passages)
    for split, numbers in (("train", range(4)), ("test", range(4, 6))):
        # FOCUS asks for every token ten times.
        queries = [{"_id": f"q{i}", "text": " ".join([RUSSIAN[i]] * 10)} for i in numbers]
        grades = [{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1.0} for i in numbers]
        parquet(webfaq / "rus-queries" / f"{split}.parquet", queries)
        parquet(webfaq / "rus-qrels" / f"{split}.parquet", grades)
    miracl = data / "miracl" / "miracl" / "miracl-v1.0-ru"
    (miracl / "topics").mkdir(parents=True)
    (miracl / "qrels").mkdir()
    topics = "".join(f'{i}\tгде "{word}\n' for i, word in enumerate(RUSSIAN[:3]))
    (miracl / "topics" / "topics.miracl-v1.0-ru-dev.tsv").write_text(topics)
    grades = "".join(f"{i} Q0 {i}#0 1\n{i} Q0 {i}#1 0\n".replace(" ", "\t") for i in range(3))
    (miracl / "qrels" / "qrels.miracl-v1.0-ru-dev.tsv").write_text(grades)
    corpus = data / "miracl" / "miracl-corpus" / "miracl-corpus-v1.0-ru"
    corpus.mkdir(parents=True)
    for shard in (0, 1):
        rows = [
            {"docid": f"{i}#{shard}", "title": "корея", "text": f"{word} {shard}"} for i, word in enumerate(RUSSIAN)
        ]
        with gzip.open(corpus / f"docs-{shard}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    for language, words in (("en", ENGLISH), ("de", RUSSIAN)):
        rows = [
            {"id": f"m{i}", "question": f"{word} ?", "context": f"{word} {words[i - 1]} 1", "answers": {"text": [word]}}
            for i, word in enumerate(words)
        ]
        parquet(data / "facebook" / "mlqa" / f"mlqa.{language}.{language}" / "test" / "0000.parquet", rows)
    (data / "belebele").mkdir()
    codes = {"en": "eng_Latn", "de": "deu_Latn", "te": "tel_Telu"}
    for language, words in (("en", ENGLISH), ("de", RUSSIAN), ("te", RUSSIAN)):
        if language != "te":
            paragraphs = [
                {"context": f"{word} {words[i - 2]}", "qas": [{"id": f"x{i}", "question": word}]}
                for i, word in enumerate(words)
            ]
            (data / f"xquad.{language}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
        rows = [
            {"link": f"l{i}", "question_number": 1, "flores_passage": f"{word} {words[i - 3]}", "question": word}
            for i, word in enumerate(words)
        ]
        (data / "belebele" / f"{codes[language]}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = data / "models"
    encoder = splade(data / "parts")
    encoder.save_pretrained(str(models / "naver" / "splade-v3"))
    russian = wordpiece([*RUSSIAN, "?", "1", "0"], strip_accents=False, max_length=24)
    russian.save_pretrained(models / "DeepPavlov" / "rubert-base-cased")
    words = wordpiece([*RUSSIAN, *WORDS], strip_accents=False).backend_tokenizer
    weights = np.random.default_rng(0).standard_normal((words.get_vocab_size(), 8)).astype(np.float32)
    bridge = SentenceTransformer(modules=[StaticEmbedding(words, embedding_weights=weights)], device="cpu")
    bridge.save_pretrained(str(models / "BAAI" / "bge-m3"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dense = SentenceTransformer(modules=[Transformer(str(data / "parts")), Pooling(16, "mean")], device="cpu")
    dense.save_pretrained(str(models / "intfloat" / "multilingual-e5-base"))
    return data


@pytest.fixture
def call(paper, replicas, tmp_path, monkeypatch, capsys):
    """Run a table; returns its exit code, rows and what was printed."""
    monkeypatch.setenv("ISTHMUS_DATA", "unset")
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")

    def run(table, *options, data=replicas):
        output = tmp_path / f"{table}.json"
        code = paper[0].main([table, "--data", str(data), "--output", str(output), *options])
        return code, json.loads(output.read_text()) if output.exists() else None, capsys.readouterr()

    return run


@pytest.mark.long
def test_zero_shot(call, tmp_path):
    methods = ["base", "random", "mean", "gaussian", "multivariate-gaussian", "ofa", "sembridge", "sembridge-released"]
    if find_spec("gensim"):
        methods.append("focus")
    options = ["--languages", "ru", "--encoders", "splade-v3", "--methods", *methods]
    code, found, printed = call("sembridge-zero-shot", *options)
    assert code == 0, printed.err
    places = {(row["collection"], row["method"]): row for row in found["rows"]}
    assert set(places) == {(collection, method) for collection in ("webfaq", "miracl") for method in methods}
    assert {row["documents"] for (collection, _), row in places.items() if collection == "webfaq"} == {6}
    assert {row["queries"] for (collection, _), row in places.items() if collection == "webfaq"} == {2}
    # Both shards, and the questions of the development set with a grade above zero.
    assert {(row["documents"], row["queries"]) for (name, _), row in places.items() if name == "miracl"} == {(12, 3)}
    for row in found["rows"]:
        assert 0 <= row["metrics"]["ndcg@10"] <= 1
        assert row["metrics"]["flops"] >= 0
        assert (row["language"], row["encoder"], row["seed"], row["paper"]) == ("ru", "splade-v3", 0, None)
        assert row["versions"]["isthmus"]
    # An encoder that reads Russian as unknown tokens is not the one with the Russian vocabulary.
    assert places["webfaq", "base"]["metrics"] != places["webfaq", "sembridge"]["metrics"]
    assert "no reproduction of arXiv 2605.26002" in printed.out
    before = found["rows"]
    code, found, printed = call("sembridge-zero-shot", *options)
    assert (code, found["rows"]) == (0, before)
    assert "models:" not in printed.err
    code, found, _ = call("sembridge-zero-shot", *options, "--limit", "1", "--passages", "2", "--methods", "base")
    # MIRACL judges an irrelevant passage for every question, which stays.
    added = found["rows"][len(before) :]
    assert [(row["queries"], row["documents"]) for row in added] == [(1, 3), (1, 4)]


def test_fine_tuned_goes_on_where_it_was_interrupted(call, paper, monkeypatch, tmp_path):
    options = ["--languages", "ru", "--encoders", "splade-v3", "--methods", "base", "sembridge", *TINY]
    options += ["--set", "save_steps=1", "--collections", "webfaq"]
    measure = paper[0].measure

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(paper[0], "measure", stop)
    with pytest.raises(KeyboardInterrupt):
        call("sembridge-fine-tuned", *options)
    (trained,) = (tmp_path / "sembridge-fine-tuned.work").glob("*/training_report.json")
    report = json.loads(trained.read_text())
    assert (report["data"]["rows"], report["steps"], report["recipe"]["recipe"]) == (4, 2, "sembridge-paper")
    monkeypatch.setattr(paper[0], "measure", measure)
    code, found, printed = call("sembridge-fine-tuned", *options)
    assert code == 0, printed.err
    assert [row["method"] for row in found["rows"]] == ["base", "sembridge"]
    training = found["rows"][0]["settings"]["model"]["training"]
    assert (training["recipe"], training["steps"], training["loss"]) == ("sembridge-paper", 2, "contrastive")
    left = [path.name for path in (tmp_path / "sembridge-fine-tuned.work").iterdir()]
    assert left == ["webfaq-ru.jsonl"]


def test_proximity(call):
    options = ["--languages", "de", "--encoders", "multilingual-e5-base", *TINY]
    code, found, printed = call("proximity", *options)
    assert code == 0, printed.err
    rows = found["rows"]
    # Two models, two collections, two languages that ask, three pools.
    assert len(rows) == 2 * 2 * 2 * 3
    multi = [row for row in rows if row["pool"] == "multi" and row["collection"] == "xquad"]
    assert {(row["query_language"], row["golds"], row["documents"]) for row in multi} == {("en", 2, 12), ("de", 2, 12)}
    assert set(rows[0]["metrics"]) == {"max@r", "max@r_norm", "complete@10"}
    training = next(row for row in rows if row["method"] == "proximity")["settings"]["model"]["training"]
    assert (training["recipe"], training["scale"], training["eps_placement"]) == ("proximity-paper", 1.0, "outside")


def test_clear_has_four_directions_and_trains_per_language(call):
    options = ["--languages", "de", "te", "--encoders", "multilingual-e5-base", *ALIGNED]
    code, found, printed = call("clear", *options)
    # MLQA has no Telugu, and XQuAD is not asked in it.
    assert code == 1
    assert "belebele te multilingual-e5-base clear: rows of 'te' must come from --rows" in printed.err
    places = {(row["collection"], row["language"], row["method"]) for row in found["rows"]}
    assert places == {
        *(("xquad", "de", method) for method in ("base", "infonce", "clear")),
        *(("belebele", "de", method) for method in ("base", "infonce", "clear")),
        ("belebele", "te", "base"),
    }
    directions = {
        (row["query_language"], *row["pool_languages"])
        for row in found["rows"]
        if (row["collection"], row["language"], row["method"]) == ("xquad", "de", "clear")
    }
    assert directions == {("en", "en"), ("de", "de"), ("de", "en"), ("en", "de")}
    by_method = {row["method"]: row["settings"]["model"].get("training") for row in found["rows"]}
    assert by_method["base"] is None
    assert (by_method["clear"]["loss"], by_method["clear"]["recipe"]) == ("clear", "clear-paper")
    assert (by_method["infonce"]["loss"], by_method["infonce"]["recipe"]) == ("infonce", None)
    assert by_method["infonce"]["scheduler"] == "cosine"


def test_rows_of_the_papers_columns(call, tmp_path):
    path = tmp_path / "te.jsonl"
    rows = [
        {"q": ENGLISH[i], "p": f"{ENGLISH[i]} 1", "pn": "water", "t": RUSSIAN[i], "tn": "вода"} for i in (0, 1, 3, 4, 5)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--languages", "te", "--encoders", "multilingual-e5-base", "--methods", "clear", *ALIGNED]
    code, found, printed = call("clear", *options, "--rows", str(tmp_path / "{language}.jsonl"), "--keep-models")
    assert code == 0, printed.err
    assert found["rows"][0]["settings"]["model"]["rows"][0].startswith("te.jsonl ")
    (report,) = (tmp_path / "clear.work").glob("*/training_report.json")
    data = json.loads(report.read_text())["data"]
    assert data["rows"] == 5
    assert data["mined"] == {}
    assert "negative_query_1" in data["columns"]


def test_columns_by_position(paper):
    row = dict.fromkeys(("a", "b", "c", "d", "e", "f", "g"), "") | {"b": "p", "d": "pn2", "e": "q", "g": "qn2"}
    assert paper[1].by_position(row, "x") == {
        "pivot_query": "", "pivot_passage": "p", "negative_pivot_passage_1": "", "negative_pivot_passage_2": "pn2",
        "query": "q", "negative_query_1": "", "negative_query_2": "qn2",
    }  # fmt: skip
    with pytest.raises(InputError, match=r"3 \+ 2n columns"):
        paper[1].by_position({"a": "", "b": "", "c": "", "d": ""}, "x")


def test_known_cells_stand_beside_ours_with_their_source(paper):
    module, _, tables = paper
    row = {"table": "sembridge-zero-shot", "encoder": "splade-v3", "method": "sembridge", "collection": "webfaq"}
    rows = [
        {**row, "language": language, "metrics": {"ndcg@10": score, "flops": 1.0}}
        for language, score in zip(("ar", "hi", "ko", "ru", "zh"), (0.1, 0.2, 0.3, 0.4, 0.5), strict=True)
    ]
    (mean,) = module.means(rows, tables.TABLES["sembridge-zero-shot"])
    assert mean["metrics"]["ndcg@10"] == pytest.approx(0.3)
    assert mean["paper"] == {"ndcg@10": {"value": 0.422, "known": "2nd", "note": "mean of five languages"}}
    assert module.means(rows[:4], tables.TABLES["sembridge-zero-shot"]) == []
    assert "ndcg@10 0.422 [2nd]" in module.show([mean], tables.TABLES["sembridge-zero-shot"])
    pool = {"table": "proximity", "encoder": "multilingual-e5-base", "collection": "xquad", "language": "ar"}
    pool |= {"method": "proximity", "pool": "multi", "query_language": "ar", "metrics": {"complete@10": 1.0}}
    assert tables.published(pool)["complete@10"]["value"] == 53.53
    assert tables.published(pool | {"pool": "mono-same"}) == {}
    assert {known["known"] for known in tables.PUBLISHED.values()} == {"2nd"}


def test_the_hub_is_asked_by_the_names_of_the_datasets(paper, monkeypatch):
    """No hub is reached: what datasets is asked for is looked at, not what comes of it."""
    asked = []

    def load_dataset(*arguments, **options):
        asked.append((arguments, options))
        return []

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    source = paper[1].Source(None)
    assert list(source.split("PaDaS-Lab/webfaq-retrieval", "kor-corpus", "corpus")) == []
    with pytest.raises(Exception, match="at least one passage"):
        paper[1].miracl(source, "ko")
    assert paper[1].mlqa_rows(source, "de") == []
    files = "hf://datasets/"
    assert asked[0][0] == ("PaDaS-Lab/webfaq-retrieval", "kor-corpus")
    assert [options.get("data_files") for _, options in asked] == [
        None,
        f"{files}miracl/miracl/miracl-v1.0-ko/topics/topics.miracl-v1.0-ko-dev.tsv",
        f"{files}miracl/miracl/miracl-v1.0-ko/qrels/qrels.miracl-v1.0-ko-dev.tsv",
        f"{files}miracl/miracl-corpus/miracl-corpus-v1.0-ko/*.jsonl.gz",
        f"{files}facebook/mlqa@refs/convert/parquet/mlqa.en.en/test/*.parquet",
        f"{files}facebook/mlqa@refs/convert/parquet/mlqa.de.de/test/*.parquet",
    ]
    assert source.model("naver/splade-v3") == "naver/splade-v3"


def test_refusals(call, paper, replicas, tmp_path, capsys):
    with pytest.raises(NotFoundError, match=r"splade-v4 does not exist; make the replica, name another model"):
        call("sembridge-zero-shot", "--languages", "ru", "--encoders", "naver/splade-v4")
    with pytest.raises(NotFoundError, match="--tokenizer must name one for 'de'"):
        call("sembridge-zero-shot", "--languages", "de", "--encoders", "splade-v3", "--methods", "mean")
    for options, message in (
        (("clear", "--methods", "cleer"), "--methods must be of base, infonce, clear, got cleer"),
        (("clear", "--set", "steps"), "--set must be NAME=VALUE, got steps"),
    ):
        with pytest.raises(SystemExit):
            call(*options)
        assert message in capsys.readouterr().err
    bare = tmp_path / "bare"
    shutil.copytree(replicas / "models", bare / "models")
    options = ["--languages", "ru", "--encoders", "splade-v3", "--methods", "base", "--collections", "webfaq"]
    code, found, printed = call("sembridge-zero-shot", *options, data=bare)
    assert (code, found) == (1, None)
    assert "rus-corpus/corpus.parquet does not exist; make the replica, or read the hub with --hub" in printed.err
    assert "1 of 1 cells could not be run" in printed.out


def test_it_is_a_module_of_the_checkout(replicas, tmp_path, monkeypatch, capsys):
    options = ["paper", "sembridge-zero-shot", "--data", str(replicas), "--output", str(tmp_path / "out.json")]
    options += ["--languages", "ru", "--methods", "base", "--collections", "miracl", "--encoders"]
    command = [sys.executable, "-m", "benchmarks", *options, "splade-v3"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "miracl      ru        splade-v3  base" in found.stdout
    from benchmarks.__main__ import main

    monkeypatch.setenv("ISTHMUS_DATA", "unset")
    assert main([*options, "no/thing"]) == 2
    assert capsys.readouterr().err.strip().startswith("error: ")
