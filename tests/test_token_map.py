import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from isthmus.errors import InputError, NotFoundError, OutputError, TokenMapError
from isthmus.token_map import FATES, Fate, Sampling, TokenMap
from tests.tokenizers import byte_spelling

SOURCE = ["[PAD]", "house", "home", "##s", ""]
TARGET = ["[PAD]", "▁집", "s", "", "새"]
DENSE = np.array([[1.0, 0, 0, 0, 0], [0, 0.6, 0.4, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
ROWS = [Fate.SPECIAL, Fate.BRIDGED, Fate.EXACT, Fate.BACKGROUND, Fate.SAMPLED]


def codes(*fates):
    return np.array([FATES.index(fate) for fate in fates], dtype=np.uint8)


@pytest.fixture
def token_map():
    return TokenMap(
        csr_matrix(DENSE), codes(*ROWS), SOURCE, TARGET, np.full(5, 0.2), Sampling("gaussian", seed=7), {"method": "집"}
    )


def test_apply_equals_the_dense_product(token_map):
    array = np.random.default_rng(0).standard_normal((5, 3))
    for block in (1, 2, 4096):
        result = token_map.apply(array, block=block)
        np.testing.assert_allclose(result[:3], DENSE[:3] @ array)
        np.testing.assert_allclose(result[3], array.mean(axis=0))
        np.testing.assert_array_equal(result[4:], Sampling("gaussian", seed=7).draw(1, array))


@given(arrays(np.float64, (4, 6), elements=st.floats(0, 1)), arrays(np.float64, (6, 2, 3), elements=st.floats(-9, 9)))
@settings(max_examples=30, deadline=None)
def test_apply_is_linear_over_arrays_of_any_rank(weights, array):
    weights = weights + np.eye(4, 6)
    token_map = TokenMap(csr_matrix(weights), codes(*[Fate.BRIDGED] * 4), ["a"] * 6, ["b"] * 4)
    expected = np.einsum("ts,sij->tij", weights, array)
    np.testing.assert_allclose(token_map.apply(array), expected, atol=1e-12)
    np.testing.assert_allclose(token_map.apply(array[:, 0, 0]), expected[:, 0, 0], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_apply_keeps_the_dtype_and_computes_in_float64(dtype, token_map):
    array = np.random.default_rng(0).standard_normal((5, 3)).astype(dtype)
    result = token_map.apply(array)
    assert result.dtype == dtype
    np.testing.assert_allclose(result[:3], (DENSE[:3] @ array.astype(np.float64)).astype(dtype), rtol=1e-14)
    bias = token_map.apply(array[:, 0])
    assert bias.shape == (5,)
    np.testing.assert_allclose(bias[:4], result[:4, 0], rtol=1e-14)


@pytest.mark.parametrize("distribution", ["normal", "gaussian", "multivariate-gaussian"])
def test_sampling_is_seeded_and_takes_one_column(distribution):
    rows = np.random.default_rng(0).standard_normal((50, 1))
    first = Sampling(distribution, seed=1).draw(20, rows)
    np.random.seed(5)  # noqa: NPY002
    np.testing.assert_array_equal(first, Sampling(distribution, seed=1).draw(20, rows))
    assert first.shape == (20, 1)
    assert not np.array_equal(first, Sampling(distribution, seed=2).draw(20, rows))


@pytest.mark.parametrize("array", [np.zeros((4, 2)), np.zeros(()), np.full((5, 1), np.nan), np.full(5, np.inf)])
def test_apply_refuses_what_does_not_fit(array, token_map):
    with pytest.raises(TokenMapError, match="array must"):
        token_map.apply(array)


def test_rows_and_counts(token_map):
    assert [token_map.fate(row) for row in range(5)] == ROWS
    np.testing.assert_array_equal(token_map.rows(Fate.SPECIAL, Fate.SAMPLED), [0, 4])
    assert token_map.has(Fate.BRIDGED)
    assert not token_map.has(Fate.BYTE)
    assert token_map.counts() == {fate.value: int(fate in ROWS) for fate in FATES}
    assert token_map.shape == (5, 5)


def test_explain_and_used_by(token_map):
    assert token_map.explain("집") == [("house", 0.6), ("home", 0.4)]
    assert token_map.explain("▁집", top_k=1) == [("house", 0.6)]
    assert token_map.explain(1) == token_map.explain(np.int64(1)) == token_map.explain("집", top_k=None)
    assert token_map.explain("새") == token_map.explain(3) == []
    assert token_map.used_by("home") == [("▁집", 0.4)]
    assert token_map.used_by("s") == [("s", 1.0)]
    assert token_map.used_by(4) == []


def test_equal_weights_are_listed_by_id():
    token_map = TokenMap(
        csr_matrix([[0.5, 0.5], [0.5, 0.5]]), codes(Fate.BRIDGED, Fate.BRIDGED), ["a", "b"], ["x", "y"]
    )
    assert token_map.explain("x") == [("a", 0.5), ("b", 0.5)]
    assert token_map.used_by("b") == [("x", 0.5), ("y", 0.5)]


@pytest.mark.parametrize(
    "raws",
    [
        ["집", "서울 시", "s"],
        ["▁집", "▁서울▁시", "▁s"],
        [byte_spelling(text) for text in (" 집", " 서울 시", " s")],
        [byte_spelling(text) for text in ("집", "서울 시", "s")],
        ["##집", "##서울 시", "##s"],
        ["집</w>", "서울▁시", "s</w>"],
    ],
)
def test_text_finds_its_token_in_every_familys_spelling(raws):
    raws = ["▁", *raws]
    token_map = TokenMap(csr_matrix(np.eye(4)), codes(*[Fate.EXACT] * 4), raws, raws)
    assert [token_map.target_id(text) for text in ("집", "서울 시", "s")] == [1, 2, 3]
    assert token_map.used_by("집") == [(raws[1], 1.0)]
    assert [token_map.target_id(raw) for raw in raws] == [0, 1, 2, 3]
    with pytest.raises(InputError, match="got ''"):
        token_map.explain("")


def test_word_starts_come_before_continuations_and_raw_tokens_before_both():
    raws = [byte_spelling("é"), byte_spelling(" é"), "##s", "▁s", "Ġt", "t"]
    token_map = TokenMap(csr_matrix(np.eye(6)), codes(*[Fate.EXACT] * 6), raws, raws)
    assert [token_map.target_id(text) for text in ("é", "s", "t")] == [1, 3, 5]


@pytest.mark.parametrize("token", ["nichts", "", 5, -1])
def test_unknown_tokens_are_refused(token, token_map):
    with pytest.raises(InputError, match="target vocabulary, got"):
        token_map.explain(token)
    with pytest.raises(InputError, match="source vocabulary, got"):
        token_map.used_by(token)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"target_tokens": TARGET[:4]}, "one row per target token"),
        ({"source_tokens": [*SOURCE, "x"]}, "one column per source token"),
        ({"fates": codes(*ROWS[:4])}, "one row per target token"),
        ({"fates": codes(*ROWS).astype(np.int64)}, "uint8"),
        ({"fates": np.array([3, 5, 0, 6, 99], dtype=np.uint8)}, "fates must be uint8 below 9"),
        ({"fates": codes(*ROWS[:3], Fate.BRIDGED, Fate.SAMPLED)}, "row 3 must hold weights exactly when"),
        ({"fates": codes(Fate.BACKGROUND, *ROWS[1:])}, "row 0 must hold weights exactly when"),
        ({"weights": csr_matrix(DENSE * np.nan)}, "weights must be finite"),
        ({"background": None}, "background must be given"),
        ({"background": np.ones(4)}, "background must be 5 finite weights"),
        ({"background": np.full(5, np.nan)}, "background must be 5 finite weights"),
        ({"sampling": None}, "sampling must be given"),
    ],
)
def test_parts_must_fit(change, match, token_map):
    with pytest.raises(TokenMapError, match=match):
        replace(token_map, **change)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"distribution": "uniform"}, "distribution must be one of normal"),
        ({"distribution": "normal", "std": 0.0}, "std must be"),
        ({"distribution": "normal", "std": float("nan")}, "std must be"),
        ({"distribution": "normal", "seed": -1}, "seed must be"),
    ],
)
def test_sampling_is_checked(options, match):
    with pytest.raises(InputError, match=match):
        Sampling(**options)


