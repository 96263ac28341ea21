"""The numbers of lexical parts: from texts alone, as documented, and without touching the encoder."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

from isthmus.encoders.encoding import encode_texts
from isthmus.encoders.fingerprint import identify, token_texts
from isthmus.encoders.load import load_encoder
from isthmus.errors import EncoderError, InputError, UnknownNameError
from isthmus.evaluation import BM25
from isthmus.index import SparseIndex
from isthmus.lexical import add_lexical, fit_self_activation, scale_lexical
from isthmus.lexical.statistics import draw_snippets, fit_formula, gather, lexical_vectors, lucene_idf
from isthmus.modules.column_scale import ColumnScale
from isthmus.modules.lexical import PAIR_SHARE, Lexical
from tests.tiny_encoders import WORDS, inference_free, splade

PLAIN = [word for word in WORDS if not word.startswith("##")]


def make_texts(count: int, seed: int = 0, longest: int = 14) -> list[str]:
    """Random words, some far more frequent than others."""
    generator = np.random.default_rng(seed)
    odds = 1 / np.arange(1, len(PLAIN) + 1)
    lengths = generator.integers(3, longest + 1, count)
    return [" ".join(generator.choice(PLAIN, length, p=odds / odds.sum())) for length in lengths]


TEXTS = make_texts(60)


@pytest.fixture
def encoder(tmp_path: Path) -> SparseEncoder:
    made = splade(tmp_path / "model", prompts={"query": "the ", "document": ""})
    # Else hardly a column is ever inactive.
    with torch.no_grad():
        made[0].auto_model.get_output_embeddings().bias -= 1.5
    return made


def test_the_block_is_bm25(encoder: SparseEncoder) -> None:
    """Scores are proportional to BM25's where nothing is cut and no query repeats a word."""
    encoder.prompts = {"query": "", "document": ""}
    hybrid = add_lexical(encoder, TEXTS, "hybrid", power=0.5, k1=1.2, b=0.6)
    size = len(encoder.tokenizer)
    queries = ["war school", "capital of korea ?", "the 1"]
    found = [
        encode_texts(hybrid, texts, role=role)[:, size:] for texts, role in ((queries, "query"), (TEXTS, "document"))
    ]
    scores = (found[0] @ found[1].T).toarray()
    bm25 = BM25(encoder.tokenizer, k1=1.2, b=0.6)
    expected = (bm25.encode_queries(queries) @ bm25.encode_documents(TEXTS).T).toarray()
    assert (expected > 0).sum() > 50
    ratio = scores.sum() / expected.sum()
    np.testing.assert_allclose(scores, expected * ratio, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["echo", "hybrid"])
@pytest.mark.parametrize("make", [splade, inference_free])
def test_the_lexical_scores_spread_as_asked(tmp_path: Path, make: Any, mode: Any) -> None:
    plain = make(tmp_path)
    made = add_lexical(plain, TEXTS, mode, weight=2.5, seed=3)
    scale, lexical = made[-2], made[-1]
    vectors = encode_texts(plain, TEXTS, role="document")
    active = (vectors.toarray() > 0).sum(axis=0)
    np.testing.assert_allclose(scale.scale, np.sqrt(np.log(1 + (60 - active + 0.5) / (active + 0.5))), rtol=1e-5)
    snippets = draw_snippets(plain.tokenizer, TEXTS, seed=3)
    calibrated = SparseEncoder(modules=[*plain.children(), scale], device="cpu", similarity_fn_name="dot")
    own, exact = (
        (encode(snippets, "query") @ encode(TEXTS, "document").T).toarray()
        for encode in (
            lambda texts, role: encode_texts(calibrated, texts, role=role),
            lambda texts, role: lexical_vectors(plain, lexical, texts, role, 7),
        )
    )
    assert exact.std() == pytest.approx(2.5 * own.std(), rel=1e-4)


