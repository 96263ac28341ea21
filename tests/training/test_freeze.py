import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from isthmus.encoders.load import load_encoder
from isthmus.errors import InputError
from isthmus.token_map import FATES, Fate, TokenMap
from isthmus.training import train
from isthmus.training.freeze import frozen
from tests.training.conftest import PAIRS, tensors

NEW = (8, 9, 12)
WORDS = "bert.embeddings.word_embeddings.weight"
BIAS = "cls.predictions.bias"


@pytest.fixture
def mapped(make_sparse):
    """An encoder beside a token map, by which three rows are bridged."""
    folder = make_sparse()
    size = len(tensors(folder)[WORDS])
    fates = np.full(size, FATES.index(Fate.EXACT), dtype=np.uint8)
    fates[list(NEW)] = FATES.index(Fate.BRIDGED)
    names = [f"t{i}" for i in range(size)]
    TokenMap(csr_matrix(np.eye(size)), fates, names, names).save(folder)
    return folder


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("stock", [False, True])
def test_only_new_rows_change(mapped, write, tmp_path, settings, stock):
    chosen = settings(freeze="all-but-new", stock_head=stock)
    report = train(mapped, write(PAIRS), tmp_path / "out", chosen)
    before, after = tensors(mapped), tensors(tmp_path / "out")
    assert changed(before, after) == {WORDS, BIAS}
    rows = (before[WORDS] != after[WORDS]).any(dim=1).nonzero().flatten().tolist()
    assert rows == list(NEW)
    assert set((before[BIAS] != after[BIAS]).nonzero().flatten().tolist()) <= set(NEW)
    assert report.trainable == len(NEW) * (16 + 1)
    assert (tmp_path / "out" / "token_map.json").exists()


def test_only_embeddings_change(mapped, write, tmp_path, settings):
    train(mapped, write(PAIRS), tmp_path / "out", settings(freeze="all-but-embeddings"))
    before, after = tensors(mapped), tensors(tmp_path / "out")
    assert changed(before, after) == {WORDS, BIAS}
    assert (before[WORDS] != after[WORDS]).any(dim=1).sum() > len(NEW)


def test_a_dense_encoder_has_embeddings_alone(dense_folder, write, tmp_path, settings):
    train(dense_folder, write(PAIRS), tmp_path / "out", settings(freeze="all-but-embeddings"))
    (name,) = changed(tensors(dense_folder), tensors(tmp_path / "out"))
    assert "word_embeddings" in name


def test_nothing_stays_frozen(mapped):
    encoder = load_encoder(mapped)
    with frozen(encoder, "all-but-new", mapped):
        assert not all(parameter.requires_grad for parameter in encoder.parameters())
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def test_new_rows_need_a_map_that_fits(sparse_folder, mapped, write, tmp_path, settings):
    with pytest.raises(InputError, match="needs the token map that a transfer leaves"):
        train(sparse_folder, write(PAIRS), tmp_path / "out", settings(freeze="all-but-new"))
    size = 40
    names = [f"t{i}" for i in range(size)]
    fates = np.full(size, FATES.index(Fate.BRIDGED), dtype=np.uint8)
    TokenMap(csr_matrix(np.eye(size)), fates, names, names).save(mapped)
    with pytest.raises(InputError, match="must fit the encoder, got a new row 39"):
        train(mapped, write(PAIRS), tmp_path / "out", settings(freeze="all-but-new"))
    fates = np.full(size, FATES.index(Fate.EXACT), dtype=np.uint8)
    TokenMap(csr_matrix(np.eye(size)), fates, names, names).save(mapped)
    with pytest.raises(InputError, match="rows that are not copies, got none"):
        train(mapped, write(PAIRS), tmp_path / "out", settings(freeze="all-but-new"))
