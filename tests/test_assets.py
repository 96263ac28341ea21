"""The built-in models do what their cards say, on real text."""

import lzma
import os
from pathlib import Path

import numpy as np
import pytest

from isthmus import assets
from isthmus.collections import Collection, load

needs_data = pytest.mark.skipif("ISTHMUS_DATA" not in os.environ, reason="ISTHMUS_DATA is not set")
pytestmark = pytest.mark.assets


@pytest.mark.data
@needs_data
@pytest.mark.long
def test_the_english_encoder_retrieves():
    import isthmus

    whole = load("xquad", language="en")
    kept = list(whole.queries)[::8]
    pool = Collection(
        whole.name, whole.corpus, {i: whole.queries[i] for i in kept}, {i: whole.qrels[i] for i in kept}, "en"
    )
    result = isthmus.evaluate("isthmus/mini-splade-en", pool)
    assert result["ndcg@10"] > 0.9
    assert result.query_active_dims < 80
    assert result.document_active_dims < 250


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(("language", "least"), [("ar", 0.75), ("hi", 0.9), ("ko", 0.75), ("ru", 0.9), ("zh", 0.9)])
def test_the_bridge_finds_translations(language, least):
    from sentence_transformers import SentenceTransformer

    path = Path(os.environ["ISTHMUS_DATA"], "parallel_dev", f"flores_dev.en-{language}.tsv.xz")
    with lzma.open(path, "rt", encoding="utf-8") as stream:
        pairs = [line.rstrip("\n").split("\t") for line in stream]
    bridge = SentenceTransformer(str(assets.resolve("isthmus/mini-bridge")), device="cpu")
    english, other = (bridge.encode([pair[side] for pair in pairs], normalize_embeddings=True) for side in (0, 1))
    scores = english.astype(np.float32) @ other.astype(np.float32).T
    assert (scores.argmax(axis=1) == np.arange(len(pairs))).mean() > least


@pytest.mark.parametrize("language", ["ar", "hi", "ko", "ru", "zh"])
def test_target_tokenizers_read_the_demo(language):
    from transformers import AutoTokenizer

    from isthmus.vocabulary import Vocabulary, check_target, coverage

    tokenizer = AutoTokenizer.from_pretrained(assets.resolve(f"isthmus/tokenizer-{language}"))
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    check_target(tokenizer, vocabulary)
    assert len(vocabulary.tokens) == vocabulary.size
    assert coverage(tokenizer, load("demo", language=language).corpus.values()).unk_rate < 0.005


def test_the_demo_is_parallel():
    demos = {language: load("demo", language=language) for language in ("en", "ar", "hi", "ko", "ru", "zh")}
    for demo in demos.values():
        assert len(demo.corpus) == len(demo.queries) == 84
        assert demo.corpus.keys() == demos["en"].corpus.keys()
        assert demo.qrels == demos["en"].qrels