@pytest.mark.parametrize("mode", ["echo", "hybrid", None])
def test_a_trim_leaves_the_largest_entries_beside_all_words(encoder: SparseEncoder, mode: Any) -> None:
    known = encoder.tokenizer.convert_tokens_to_ids(["war", "the", "of"])
    whole, trimmed = (add_lexical(encoder, TEXTS, mode, known=known, trim=trim) for trim in (None, (2, 3)))
    calibrated = add_lexical(encoder, TEXTS, None)
    size = len(encoder.tokenizer)
    for role, most in (("query", 2), ("document", 3)):
        own = encode_texts(calibrated, TEXTS, role=role).toarray()
        rank = (-own).argsort(axis=1, kind="stable").argsort(axis=1)
        kept = np.where(rank < most, own, 0)
        found = encode_texts(trimmed, TEXTS, role=role).toarray()
        if mode is None:
            np.testing.assert_allclose(found, kept, rtol=1e-5)
            continue
        # A known token counts where its column was written, whether or not that entry is among the largest.
        words = lexical_vectors(encoder, trimmed[-1], TEXTS, role, 8, csr_matrix(own)).toarray()
        assert (words[:, known] > 0).sum() > ((words > 0) & (kept > 0))[:, known].sum()
        expected = np.maximum(kept, words) if mode == "echo" else np.hstack([kept, words])
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert 0 < (found[:, :size] > 0).sum() < (own > 0).sum() + (words > 0).sum()
    if mode is not None:
        assert trimmed[-1].strength == whole[-1].strength
    with pytest.raises(EncoderError, match="must not carry the parts"):
        add_lexical(trimmed, TEXTS, "echo", calibrate=False)


def test_all_texts_are_counted_and_a_sample_is_encoded(encoder: SparseEncoder) -> None:
    texts = make_texts(400, seed=1)
    frequency = np.zeros(len(encoder.tokenizer))
    lengths = []
    for ids in BM25(encoder.tokenizer).token_ids(texts):
        frequency[list(set(ids))] += 1
        lengths.append(len(ids))
    taken = []

    def once() -> Iterator[str]:
        for text in texts:
            taken.append(text)
            yield text

    found = gather(encoder, once(), len(encoder.tokenizer), max_texts=25, seed=7)
    assert taken == texts
    assert (found.count, len(found.sample)) == (400, 25)
    assert np.array_equal(found.frequency, frequency)
    assert found.average_length == pytest.approx(np.mean(lengths))
    np.testing.assert_allclose(found.idf(), lucene_idf(400, frequency), rtol=1e-6)
    places = [texts.index(text) for text in found.sample]
    assert places == sorted(places)
    # All of the stream has its chance, not the start alone.
    assert max(places) > 200
    assert gather(encoder, texts, len(encoder.tokenizer), max_texts=25, seed=7).sample == found.sample
    assert gather(encoder, texts, len(encoder.tokenizer), max_texts=25, seed=8).sample != found.sample


def test_texts_without_a_token_do_not_count(encoder: SparseEncoder) -> None:
    size = len(encoder.tokenizer)
    plain = gather(encoder, TEXTS, size)
    mixed = gather(encoder, ["", "  ", *TEXTS, "zzz"], size)
    assert (mixed.count, mixed.average_length, mixed.sample) == (plain.count, plain.average_length, plain.sample)


@pytest.mark.parametrize("mode", ["echo", "hybrid", None])
def test_the_encoder_is_not_touched_and_its_settings_are_kept(encoder: SparseEncoder, mode: Any) -> None:
    encoder.max_active_dims = 30
    encoder.module_kwargs = {"0": ["something"]}
    encoder.model_card_data.language = ["en"]
    encoder.train()
    before, children = identify(encoder), list(encoder.children())
    made = add_lexical(encoder, TEXTS, mode)
    assert encoder.training
    assert identify(encoder) == before
    assert list(encoder.children()) == children
    assert not made.training
    assert [type(module) for module in made] == [
        *map(type, children), ColumnScale, *([] if mode is None else [Lexical])
    ]  # fmt: skip
    for name in ("prompts", "default_prompt_name", "max_active_dims", "similarity_fn_name", "module_kwargs"):
        assert getattr(made, name) == getattr(encoder, name), name
    assert made.model_card_data.language == ["en"]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    assert identify(encoder) == before
    # The limit is on the whole vector.
    assert np.diff(encode_texts(add_lexical(encoder, TEXTS, mode), TEXTS, role="document").indptr).max() <= 30


