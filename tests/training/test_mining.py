import pytest
from sentence_transformers import SentenceTransformer, SparseEncoder

from isthmus.errors import InputError
from isthmus.training import mine, read_training_data
from tests.training.conftest import PAIRS


def ranked(encoder, query, passages):
    scores = encoder.similarity(encoder.encode_query([query]), encoder.encode_document(passages))
    scores = scores.to_dense() if scores.is_sparse else scores
    order = scores[0].argsort(descending=True, stable=True).tolist()
    return [(passages[i], float(scores[0, i])) for i in order if scores[0, i] > 0]


def ranked_all(encoder, query, passages):
    scores = encoder.similarity(encoder.encode_query([query]), encoder.encode_document(passages))[0]
    return [(passages[i], float(scores[i])) for i in scores.argsort(descending=True, stable=True).tolist()]


@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize("skip", [0, 1])
def test_negatives_are_the_best_ranked_other_passages(sparse_folder, dense_folder, write, kind, skip):
    folder, family = {"sparse": (sparse_folder, SparseEncoder), "dense": (dense_folder, SentenceTransformer)}[kind]
    encoder = family(str(folder), device="cpu")
    rows = mine(encoder, read_training_data(write(PAIRS)), negatives=2, skip=skip, max_score=None)
    assert len(rows) == len(PAIRS)
    passages = [pair["positive"] for pair in PAIRS]
    for row in rows:
        hits = ranked(encoder, row["query"], passages)
        expected = [text for text, _ in hits if text != row["positive"]][skip : skip + 2]
        assert [row["negative_1"], row["negative_2"]] == expected


def test_what_scores_like_the_positive_is_no_negative(dense_folder, write):
    encoder = SentenceTransformer(str(dense_folder), device="cpu")
    data = read_training_data(write(PAIRS))
    passages = [pair["positive"] for pair in PAIRS]
    seen = 0
    for row in mine(encoder, data, negatives=1, skip=0, max_score=0.9):
        scores = dict(ranked(encoder, row["query"], passages))
        assert scores[row["negative_1"]] < 0.9 * scores[row["positive"]]
        seen += 1
    assert 0 < seen < len(PAIRS)


def test_every_answer_of_a_query_is_spared_and_given_negatives_are_candidates(dense_folder, write):
    encoder = SentenceTransformer(str(dense_folder), device="cpu")
    rows = [PAIRS[0], PAIRS[0] | {"positive": "a second answer"}, PAIRS[1]]
    data = read_training_data(write([row | {"negative": "war and water"} for row in rows]))
    found = mine(encoder, data, negatives=2, skip=0, max_score=None)
    assert len(found) == 3
    assert {found[0]["negative_1"], found[0]["negative_2"]} == {PAIRS[1]["positive"], "war and water"}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_window_of_ranks_is_drawn_from_and_kept_in_order(dense_folder, write, seed):
    encoder = SentenceTransformer(str(dense_folder), device="cpu")
    data = read_training_data(write(PAIRS))
    options = {"negatives": 2, "skip": 2, "last_rank": 6, "max_score": None, "seed": seed}
    rows = mine(encoder, data, **options)
    passages, places = [pair["positive"] for pair in PAIRS], set()
    for row in rows:
        others = [text for text, _ in ranked_all(encoder, row["query"], passages) if text != row["positive"]]
        ranks = [others.index(row[f"negative_{number}"]) + 1 for number in (1, 2)]
        assert ranks == sorted(ranks)
        assert all(2 < rank <= 6 for rank in ranks)
        places |= set(ranks)
    assert places == {3, 4, 5, 6}
    assert mine(encoder, data, **options) == rows
    assert mine(encoder, data, **options | {"seed": seed + 2}) != rows


def test_a_window_must_hold_the_negatives(write):
    with pytest.raises(InputError, match=r"last_rank must be at least skip \+ negatives \(1 \+ 5\), got 5"):
        mine(None, read_training_data(write(PAIRS)), last_rank=5)


@pytest.mark.parametrize("options", [{"negatives": 0}, {"skip": -1}, {"batch_size": 0}, {"max_score": 0.0}])
def test_arguments_out_of_range_are_refused(write, options):
    with pytest.raises(InputError, match=next(iter(options))):
        mine(None, read_training_data(write(PAIRS)), **options)


def test_too_many_negatives_are_refused(sparse_folder, write):
    with pytest.raises(InputError, match="few enough for 8 passages, got 8 after skip=1"):
        mine(SparseEncoder(str(sparse_folder), device="cpu"), read_training_data(write(PAIRS)), negatives=8)
