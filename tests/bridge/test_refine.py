"""A bridge made fit: shared directions taken off, and token vectors learned from sentences."""

import numpy as np
import pytest

from isthmus.bridge import BridgeVectors, add_sentences, bridge_weights, entmax_rows, refine_vectors
from isthmus.bridge.candidates import cosine_moments
from isthmus.bridge.embed import Sentences, unit_rows
from isthmus.bridge.entmax import standard_scale
from isthmus.bridge.options import choose_sentences
from isthmus.bridge.refine import LEAST_TOKENS, centre
from isthmus.bridge.sentences import LEAST_FACTOR, RIDGE, learn_vectors
from isthmus.errors import InputError
from isthmus.vocabulary import Vocabulary
from tests.bridge.test_embed import LETTERS, counted, static_bridge
from tests.tokenizers import wordpiece

SYLLABLES = [chr(code) for code in range(0xAC00, 0xAC00 + LEAST_TOKENS)]


def rows_of(seed, count, dim=16, shift=None):
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return unit_rows(rows if shift is None else rows + shift)


def test_centring_takes_the_mean_of_each_script_off():
    shift = np.array([[6.0] + [0] * 15, [0, 6.0] + [0] * 14], dtype=np.float32)
    matrix = np.vstack(
        [rows_of(0, 300, shift=shift[0]), rows_of(1, 300, shift=shift[1]), np.zeros((2, 16), np.float32)]
    )
    scripts = ["LATIN"] * 300 + ["HANGUL"] * 300 + ["LATIN", None]
    rows, own = centre(matrix, scripts)
    assert sorted(own) == ["HANGUL", "LATIN"]
    for part in (slice(0, 300), slice(300, 600)):
        expected = matrix[part].astype(np.float64) - matrix[part].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(rows[part], unit_rows(expected), atol=1e-5)
    assert not rows[600:].any(), "what the bridge does not know stays unknown"
    assert cosine_moments(matrix[:300], matrix[300:600])[0] < 0.05 < cosine_moments(matrix[:300], matrix[:300])[0]


def test_small_scripts_are_centred_together_where_they_are_enough():
    matrix = np.vstack([rows_of(0, LEAST_TOKENS), rows_of(1, LEAST_TOKENS - 5), rows_of(2, 5)])
    scripts = ["LATIN"] * LEAST_TOKENS + ["THAI"] * (LEAST_TOKENS - 5) + [None] * 5
    rows, own = centre(matrix, scripts)
    assert sorted(own) == ["LATIN", "other"]
    rest = matrix[LEAST_TOKENS:].astype(np.float64)
    np.testing.assert_allclose(rows[LEAST_TOKENS:], unit_rows(rest - rest.mean(axis=0)), atol=1e-5)


def test_a_few_rows_lose_the_mean_of_all():
    # Their own would make two rows opposites.
    matrix = np.vstack([rows_of(0, LEAST_TOKENS), rows_of(1, 2)])
    rows, own = centre(matrix, ["LATIN"] * LEAST_TOKENS + [None] * 2)
    assert own == ["LATIN"]
    few = matrix[LEAST_TOKENS:].astype(np.float64) - matrix.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(rows[LEAST_TOKENS:], unit_rows(few), atol=1e-5)
    alone, own = centre(matrix[:1], ["LATIN"])
    assert own == []
    np.testing.assert_allclose(alone, matrix[:1], atol=1e-6)


def test_equal_vectors_mean_nothing_after_centring():
    rows, _ = centre(np.repeat(rows_of(0, 1), 300, axis=0), ["LATIN"] * 300)
    assert not rows.any(), "what all share was all there was"


def test_moments_are_those_of_all_pairs():
    target, source = rows_of(0, 70, shift=0.5), rows_of(1, 90, shift=0.5)
    cosines = target.astype(np.float64) @ source.astype(np.float64).T
    mean, spread = cosine_moments(3 * target, source)
    assert (mean, spread) == (pytest.approx(cosines.mean()), pytest.approx(cosines.std()))
    assert cosine_moments(target[:1], target[:1])[1] == pytest.approx(0, abs=1e-7)
    assert cosine_moments(target[:0], source) == (0, 0)


@pytest.mark.parametrize("csls", [None, 3])
def test_standardised_weights_do_not_depend_on_how_close_all_cosines_lie(csls):
    # A direction that all share moves every cosine to 1 and their spread to nothing, but not their order.
    target, source = rows_of(0, 140), rows_of(1, 160)
    scale = standard_scale(target, source)
    weights = bridge_weights(target, source, 4.0, csls=csls, scale=scale)
    cosines = target.astype(np.float64) @ source.astype(np.float64).T
    assert scale == pytest.approx(0.2 / cosines.std())
    if csls is None:
        np.testing.assert_allclose(weights.toarray(), entmax_rows(scale * cosines, 4.0), atol=1e-5)
    wide = [np.hstack([rows, np.full((len(rows), 1), 5, np.float32)]) for rows in (target, source)]
    again = bridge_weights(*wide, 4.0, csls=csls, scale=standard_scale(*wide))
    np.testing.assert_allclose(again.toarray(), weights.toarray(), atol=1e-3)
    assert bridge_weights(*wide, 4.0, csls=csls).nnz > 2 * weights.nnz


def test_what_says_nothing_of_a_spread_is_not_scaled():
    same = np.repeat(rows_of(0, 1), 200, axis=0)
    assert standard_scale(same, same) == 1
    assert standard_scale(rows_of(0, 3), rows_of(1, 200)) == 1
    with_zeros = np.vstack([rows_of(0, 200), np.zeros((50, 16), np.float32)])
    assert standard_scale(with_zeros, rows_of(1, 200)) == standard_scale(rows_of(0, 200), rows_of(1, 200))