def test_a_limit_of_dimensions_does_not_bend_the_numbers(encoder: SparseEncoder) -> None:
    free = add_lexical(encoder, TEXTS, "hybrid")
    encoder.max_active_dims = 3
    bound = add_lexical(encoder, TEXTS, "hybrid")
    assert torch.equal(free[2].scale, bound[2].scale)
    assert free[3].strength == bound[3].strength


def test_the_same_seed_makes_the_same_encoder(encoder: SparseEncoder) -> None:
    made = [add_lexical(encoder, iter(TEXTS), "echo", max_texts=20, seed=seed) for seed in (0, 0, 1)]
    prints = [identify(one).encoder for one in made]
    assert prints[0] == prints[1] != prints[2]


def test_without_calibration_the_encoders_own_columns_stay(encoder: SparseEncoder) -> None:
    made = add_lexical(encoder, TEXTS, "hybrid", calibrate=False)
    size = len(encoder.tokenizer)
    found = encode_texts(made, TEXTS, role="document")[:, :size]
    np.testing.assert_allclose(found.toarray(), encode_texts(encoder, TEXTS, role="document").toarray(), rtol=1e-6)
    again = add_lexical(add_lexical(encoder, TEXTS, None), TEXTS, "echo", calibrate=False)
    assert [type(module).__name__ for module in again][2:] == ["ColumnScale", "Lexical"]


