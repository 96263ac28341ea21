import random

import numpy as np
import pytest

from isthmus.bridge import BridgeVectors, entmax_rows
from isthmus.bridge.entmax import adaptive_rows
from isthmus.errors import BridgeError, InputError, UnknownNameError
from isthmus.initializers import INITIALIZERS, Nearest, RowProblem, SemBridge, create
from isthmus.initializers.base import tokenize_with
from isthmus.token_map import FATES, Fate, TokenMap
from isthmus.vocabulary import Kind, Vocabulary, match
from tests.tokenizers import byte_bpe, unigram, with_holes, wordpiece

SAMPLED = {"random", "gaussian", "multivariate-gaussian"}
# Methods that work on text need some.
NEEDED = {"focus": {"texts": ["house 집 . 학교 학", "houses 집 학교 ."], "space": "ppmi", "min_count": 1}}


def problem_of(target, source=None, *, dim=6, seed=0, vectors=True, as_released=False):
    source = source or wordpiece(["house", "home", "school", "##s", ".", "\ufffd"])
    tokenizers = [tokenize_with(tokenizer) for tokenizer in (source, target)]
    source, target = Vocabulary.from_tokenizer(source), Vocabulary.from_tokenizer(target)
    bridge = None
    if vectors:
        generator = np.random.default_rng(1)
        rows = generator.standard_normal((source.size + target.size, dim)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        bridge = BridgeVectors(rows[: source.size], rows[source.size :], "test")
    overlap = match(target, source, as_released=as_released)
    return RowProblem(
        source, target, overlap, bridge, seed=seed, tokenize_source=tokenizers[0], tokenize_target=tokenizers[1]
    )


def made_by(method, problem):
    return create(method, **NEEDED.get(method, {})).token_map(problem)


def id_of(vocabulary, raw):
    return next(token.id for token in vocabulary.tokens if token.raw == raw)


@pytest.fixture
def problem():
    return problem_of(with_holes(["house", "집", "학교", "##s", "학", "."]))


@pytest.mark.parametrize("method", INITIALIZERS)
def test_every_method_copies_the_overlap_and_says_what_it_did(method, problem):
    made = made_by(method, problem)
    assert isinstance(made, TokenMap)
    assert made.shape == (problem.target.size, problem.source.size)
    copies = np.flatnonzero(problem.overlap.source_ids >= 0)
    assert len(copies) >= 8
    np.testing.assert_array_equal(made.fates[copies], problem.overlap.fates[copies])
    expected = np.zeros((len(copies), problem.source.size))
    expected[np.arange(len(copies)), problem.overlap.source_ids[copies]] = 1
    np.testing.assert_array_equal(made.weights[copies].toarray(), expected)
    assert made.info["method"] == method
    assert made.info["bridge"] == ("test" if INITIALIZERS[method].needs_bridge else None)
    assert made.target_tokens == problem.target.raw_tokens()


@pytest.mark.parametrize("method", INITIALIZERS)
def test_tokens_that_mean_nothing_take_the_mean(method, problem):
    made = made_by(method, problem)
    rows = [token.id for token in problem.target.tokens if token.kind is Kind.UNUSED]
    rows += [id for id in range(problem.target.size) if problem.target.get(id) is None]
    assert len(rows) == 4
    assert {made.fate(row) for row in rows} == {Fate.BACKGROUND}
    array = np.random.default_rng(0).standard_normal((problem.source.size, 3))
    np.testing.assert_allclose(made.apply(array)[rows], [array.mean(axis=0)] * 4)


@pytest.mark.parametrize("method", INITIALIZERS)
def test_new_tokens_get_the_fate_of_the_method(method, problem):
    made = made_by(method, problem)
    expected = Fate.SAMPLED if method in SAMPLED else Fate.BACKGROUND if method == "mean" else Fate.BRIDGED
    assert {made.fate(id_of(problem.target, raw)) for raw in ("집", "학교", "학")} == {expected}


@pytest.mark.parametrize("method", INITIALIZERS)
def test_a_seed_fixes_the_map_whatever_the_global_generators_do(method):
    array = np.random.default_rng(0).standard_normal((11 + 2, 4))
    target = with_holes(["house", "집", "학교"])
    first = made_by(method, problem_of(target, seed=3)).apply(array)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    np.random.rand(7)  # noqa: NPY002
    np.testing.assert_array_equal(made_by(method, problem_of(target, seed=3)).apply(array), first)
    other = made_by(method, problem_of(target, seed=4)).apply(array)
    assert np.array_equal(first, other) == (method not in SAMPLED)


@pytest.mark.parametrize("method", sorted(SAMPLED))
def test_drawn_rows_follow_their_distribution(method):
    words = [f"새{chr(0xAC00 + i)}" for i in range(4000)]
    problem = problem_of(wordpiece(words), wordpiece([f"w{i}" for i in range(500)]), vectors=False)
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((problem.source.size, 3)) @ np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0.1]]) + [
        1,
        0,
        -1,
    ]
    drawn = create(method).token_map(problem).apply(rows)
    drawn = drawn[[id_of(problem.target, word) for word in words]]
    mean, covariance = rows.mean(axis=0), np.cov(rows, rowvar=False)
    if method == "random":
        mean, covariance = np.zeros(3), np.eye(3) * 0.02**2
    elif method == "gaussian":
        covariance = np.diag(np.diag(covariance))
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(np.cov(drawn, rowvar=False) / scale, covariance / scale, atol=0.08)
    np.testing.assert_allclose((drawn.mean(axis=0) - mean) / np.sqrt(np.diag(covariance)), 0, atol=0.06)


