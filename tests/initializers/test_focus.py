import gzip
import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest

from isthmus.bridge import entmax_rows
from isthmus.errors import InputError, MissingExtraError, NotFoundError
from isthmus.initializers import Focus, RowProblem, create
from isthmus.initializers.static_space import pair_counts, ppmi_vectors
from isthmus.token_map import Fate, TokenMap
from tests.initializers.test_initializers import id_of, problem_of
from tests.tokenizers import wordpiece

TARGET = ["house", "home", "school", "집", "학교", "학", "##에", "."]
needs_gensim = pytest.mark.skipif(importlib.util.find_spec("gensim") is None, reason="gensim is not installed")
SPACES = ["ppmi", pytest.param("fasttext", marks=needs_gensim)]


def korean(words, **options):
    # BERT's default also takes Hangul apart.
    return wordpiece(words, strip_accents=False, **options)


def texts_of(count=60, seed=0):
    generator = np.random.default_rng(seed)
    words = ["house", "home", "school", "집", "학교", "집에", "학교에", "."]
    return [" ".join(generator.choice(words, size=9)) for _ in range(count)]


@pytest.fixture
def problem():
    return problem_of(korean(TARGET), wordpiece(["house", "home", "school", "."]), vectors=False)


def literal_counts(documents, window=5):
    counts = {}
    for ids in documents:
        for i, left in enumerate(ids):
            for j, right in enumerate(ids):
                if 0 < abs(i - j) <= window:
                    counts[left, right] = counts.get((left, right), 0) + (window + 1 - abs(i - j)) / window
    return counts


def literal_ppmi(counts, ids):
    rows = {a: sum(value for (left, _), value in counts.items() if left == a) for a in ids}
    contexts = {a: rows[a] ** 0.75 for a in ids}
    total = sum(contexts.values())
    matrix = np.zeros((len(ids), len(ids)))
    for (a, b), value in counts.items():
        matrix[ids.index(a), ids.index(b)] = max(0, np.log(value * total / (rows[a] * contexts[b])))
    return matrix


def documents_of(count=12, size=30, tokens=9, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(0, tokens, generator.integers(0, size)).astype(np.int64) for _ in range(count)]


@pytest.mark.parametrize("batch", [40, 1_000_000])
def test_pairs_are_counted_within_texts_alone(monkeypatch, batch):
    monkeypatch.setattr("isthmus.initializers.static_space.BATCH", batch)
    documents = documents_of()
    counts = literal_counts(documents)
    dense = np.array([[counts.get((a, b), 0) for b in range(9)] for a in range(9)])
    np.testing.assert_allclose(pair_counts(documents, np.arange(9)).toarray(), dense)
    # Tokens that are not counted keep their place.
    some = np.array([1, 4, 8])
    np.testing.assert_allclose(pair_counts(documents, some).toarray(), dense[np.ix_(some, some)])


@pytest.mark.parametrize("dense", [0, 1000])
def test_ppmi_vectors_are_the_best_low_rank_ones(monkeypatch, dense):
    monkeypatch.setattr("isthmus.initializers.static_space.DENSE", dense)
    documents = documents_of(count=40, tokens=25)
    matrix = literal_ppmi(literal_counts(documents), list(range(25)))
    left, values, _ = np.linalg.svd(matrix)
    expected = left[:, :6] * np.sqrt(values[:6])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    got = ppmi_vectors(documents, np.arange(25), 6, seed=3)
    np.testing.assert_allclose(got @ got.T, expected @ expected.T, atol=1e-5)
    np.testing.assert_array_equal(ppmi_vectors(documents, np.arange(25), 6, seed=3), got)


def test_lonely_tokens_have_no_vector():
    documents = [np.array([0, 1, 0, 1]), np.array([2])]
    got = ppmi_vectors(documents, np.arange(3), 100)
    assert not got[2].any()
    np.testing.assert_allclose(np.linalg.norm(got[:2], axis=1), 1, atol=1e-6)
    assert not ppmi_vectors([np.array([5]), np.array([], dtype=np.int64)], np.array([5]), 10).any()


@pytest.mark.parametrize("space", SPACES)
def test_rows_are_the_sparsemax_over_the_overlapping_tokens(problem, space):
    method = Focus(texts_of(), space=space, min_count=1, dim=5)
    made, vectors = method.token_map(problem), method.token_vectors(problem).astype(float)
    anchors = [id_of(problem.target, raw) for raw in ("house", "home", "school", ".")]
    for raw in ("집", "학교", "##에"):
        row = id_of(problem.target, raw)
        weights = entmax_rows((vectors[anchors] @ vectors[row])[None], 2.0)[0]
        expected = np.zeros(problem.source.size)
        expected[problem.overlap.source_ids[anchors]] = weights
        assert made.fate(row) is Fate.BRIDGED
        np.testing.assert_allclose(made.weights[row].toarray()[0], expected, atol=1e-6)
    # "학" never comes alone.
    assert made.fate(id_of(problem.target, "학")) is Fate.SAMPLED
    assert made.fate(id_of(problem.target, "house")) is Fate.EXACT
    array = np.random.default_rng(0).standard_normal((problem.source.size, 3))
    np.testing.assert_array_equal(method.token_map(problem).apply(array), made.apply(array))