def test_the_card_says_what_was_added(encoder: SparseEncoder, tmp_path: Path) -> None:
    encoder.model_card_data.local_files_only = True
    made = add_lexical(encoder, TEXTS, "echo")
    made.save_pretrained(str(tmp_path / "first"))
    card = (tmp_path / "first" / "README.md").read_text(encoding="utf-8")
    line = "with lexical echo and column calibration from 60 texts"
    assert sum(text.startswith("# ") and text.endswith(line) for text in card.splitlines()) == 1
    # A card that came with a model stays, and a line is added.
    encoder.save_pretrained(str(tmp_path / "plain"))
    (tmp_path / "plain" / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n\nAbout it.\n", encoding="utf-8")
    add_lexical(load_encoder(tmp_path / "plain"), TEXTS, "hybrid").save_pretrained(str(tmp_path / "second"))
    card = (tmp_path / "second" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit\n---\n\n# Mine\n\nAbout it.\n")
    assert "with a lexical block and column calibration from 60 texts" in card


def test_the_formula_is_found_again(encoder: SparseEncoder) -> None:
    size = len(encoder.tokenizer)
    statistics = gather(encoder, TEXTS, size)
    special = encoder.tokenizer.all_special_ids
    true = Lexical(
        "echo", torch.from_numpy(statistics.idf()), statistics.average_length,
        strength=0.7, power=0.9, k1=0.8, b=0.4, special_ids=special,
    )  # fmt: skip
    vectors = lexical_vectors(encoder, true, statistics.sample, "document", 16)
    found = fit_formula(encoder, statistics, vectors, calibrated=False, batch_size=9)
    assert (found.strength, found.power, found.k1, found.b) == pytest.approx((0.7, 0.9, 0.8, 0.4), rel=1e-3)
    assert found.explained == pytest.approx(1.0, abs=1e-6)
    assert found.occurrences == vectors.nnz


def test_self_activations_of_an_encoder_are_used(encoder: SparseEncoder) -> None:
    found = fit_self_activation(encoder, TEXTS, calibrate=False)
    assert not found.calibrated
    assert found.explained <= 1
    made = add_lexical(encoder, make_texts(30, seed=9), "echo", calibrate=False, self_activation=found)
    lexical = made[-1]
    assert (lexical.strength, lexical.power, lexical.k1, lexical.b) == (
        found.strength, found.power, found.k1, found.b,
    )  # fmt: skip
    # The fit is the best there is: no other factor does better.
    vectors = encode_texts(encoder, TEXTS, role="document").toarray()
    statistics = gather(encoder, TEXTS, len(encoder.tokenizer))
    numbers = {"power": found.power, "k1": found.k1, "b": found.b, "special_ids": encoder.tokenizer.all_special_ids}
    errors = []
    for factor in (0.97, 1.0, 1.03):
        part = Lexical(
            "echo", torch.from_numpy(statistics.idf()), statistics.average_length,
            strength=factor * found.strength, **numbers,
        )  # fmt: skip
        fitted = lexical_vectors(encoder, part, TEXTS, "document", 32)
        rows, columns = fitted.nonzero()
        errors.append(float(np.square(vectors[rows, columns] - np.asarray(fitted[rows, columns]).ravel()).sum()))
    assert errors[1] == min(errors)
    with pytest.raises(InputError, match="self_activation must be fitted with the same calibrate, got False there"):
        add_lexical(encoder, TEXTS, self_activation=found)
    assert fit_self_activation(encoder, TEXTS).calibrated


def test_an_encoder_that_never_activates_its_words_has_no_formula(encoder: SparseEncoder) -> None:
    statistics = gather(encoder, TEXTS, len(encoder.tokenizer))
    with pytest.raises(InputError, match=r"encoder must activate the tokens of its own texts, got 0\.0%"):
        fit_formula(encoder, statistics, csr_matrix((60, len(encoder.tokenizer))), calibrated=False, batch_size=32)


def test_an_index_names_both_meanings_of_a_token(encoder: SparseEncoder, tmp_path: Path) -> None:
    made = add_lexical(encoder, TEXTS, "hybrid")
    names = token_texts(made, made.get_embedding_dimension())
    size = len(encoder.tokenizer)
    assert names[:size] == token_texts(encoder, size)
    assert names[size:] == [f"{name} (exact)" for name in names[:size]]
    index = SparseIndex.build(made, {str(number): text for number, text in enumerate(TEXTS)})
    (hit, *_) = index.search("war school")
    matches = index.explain("war school", hit.id)
    assert {"war (exact)", "school (exact)"} & {match.token for match in matches}
    assert sum(match.score for match in matches) == pytest.approx(hit.score, rel=1e-5)


def test_the_lexical_block_is_weighed_at_search_time(encoder: SparseEncoder) -> None:
    made = add_lexical(encoder, TEXTS, "hybrid")
    size = len(encoder.tokenizer)
    vectors = encode_texts(made, ["war school", "the"], role="query")
    scaled = scale_lexical(made, vectors, 0.5).toarray()
    np.testing.assert_allclose(scaled[:, :size], vectors.toarray()[:, :size])
    np.testing.assert_allclose(scaled[:, size:], 0.5 * vectors.toarray()[:, size:])
    off = scale_lexical(made, vectors, 0)
    assert off[:, size:].nnz == 0 < off.nnz < vectors.nnz
    assert (scale_lexical(made, vectors, 1) != vectors).nnz == 0
    with pytest.raises(InputError, match="lexical weight must be 0 or more, got -1"):
        scale_lexical(made, vectors, -1)
    echo = add_lexical(encoder, TEXTS, "echo")
    with pytest.raises(InputError, match="must come with an encoder that has a lexical block"):
        scale_lexical(echo, encode_texts(echo, ["war"], role="query"), 0.5)


def test_snippets_are_pieces_of_what_is_read(encoder: SparseEncoder) -> None:
    long = [" ".join(["house"] * 30 + ["war"] * 30), *TEXTS]
    snippets = draw_snippets(encoder.tokenizer, long, seed=0, count=61)
    assert len(snippets) == 61
    for text, snippet in zip(long, snippets, strict=True):
        assert snippet
        assert snippet in text
        assert len(encoder.tokenizer.tokenize(snippet)) <= 16
    assert "war" not in snippets[0]
    assert len(draw_snippets(encoder.tokenizer, long, seed=0, count=5)) == 5


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (TEXTS, {"mode": "loud"}, "mode must be one of echo, hybrid; got 'loud'"),
        (TEXTS, {"mode": None, "calibrate": False}, "nothing would be added"),
        (TEXTS, {"weight": 0.0}, r"weight must be above 0, got 0\.0"),
        (TEXTS, {"weight": float("nan")}, "weight must be above 0, got nan"),
        (TEXTS, {"power": -1.0}, "power must be 0 or more"),
        (TEXTS, {"b": 2.0}, "b must be between 0 and 1"),
        (TEXTS, {"max_texts": 3}, "max_texts must be 10 or more, got 3"),
        (TEXTS, {"trim": (8, 0)}, "trim must be two numbers of entries of 1 or more, of queries and documents, got"),
        (TEXTS, {"self_activation": {"strength": 1}}, "self_activation must come from fit_self_activation, got dict"),
        (TEXTS[:9], {}, "texts must hold at least 10 texts with tokens .* got 9"),
        (["", "zzz"] * 20, {}, "got 0"),
        ("war", {}, "texts must be an iterable of strings, got one string 'war'"),
        ([*TEXTS, 3], {}, "texts must be strings, got int"),
        (["war school"] * 20, {}, "texts must be told apart by the scores of the"),
    ],
)
def test_input_that_does_not_fit(encoder: SparseEncoder, texts: Any, options: dict[str, Any], message: str) -> None:
    expected = UnknownNameError if options.get("mode") == "loud" else InputError
    with pytest.raises(expected, match=message):
        add_lexical(encoder, texts, **options)