def test_sembridge_scales_the_cosines_of_each_kind_to_one_spread():
    words = [f"{first}{second}" for first in "abcdefghijkl" for second in "mnopqrstuvwx"]
    source = wordpiece([*words, *(f"##{word}" for word in words)])
    target = wordpiece(
        [*(word.upper() + "z" for word in words), *(f"##{word.upper()}z" for word in words)], lowercase=False
    )
    problem = problem_of(target, source)
    made, plain = (SemBridge(csls=False, standardize=on).token_map(problem) for on in (True, False))
    for mark in ("", "##"):
        rows = [id_of(problem.target, f"{mark}{word.upper()}z") for word in words]
        columns = [id_of(problem.source, mark + word) for word in words]
        cosines = problem.vectors.target[rows].astype(float) @ problem.vectors.source[columns].astype(float).T
        scaled = entmax_rows(cosines * (0.2 / cosines.std()), 4.0)
        np.testing.assert_allclose(made.weights[rows].toarray()[:, columns], scaled, atol=1e-6)
        np.testing.assert_allclose(plain.weights[rows].toarray()[:, columns], entmax_rows(cosines, 4.0), atol=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 4.0])
def test_sembridge_mixes_by_entmax_over_the_clean_pool(alpha, problem):
    made = SemBridge(alpha=alpha, pool="clean", csls=False, standardize=False).token_map(problem)
    pool = [id_of(problem.source, raw) for raw in ("house", "home", "school", "##s", ".")]
    row = id_of(problem.target, "집")
    similarities = problem.vectors.target[row].astype(float) @ problem.vectors.source[pool].astype(float).T
    np.testing.assert_allclose(
        made.weights[row].toarray()[0, pool], entmax_rows(similarities[None], alpha)[0], atol=1e-9
    )
    assert set(made.weights[row].indices) <= set(pool)


def test_pool_all_holds_every_source_token(problem):
    made = SemBridge(alpha=1.0, pool="all").token_map(problem)
    row = made.weights[id_of(problem.target, "집")]
    assert sorted(row.indices) == [token.id for token in problem.source.tokens]


