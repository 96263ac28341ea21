import tracemalloc

import numpy as np
import pytest
import torch
from entmax import entmax15, entmax_bisect, sparsemax
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from isthmus.bridge import best_sources, bridge_weights, entmax, entmax_rows
from isthmus.errors import BridgeError, InputError

ALPHAS = (1.5, 2.0, 2.5, 3.0, 4.0)
# Few distinct values make ties and supports that end exactly at a tie; 1/3, 1/2 and 2/3 are where alpha 4, 3, 2.5 cut.
VALUES = st.one_of(
    st.sampled_from([-1.0, -0.5, 0.0, 1 / 3, 0.5, 2 / 3, 0.8, 0.9, 1.0]),
    st.floats(-1, 1, width=32, allow_subnormal=False),
)
SCORES = st.tuples(st.integers(1, 4), st.integers(1, 40)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=VALUES)
)


def reference(scores, alpha):
    """The package's bisection in float64, run a second time with the threshold moved to zero.

    At alpha 4 a weight is the cube root of the distance to the threshold, so a threshold near -1 with its rounding of
    1e-16 leaves an error of 5e-6 in weights that should vanish. Entmax does not change when all scores move.
    """
    x = torch.from_numpy(np.asarray(scores, dtype=np.float64))
    heaviest = entmax_bisect(x, alpha, n_iter=100).max(dim=-1, keepdim=True).values
    x = x - (x.max(dim=-1, keepdim=True).values - heaviest ** (alpha - 1) / (alpha - 1))
    return entmax_bisect(x, alpha, n_iter=200).numpy()


def unit(seed, rows, dim):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def products(target, source):
    """Vectors of unit length up to float32 rounding: their dot products count as cosines."""
    return target.astype(np.float64) @ source.astype(np.float64).T


def cosines(target, source):
    target, source = target.astype(np.float64), source.astype(np.float64)
    norms = np.linalg.norm(target, axis=1)[:, None] * np.linalg.norm(source, axis=1)
    return target @ source.T / norms


@pytest.mark.parametrize("alpha", ALPHAS)
@given(scores=SCORES)
@settings(max_examples=60, deadline=None)
def test_rows_equal_the_entmax_package(alpha, scores):
    weights = entmax_rows(scores, alpha)
    # A score that is rounded near the threshold moves its weight by the (alpha - 1)-th root of the rounding.
    rounding = 8 * np.finfo(np.float64).eps * max(1.0, np.abs(scores).max()) * alpha
    tolerance = max(1e-6, rounding ** (1 / (alpha - 1))) if alpha > 1 else 1e-6
    np.testing.assert_allclose(weights, reference(scores, alpha), atol=tolerance, rtol=0)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)


def test_rows_equal_the_closed_forms():
    scores = np.random.default_rng(0).uniform(-1, 1, (50, 200))
    x = torch.from_numpy(scores)
    np.testing.assert_allclose(entmax_rows(scores, 2.0), sparsemax(x).numpy(), atol=1e-9)
    np.testing.assert_allclose(entmax_rows(scores, 1.5), entmax15(x).numpy(), atol=1e-9)
    np.testing.assert_allclose(entmax_rows(scores, 1.0), torch.softmax(x, dim=1).numpy(), atol=1e-12)


@given(scores=SCORES, alpha=st.sampled_from([1.0, 1.001, 1.1, *ALPHAS, 8.0, 50.0, 1e4]))
@settings(max_examples=60, deadline=None)
def test_rows_have_the_properties_of_entmax(scores, alpha):
    weights = entmax_rows(scores, alpha)
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    for row, values in zip(weights, scores, strict=True):
        order = np.argsort(values)
        assert (np.diff(row[order]) >= -1e-15).all(), "a better score must not weigh less"
        for value in np.unique(values):
            assert np.ptp(row[values == value]) == 0, "equal scores must weigh the same"