def test_encoders_that_do_not_fit(encoder: SparseEncoder, tmp_path: Path) -> None:
    transformer = Transformer(str(tmp_path / "model"))
    pooling = Pooling(16, "mean")
    with pytest.raises(EncoderError, match="must be a SparseEncoder, got SentenceTransformer"):
        add_lexical(SentenceTransformer(modules=[transformer, pooling], device="cpu"), TEXTS)
    learned = SparseEncoder(modules=[transformer, pooling, SparseAutoEncoder(16, hidden_dim=64, k=8)], device="cpu")
    with pytest.raises(EncoderError, match=r"columns that are tokens .* got Transformer, Pooling, SparseAutoEncoder"):
        add_lexical(learned, TEXTS)
    for mode in ("echo", "hybrid"):
        carrying = add_lexical(encoder, TEXTS, mode)
        with pytest.raises(EncoderError, match="got one with Lexical; start from the encoder that it was added to"):
            add_lexical(carrying, TEXTS, calibrate=False)
        with pytest.raises(EncoderError, match="got one with Lexical"):
            fit_self_activation(carrying, TEXTS)
    with pytest.raises(EncoderError, match=r"got one with ColumnScale; .* or pass calibrate=False"):
        add_lexical(add_lexical(encoder, TEXTS, None), TEXTS)


def test_an_encoder_that_breaks_down_is_refused(encoder: SparseEncoder) -> None:
    broken = copy.deepcopy(encoder)
    with torch.no_grad():
        broken[0].auto_model.get_output_embeddings().bias[7] = torch.nan
    with pytest.raises(EncoderError, match="must give finite vectors"):
        add_lexical(broken, TEXTS)
    silent = copy.deepcopy(encoder)
    with torch.no_grad():
        silent[0].auto_model.get_output_embeddings().bias -= 1e4
    with pytest.raises(InputError, match="told apart by the scores of the encoder"):
        add_lexical(silent, TEXTS)


def test_a_fitted_formula_can_be_changed_by_hand(encoder: SparseEncoder) -> None:
    found = replace(fit_self_activation(encoder, TEXTS), strength=1.25)
    assert add_lexical(encoder, TEXTS, self_activation=found)[-1].strength == 1.25


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_tokens_left_out_get_no_weight(encoder: SparseEncoder, power: float) -> None:
    size = len(encoder.tokenizer)
    kept = encoder.tokenizer.convert_tokens_to_ids(["war", "the"])
    full = encode_texts(add_lexical(encoder, TEXTS, "hybrid", power=power), TEXTS, role="document")[:, size:]
    made = encode_texts(add_lexical(encoder, TEXTS, "hybrid", power=power, leave_out=kept), TEXTS, role="document")
    assert full[:, kept].nnz
    assert not made[:, size:][:, kept].nnz
    others = np.setdiff1d(np.arange(size), kept)
    assert made[:, size:][:, others].nnz == full[:, others].nnz
    for name in ("leave_out", "known"):
        for wrong in (size, True):
            with pytest.raises(InputError, match=f"{name} must hold ids of tokens, 0 to {size - 1}, got {wrong}"):
                add_lexical(encoder, TEXTS, **{name: [wrong]})