@pytest.mark.parametrize("method", ["sembridge", "nearest"])
def test_pool_kind_makes_pieces_of_pieces(method):
    problem = problem_of(
        wordpiece(["집", "학교", "##s", "##에", "##는"]), wordpiece(["house", "home", "##ing", "##s", "."])
    )
    options = {"alpha": 1.0} if method == "sembridge" else {}
    made = create(method, pool="kind", **options).token_map(problem)
    pieces, others = (
        {id_of(problem.source, raw) for raw in raws} for raws in (("##ing", "##s"), ("house", "home", "."))
    )
    for raw, allowed in (("##에", pieces), ("##는", pieces), ("집", others), ("학교", others)):
        row = made.weights[id_of(problem.target, raw)]
        assert set(row.indices) == allowed if options else set(row.indices) < allowed
        assert row.sum() == pytest.approx(1)
    # Where the source has no pieces, everything is made of what there is.
    without = problem_of(wordpiece(["집", "##에"]), wordpiece(["house", "home"]))
    made, clean = (create(method, pool=pool).token_map(without) for pool in ("kind", "clean"))
    np.testing.assert_array_equal(made.weights.toarray(), clean.weights.toarray())


@pytest.mark.parametrize("method", ["sembridge", "nearest"])
def test_pool_kind_of_one_kind_of_token(method):
    problem = problem_of(wordpiece(["집", "학교"]), wordpiece(["house", "##s"]))
    made = create(method, pool="kind").token_map(problem)
    assert set(made.weights[id_of(problem.target, "집")].indices) == {id_of(problem.source, "house")}


def test_nearest_is_the_limit_of_sembridge(problem):
    nearest, sharp = Nearest().token_map(problem), SemBridge(alpha=1e6, csls=False).token_map(problem)
    np.testing.assert_allclose(nearest.weights.toarray(), sharp.weights.toarray(), atol=1e-12)
    everything = Nearest(pool="all").token_map(problem)
    row = id_of(problem.target, "학교")
    best = (problem.vectors.source @ problem.vectors.target[row]).argmax()
    np.testing.assert_array_equal(everything.weights[row].indices, [best])


def test_bytes_and_broken_pieces_are_left_to_the_background():
    problem = problem_of(byte_bpe(["Ġhouse", "Ġì§ĳ", "ì§"]))
    made = SemBridge().token_map(problem)
    assert made.fate(id_of(problem.target, "Ġì§ĳ")) is Fate.BRIDGED
    assert made.fate(id_of(problem.target, "ì§")) is Fate.BACKGROUND
    assert made.fate(id_of(problem.target, "Ġhouse")) is Fate.EXACT
    assert Fate.BACKGROUND in {made.fate(token.id) for token in problem.target.tokens if token.kind is Kind.BYTE}


def test_as_released_mixes_all_tokens_from_all_tokens():
    problem = problem_of(byte_bpe(["Ġì§ĳ", "ì§"]), as_released=True)
    made = SemBridge(alpha=1.0, as_released=True).token_map(problem)
    assert made.info["options"]["csls"] is False
    free = [token.id for token in problem.target.tokens if problem.overlap.source_ids[token.id] < 0]
    assert {made.fate(row) for row in free} == {Fate.BRIDGED}
    assert len(made.weights[id_of(problem.target, "Ġì§ĳ")].indices) == len(problem.source)


def test_special_tokens_without_a_counterpart_take_the_background():
    source = unigram(["▁house"])
    target = wordpiece(["집"])
    target.add_special_tokens({"additional_special_tokens": ["<extra>"]})
    problem = problem_of(target, source)
    made = SemBridge().token_map(problem)
    assert made.fate(id_of(problem.target, "<extra>")) is Fate.BACKGROUND
    assert made.fate(id_of(problem.target, "[CLS]")) is Fate.SPECIAL


