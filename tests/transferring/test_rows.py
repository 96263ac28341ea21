"""What is done to mixed rows once they are mixed: their length, and a direction of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from isthmus.errors import InputError, UnknownNameError
from isthmus.token_map import Fate, TokenMap
from isthmus.transferring import transfer_encoder
from isthmus.vocabulary.join import join_tokenizers
from tests.tiny_encoders import splade
from tests.tokenizers import wordpiece

MakeVectors = Callable[..., Any]


def rows_of(encoder: Any) -> np.ndarray:
    model = encoder.transformers_model
    found: np.ndarray = model.get_input_embeddings().weight.detach().double().numpy().copy()
    return found


def test_rows_get_the_mean_length_of_their_parts(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    vectors = vectors_for(source.tokenizer, korean)
    plain, _ = transfer_encoder(source, korean, vectors=vectors, alpha=1.5)
    result, report = transfer_encoder(source, korean, vectors=vectors, alpha=1.5, norm="restored")
    old, before, after = map(rows_of, (source, plain, result))
    for row in range(report.token_map.shape[0]):
        if report.token_map.fate(row) is not Fate.BRIDGED:
            np.testing.assert_array_equal(after[row], before[row])
            continue
        weights = report.token_map.weights[row].toarray()[0]
        length = weights @ np.linalg.norm(old[: len(weights)], axis=1)
        np.testing.assert_allclose(after[row], before[row] * length / np.linalg.norm(before[row]), rtol=1e-5, atol=1e-7)
        assert length > np.linalg.norm(before[row]) * 1.01
    assert report.settings["norm"] == "restored"
    _, report = transfer_encoder(source, korean, vectors=vectors, as_released=True, norm="restored")
    assert report.settings["norm"] == "mixed"


def test_every_mixed_row_gets_a_direction_of_its_own(tmp_path: Path, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    target = wordpiece([f"{chr(0xAC00 + 28 * i)}" for i in range(400)], strip_accents=False)
    vectors = vectors_for(source.tokenizer, target)
    plain, _ = transfer_encoder(source, target, vectors=vectors)
    result, report = transfer_encoder(source, target, vectors=vectors, own_direction=0.5)
    before, after = rows_of(plain), rows_of(result)
    mixed = report.token_map.rows(Fate.BRIDGED)
    assert len(mixed) == 400
    others = np.setdiff1d(np.arange(len(before)), mixed)
    np.testing.assert_array_equal(after[others], before[others])
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), rtol=1e-6)
    units = [rows[mixed] / np.linalg.norm(rows[mixed], axis=1, keepdims=True) for rows in (before, after)]
    # As far as a direction at a right angle and half as long turns them, give or take what it shares with them.
    assert np.median((units[0] * units[1]).sum(axis=1)) == pytest.approx(1 / np.sqrt(1 + 0.5**2), abs=0.03)
    same = np.all(report.token_map.weights[mixed].toarray() == report.token_map.weights[mixed[0]].toarray(), axis=1)
    assert same.sum() > 3
    twins = units[1][same]
    assert np.abs((twins @ twins.T)[~np.eye(len(twins), dtype=bool)]).max() < 0.99
    assert report.settings["own_direction"] == 0.5
    again, other = (
        rows_of(transfer_encoder(source, target, vectors=vectors, own_direction=0.5, seed=seed)[0]) for seed in (0, 1)
    )
    np.testing.assert_array_equal(again, after)
    assert not np.array_equal(other[mixed], after[mixed])


def test_an_untied_decoder_gets_the_same_directions(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path, tied=False)
    vectors = vectors_for(source.tokenizer, korean)
    # So much of it that the mixture is next to nothing beside.
    result, report = transfer_encoder(source, korean, vectors=vectors, own_direction=1e6)
    mixed = report.token_map.rows(Fate.BRIDGED)
    sides = (result.transformers_model.get_input_embeddings(), result.transformers_model.get_output_embeddings())
    rows = [side.weight.detach().double().numpy()[mixed] for side in sides]
    assert not np.array_equal(*rows)
    units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in rows]
    np.testing.assert_allclose(units[0], units[1], atol=1e-4)


def test_the_released_code_does_neither(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    options: dict[str, Any] = {"vectors": vectors_for(source.tokenizer, korean), "as_released": True}
    plain, _ = transfer_encoder(source, korean, **options)
    result, report = transfer_encoder(source, korean, norm="restored", own_direction=1.0, **options)
    np.testing.assert_array_equal(rows_of(result), rows_of(plain))
    assert (report.settings["norm"], report.settings["own_direction"]) == ("mixed", 0.0)


def test_dense_encoders_take_both(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from tests.tiny_encoders import masked_lm, save_masked_lm

    model, tokenizer = masked_lm("bert")
    folder = save_masked_lm(tmp_path / "model", model, tokenizer)
    word = Transformer(str(folder))
    source = SentenceTransformer(modules=[word, Pooling(word.get_embedding_dimension())], device="cpu")
    vectors = vectors_for(tokenizer, korean)
    plain, _ = transfer_encoder(source, korean, vectors=vectors, alpha=1.5)
    for options in ({"norm": "restored"}, {"own_direction": 0.5}):
        result, report = transfer_encoder(source, korean, vectors=vectors, alpha=1.5, **options)
        mixed = report.token_map.rows(Fate.BRIDGED)
        before, after = (
            encoder[0].model.get_input_embeddings().weight.detach().numpy()[mixed] for encoder in (plain, result)
        )
        assert (np.abs(after - before).max(axis=1) > 1e-4).all()


def test_directions_are_not_the_noise_of_sampled_rows(tmp_path: Path) -> None:
    source = splade(tmp_path)
    target = wordpiece(["house", *(f"{chr(0xAC00 + 28 * i)}" for i in range(40))], strip_accents=False)
    texts = [" ".join(f"{chr(0xAC00 + 28 * i)} house" for i in range(20))] * 3
    options: dict[str, Any] = {"method": "focus", "texts": texts, "space": "ppmi", "min_count": 1}
    result, report = transfer_encoder(source, target, own_direction=1e6, **options)
    mixed, sampled = (report.token_map.rows(fate) for fate in (Fate.BRIDGED, Fate.SAMPLED))
    count = min(len(mixed), len(sampled))
    assert count >= 5
    rows = rows_of(result)
    old = rows_of(source)[: report.token_map.shape[1]]
    noise = (rows[sampled] - old.mean(axis=0)) / old.std(axis=0)
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(rows[mixed[:count]], noise[:count], strict=True)
    ]
    assert np.abs(cosines).max() < 0.9


def test_rows_with_directions_are_told_apart(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    joined = join_tokenizers(source.tokenizer, [korean], ["target"]).tokenizer
    vectors = vectors_for(source.tokenizer, joined)
    # All Korean tokens mean the same.
    vectors.target[len(source.tokenizer) :] = vectors.source[12]
    options: dict[str, Any] = {"vectors": vectors, "keep_source": True, "output": "both"}
    _, folded = transfer_encoder(source, korean, **options)
    _, report = transfer_encoder(source, korean, own_direction=1.0, **options)
    assert folded.settings["fold"] < 1
    assert report.settings["fold"] == 1
    assert len(folded.token_map.info["written_as"]) > len(report.token_map.info.get("written_as", {}))
    assert folded.indistinguishable
    assert not report.indistinguishable
    assert report.token_map.info["own_direction"] == 1.0
    report.token_map.save(tmp_path)
    assert TokenMap.load(tmp_path).parted.sum() == len(report.token_map.rows(Fate.BRIDGED))
    assert not folded.token_map.parted.any()
    with pytest.raises(InputError, match="fold must be 1 with own_direction"):
        transfer_encoder(source, korean, own_direction=1.0, fold=0.8, **options)


@pytest.mark.parametrize("own_direction", [-0.1, float("nan"), float("inf")])
def test_wrong_options_are_refused(own_direction: float, tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    source = splade(tmp_path)
    vectors = vectors_for(source.tokenizer, korean)
    with pytest.raises(InputError, match="own_direction must be finite and 0 or more, got"):
        transfer_encoder(source, korean, vectors=vectors, own_direction=own_direction)
    for options in ({"own_direction": 1.0}, {"norm": "restored"}):
        with pytest.raises(
            InputError, match=f"{next(iter(options))}.* must come with a method that mixes rows, got 'mean'"
        ):
            transfer_encoder(source, korean, method="mean", **options)
    with pytest.raises(UnknownNameError, match="norm must be one of mixed, restored; got 'unit'"):
        transfer_encoder(source, korean, vectors=vectors, norm="unit")  # type: ignore[arg-type]