def test_a_score_just_inside_the_support_keeps_its_small_weight():
    # Exact solution by hand at alpha 4: (b + y)^(1/3) + y^(1/3) = 1 with y = 1e-15 and so y^(1/3) = 1e-5.
    smallest = 1e-5
    scores = np.array([[((1 - smallest) ** 3 - smallest**3) / 3, 0.0]])
    np.testing.assert_allclose(entmax_rows(scores, 4.0), [[1 - smallest, smallest]], rtol=1e-9)


@pytest.mark.parametrize("alpha", [1.0, *ALPHAS])
def test_one_candidate_takes_all(alpha):
    np.testing.assert_array_equal(entmax_rows(np.array([[-0.7], [0.2]]), alpha), [[1.0], [1.0]])
    weights = bridge_weights(unit(0, 3, 4), -unit(0, 3, 4), alpha, candidates=np.array([2]))
    np.testing.assert_array_equal(weights.toarray(), [[0, 0, 1]] * 3)


@pytest.mark.parametrize("alpha", ALPHAS)
@given(
    target=arrays(np.float32, st.tuples(st.integers(1, 6), st.just(3)), elements=st.integers(-2, 2).map(float)),
    source=arrays(np.float32, st.tuples(st.integers(1, 30), st.just(3)), elements=st.integers(-2, 2).map(float)),
    top_k=st.sampled_from([1, 2, 64]),
    block=st.sampled_from([1, 4, 512]),
)
@settings(max_examples=40, deadline=None)
def test_bridge_weights_equal_the_full_entmax(alpha, target, source, top_k, block):
    """Small integer vectors: many equal rows, ties wherever a cut can fall, negative cosines."""
    target[~target.any(axis=1)] = 1
    source[~source.any(axis=1)] = 1
    weights = bridge_weights(target, source, alpha, top_k=top_k, block=block).toarray()
    np.testing.assert_allclose(weights, reference(cosines(target, source), alpha), atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", [1.0, *ALPHAS, 30.0])
def test_speed_settings_do_not_change_the_result(alpha, monkeypatch):
    target, source = unit(1, 50, 8), unit(2, 400, 8)
    expected = bridge_weights(target, source, alpha)
    for groups, top_k, block in ((1024, 1, 7), (16, 1, 50), (16, 16, 3), (3, 2, 512)):
        monkeypatch.setattr(entmax, "GROUPS", groups)
        weights = bridge_weights(target, source, alpha, top_k=top_k, block=block)
        np.testing.assert_allclose(weights.toarray(), expected.toarray(), atol=1e-12, rtol=0)
    np.testing.assert_allclose(expected.toarray(), entmax_rows(products(target, source), alpha), atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", ALPHAS)
@given(similarities=arrays(np.float32, (5, 60), elements=st.floats(-1, 1, width=32)), top_k=st.sampled_from([1, 3, 64]))
@settings(max_examples=40, deadline=None)
def test_the_bound_is_a_certificate(alpha, similarities, top_k):
    """Nothing at or below it has weight: that is what allows everything else to be dropped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entmax, "GROUPS", 16)
        bound = entmax._bound(similarities, alpha, top_k)
    weights = entmax_rows(similarities.astype(np.float64), alpha)
    assert weights[similarities < bound[:, None] - 1e-7].sum() < 1e-5
    assert (bound < similarities.max(axis=1)).all()


def test_candidates_are_the_only_tokens_with_weight():
    target, source = unit(1, 20, 8), unit(2, 100, 8)
    ids = np.array([90, 3, 17, 41, 8])
    weights = bridge_weights(target, source, 2.0, candidates=ids)
    assert weights.shape == (20, 100)
    np.testing.assert_allclose(weights.toarray()[:, ids], entmax_rows(products(target, source[ids]), 2.0), atol=1e-12)
    assert set(weights.indices) <= set(ids)
    assert weights.has_sorted_indices


def test_rows_that_are_not_of_unit_length_are_scaled():
    target, source = unit(1, 9, 8), unit(2, 30, 8)
    scaled = bridge_weights(target * np.float32(8), source * np.arange(1, 31, dtype=np.float32)[:, None], 4.0)
    np.testing.assert_allclose(scaled.toarray(), bridge_weights(target, source, 4.0).toarray(), atol=1e-3)


def test_float32_noise_does_not_reach_the_weights():
    """At alpha 4 cosines from a float32 product would move weights by 1e-3: they must come from float64."""
    target, source = unit(1, 40, 512), unit(2, 2000, 512)
    weights = bridge_weights(target, source, 4.0)
    np.testing.assert_allclose(weights.toarray(), reference(products(target, source), 4.0), atol=1e-6)


def test_no_rows_give_an_empty_matrix():
    assert bridge_weights(np.empty((0, 4), np.float32), unit(0, 5, 4), 4.0).shape == (0, 5)
    assert [len(part) for part in best_sources(np.empty((0, 4), np.float32), unit(0, 5, 4))] == [0, 0]


def test_type_of_the_weights():
    weights = bridge_weights(unit(1, 5, 4), unit(2, 9, 4), 4.0, dtype=np.float32)
    assert weights.dtype == np.float32


def test_the_similarity_matrix_is_never_whole():
    target, source = unit(1, 4000, 8), unit(2, 3000, 8)
    tracemalloc.start()
    bridge_weights(target, source, 4.0, block=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4000 * 3000 * 4 / 4


def test_best_sources():
    target, source = unit(1, 30, 6), unit(2, 200, 6)
    source[150] = source[20]
    target[0] = source[150]
    ids, similarities = best_sources(target, source, block=7)
    expected = cosines(target, source)
    assert ids[0] == 20
    np.testing.assert_array_equal(ids, expected.argmax(axis=1))
    np.testing.assert_allclose(similarities, expected.max(axis=1), atol=1e-7)
    only, _ = best_sources(target, source, candidates=np.array([5, 150]))
    assert set(only) <= {5, 150}
    assert only[0] == 150


@pytest.mark.parametrize("alpha", [0.99, -1.0, float("nan"), float("inf")])
def test_alpha_is_checked(alpha):
    with pytest.raises(InputError, match="alpha must be finite and at least 1"):
        entmax_rows(np.zeros((1, 2)), alpha)
    with pytest.raises(InputError, match="alpha must be finite and at least 1"):
        bridge_weights(unit(0, 1, 2), unit(0, 1, 2), alpha)


@pytest.mark.parametrize(
    ("scores", "match"),
    [
        (np.zeros(3), "shape"),
        (np.zeros((2, 0)), "shape"),
        (np.array([[np.nan, 1]]), "finite"),
        (np.array([[-np.inf, 1]]), "finite"),
    ],
)
def test_scores_are_checked(scores, match):
    with pytest.raises(InputError, match=match):
        entmax_rows(scores, 2.0)


def test_arguments_are_checked():
    target, source = unit(0, 2, 3), unit(1, 4, 3)
    for candidates in ([], [4], [-1], [1, 1]):
        with pytest.raises(InputError, match="candidates must"):
            bridge_weights(target, source, 2.0, candidates=np.array(candidates, dtype=np.int64))
    with pytest.raises(InputError, match="top_k"):
        bridge_weights(target, source, 2.0, top_k=0)
    with pytest.raises(InputError, match="block"):
        bridge_weights(target, source, 2.0, block=0)
    with pytest.raises(BridgeError, match="share their dimension"):
        bridge_weights(target, unit(1, 4, 5), 2.0)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_bad_vectors_are_named(value):
    target, source = unit(0, 5, 3), unit(1, 4, 3)
    source[2] = value
    with pytest.raises(BridgeError, match=r"source vectors must be finite and not zero, got 1 .* row 2"):
        bridge_weights(target, source, 2.0)
    bridge_weights(target, source, 2.0, candidates=np.array([0, 1, 3]))