def test_tokens_the_bridge_does_not_know_are_left_out(problem):
    problem.vectors.target[id_of(problem.target, "집")] = 0
    problem.vectors.source[id_of(problem.source, "home")] = 0
    for made in (SemBridge(alpha=1.0).token_map(problem), Nearest().token_map(problem)):
        assert made.fate(id_of(problem.target, "집")) is Fate.BACKGROUND
        assert made.fate(id_of(problem.target, "학교")) is Fate.BRIDGED
        assert made.used_by("home") == []
    problem.vectors.source[:] = 0
    with pytest.raises(BridgeError, match="at least one source token"):
        SemBridge().token_map(problem)


def test_everything_copied_needs_no_background():
    problem = problem_of(wordpiece(["house"], unused=0), wordpiece(["house"], unused=0))
    for method in INITIALIZERS:
        made = made_by(method, problem)
        assert made.background is None
        assert set(made.fates) <= {FATES.index(Fate.EXACT), FATES.index(Fate.SPECIAL)}


def test_methods_and_options_are_checked():
    with pytest.raises(UnknownNameError, match=r"method must be one of .*sembridge.*; got 'wechsel'"):
        create("wechsel")
    with pytest.raises(
        InputError, match=r"options of sembridge must be among alpha, .*as_released, .*, got beta, gamma"
    ):
        create("sembridge", gamma=1, beta=2)
    with pytest.raises(InputError, match="it has no options"):
        create("mean", alpha=2.0)
    with pytest.raises(InputError, match="alpha must be finite and at least 1"):
        create("sembridge", alpha=0.5)
    with pytest.raises(InputError, match="pool must be one of all, clean, kind, got 'dirty'"):
        create("nearest", pool="dirty")
    with pytest.raises(InputError, match="std must be finite and above 0"):
        create("random", std=0.0)


def test_registry_names_agree():
    for name, method in INITIALIZERS.items():
        assert method.name == name
        assert method.summary
        assert create(name, **NEEDED.get(name, {})) == create(name, **NEEDED.get(name, {}))


@pytest.mark.parametrize("method", ["sembridge", "nearest", "ofa"])
def test_missing_or_foreign_vectors_are_refused(method, problem):
    with pytest.raises(InputError, match=f"{method} must have bridge vectors, got None"):
        create(method).token_map(problem_of(wordpiece(["집"]), vectors=False))
    other = Vocabulary.from_tokenizer(wordpiece(["집"]))
    with pytest.raises(BridgeError, match="one row per id"):
        RowProblem(problem.source, other, match(other, problem.source), problem.vectors)
    with pytest.raises(InputError, match="overlap must have one entry per target id"):
        RowProblem(problem.source, other, problem.overlap)


def test_sembridge_adapts_alpha_and_corrects_for_hubs(problem):
    plain = SemBridge().token_map(problem)
    assert SemBridge(margin=0.3).token_map(problem).weights.toarray().tolist() == plain.weights.toarray().tolist()
    pool = [id_of(problem.source, raw) for raw in ("house", "home", "school", "##s", ".")]
    rows = [id_of(problem.target, raw) for raw in ("집", "학교", "학")]
    cosines = problem.vectors.target[rows].astype(float) @ problem.vectors.source[pool].astype(float).T
    scores = 2 * cosines - cosines.mean(axis=0)
    for options, expected in (
        ({"csls": False, "standardize": False}, entmax_rows(cosines, 4.0)),
        ({"adaptive": True, "margin": 0.4, "csls": False}, adaptive_rows(cosines, 0.4)[0]),
        ({"standardize": False}, entmax_rows(scores, 4.0)),
        ({}, entmax_rows(scores, 4.0)),
        ({"adaptive": True}, adaptive_rows(scores, 0.05)[0]),
    ):
        made = SemBridge(pool="clean", **options).token_map(problem)
        np.testing.assert_allclose(made.weights[rows].toarray()[:, pool], expected, atol=1e-6)
        assert made.info["options"].items() >= options.items()
    with pytest.raises(InputError, match="margin must be finite and above 0"):
        create("sembridge", margin=0.0)