def test_weights_equal_deepfocus_on_the_same_vectors(problem):
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("deepfocus.focus", exc_type=ImportError, reason="deepfocus cannot be imported")
    helper = pytest.importorskip("deepfocus.vocab_helper", exc_type=ImportError)
    method = Focus(texts_of(), space="ppmi", min_count=1, dim=5)
    made, vectors = method.token_map(problem), method.token_vectors(problem)
    array = np.random.default_rng(0).standard_normal((problem.source.size, 7))

    def entry(kind, raw, **more):
        id = id_of(problem.target, raw)
        return kind(target=SimpleNamespace(id=id), auxiliary_embedding=vectors[id], **more)

    anchors = {}
    for raw in ("house", "home", "school", "."):
        source = problem.overlap.source_ids[id_of(problem.target, raw)]
        row = torch.from_numpy(array[source])
        anchors[raw] = entry(helper.OverlappingToken, raw, source=[], descriptor="exact_match", source_embedding=row)
    new = {raw: entry(helper.NewToken, raw) for raw in ("집", "학교", "##에")}
    zeros = torch.zeros(problem.target.size, 7, dtype=torch.float64)
    theirs = module.focus_additional_token_initialization(anchors, new, zeros).numpy()
    ids = [id_of(problem.target, raw) for raw in new]
    np.testing.assert_allclose(made.apply(array)[ids], theirs[ids], atol=1e-5)


def test_several_anchors_of_one_source_token_add_up():
    problem = problem_of(korean(["House", "house", "집"], lowercase=False), wordpiece(["house"]), vectors=False)
    made = Focus(["House 집 house 집 House 집"], space="ppmi", min_count=1).token_map(problem)
    row = made.weights[id_of(problem.target, "집")]
    assert row.nnz == 1
    assert row.data[0] == pytest.approx(1)


def test_rare_tokens_are_drawn(problem):
    texts = [*texts_of(), "집 학 house"]
    assert Focus(texts, space="ppmi", min_count=1).token_map(problem).fate(id_of(problem.target, "학")) is Fate.BRIDGED
    assert Focus(texts, space="ppmi", min_count=2).token_map(problem).fate(id_of(problem.target, "학")) is Fate.SAMPLED


def test_without_overlap_in_the_text_all_are_drawn():
    problem = problem_of(korean(["집", "학교"], unused=0), wordpiece(["house"], unused=0), vectors=False)
    made = Focus(["집 학교"], space="ppmi", min_count=1).token_map(problem)
    assert made.counts()["sampled"] == 2
    assert made.counts()["bridged"] == 0
    unseen = problem_of(korean(["집", "학교", "house"]), wordpiece(["house"]), vectors=False)
    assert Focus(["집 학교"], space="ppmi", min_count=1).token_map(unseen).counts()["sampled"] == 2


def test_texts_of_a_file_are_those_of_a_list(problem, tmp_path):
    texts = texts_of()
    plain, packed = tmp_path / "texts.txt", tmp_path / "texts.txt.gz"
    plain.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    listed = Focus(texts, space="ppmi", min_count=1).token_map(problem)
    for given in (str(plain), plain, packed):
        made = Focus(given, space="ppmi", min_count=1).token_map(problem)
        np.testing.assert_array_equal(made.weights.toarray(), listed.weights.toarray())
        assert made.info["options"]["texts"].startswith("texts.txt")
    assert listed.info["options"]["texts"].startswith("60 texts, blake2b ")
    listed.save(tmp_path / "map")
    assert TokenMap.load(tmp_path / "map").info == json.loads(json.dumps(listed.info))


def test_options_and_missing_parts_are_refused(problem, monkeypatch):
    with pytest.raises(InputError, match="focus must have texts, got None; pass texts="):
        create("focus")
    for options, message in (
        ({"space": "glove"}, "space must be one of fasttext, ppmi, got 'glove'"),
        ({"dim": 0}, "dim must be a whole number of at least 1, got 0"),
        ({"min_count": 1.5}, "min_count must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"texts": iter(["집"])}, "texts must be a file, or a list or tuple of strings, got .*iterator"),
        ({"texts": ["집", 3]}, "texts must be a file, or a list or tuple of strings"),
    ):
        with pytest.raises(InputError, match=message):
            create("focus", **({"texts": ["집"], "space": "ppmi"} | options))
    with pytest.raises(NotFoundError, match=r"texts 'nowhere.txt' does not exist"):
        create("focus", texts="nowhere.txt", space="ppmi")
    for texts in ([], [" "], ["house 집"]):
        with pytest.raises(InputError, match="at least min_count=10 times, got none; pass more text or lower"):
            Focus(texts, space="ppmi").token_map(problem)
    with pytest.raises(InputError, match="focus must have the target tokenizer"):
        Focus(["집"], space="ppmi").token_map(RowProblem(problem.source, problem.target, problem.overlap))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"gensim is not installed; run: .*pip install .*\[focus\]'"):
        create("focus", texts=["집"])