def test_save_and_load(token_map, tmp_path):
    token_map.save(tmp_path / "new" / "folder")
    loaded = TokenMap.load(str(tmp_path / "new" / "folder"))
    np.testing.assert_array_equal(loaded.weights.toarray(), DENSE)
    np.testing.assert_array_equal(loaded.fates, token_map.fates)
    np.testing.assert_array_equal(loaded.background, token_map.background)
    assert (loaded.source_tokens, loaded.target_tokens, loaded.info) == (SOURCE, TARGET, {"method": "집"})
    assert loaded.sampling == token_map.sampling
    array = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded.apply(array), token_map.apply(array))


def test_save_and_load_without_background_and_sampling(tmp_path):
    token_map = TokenMap(csr_matrix(DENSE[:3]), codes(*ROWS[:3]), SOURCE, TARGET[:3])
    token_map.save(tmp_path)
    loaded = TokenMap.load(tmp_path)
    assert loaded.background is None
    assert loaded.sampling is None


@pytest.mark.parametrize(("target", "source"), [(0, 3), (3, 0), (0, 0)])
def test_empty_vocabularies_survive_save_and_load(target, source, tmp_path):
    fates = codes(*[Fate.BACKGROUND] * target)
    TokenMap(csr_matrix((target, source)), fates, ["x"] * source, [""] * target, np.zeros(source)).save(tmp_path)
    loaded = TokenMap.load(tmp_path)
    assert loaded.shape == (target, source)
    np.testing.assert_array_equal(loaded.apply(np.ones((source, 2))), np.zeros((target, 2)))
    with pytest.raises(TokenMapError, match="fates must be uint8"):
        replace(loaded, fates=fates.astype(np.int64))


