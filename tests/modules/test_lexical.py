"""Lexical weights follow the formula, whatever form the batch has, and are added without losing anything."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

from isthmus.encoders.encoding import encode_texts
from isthmus.encoders.fingerprint import identify
from isthmus.encoders.load import load_encoder
from isthmus.errors import EncoderError, InputError, UnknownNameError
from isthmus.modules.fuse import fuse_head, fused_view
from isthmus.modules.lexical import Lexical
from isthmus.modules.max_head import ActiveEntries
from isthmus.modules.token_counts import count_tokens
from isthmus.transferring import transfer_encoder
from isthmus.transferring.columns import UNWRITTEN
from tests.modules.lexical_parts import TEXTS, features_of, lexical_for, parts_for
from tests.tiny_encoders import FAMILIES, bert_tokenizer, inference_free, splade

SIZE = 9
SPECIAL = (0, 2)
COMBINATIONS = ("scale", "echo", "hybrid", "scale+echo", "scale+hybrid")


def naive(module: Lexical, rows: list[list[int]], task: str | None) -> torch.Tensor:
    """The formula, token by token."""
    found = torch.zeros(len(rows), SIZE)
    for number, row in enumerate(rows):
        kept = [id for id in row if id not in SPECIAL]
        for id, count in Counter(kept).items():
            value = float(count)
            if task != "query":
                norm = module.k1 * (1 - module.b + module.b * len(kept) / module.average_length)
                value = count * (module.k1 + 1) / (count + norm)
            found[number, id] = module.strength * float(module.idf[id]) ** module.power * value
    return found


def sparse(vectors: torch.Tensor) -> ActiveEntries:
    texts, entries = vectors.nonzero(as_tuple=True)
    return ActiveEntries(texts, entries, vectors[texts, entries], torch.arange(len(texts)))


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, SIZE - 1), max_size=7), min_size=1, max_size=4),
    task=st.sampled_from([None, "query", "document"]),
    form=st.sampled_from(["right", "left", "flat"]),
    mode=st.sampled_from(["echo", "hybrid"]),
    numbers=st.tuples(st.floats(0.1, 9), st.floats(0, 2), st.floats(0, 3), st.floats(0, 1), st.floats(0.5, 9)),
    seed=st.integers(0, 2**31),
)
def test_both_modes_follow_the_formula(
    rows: list[list[int]], task: str | None, form: str, mode: Any, numbers: tuple[float, ...], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    strength, power, k1, b, average = numbers
    idf = torch.rand(SIZE, generator=generator) * 8
    known = torch.rand(SIZE, generator=generator) < 0.5
    formula = {"strength": strength, "power": power, "k1": k1, "b": b, "special_ids": SPECIAL}
    module = Lexical(mode, idf, average, **formula, known=known, known_share=0.36)
    own = (torch.rand(len(rows), SIZE, generator=generator) * 4 - 2).relu()
    own[:, 1] = 0
    block = naive(module, rows, task)
    # Tokens that the encoder knew weigh 0.6 on either side, and nothing where it leaves their column empty.
    block = torch.where(known, 0.6 * block * (own > 0), block)
    expected = torch.maximum(own, block) if mode == "echo" else torch.cat([own, block], dim=1)
    found = module(features_of(rows, form=form, sentence_embedding=own.clone()), task=task)["sentence_embedding"]
    torch.testing.assert_close(found, expected)
    told = features_of(rows, form=form, sentence_embedding=sparse(own), task=task)
    entries = module(told)["sentence_embedding"]
    assert isinstance(entries, ActiveEntries)
    scattered = torch.zeros_like(expected)
    scattered[entries.texts, entries.entries] = entries.values
    torch.testing.assert_close(scattered, expected)
    # Each place once and in order, or a search engine could not take the row.
    keys = entries.texts * expected.shape[1] + entries.entries
    assert torch.equal(keys, expected.flatten().nonzero().flatten())
    kept = entries.winners >= 0
    torch.testing.assert_close(entries.values[kept], sparse(own).values[entries.winners[kept]])


def test_nan_of_the_encoder_stays_to_be_seen() -> None:
    module = Lexical("echo", torch.ones(3), 1.0)
    vectors = torch.tensor([[torch.nan, 0.0, 0.0]])
    for own in (vectors, sparse(vectors)):
        found = module(features_of([[0, 1]], sentence_embedding=own))["sentence_embedding"]
        values = found.values if isinstance(found, ActiveEntries) else found[0, :2]
        assert values.isnan().tolist() == [True, False]


@pytest.mark.parametrize("form", ["right", "left", "flat"])
def test_the_prompt_does_not_count(form: str) -> None:
    rows = [[7, 8, 3, 3, 4], [7, 8, 5]]
    left_out = torch.zeros(SIZE, dtype=torch.bool)
    plain = count_tokens(features_of([row[2:] for row in rows], form=form), left_out)
    for length in (2, torch.tensor([2])):
        found = count_tokens(features_of(rows, form=form, prompt_length=length), left_out)
        assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))


def test_only_what_the_encoder_reads_counts(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    encoder.append(lexical_for(encoder, "hybrid"))
    size, war = len(encoder.tokenizer), encoder.tokenizer.convert_tokens_to_ids("war")
    long = "house " * 40 + "war"
    found = encoder.encode([long, "war", "zzz"], convert_to_sparse_tensor=False)[:, size:]
    assert found[0, war] == 0 < found[1, war]
    assert (found[0] > 0).sum() == 1
    # The unknown token is no word.
    assert (found[2] > 0).sum() == 0
    prompted = encoder.encode(["war"], prompt="house water ", convert_to_sparse_tensor=False)[:, size:]
    assert torch.equal(prompted[0], found[1])


def test_the_role_matters_only_as_documented(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    before = encoder.encode(TEXTS, convert_to_sparse_tensor=False)
    encoder.append(lexical_for(encoder, "hybrid", power=1.0, strength=2.0))
    size = len(encoder.tokenizer)
    found = {
        name: encode(TEXTS, convert_to_sparse_tensor=False)
        for name, encode in (("none", encoder.encode), ("d", encoder.encode_document), ("q", encoder.encode_query))
    }
    assert torch.equal(found["none"], found["d"])
    for vectors in found.values():
        torch.testing.assert_close(vectors[:, :size], before)
    war = encoder.tokenizer.convert_tokens_to_ids("war")
    # Occurs twice.
    assert found["q"][1, size + war] == pytest.approx(2 * 2 * float(encoder[2].idf[war]))
    assert not torch.allclose(found["q"], found["d"])


@pytest.mark.parametrize("name", COMBINATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_fused_is_stock(tmp_path: Path, family: str, name: str) -> None:
    encoder = splade(tmp_path, family, activation="log1p_relu" if "scale" in name else "relu")
    for part in parts_for(encoder, name):
        encoder.append(part)
    check_fused(encoder)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_fused_is_stock_with_inference_free_queries(tmp_path: Path, name: str, inside: bool) -> None:
    encoder = inference_free(tmp_path)
    parts = parts_for(encoder, name)
    if inside:
        routes = {key: [*route.children(), *copy.deepcopy(parts)] for key, route in encoder[0].sub_modules.items()}
        encoder = SparseEncoder(modules=[Router(routes, default_route="document")], device="cpu")
    else:
        for part in parts:
            encoder.append(part)
    # No token at all is more than the stock static embedding takes.
    check_fused(encoder, [text for text in TEXTS if text])


def check_fused(encoder: SparseEncoder, texts: list[str] = TEXTS) -> None:
    width = encoder.get_embedding_dimension()
    view = fused_view(encoder)
    assert view is not None
    assert isinstance(
        view(view.preprocess(texts, task="document"), task="document")["sentence_embedding"], ActiveEntries
    )
    for role in ("query", "document"):
        fused = encode_texts(encoder, texts, role=role)
        stock = encode_texts(encoder, texts, role=role, stock_head=True)
        assert fused.shape == stock.shape == (len(texts), width)
        assert stock.nnz
        np.testing.assert_allclose(fused.toarray(), stock.toarray(), atol=1e-5, rtol=1e-5)
        assert fused.nnz == stock.nnz
        assert (fused.data > 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["echo", "hybrid"])
def test_half_precision(tmp_path: Path, mode: Any, dtype: torch.dtype) -> None:
    encoder = splade(tmp_path)
    encoder.append(lexical_for(encoder, mode))
    expected = encoder.encode(TEXTS, convert_to_sparse_tensor=False)
    halved = copy.deepcopy(encoder).to(dtype)
    found = halved.encode(TEXTS, convert_to_sparse_tensor=False)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.05)
    quick = encode_texts(halved, TEXTS, role="document").toarray()
    np.testing.assert_allclose(quick, expected.numpy(), atol=0.1, rtol=0.05)


def test_echo_fills_the_columns_that_a_transfer_silenced(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    war, house = encoder.tokenizer.convert_tokens_to_ids(["war", "house"])
    with torch.no_grad():
        encoder[0].auto_model.get_output_embeddings().bias[war] = UNWRITTEN
    before = encode_texts(encoder, ["war house"], role="document").toarray()[0]
    encoder.append(lexical_for(encoder, "echo", strength=0.001))
    after = encode_texts(encoder, ["war house"], role="document").toarray()[0]
    assert before[war] == 0 < after[war]
    changed = np.flatnonzero(before != after)
    assert set(changed) <= {war, house}


def test_echo_never_lowers_a_value(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    before = encoder.encode(TEXTS, convert_to_sparse_tensor=False)
    encoder.append(lexical_for(encoder, "echo"))
    after = encoder.encode(TEXTS, convert_to_sparse_tensor=False)
    assert (after >= before).all()
    assert (after > before).any()
    assert (after[-1] == before[-1]).all()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("mode", ["echo", "hybrid"])
def test_training_reaches_the_encoder_alone(tmp_path: Path, mode: Any, fused: bool) -> None:
    encoder = splade(tmp_path)
    encoder.append(lexical_for(encoder, mode, strength=0.05))
    assert list(encoder[2].parameters()) == []
    encoder[1].train()
    if fused:
        assert fuse_head(encoder) == 1
    loss = SpladeLoss(encoder, SparseMultipleNegativesRankingLoss(encoder), 1e-3, 1e-3)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-3)
    idf, curve = encoder[2].idf.clone(), []
    for _ in range(6):
        found = sum(loss([encoder.preprocess(TEXTS[:3]), encoder.preprocess(TEXTS[3:6])]).values())
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        curve.append(found.item())
    assert curve[-1] < curve[0]
    assert torch.equal(encoder[2].idf, idf)


def test_where_the_echo_wins_the_encoder_learns_nothing() -> None:
    module = Lexical("echo", torch.ones(3), 1.0, k1=0.0)
    own = torch.tensor([[0.5, 2.0, 1.0]], requires_grad=True)
    found = module(features_of([[0, 1, 2]], sentence_embedding=own))["sentence_embedding"]
    found.sum().backward()
    assert found.tolist() == [[1.0, 2.0, 1.0]]
    # A tie is the encoder's.
    assert own.grad.tolist() == [[0.0, 1.0, 1.0]]


@pytest.mark.parametrize("make", [splade, inference_free])
@pytest.mark.parametrize("mode", ["echo", "hybrid"])
def test_saved_and_loaded_the_same(tmp_path: Path, mode: Any, make: Any) -> None:
    encoder = make(tmp_path / "model")
    plain = identify(encoder)
    known = torch.zeros(len(encoder.tokenizer), dtype=torch.bool)
    known[encoder.tokenizer.convert_tokens_to_ids(["war", "the"])] = True
    encoder.append(lexical_for(encoder, mode, power=0.5, k1=1.2, b=0.4, known=known, known_share=0.8))
    assert identify(encoder).encoder != plain.encoder
    texts = [text for text in TEXTS if text]
    expected = [encode_texts(encoder, texts, role=role) for role in ("query", "document")]
    encoder.save_pretrained(str(tmp_path / "saved"))
    kinds = [module["type"] for module in json.loads((tmp_path / "saved" / "modules.json").read_text())]
    assert kinds[-1] == "isthmus.modules.lexical.Lexical"
    for loaded in (
        load_encoder(tmp_path / "saved"),
        SparseEncoder(str(tmp_path / "saved"), trust_remote_code=True, device="cpu"),
    ):
        assert loaded[-1].known_share == 0.8
        assert loaded[-1].known.equal(known)
        assert loaded.get_embedding_dimension() == encoder.get_embedding_dimension()
        assert identify(loaded) == identify(encoder)
        for role, vectors in zip(("query", "document"), expected, strict=True):
            assert (encode_texts(loaded, texts, role=role) != vectors).nnz == 0


def test_other_numbers_are_another_encoder(tmp_path: Path) -> None:
    encoder = splade(tmp_path)
    prints = set()
    known = torch.arange(len(encoder.tokenizer)) == 7
    changes: list[dict[str, Any]] = [
        {}, {"strength": 0.6}, {"power": 0.5}, {"k1": 1.2}, {"b": 0.1}, {"special_ids": ()}, {"known": known},
        {"known_share": 0.8},
    ]  # fmt: skip
    for options in changes:
        changed = copy.deepcopy(encoder)
        changed.append(lexical_for(encoder, "echo", **options))
        prints.add(identify(changed).encoder)
    assert len(prints) == len(changes)


@pytest.mark.parametrize("name", ["scale", "echo", "hybrid"])
def test_is_not_transferred(tmp_path: Path, name: str) -> None:
    encoder = splade(tmp_path)
    for part in parts_for(encoder, name):
        encoder.append(part)
    with pytest.raises(EncoderError, match=f"got {type(encoder[2]).__name__} .* remove that module"):
        transfer_encoder(encoder, bert_tokenizer(), method="mean")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "loud"}, "mode must be one of echo, hybrid"),
        ({"idf": torch.tensor([1.0, torch.inf])}, "idf must be one finite number"),
        ({"idf": torch.ones(2, 2)}, "idf must be one finite number"),
        ({"average_length": 0.0}, "average_length must be above 0"),
        ({"strength": -1.0}, "strength must be above 0"),
        ({"power": -0.5}, "power must be 0 or more"),
        ({"k1": float("nan")}, "k1 must be 0 or more"),
        ({"b": 1.5}, "b must be between 0 and 1"),
        ({"known_share": -0.1}, "known_share must be between 0 and 1, got -0.1"),
        ({"known": torch.ones(2)}, r"known must have the shape of idf, \(3,\), got \(2,\)"),
    ],
)
def test_arguments_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    given = {"mode": "echo", "idf": torch.ones(3), "average_length": 2.0, **options}
    with pytest.raises(UnknownNameError if "mode" in options else InputError, match=message):
        Lexical(**given)
