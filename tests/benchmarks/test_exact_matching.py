"""The benchmark of echo and hybrid: its rows, and what they are compared with."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from benchmarks.harness import Results
from benchmarks.suites import exact_encoders, exact_matching
from isthmus.collections import Collection
from isthmus.evaluation import BM25
from isthmus.initializers import INITIALIZERS
from isthmus.token_map import FATES, Fate, TokenMap
from tests.lexical.test_lexical import make_texts
from tests.tiny_encoders import splade

CONTRACT = {
    "language", "collection", "arm", "map", "stage", "ndcg@10", "documents", "active_dims", "vocabulary",
}  # fmt: skip


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("ISTHMUS_DATA", "unset")
    monkeypatch.setattr("isthmus.initializers.INITIALIZERS", INITIALIZERS.copy())
    texts = make_texts(30, seed=3)
    # Every other query has a word that its text does not hold.
    absent = [next(word for other in texts for word in other.split() if word not in text.split()) for text in texts]
    queries = {f"q{i}": f"{text.split()[0]} {(absent[i], text.split()[-1])[i % 2]}" for i, text in enumerate(texts)}
    corpus = {f"d{i}": text for i, text in enumerate(texts)}
    pool = Collection("tiny", corpus, queries, {f"q{i}": {f"d{i}": 1} for i in range(30)}, "ko")

    def encoder_of(language: str, token_map: str, *rest: Any, **options: Any) -> Any:
        torch.manual_seed(len(token_map))
        encoder = splade(tmp_path / token_map)
        encoder.max_seq_length = 32
        return encoder

    words = encoder_of("ko", "words").tokenizer
    monkeypatch.setattr(exact_matching, "MAPS", ("shuffled", "sembridge"))
    monkeypatch.setattr(exact_encoders, "MAX_LENGTH", 32)
    monkeypatch.setattr(exact_matching, "encoder_of", encoder_of)
    monkeypatch.setattr(exact_matching, "pools_of", lambda *rest: [pool])
    monkeypatch.setattr(exact_matching, "BM25", lambda name: BM25(words))
    return exact_matching


def run(suite: ModuleType, folder: Path) -> dict[str, list[dict[str, Any]]]:
    options = ["--languages", "ko", "--stages", "zero-shot", "--vocabularies", "target"]
    suite.main(["--data", str(folder), "--output", str(folder / "out.json"), *options])
    return {cell["cell"]: cell["rows"] for cell in Results(folder / "out.ko.json").cells}


def test_rows_keep_the_contract_and_are_measured_once(
    suite: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(exact_matching, tmp_path)
    assert sorted(found) == [
        "ko.none.target.zero-shot", "ko.sembridge.target.zero-shot", "ko.shuffled.target.zero-shot",
    ]  # fmt: skip
    assert all(set(row) >= CONTRACT for rows in found.values() for row in rows)
    rows = {row["arm"]: row for row in found["ko.sembridge.target.zero-shot"]}
    assert list(rows) == ["plain", "calibrated", "echo", "hybrid", "echo-trimmed", "hybrid-trimmed"]
    for arm in ("echo", "hybrid"):
        assert rows[f"{arm}-trimmed"]["active_dims"] <= rows[arm]["active_dims"]
    (words,) = found["ko.none.target.zero-shot"]
    assert words["matched"] == words["ndcg@10"]
    assert all({"p_vs_bm25", "p_vs_shuffled"} <= set(row) for row in rows.values())
    assert "p_vs_shuffled" not in found["ko.shuffled.target.zero-shot"][0]
    # Words found again are worth something to an encoder that knows nothing.
    assert min(rows["echo"]["ndcg@10"], rows["hybrid"]["ndcg@10"]) > rows["plain"]["ndcg@10"]
    assert rows["hybrid"]["active_dims"] > rows["calibrated"]["active_dims"]
    monkeypatch.setattr(suite, "arms_of", lambda *rest: pytest.fail("measured twice"))
    assert run(exact_matching, tmp_path) == found


def test_overlap_is_the_share_of_the_querys_words(suite: ModuleType) -> None:
    (pool,) = suite.pools_of("ko", None)
    words = suite.BM25("any")
    found = suite.overlap_of(pool, words)
    assert (found[1::2] == 1).all()
    assert (found[::2] == 0.5).all()


def test_shuffled_rows_are_those_of_sembridge_elsewhere(suite: ModuleType) -> None:
    weights = np.eye(6, dtype=np.float64)
    fates = np.array([FATES.index(Fate.SPECIAL), *[FATES.index(Fate.BRIDGED)] * 5], dtype=np.uint8)
    names = [str(i) for i in range(6)]
    made = TokenMap(csr_matrix(weights), fates, names, names)
    shuffled = exact_encoders.shuffle_mixed(made, seed=0).weights.toarray()
    assert shuffled[0].tolist() == weights[0].tolist()
    assert sorted(shuffled.argmax(axis=1).tolist()) == list(range(6))
    assert (shuffled != weights).any()