def test_a_missing_map_is_not_found(token_map, tmp_path):
    with pytest.raises(NotFoundError, match=r"token_map\.json does not exist"):
        TokenMap.load(tmp_path)
    token_map.save(tmp_path)
    (tmp_path / "token_map.safetensors").unlink()
    with pytest.raises(NotFoundError, match=r"token_map\.safetensors does not exist; transfer again"):
        TokenMap.load(tmp_path)


@pytest.mark.parametrize("name", ["token_map.json", "token_map.safetensors"])
@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-5], lambda b: b[: len(b) // 2], lambda b: b"[]", lambda b: b"\xff" * 99]
)
def test_damaged_files_are_refused_with_the_remedy(name, damage, token_map, tmp_path):
    token_map.save(tmp_path)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TokenMapError, match=f"{name}.*transfer again"):
        TokenMap.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"target_tokens": TARGET[:3]},
        {"target_tokens": 5},
        {"target_tokens": [1, 2, 3, 4, 5]},
        {"sampling": {"distribution": "uniform"}},
        {"sampling": {"nonsense": 1}},
        {"sampling": None},
        {"info": None},
        {"checksum": "0"},
    ],
)
def test_changed_records_are_refused(change, token_map, tmp_path):
    token_map.save(tmp_path)
    path = tmp_path / "token_map.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for key in change:
        path.write_text(json.dumps({**record, **change}), encoding="utf-8")
        with pytest.raises(TokenMapError, match="transfer again"):
            TokenMap.load(tmp_path)
        path.write_text(json.dumps({k: v for k, v in record.items() if k != key}), encoding="utf-8")
        with pytest.raises(TokenMapError, match="transfer again"):
            TokenMap.load(tmp_path)


def test_a_later_version_says_to_update(token_map, tmp_path):
    token_map.save(tmp_path)
    path = tmp_path / "token_map.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "format_version": 2}), encoding="utf-8")
    with pytest.raises(TokenMapError, match="must have format_version 1, got 2; update isthmus or transfer again"):
        TokenMap.load(tmp_path)


@pytest.mark.parametrize(("owner", "function"), [(os, "fsync"), (Path, "replace")])
def test_a_full_disk_keeps_the_old_map(owner, function, token_map, tmp_path):
    token_map.save(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, function, full)
        with pytest.raises(OutputError, match=r"No space left on device.*free space or choose another folder"):
            replace(token_map, info={"method": "new"}).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["token_map.json", "token_map.safetensors"]
    assert TokenMap.load(tmp_path).info == {"method": "집"}


def test_a_folder_that_cannot_be_made_is_reported(token_map, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        token_map.save(tmp_path / "file" / "map")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_of_two_maps_do_not_mix(token_map, tmp_path):
    token_map.save(tmp_path)
    content = (tmp_path / "token_map.safetensors").read_bytes()
    replace(token_map, weights=csr_matrix(DENSE * 0.5)).save(tmp_path)
    (tmp_path / "token_map.safetensors").write_bytes(content)
    with pytest.raises(TokenMapError, match="checksum is not the one"):
        TokenMap.load(tmp_path)
