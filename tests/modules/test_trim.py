"""Only the largest entries stay, dense or sparse, as many as the task allows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from isthmus.encoders.load import load_encoder
from isthmus.errors import InputError
from isthmus.modules.max_head import ActiveEntries
from isthmus.modules.trim import Trim
from tests.modules.lexical_parts import TEXTS, lexical_for
from tests.tiny_encoders import splade


def test_the_largest_of_a_row_stay_and_the_gradient_with_them() -> None:
    vectors = torch.tensor([[1.0, 3.0, 2.0, 3.0], [0.0, 0.0, 0.5, 0.0]], requires_grad=True)
    found = Trim(1, 2)({"sentence_embedding": vectors}, "document")["sentence_embedding"]
    assert found.tolist() == [[0.0, 3.0, 0.0, 3.0], [0.0, 0.0, 0.5, 0.0]]
    found.sum().backward()
    assert vectors.grad[0].tolist() == [0.0, 1.0, 0.0, 1.0]
    # Of equal ones the lower column.
    few = Trim(1, 2)({"sentence_embedding": vectors.detach()}, "query")["sentence_embedding"]
    assert few.tolist() == [[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0]]


@pytest.mark.parametrize("task", ["query", "document", None])
def test_active_entries_are_trimmed_as_dense_rows_are(task: str | None) -> None:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randint(0, 4, (7, 20), generator=generator).float()
    dense[3] = 0
    texts, entries = dense.nonzero(as_tuple=True)
    sparse = ActiveEntries(texts, entries, dense[texts, entries], torch.arange(len(texts)))
    module = Trim(3, 5)
    expected = module({"sentence_embedding": dense.clone()}, task)["sentence_embedding"]
    found = module({"sentence_embedding": sparse}, task)["sentence_embedding"]
    again = torch.zeros_like(dense)
    again[found.texts, found.entries] = found.values
    assert torch.equal(again, expected)
    assert int((expected > 0).sum(dim=1).max()) == (3 if task == "query" else 5)
    assert torch.equal(found.values, sparse.values[found.winners])


def test_no_entries_at_all() -> None:
    nothing = ActiveEntries(
        *(torch.zeros(0, dtype=kind) for kind in (torch.int64, torch.int64, torch.float32, torch.int64))
    )
    assert len(Trim(2, 2)({"sentence_embedding": nothing})["sentence_embedding"].texts) == 0


def test_saved_and_loaded_the_same(tmp_path: Path) -> None:
    encoder = splade(tmp_path / "model")
    encoder.append(Trim(2, 3))
    encoder.append(lexical_for(encoder, "hybrid"))
    expected = encoder.encode_query(TEXTS, convert_to_sparse_tensor=False)
    assert int((expected[:, : len(encoder.tokenizer)] > 0).sum(dim=1).max()) == 2
    encoder.save_pretrained(str(tmp_path / "saved"))
    assert json.loads((tmp_path / "saved" / "2_Trim" / "config.json").read_text()) == {"query": 2, "document": 3}
    loaded = load_encoder(tmp_path / "saved")
    assert torch.equal(loaded.encode_query(TEXTS, convert_to_sparse_tensor=False), expected)


@pytest.mark.parametrize("trim", [(0, 3), (2, -1), (1.5, 2)])
def test_numbers_that_keep_nothing_are_refused(trim: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="trim must be two numbers of entries of 1 or more"):
        Trim(*trim)
