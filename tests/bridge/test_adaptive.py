import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from isthmus.bridge import bridge_weights, entmax_rows
from isthmus.bridge.candidates import crowding, top_sources
from isthmus.bridge.entmax import adaptive_rows
from isthmus.errors import BridgeError, InputError

VALUES = st.one_of(st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]), st.floats(-1, 1, width=32, allow_subnormal=False))
SCORES = st.tuples(st.integers(1, 4), st.integers(1, 40)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=VALUES)
)


def unit(seed, rows, dim):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def products(target, source):
    return target.astype(np.float64) @ source.astype(np.float64).T


def literal_alpha(row, margin, least):
    """The smallest alpha on a fine grid under which one more score, a margin below the best, would get no weight."""
    row = np.append(row, row.max() - margin)
    for alpha in np.geomspace(least, 1 + 1 / margin, 4000):
        if entmax_rows(row[None], alpha)[0, -1] == 0:
            return alpha
    return 1 + 1 / margin


def literal_csls(target, source, count):
    """CSLS as written down (arXiv 1710.04087, equation 4), one pair at a time."""
    cosines = products(target, source)
    scores = np.empty_like(cosines)
    for i in range(len(target)):
        for j in range(len(source)):
            near_x, near_y = sorted(cosines[i])[-count:], sorted(cosines[:, j])[-count:]
            scores[i, j] = 2 * cosines[i, j] - np.mean(near_x) - np.mean(near_y)
    return scores


@given(scores=SCORES, margin=st.sampled_from([0.01, 0.05, 0.3, 1.0, 3.0]), least=st.sampled_from([1.5, 2.0, 4.0]))
@settings(max_examples=80, deadline=None)
def test_adaptive_weights_are_the_entmax_of_their_alpha(scores, margin, least):
    weights, alphas = adaptive_rows(scores, margin, least)
    assert (alphas >= least).all()
    assert (alphas <= max(least, 1 + 1 / margin) + 1e-9).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    for row, values, alpha in zip(weights, scores, alphas, strict=True):
        # Scores a rounding error from the margin may have a weight in one and none in the other.
        edge = np.abs(values - values.max() + margin) < 1e-9
        if not edge.any():
            np.testing.assert_allclose(row, entmax_rows(values[None], alpha)[0], atol=1e-6)
        inside = values > values.max() - margin
        assert not row[~inside & ~edge].any()
        if alpha > least:
            assert row[inside & ~edge].all()


def test_adaptive_alpha_is_the_smallest_that_stays_within_the_margin():
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.3, 0.9, (12, 30))
    alphas = adaptive_rows(scores, 0.05, 1.5)[1]
    expected = [literal_alpha(row, 0.05, 1.5) for row in scores]
    assert len(set(np.round(alphas, 3))) > 5
    np.testing.assert_allclose(alphas, expected, rtol=1e-3)


def test_a_clear_winner_stands_alone_and_a_flat_row_keeps_more():
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.9, 0.89, 0.88, 0.6], [0.9, 0.9, 0.9, 0.9]])
    weights, alphas = adaptive_rows(scores, 0.05)
    assert (weights > 0).sum(axis=1).tolist() == [1, 3, 4]
    assert alphas[0] == pytest.approx(21)
    assert alphas[0] > alphas[1] > alphas[2] > 2
    np.testing.assert_allclose(weights[2], 0.25)


def test_a_row_of_hundreds_ends_before_the_margin():
    scores = 1 - np.linspace(0, 0.049, 400)[None]
    weights, alphas = adaptive_rows(scores, 0.05)
    assert alphas.tolist() == [2.0]
    np.testing.assert_array_equal(weights, entmax_rows(scores, 2.0))
    assert 1 < (weights > 0).sum() < 400


@pytest.mark.parametrize("csls", [None, 3])
@pytest.mark.parametrize("margin", [None, 0.05, 0.4])
@pytest.mark.parametrize("block", [3, 512])
def test_blocks_give_the_same_as_all_similarities_at_once(csls, margin, block):
    target, source = unit(0, 40, 8), unit(1, 300, 8)
    pool = np.random.default_rng(2).permutation(300)[:200]
    got = bridge_weights(target, source, 2.0, candidates=pool, margin=margin, csls=csls, block=block).toarray()
    scores = products(target, source[pool]) if csls is None else literal_csls(target, source[pool], csls)
    expected = np.zeros_like(got)
    expected[:, pool] = entmax_rows(scores, 2.0) if margin is None else adaptive_rows(scores, margin)[0]
    np.testing.assert_allclose(got, expected, atol=1e-9)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 4.0, 50.0])
