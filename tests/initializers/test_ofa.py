import gzip
import json
import lzma

import numpy as np
import pytest

from isthmus.errors import InputError, NotFoundError
from isthmus.initializers import OFA, RowProblem, create
from isthmus.initializers.base import tokenize_with
from isthmus.initializers.word_vectors import read_word_vectors, subword_vectors
from isthmus.token_map import Fate, TokenMap
from isthmus.vocabulary import Vocabulary
from tests.initializers.test_initializers import id_of, problem_of
from tests.tokenizers import byte_bpe, wordpiece

SOURCE = ["house", "home", "school", "##s", "##ing", "."]
WORDS = ["house", "houses", "schools", "homeing", "집", "학교", "집에", "학교에"]
DIM = 4


def korean(words, **options):
    # BERT's default also takes Hangul apart.
    return wordpiece(words, strip_accents=False, **options)


def word_rows(words=WORDS, seed=0):
    return dict(zip(words, np.random.default_rng(seed).standard_normal((len(words), DIM)).round(3), strict=True))


def write_vec(path, rows, opener=open):
    with opener(path, "wt", encoding="utf-8") as stream:
        stream.write(f"{len(rows)} {DIM}\n")
        for word, values in rows.items():
            stream.write(f"{word} {' '.join(map(str, values))} \n")
    return path


@pytest.fixture
def vec(tmp_path):
    return write_vec(tmp_path / "words.vec", word_rows())


@pytest.fixture
def problem():
    return problem_of(korean(["house", "집", "학교", "학", "##에", "##는", "."]), wordpiece(SOURCE), vectors=False)


def literal_means(tokenizer, size, rows):
    found = [[] for _ in range(size)]
    for word, values in rows.items():
        for text in (word, " " + word):
            for id in set(tokenizer(text, add_special_tokens=False)["input_ids"]):
                found[id].append(values)
    return [np.mean(values, axis=0) if values else np.zeros(DIM) for values in found]


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def literal_row(vector, sources, allowed, neighbours, temperature):
    cosines = {id: cosine(vector, sources[id]) for id in allowed if sources[id].any()}
    nearest = sorted(cosines, key=lambda id: -cosines[id])[:neighbours]
    shares = np.exp(np.array([cosines[id] for id in nearest]) / temperature)
    return dict(zip(nearest, shares / shares.sum(), strict=True))


@pytest.mark.parametrize("make", [wordpiece, byte_bpe])
def test_subword_vectors_are_the_means_of_the_words_that_hold_them(make, tmp_path):
    tokenizer = korean([*SOURCE, "집", "##에"]) if make is wordpiece else byte_bpe(["Ġhouse", "house", "Ġschool"])
    path, size = write_vec(tmp_path / "words.vec", word_rows()), len(tokenizer)
    got = subword_vectors(path, [(tokenize_with(tokenizer), size)])[0]
    for row, expected in zip(got, literal_means(tokenizer, size, word_rows()), strict=True):
        if expected.any():
            np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)
        else:
            assert not row.any()


@pytest.mark.parametrize(("neighbours", "temperature"), [(1, 0.1), (2, 0.1), (3, 1.0), (100, 0.1)])
def test_rows_equal_the_formula(problem, vec, neighbours, temperature):
    source, target = wordpiece(SOURCE), korean(["house", "집", "학교", "학", "##에", "##는", "."])
    made = OFA(word_vectors=vec, neighbours=neighbours, temperature=temperature).token_map(problem)
    sources = literal_means(source, problem.source.size, word_rows())
    targets = literal_means(target, problem.target.size, word_rows())
    allowed = [id_of(problem.source, raw) for raw in SOURCE]
    for raw in ("집", "학교", "##에"):
        row = id_of(problem.target, raw)
        expected = literal_row(targets[row], sources, allowed, neighbours, temperature)
        assert made.fate(row) is Fate.BRIDGED
        assert dict(zip(made.weights[row].indices, made.weights[row].data, strict=True)) == pytest.approx(
            expected, abs=1e-5
        )
    for raw in ("학", "##는"):
        assert made.fate(id_of(problem.target, raw)) is Fate.SAMPLED
    for raw in ("house", "."):
        assert made.fate(id_of(problem.target, raw)) in (Fate.EXACT, Fate.SYMBOL)


