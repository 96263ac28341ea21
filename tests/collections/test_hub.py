"""Published collections by their own names, from replicas with the columns and files of what they replace."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from isthmus.collections import load, load_parallel
from isthmus.collections.hub import MIRACL, MIRACL_CORPUS, MLQA, NANOBEIR, WEBFAQ, XORQA
from isthmus.errors import CollectionError, InputError, MissingExtraError, NotFoundError, UnknownNameError


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def miracl(root: Path) -> None:
    passages = [{"docid": f"1#{n}", "title": "물", "text": f"물은 흐른다 {n}"} for n in range(3)]
    for part, rows in enumerate((passages[:2], passages[2:])):
        path = root / MIRACL_CORPUS / "miracl-corpus-v1.0-ko" / f"docs-{part}.jsonl.gz"
        write(path, gzip.compress(lines(rows).encode()))
    folder = root / MIRACL / "miracl-v1.0-ko"
    write(folder / "topics" / "topics.miracl-v1.0-ko-dev.tsv", '7\t"물"은 어디로\n9\t불은\n')
    write(folder / "qrels" / "qrels.miracl-v1.0-ko-dev.tsv", "7\tQ0\t1#1\t1\n7\tQ0\t1#0\t0\n9\tQ0\t2#0\t1\n")


CORPUS = [{"_id": "a", "title": "", "text": "one"}, {"_id": "b", "title": "B", "text": "two"}]
QUERIES = [{"_id": "q", "text": "two?"}]
QRELS = [{"query-id": "q", "corpus-id": "b", "score": 1.0}]
ROWS = {
    (WEBFAQ, "kor-corpus", "corpus"): CORPUS,
    (WEBFAQ, "kor-queries", "test"): QUERIES,
    (WEBFAQ, "kor-qrels", "test"): QRELS,
    (NANOBEIR, "corpus", "NanoNFCorpus"): CORPUS,
    (NANOBEIR, "queries", "NanoNFCorpus"): QUERIES,
    # NanoBEIR gives no grades.
    (NANOBEIR, "qrels", "NanoNFCorpus"): [{"query-id": "q", "corpus-id": "b"}],
}
QUESTIONS = [
    {"id": "x", "context": "passage one", "question": "who?"},
    {"id": "y", "context": "passage one", "question": "what?"},
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replicas of them all."""
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path))
    for (repository, config, split), rows in ROWS.items():
        write(tmp_path / repository / config / f"{split}.jsonl", lines(rows))
    miracl(tmp_path)
    for language in ("ar", "en"):
        write(tmp_path / XORQA / f"xorqa_{language}_test.json", json.dumps({"canary": "", "examples": QUESTIONS}))
    return tmp_path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands for the hub, with the arguments of its libraries; gives what was asked for."""
    asked: list[Any] = []
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)

    def load_dataset(repository: str, config: str, *, split: str) -> list[dict[str, Any]]:
        asked.append((repository, config, split))
        return ROWS[repository, config, split]

    def snapshot_download(repository: str, **options: Any) -> str:
        asked.append((repository, options))
        miracl(tmp_path)
        return str(tmp_path / repository)

    datasets = ModuleType("datasets")
    datasets.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return asked


@pytest.mark.usefixtures("data")
def test_miracl() -> None:
    pool = load("miracl/ko")
    assert list(pool.corpus) == ["1#0", "1#1", "1#2"]
    assert pool.corpus["1#2"] == "물 물은 흐른다 2"
    assert pool.queries == {"7": '"물"은 어디로', "9": "불은"}
    assert pool.qrels == {"7": {"1#1": 1, "1#0": 0}, "9": {"2#0": 1}}
    assert (pool.language, pool.notes.counts) == ("ko", {"judgements_of_missing_passages": 1})
    assert load("miracl", language="ko", split="dev") == load("miracl/ko", language="ko")
    with pytest.raises(InputError, match="language must be 'ko' for the collection 'miracl/ko', got 'en'"):
        load("miracl/ko", language="en")
    with pytest.raises(InputError, match="language must be given for miracl"):
        load("miracl")


def test_miracl_from_the_hub(hub: list[Any]) -> None:
    assert len(load("miracl/ko").queries) == 2
    patterns = {repository: options["allow_patterns"] for repository, options in hub}
    assert patterns == {MIRACL: ["miracl-v1.0-ko/*/*-dev.tsv"], MIRACL_CORPUS: ["miracl-corpus-v1.0-ko/docs*"]}
    assert all(options["repo_type"] == "dataset" for _, options in hub)


@pytest.mark.usefixtures("data")
def test_webfaq() -> None:
    pool = load("webfaq/ko")
    assert (pool.corpus, pool.queries, pool.qrels) == ({"a": "one", "b": "B two"}, {"q": "two?"}, {"q": {"b": 1}})
    with pytest.raises(UnknownNameError, match="language of webfaq"):
        load("webfaq/xx")


def test_webfaq_from_the_hub(hub: list[Any]) -> None:
    assert load("webfaq/ko").qrels == {"q": {"b": 1}}
    assert {config for _, config, _ in hub} == {"kor-corpus", "kor-queries", "kor-qrels"}


@pytest.mark.parametrize("name", ["nanobeir/NFCorpus", "nanobeir/nfcorpus", "NanoNFCorpus", f"{NANOBEIR}/NFCorpus"])
def test_nanobeir(hub: list[Any], name: str) -> None:
    pool = load(name)
    assert (pool.name, pool.language, pool.qrels) == ("NanoNFCorpus", "en", {"q": {"b": 1}})
    assert hub[0] == (NANOBEIR, "corpus", "NanoNFCorpus")


def test_parts_of_nanobeir_are_named(data: Path) -> None:
    assert load("nanobeir/nfcorpus").qrels == {"q": {"b": 1}}
    with pytest.raises(UnknownNameError, match=r"part of NanoBEIR must be one of ArguAna, .*; got 'corpus'"):
        load("nanobeir/corpus")
    with pytest.raises(InputError, match="must name a part of NanoBEIR, as in nanobeir/ArguAna"):
        load("nanobeir")


def test_mlqa(data: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    import pyarrow

    for language in ("ar", "en"):
        path = data / MLQA / f"mlqa.{language}.{language}" / "test" / "0000.parquet"
        path.parent.mkdir(parents=True)
        parquet.write_table(pyarrow.Table.from_pylist(QUESTIONS), path)
    pool = load("mlqa/ar")
    assert (pool.corpus, pool.queries) == ({"p0": "passage one"}, {"x": "who?", "y": "what?"})
    assert load_parallel("mlqa", languages=["en", "ar"]).qrels == {"x": ("p0",), "y": ("p0",)}


def test_xorqa(data: Path) -> None:
    pool = load("xorqa/ar")
    assert (pool.corpus, pool.queries) == ({"p0": "passage one"}, {"ar-1": "who?", "ar-2": "what?"})
    write(data / XORQA / "xorqa_ar_test.json", '{"rows": []}')
    with pytest.raises(CollectionError, match="must be a JSON object with 'examples'"):
        load("xorqa/ar")
    write(data / XORQA / "xorqa_ar_test.json", json.dumps({"examples": [{"context": "c"}]}))
    with pytest.raises(CollectionError, match="example 1: 'question' must be text that is not empty, got None"):
        load("xorqa/ar")


def test_belebele_and_xquad_by_name(data: Path) -> None:
    row = {"link": "a", "question_number": 1, "flores_passage": "p", "question": "q"}
    write(data / "facebook" / "belebele" / "data" / "kor_Hang.jsonl", lines([row]))
    assert load("belebele/ko").queries == load("belebele", language="ko").queries == {"a#1": "q"}
    facts = {"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "1", "question": "q"}]}]}]}
    write(data / "xquad.ru.json", json.dumps(facts))
    assert load("xquad/ru") == load("xquad", language="ru")


@pytest.mark.parametrize("name", ["miracl/sw", "mlqa/vi", "xorqa/te", "webfaq/ru", "nanobeir/NQ"])
def test_what_is_in_neither_place(data: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network\nat all")

    datasets = ModuleType("datasets")
    datasets.load_dataset = offline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    message = (
        rf"was not found; looked for {data}.* on the hub \(ConnectionError: no network\); set ISTHMUS_DATA .*login"
    )
    with pytest.raises(NotFoundError, match=message):
        load(name)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(data))
    if name in ("miracl/sw", "mlqa/vi", "xorqa/te"):
        with pytest.raises(NotFoundError, match="no such files"):
            load(name)
    else:
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(MissingExtraError, match=r"\[hub\]"):
            load(name)