def test_the_share_of_known_tokens(encoder: SparseEncoder) -> None:
    known = encoder.tokenizer.convert_tokens_to_ids(["war", "the"])
    chosen = {"echo": 0.5, "hybrid": 0.25}
    for mode, share in chosen.items():
        made = add_lexical(encoder, TEXTS, mode, known=(token for token in known))
        assert made[-1].known_share == share
        assert made[-1].known.nonzero().flatten().tolist() == sorted(known)
        assert add_lexical(encoder, TEXTS, mode, known_share=0.8)[-1].known_share == 0.8
    read = []
    with pytest.raises(InputError, match=r"known_share must be between 0 and 1, got 2\.0"):
        add_lexical(encoder, (read.append(text) or text for text in TEXTS), known_share=2.0)
    assert not read


@pytest.mark.parametrize("mode", ["echo", "hybrid"])
def test_a_corpus_of_known_tokens_alone(encoder: SparseEncoder, mode: Any) -> None:
    everything = range(len(encoder.tokenizer))
    made = add_lexical(encoder, TEXTS, mode, known=everything)
    words = lexical_vectors(encoder, made[-1], TEXTS, "document", 8)
    assert words.nnz
    found = encode_texts(made, TEXTS, role="document")
    own = encode_texts(add_lexical(encoder, TEXTS, None), TEXTS, role="document")
    assert found.sum() > own.sum()


def test_pairs_of_neighbours_are_bm25_of_pairs(encoder: SparseEncoder, tmp_path: Path) -> None:
    texts = make_texts(40)
    options: dict[str, Any] = {"power": 0.5, "calibrate": False, "show_progress_bar": False}
    paired = add_lexical(encoder, texts, "hybrid", pairs=True, **options)
    assert identify(add_lexical(encoder, texts, "hybrid", **options)) != identify(paired)
    size = len(encoder.tokenizer)
    queries, held = (encode_texts(paired, texts, role=role) for role in ("query", "document"))
    found = (queries[:, 2 * size :] @ held[:, 2 * size :].T).toarray()

    def pairs_of(text: str) -> list[tuple[int, int]]:
        ids = encoder.tokenizer(text, add_special_tokens=False, truncation=True)["input_ids"]
        ids = [token for token in ids if token not in encoder.tokenizer.all_special_ids]
        return list(itertools.pairwise(ids))

    counted = [Counter(pairs_of(text)) for text in texts]
    lengths = np.array([sum(pairs.values()) + 1 for pairs in counted])
    lexical = next(module for module in paired.modules() if isinstance(module, Lexical))
    for (row, query), (column, document) in itertools.product(enumerate(counted), enumerate(counted)):
        norm = 1.5 * (0.25 + 0.75 * lengths[column] / lexical.average_length)
        shared = query.keys() & document.keys()
        rarity = {pair: lucene_idf(len(texts), sum(pair in one for one in counted)) for pair in shared}
        expected = sum(query[p] * rarity[p] * document[p] * 2.5 / (document[p] + norm) for p in shared)
        assert found[row, column] == pytest.approx(PAIR_SHARE * lexical.strength**2 * expected, rel=1e-3)
    stock = encode_texts(paired, texts[:8], role="document", stock_head=True)
    assert abs(stock - held[:8]).max() < 1e-4
    paired.save_pretrained(str(tmp_path / "paired"))
    again = load_encoder(tmp_path / "paired")
    assert identify(again).encoder == identify(paired).encoder
    names = token_texts(again, queries.shape[1])
    assert names[2 * size + 7] == "pair 7"
    with pytest.raises(InputError, match="pairs must go with mode hybrid, got echo"):
        add_lexical(encoder, texts, "echo", pairs=True)