def test_without_a_file_the_bridge_stands_in():
    problem = problem_of(korean(["house", "집", "학교"]), wordpiece(SOURCE))
    problem.vectors.target[id_of(problem.target, "학교")] = 0
    made = create("ofa", neighbours=3).token_map(problem)
    row, allowed = id_of(problem.target, "집"), [id_of(problem.source, raw) for raw in SOURCE]
    expected = literal_row(problem.vectors.target[row], problem.vectors.source, allowed, 3, 0.1)
    assert dict(zip(made.weights[row].indices, made.weights[row].data, strict=True)) == pytest.approx(
        expected, abs=1e-5
    )
    assert made.fate(id_of(problem.target, "학교")) is Fate.SAMPLED
    assert made.info["bridge"] == "test"
    assert "word_vectors" not in made.info


def test_a_file_needs_no_bridge_and_is_recorded_by_its_name(problem, vec, tmp_path):
    assert OFA.needs_bridge
    assert OFA().needs_bridge
    method = OFA(word_vectors=str(vec))
    assert not method.needs_bridge
    assert method == OFA(word_vectors=vec)
    made = method.token_map(problem)
    assert made.info["options"]["word_vectors"] == "words.vec"
    assert made.info["bridge"] is None
    made.save(tmp_path / "map")
    assert TokenMap.load(tmp_path / "map").info == json.loads(json.dumps(made.info))
    again = method.token_map(problem)
    assert again.info == made.info
    array = np.random.default_rng(0).standard_normal((problem.source.size, 3))
    np.testing.assert_array_equal(again.apply(array), made.apply(array))


@pytest.mark.parametrize(("ending", "opener"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_compressed_and_separate_files(problem, vec, tmp_path, ending, opener):
    rows = word_rows()
    whole = OFA(word_vectors=vec).token_map(problem)
    packed = write_vec(tmp_path / f"words.vec{ending}", rows, opener)
    np.testing.assert_array_equal(
        OFA(word_vectors=packed).token_map(problem).weights.toarray(), whole.weights.toarray()
    )
    english = write_vec(tmp_path / "en.vec", {word: rows[word] for word in WORDS[:4]})
    korean = write_vec(tmp_path / f"ko.vec{ending}", {word: rows[word] for word in WORDS[4:]}, opener)
    apart = OFA(word_vectors=korean, source_word_vectors=english).token_map(problem)
    for raw in ("집", "학교", "##에"):
        row = id_of(problem.target, raw)
        np.testing.assert_allclose(apart.weights[row].toarray(), whole.weights[row].toarray(), atol=1e-6)


def test_no_overlap_all_overlap_and_a_tiny_vocabulary(tmp_path):
    vec = write_vec(tmp_path / "words.vec", word_rows(["a", "가"]))
    none = problem_of(korean(["가"], unused=0), wordpiece(["a"], unused=0), vectors=False)
    made = OFA(word_vectors=vec).token_map(none)
    assert made.explain("가") == [("a", pytest.approx(1))]
    every = problem_of(wordpiece(["a"], unused=0), wordpiece(["a"], unused=0), vectors=False)
    made = OFA(word_vectors=vec).token_map(every)
    assert made.counts()["bridged"] == made.counts()["sampled"] == 0


def test_zero_vectors_and_blank_words_count_for_nothing(problem, tmp_path):
    rows = word_rows()
    rows["집"] = rows["집에"] = np.zeros(DIM)
    path = write_vec(tmp_path / "words.vec", rows)
    path.write_text(path.read_text(encoding="utf-8") + "\u3000 1 2 3 4\n", encoding="utf-8")
    made = OFA(word_vectors=path).token_map(problem)
    assert made.fate(id_of(problem.target, "집")) is Fate.SAMPLED
    assert made.fate(id_of(problem.target, "학교")) is Fate.BRIDGED


def test_words_may_hold_spaces_and_line_separators(tmp_path):
    path = tmp_path / "words.vec"
    path.write_text("9 2\nnew york 1 2\nx\u2028y 3 4\r\n\x85 5 6 \n", encoding="utf-8", newline="")
    (words, rows), *others = read_word_vectors(path)
    assert words == ["new york", "x\u2028y", "\x85"]
    np.testing.assert_array_equal(rows, [[1, 2], [3, 4], [5, 6]])
    assert not others


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: must be the number of words and the dimension"),
        ("house 1 2 3\n", "line 1: must be the number of words and the dimension"),
        ("1 0\n", "line 1: must be the number of words and the dimension"),
        ("2 3\nhouse 1 2 3\nhome 1 2\n", "line 3: must be a word and 3 numbers, got 'home 1 2'"),
        ("2 3\nhouse 1 2 three\n", "line 2: must be a word and 3 numbers"),
        ("2 3\n\nhouse 1 2 3\n", "line 2: must be a word and 3 numbers, got ''"),
        ("2 3\nhouse 1 2 3\nhome 1 nan 3\n", "line 3: must hold finite numbers"),
        ("2 3\nhouse 1 2 1e999\n", "line 2: must hold finite numbers"),
        (b"2 3\nhouse 1 2 3\n\xff 1 2 3\n", "line 3: must be UTF-8 text"),
        ("2 3\n", "must hold at least one word, got none"),
        ("2 3\nhouse 0 0 0\n", "word_vectors must hold words that a tokenizer can split"),
    ],
)
def test_malformed_files_are_refused_with_their_line(problem, tmp_path, content, message):
    path = tmp_path / "words.vec"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        OFA(word_vectors=path).token_map(problem)