def test_csls_is_exact_for_every_alpha_and_for_vectors_of_any_length(alpha):
    target, source = unit(3, 30, 6), unit(4, 120, 6)
    expected = entmax_rows(literal_csls(target, source, 10), alpha)
    got = bridge_weights(target, source, alpha, csls=10).toarray()
    np.testing.assert_allclose(got, expected, atol=2e-8 if alpha < 50 else 1e-6)
    longer = bridge_weights(target * 3, source * 0.5, alpha, csls=10).toarray()
    np.testing.assert_allclose(longer, got, atol=1e-4)


def test_csls_takes_weight_from_hubs():
    # The hub is nearest to every target row; each also has a source token of its own, almost as near.
    target = np.eye(5)[:4] + 0.3
    source = np.vstack([np.eye(5)[:4] * 0.6 + 0.3, np.full(5, 1.0)])
    plain, corrected = (bridge_weights(target, source, 3.0, csls=count).toarray() for count in (None, 4))
    assert (corrected[:, 4] < plain[:, 4]).all()
    assert (corrected.argmax(axis=1) == np.arange(4)).all()


def test_crowding_with_few_rows_and_none():
    target, source = unit(0, 2, 4), unit(1, 5, 4)
    np.testing.assert_allclose(crowding(target, source, 10), products(target, source).mean(axis=0), atol=1e-12)
    only = crowding(target, source, 1, candidates=np.array([1, 3]))
    np.testing.assert_allclose(only[[1, 3]], products(target, source).max(axis=0)[[1, 3]], atol=1e-12)
    assert not only[[0, 2, 4]].any()
    assert not crowding(target[:0], source, 10).any()
    assert bridge_weights(target[:0], source, 2.0, csls=10, margin=0.1).shape == (0, 5)


@given(count=st.integers(1, 30), seed=st.integers(0, 5), block=st.sampled_from([1, 7, 512]))
@settings(max_examples=40, deadline=None)
def test_top_sources_equal_a_full_sort(count, seed, block):
    target, source = unit(seed, 20, 5), unit(seed + 100, 25, 5)
    source[7] = source[3]
    pool = np.random.default_rng(seed).permutation(25)[:18]
    ids, cosines = top_sources(target, source, count, candidates=pool, block=block)
    scores, pool = products(target, source), np.sort(pool)
    assert ids.shape == cosines.shape == (20, min(count, 18))
    for row, found in enumerate(ids):
        order = pool[np.argsort(-scores[row, pool], kind="stable")][:count]
        np.testing.assert_array_equal(found, order)
        np.testing.assert_allclose(cosines[row], scores[row, order], atol=1e-12)


def test_top_sources_among_more_candidates_than_groups():
    target, source = unit(0, 9, 3), unit(1, 5000, 3)
    ids, cosines = top_sources(target, source, 20)
    scores = products(target, source)
    np.testing.assert_array_equal(ids, np.argsort(-scores, axis=1, kind="stable")[:, :20])
    np.testing.assert_allclose(cosines, -np.sort(-scores, axis=1)[:, :20], atol=1e-12)


def test_arguments_are_checked():
    target, source = unit(0, 3, 4), unit(1, 3, 4)
    for margin in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="margin must be finite and above 0"):
            bridge_weights(target, source, 2.0, margin=margin)
    with pytest.raises(InputError, match="alpha must be above 1 with a margin"):
        adaptive_rows(np.ones((1, 2)), 0.1, 1.0)
    with pytest.raises(InputError, match="CSLS must have at least 1 neighbour, got 0"):
        bridge_weights(target, source, 2.0, csls=0)
    with pytest.raises(InputError, match="count must be at least 1, got 0"):
        top_sources(target, source, 0)
    with pytest.raises(BridgeError, match="finite and not zero"):
        bridge_weights(target, np.zeros_like(source), 2.0, csls=2)
