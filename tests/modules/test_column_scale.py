"""Columns are weighed, dense or sparse, and the weights are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from isthmus.encoders.load import load_encoder
from isthmus.errors import InputError
from isthmus.modules.column_scale import ColumnScale
from isthmus.modules.max_head import ActiveEntries
from tests.modules.lexical_parts import TEXTS, scale_for
from tests.tiny_encoders import splade


def test_columns_are_multiplied_and_the_gradient_with_them() -> None:
    module = ColumnScale(torch.tensor([2.0, 0.0, 0.5]))
    vectors = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 4.0]], requires_grad=True)
    found = module({"sentence_embedding": vectors})["sentence_embedding"]
    assert found.tolist() == [[2.0, 0.0, 1.5], [0.0, 0.0, 2.0]]
    found.sum().backward()
    assert vectors.grad.tolist() == [[2.0, 0.0, 0.5]] * 2
    assert module.get_embedding_dimension() == 3
    assert list(module.parameters()) == []


def test_active_entries_stay_sparse_and_lose_what_becomes_zero() -> None:
    module = ColumnScale(torch.tensor([2.0, 0.0, 0.5]))
    entries = ActiveEntries(
        torch.tensor([0, 0, 1, 1]),
        torch.tensor([0, 1, 1, 2]),
        torch.tensor([1.0, 2.0, 3.0, torch.nan]),
        torch.arange(4),
    )
    found = module({"sentence_embedding": entries})["sentence_embedding"]
    assert isinstance(found, ActiveEntries)
    assert (found.texts.tolist(), found.entries.tolist(), found.winners.tolist()) == ([0, 1], [0, 2], [0, 3])
    assert found.values[0] == 2.0
    assert found.values[1].isnan()


def test_half_precision_comes_out_single() -> None:
    module = ColumnScale(torch.tensor([2.0, 0.1]))
    found = module({"sentence_embedding": torch.ones(1, 2, dtype=torch.float16)})["sentence_embedding"]
    torch.testing.assert_close(found, torch.tensor([[2.0, 0.1]]))


def test_saved_and_loaded_the_same(tmp_path: Path) -> None:
    encoder = splade(tmp_path / "model")
    encoder.append(scale_for(encoder))
    expected = encoder.encode(TEXTS, convert_to_sparse_tensor=False)
    encoder.save_pretrained(str(tmp_path / "saved"))
    assert json.loads((tmp_path / "saved" / "2_ColumnScale" / "config.json").read_text()) == {}
    loaded = load_encoder(tmp_path / "saved")
    assert torch.equal(loaded[2].scale, encoder[2].scale)
    assert torch.equal(loaded.encode(TEXTS, convert_to_sparse_tensor=False), expected)


@pytest.mark.parametrize("scale", [[[1.0]], [], [1.0, torch.nan], [1.0, -1.0], [torch.inf]])
def test_factors_that_are_none(scale: list[float]) -> None:
    with pytest.raises(InputError, match="scale must be one finite factor"):
        ColumnScale(torch.tensor(scale))