def test_learning_solves_the_ridge_regression():
    alone = rows_of(0, 30, dim=4)
    alone[29] = 0
    generator = np.random.default_rng(1)
    ids = [generator.integers(0, 25, generator.integers(1, 9)).tolist() for _ in range(400)] + [[], [29]]
    sentences = rows_of(2, len(ids), dim=4)
    learned = learn_vectors(alone, ids, sentences)
    # The normal equations, solved whole.
    kept = [row for row, found in enumerate(ids) if any(id != 29 for id in found)]
    shares = np.zeros((len(kept), 30))
    for place, row in enumerate(kept):
        for id in ids[row]:
            shares[place, id] += 1 / len(ids[row])
    means = shares @ alone
    wanted = sentences[kept].astype(np.float64)
    centred = means - means.mean(axis=0)
    factor = max((centred * wanted).sum() / (centred**2).sum(), LEAST_FACTOR)
    moved = np.linalg.solve(shares.T @ shares + RIDGE * np.eye(30), shares.T @ (wanted - factor * means))
    np.testing.assert_allclose(learned[:25], unit_rows(factor * alone + moved)[:25], atol=2e-3)
    np.testing.assert_allclose(learned[25:29], alone[25:29], atol=1e-6, err_msg="in no sentence")
    assert not learned[29].any(), "unknown to the bridge"


def test_sentences_teach_what_single_tokens_do_not_tell():
    generator = np.random.default_rng(0)
    truth, misled = rows_of(1, 50), rows_of(2, 50)
    ids = [generator.choice(50, 6, replace=False).tolist() for _ in range(3000)]
    sentences = unit_rows(np.stack([truth[found].mean(axis=0) for found in ids]))
    learned = learn_vectors(misled, ids, sentences)
    assert (misled * truth).sum(axis=1).mean() < 0.3
    assert (learned * truth).sum(axis=1).mean() > 0.9


def test_texts_are_cut_deduplicated_and_drawn():
    texts = [f"sentence number {i} " + "word " * 50 for i in range(1500)] * 2 + ["", "  "]
    chosen = choose_sentences(texts, 0)
    assert len(chosen) == 1500
    assert max(map(len, chosen)) <= 160
    assert not any(text.endswith(" ") for text in chosen)
    many = [f"sentence {i}" for i in range(13_000)]
    assert len(choose_sentences(many, 0)) == 12_000
    assert choose_sentences(many, 0) == choose_sentences(many, 0) != choose_sentences(many, 1)
    with pytest.raises(InputError, match="at least 1,000 distinct ones a language, got 2"):
        choose_sentences(["one", "two", "one"], 0)


def test_sentences_are_embedded_once_with_the_prompt_of_queries(tmp_path):
    bridge = static_bridge()
    bridge.prompts = {"query": "q/"}
    texts = [f"{first}{second}" for first in LETTERS for second in LETTERS]
    vectors = BridgeVectors(rows_of(0, 3, dim=8), rows_of(1, 3, dim=8), "x")
    seen = counted(bridge)
    made = add_sentences(vectors, bridge, bridge_texts=texts, cache_folder=tmp_path)
    assert made.sentences[0] is None
    assert made.sentences[1].texts == list(dict.fromkeys(texts))
    expected = bridge.encode(made.sentences[1].texts, prompt="q/", normalize_embeddings=True)
    np.testing.assert_allclose(made.sentences[1].vectors, expected, atol=1e-6)
    seen.clear()
    again = add_sentences(vectors, bridge, bridge_texts=texts, cache_folder=tmp_path)
    assert not seen
    np.testing.assert_array_equal(again.sentences[1].vectors, made.sentences[1].vectors)
    assert add_sentences(vectors, bridge) is vectors


def test_refining_says_what_was_done():
    source = wordpiece([f"{first}{second}" for first in "abcdefghijklmnop" for second in "abcdefghijklmnop"])
    target = wordpiece(SYLLABLES, lowercase=False)
    vocabularies = [Vocabulary.from_tokenizer(tokenizer) for tokenizer in (source, target)]
    matrices = [rows_of(seed, vocabulary.size, shift=2.0) for seed, vocabulary in enumerate(vocabularies)]
    texts = [f"{a} {b}" for a in SYLLABLES[:40] for b in SYLLABLES[40:80]]
    vectors = BridgeVectors(*matrices, "x", (None, Sentences(texts, rows_of(3, len(texts)))))

    def tokenize(found):
        return target(list(found), add_special_tokens=False)["input_ids"]

    refined, done = refine_vectors(vectors, *vocabularies, tokenize, tokenize)
    assert done.centred == {"source": ["LATIN"], "target": ["HANGUL"]}
    assert done.mean > 0.5
    assert done.refined_spread > 2 * done.spread
    assert done.texts == {"target": len(texts)} == done.to_dict()["texts"]
    assert done.describe() == f"bridge centred, taught by {len(texts):,} target sentences"
    plain, _ = refine_vectors(BridgeVectors(*matrices, "x"), *vocabularies)
    np.testing.assert_array_equal(refined.source, plain.source)
    apart = BridgeVectors(*(rows_of(seed, vocabulary.size) for seed, vocabulary in enumerate(vocabularies)), "x")
    same, nothing = refine_vectors(apart, *vocabularies)
    assert same is apart, "tokens that share nothing have nothing to lose"
    assert (nothing.centred, nothing.describe(), nothing.spread) == ({}, "", nothing.refined_spread)
    moved = np.abs(refined.target - plain.target).max(axis=1) > 0.1
    taught = [vocabularies[1].raw_tokens().index(syllable) for syllable in SYLLABLES[:80]]
    assert moved[taught].all()