def test_damaged_archives_and_other_spaces_are_refused(problem, vec, tmp_path):
    whole = gzip.compress(vec.read_bytes())
    damaged = tmp_path / "words.vec.gz"
    damaged.write_bytes(whole[:-12])
    with pytest.raises(InputError, match="is damaged after line"):
        OFA(word_vectors=damaged).token_map(problem)
    other = tmp_path / "en.vec"
    other.write_text("1 2\nhouse 1 2\n", encoding="utf-8")
    with pytest.raises(InputError, match="must share their dimension, got 4 and 2"):
        OFA(word_vectors=vec, source_word_vectors=other).token_map(problem)


def test_options_and_missing_parts_are_refused(problem, vec):
    for options, message in (
        ({"neighbours": 0}, "neighbours must be a whole number of at least 1, got 0"),
        ({"neighbours": 2.5}, "neighbours must be a whole number"),
        ({"temperature": 0.0}, "temperature must be finite and above 0, got 0.0"),
        ({"temperature": np.inf}, "temperature must be finite"),
        ({"source_word_vectors": vec}, "source_word_vectors must come with word_vectors"),
    ):
        with pytest.raises(InputError, match=message):
            create("ofa", **options)
    with pytest.raises(NotFoundError, match=r"word_vectors 'nowhere.vec' does not exist"):
        create("ofa", word_vectors="nowhere.vec")
    bare = RowProblem(problem.source, problem.target, problem.overlap)
    with pytest.raises(InputError, match=r"ofa must have the source tokenizer .* pass RowProblem"):
        OFA(word_vectors=vec).token_map(bare)


def test_a_file_of_more_than_one_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.initializers.word_vectors.BATCH", 3)
    tokenizer = korean([*SOURCE, "집", "##에"])
    target = Vocabulary.from_tokenizer(tokenizer)
    path = write_vec(tmp_path / "words.vec", word_rows())
    got = subword_vectors(path, [(tokenize_with(tokenizer), target.size)])[0]
    monkeypatch.undo()
    np.testing.assert_allclose(got, subword_vectors(path, [(tokenize_with(tokenizer), target.size)])[0], atol=1e-6)
