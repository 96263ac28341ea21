"""From a real encoder to an index, and the fingerprint between the two."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder

import isthmus
from isthmus.collections import Collection
from isthmus.encoders.encoding import encode_texts
from isthmus.encoders.fingerprint import identify, token_texts
from isthmus.encoders.options import CorpusOptions
from isthmus.errors import EncoderError, IndexFileError, InputError, NotFoundError, OutputError
from isthmus.index import SparseIndex, build_index, change_index, encode_corpus, search
from isthmus.index.encoded_files import Inline
from isthmus.index.workers import Recipe
from isthmus.transferring import transfer_encoder
from tests.tiny_encoders import WORDS, inference_free, splade
from tests.tokenizers import wordpiece

TEXTS = {
    "a": "the house of water",
    "b": "war",
    "c": "",
    "d": "the capital of korea ?",
    "e": "schools",
    "f": "house house home .",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny encoder."""
    root = tmp_path_factory.mktemp("model")
    splade(root / "backbone").save_pretrained(str(root / "encoder"))
    return root / "encoder"


@pytest.fixture(scope="module")
def encoder(model: Path) -> SparseEncoder:
    return SparseEncoder(str(model))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    rows = [{"id": id, "text": text, "language": "en"} for id, text in TEXTS.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def check_equal(index: SparseIndex, encoder: Any) -> None:
    """The index gives what exact search over all documents gives; the one without text is no hit."""
    asked = ["house", "capital of the war", "water school"]
    vectors = encode_texts(encoder, list(TEXTS.values()), role="document").toarray()
    vectors[list(TEXTS).index("c")] = 0
    places, scores = search(encode_texts(encoder, asked, role="query"), type_of(vectors), 5)
    for hits, row, values in zip(index.search_many(asked, 5), places, scores, strict=True):
        assert [hit.id for hit in hits] == [list(TEXTS)[place] for place in row if place >= 0]
        np.testing.assert_allclose([hit.score for hit in hits], values[row >= 0], rtol=1e-5)
        assert [hit.document.text for hit in hits] == [TEXTS[hit.id] for hit in hits]


def type_of(vectors: np.ndarray) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(vectors)


def test_build_save_open_search(tmp_path: Path, model: Path, encoder: SparseEncoder) -> None:
    index = isthmus.SparseIndex.build(encoder, TEXTS)
    check_equal(index, encoder)
    temporary = index.folder
    index.save(tmp_path / "idx")
    del index
    assert not temporary.exists()
    opened = SparseIndex.open(tmp_path / "idx", verify_files=True)
    with pytest.raises(InputError, match="names no model; pass the one that made it"):
        opened.search("house")
    check_equal(SparseIndex.open(tmp_path / "idx", model=model), encoder)


def test_every_kind_of_source_gives_the_same(tmp_path: Path, model: Path, corpus: Path, encoder: SparseEncoder) -> None:
    encode_corpus(model, corpus, tmp_path / "encoded", part_size=4)
    collection = Collection("c", TEXTS, {"q": "house"}, {"q": {"a": 1}})
    rows = [{"_id": id, "text": text} for id, text in TEXTS.items()]
    for source in (corpus, tmp_path / "encoded", collection, rows, iter(rows), TEXTS):
        change = build_index(model, source, tmp_path / "idx", overwrite=True)
        assert (change.added, change.empty) == (6, 1)
        index = SparseIndex.open(tmp_path / "idx", verify_files=True)
        assert index.summary()["model"] == str(model)
        check_equal(index, encoder)


def test_errors_of_parts_and_index_add_up(tmp_path: Path, model: Path, encoder: SparseEncoder) -> None:
    done = encode_corpus(model, TEXTS, tmp_path / "encoded", weights="u8", part_size=4)
    assert done.complete is not None
    build_index(model, tmp_path / "encoded", tmp_path / "idx", weights="u8")
    index = SparseIndex.open(tmp_path / "idx", model=encoder)
    bound = index.summary()["weight_error"]
    assert bound > done.complete["error"]
    exact = encode_texts(encoder, [text for text in TEXTS.values() if text], role="document")
    ids = [id for id, text in TEXTS.items() if text]
    for row, term in zip(*exact.nonzero(), strict=True):
        one = type_of(np.eye(1, exact.shape[1], term, dtype=np.float32))
        stored = sum(match.document_weight for match in index.explain(one, ids[row]))
        assert abs(stored - exact[row, term]) <= bound + 1e-6


def test_options_of_encoding_are_kept_for_later_documents(tmp_path: Path, model: Path, encoder: SparseEncoder) -> None:
    first = dict(list(TEXTS.items())[:3])
    rest = dict(list(TEXTS.items())[3:])
    build_index(model, first, tmp_path / "idx", max_active_dims=3, text=False)
    index = SparseIndex.open(tmp_path / "idx")
    index.add(rest)
    assert len(index) == 6
    assert index.summary()["postings"] == 15
    assert index.document("a").text == ""
    whole = build_index(model, TEXTS, tmp_path / "whole", max_active_dims=3, text=False)
    for one, other in zip(
        index.search_many(["house", "war"]),
        SparseIndex.open(tmp_path / "whole").search_many(["house", "war"]),
        strict=True,
    ):
        assert [hit.id for hit in one] == [hit.id for hit in other]
    assert whole.manifest.settings["max_active_dims"] == 3


def test_explanations_name_tokens(model: Path, tmp_path: Path) -> None:
    index = SparseIndex.build(model, TEXTS, tmp_path / "idx")
    hit = index.search("house")[0]
    matches = index.explain("house", hit.id)
    assert sum(match.score for match in matches) == pytest.approx(hit.score, rel=1e-5)
    vocabulary = SparseEncoder(str(model)).tokenizer.get_vocab()
    assert {match.token for match in matches} <= set(vocabulary)


def test_inference_free_encoders(tmp_path: Path) -> None:
    encoder = inference_free(tmp_path / "model")
    index = SparseIndex.build(encoder, TEXTS)
    check_equal(index, encoder)


def test_fingerprints_know_what_matters(tmp_path: Path, model: Path, encoder: SparseEncoder) -> None:
    own = identify(encoder)
    again = SparseEncoder(str(model))
    assert identify(again) == own
    encode_texts(again, ["house"], role="query")
    again.encode(["house"])
    assert identify(again) == own
    isthmus.fuse_head(again)
    assert identify(again) == own
    isthmus.unfuse_head(again)
    changes: list[Any] = [
        lambda one: one[0].auto_model.cls.predictions.bias.data.add_(1e-3),
        lambda one: one.prompts.update(query="q: "),
        lambda one: setattr(one, "max_seq_length", 7),
        lambda one: setattr(one[1], "activation_function", "log1p_relu"),
        lambda one: one.to(torch.bfloat16),
        lambda one: one.append(torch.nn.Identity()),
    ]
    for change in changes:
        other = copy.deepcopy(again)
        change(other)
        assert identify(other).encoder != own.encoder
        assert identify(other).tokenizer == own.tokenizer
    other = copy.deepcopy(again)
    other.tokenizer.backend_tokenizer.normalizer = None
    assert identify(other).tokenizer != own.tokenizer
    assert token_texts(encoder, 5)[:2] == ["[PAD]", "[UNK]"]


def test_another_model_is_refused(tmp_path: Path, model: Path, corpus: Path) -> None:
    build_index(model, corpus, tmp_path / "idx")
    other = splade(tmp_path / "other", seed=1)
    message = "fingerprint of the encoder differs; use that model or encode again .any_model"
    with pytest.raises(InputError, match=message):
        SparseIndex.open(tmp_path / "idx", model=other).search("house")
    with pytest.raises(InputError, match=message):
        change_index(tmp_path / "idx", model=other, corpus={"x": "war"})
    assert SparseIndex.open(tmp_path / "idx", model=other, any_model=True).search("house")
    encode_corpus(model, corpus, tmp_path / "encoded")
    with pytest.raises(InputError, match=message):
        build_index(other, tmp_path / "encoded", tmp_path / "idx2")
    with pytest.raises(InputError, match=message):
        encode_corpus(other, corpus, tmp_path / "encoded")


def test_encoders_that_write_the_same_columns_search_one_index(tmp_path: Path) -> None:
    source = splade(tmp_path / "source")
    target = wordpiece(["haus", "krieg", "##e", "house", "war", "the"])
    reads, _ = transfer_encoder(source, target, method="mean", output="source")
    both = {"made": source, "asking": reads}, {"made": reads, "asking": source}
    for sides in both:
        index = SparseIndex.build(sides["made"], TEXTS)
        index.save(tmp_path / "idx", overwrite=True)
        opened = SparseIndex.open(tmp_path / "idx", model=sides["asking"], any_model=True)
        hits = opened.search("the war", top_k=len(TEXTS))
        size = len(source.tokenizer)
        query = encode_texts(sides["asking"], ["the war"], role="query")[:, :size]
        documents = encode_texts(sides["made"], list(TEXTS.values()), role="document")[:, :size]
        scores = dict(zip(TEXTS, (documents @ query.T).toarray().ravel().tolist(), strict=True))
        assert hits
        for hit in hits:
            assert hit.score == pytest.approx(scores[hit.id], rel=0.01)
        with pytest.raises(InputError, match="fingerprint"):
            SparseIndex.open(tmp_path / "idx", model=sides["asking"]).search("the war")
    SparseIndex.build(source, TEXTS).save(tmp_path / "small")
    whole, _ = transfer_encoder(source, wordpiece(["haus", *"abcdefghijklmnopqrstuvwxyz", *WORDS]), method="mean")
    with pytest.raises(InputError, match="query vectors must have"):
        SparseIndex.open(tmp_path / "small", model=whole, any_model=True).search("z y x w v")


def test_a_model_that_moved_away_is_named(tmp_path: Path, model: Path) -> None:
    moved = tmp_path / "moved"
    model_of = SparseEncoder(str(model))
    model_of.save_pretrained(str(moved))
    build_index(moved, TEXTS, tmp_path / "idx")
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(NotFoundError, match="moved"):
        SparseIndex.open(tmp_path / "idx").search("house")
    assert SparseIndex.open(tmp_path / "idx", model=tmp_path / "elsewhere").search("house")


def test_dense_models_are_refused(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    with pytest.raises(EncoderError, match="model must be a SparseEncoder, got SentenceTransformer"):
        build_index(SentenceTransformer(modules=[torch.nn.Identity()]), TEXTS, tmp_path / "idx")
    assert not (tmp_path / "idx").exists()


def test_folders_that_are_taken(tmp_path: Path, encoder: SparseEncoder) -> None:
    build_index(encoder, TEXTS, tmp_path / "idx")
    with pytest.raises(OutputError, match="already exists; choose another folder, or pass --overwrite"):
        build_index(encoder, TEXTS, tmp_path / "idx")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"must be empty or an index, got letter\.txt"):
            build_index(encoder, TEXTS, tmp_path / "other", overwrite=overwrite)
    (tmp_path / "begun" / "segments" / "00000001").mkdir(parents=True)
    (tmp_path / "begun" / ".lock").touch()
    build_index(encoder, TEXTS, tmp_path / "begun")
    (tmp_path / "idx" / "manifest.json").write_text("{")
    with pytest.raises(IndexFileError, match="is damaged"):
        SparseIndex.open(tmp_path / "idx")
    build_index(encoder, TEXTS, tmp_path / "idx", overwrite=True)
    check_equal(SparseIndex.open(tmp_path / "idx", model=encoder), encoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "int4"}, "weights must be 'f32', 'f16' or 'u8', got 'int4'"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"part_size": 0}, "part_size must be 1 or more, got 0"),
        ({"processes": 0}, "processes must be 1 or more, got 0"),
        ({"max_active_dims": 0}, "max_active_dims must be 1 or more, got 0"),
        ({"processes": 2}, "processes=2 must come with a model's name or folder, got SparseEncoder"),
    ],
)
def test_arguments_that_do_not_fit(
    tmp_path: Path, encoder: SparseEncoder, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        encode_corpus(encoder, TEXTS, tmp_path / "encoded", **options)
    assert not (tmp_path / "encoded").exists()


def test_progress_shows_documents_rate_and_time_left(
    tmp_path: Path, model: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        encode_corpus(model, corpus, tmp_path / "encoded", part_size=2, show_progress_bar=True)
        shown = capsys.readouterr().err
        assert "100%" in shown
        assert "Encoding 6 documents, " in shown
        assert "/s |" in shown
        assert re.search(r"100% \[\d\d:\d\d<", shown)
    build_index(model, iter([{"id": "a", "text": "war"}]), tmp_path / "idx", show_progress_bar=True)
    assert "Indexing 1 documents, " in capsys.readouterr().err


def test_recipes_of_workers_make_the_same_vectors(model: Path, encoder: SparseEncoder) -> None:
    texts = list(TEXTS.values())
    found = Recipe(str(model), 0, CorpusOptions(max_active_dims=3, batch_size=2)).encode()(texts)
    expected = encode_texts(encoder, texts, role="document", max_active_dims=3)
    np.testing.assert_allclose(found.toarray(), expected.toarray(), atol=1e-6)


def test_several_processes_are_asked_for(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Pool(Inline):
        def __init__(self, recipe: Recipe, size: int) -> None:
            super().__init__(recipe.encode(), recipe.vocabulary_size)
            seen.append((recipe.model, size, recipe.options))

        def close(self) -> None:
            seen.append("closed")

    monkeypatch.setattr("isthmus.index.workers.Processes", Pool)
    assert encode_corpus(model, TEXTS, tmp_path / "encoded", processes=3, batch_size=2).complete is not None
    assert seen == [(str(model), 3, CorpusOptions(batch_size=2)), "closed"]
