import json

import pytest
from sentence_transformers import SparseEncoder

from isthmus.errors import InputError
from isthmus.training import PairOptions, pairs_from_text, train_self_supervised
from isthmus.training.self_supervised import with_negatives
from tests.tiny_encoders import bert_tokenizer
from tests.training.conftest import tensors

WORDS = "the house home of war water school korea capital wars houses schools schooling homes and".split()
# Each says three words of its own often, so that its snippets say something about it.
TEXTS = [" ".join((WORDS[i], WORDS[i + 1], "of", WORDS[i + 2]) * 4) for i in range(0, 13)]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(TEXTS)]
    path.write_text("\n".join(["", *lines, '{"id": "x", "text": "short"}']), encoding="utf-8")
    return path


def test_a_tiny_encoder_learns_and_says_where_from(sparse_folder, corpus, tmp_path, settings):
    pairs = PairOptions(keep_snippet=0.5)
    report = train_self_supervised(sparse_folder, corpus, tmp_path / "out", settings(steps=40), pairs)
    losses = [entry["loss"] for entry in report.log]
    assert losses[-1] < 0.7 * losses[0]
    made = report.data["unlabelled"]
    assert made["documents"] == 14
    assert made["pairs"] == {"snippet": report.data["rows"]}
    assert made["left_out"]["too short"] == 1
    assert 0 < made["snippets_kept"] < report.data["rows"]
    assert report.settings["pairs"]["kinds"] == ["title", "heading", "snippet"]
    assert f"{report.data['rows']} by snippet ({made['snippets_kept']} left in); 14 unlabelled documents" in str(report)
    assert json.loads((tmp_path / "out" / "training_report.json").read_text()) == report.to_dict()
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"{report.data['rows']} pairs that were made from the unlabelled text of corpus.jsonl" in card
    assert f"- Queries: {report.data['rows']} snippets, of 14 documents" in card
    assert f"- Snippets left in their passages: {made['snippets_kept']} (probability 0.5)" in card
    assert "self-supervised" in card.split("---")[1]
    assert str(tmp_path) not in card
    assert SparseEncoder(str(tmp_path / "out"), device="cpu").encode("the house").is_sparse


def test_the_seed_decides_the_pairs(sparse_folder, corpus, tmp_path, settings):
    hashes = [
        train_self_supervised(sparse_folder, corpus, tmp_path / str(i), settings(steps=1, seed=seed)).data["hash"]
        for i, seed in enumerate((0, 0, 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_it_goes_on_where_it_was_interrupted(sparse_folder, corpus, tmp_path, settings, interrupted):
    chosen = settings(steps=14, save_steps=5, batch_size=4)
    whole = train_self_supervised(sparse_folder, corpus, tmp_path / "whole", chosen)

    with interrupted(7):
        train_self_supervised(sparse_folder, corpus, tmp_path / "out", chosen)
    with pytest.raises(InputError, match=r"pairs .*'keep_snippet': 0\.0.* then and"):
        train_self_supervised(sparse_folder, corpus, tmp_path / "out", chosen, PairOptions(keep_snippet=1))
    report = train_self_supervised(sparse_folder, corpus, tmp_path / "out", chosen)
    assert (report.resumed_from, report.steps) == (5, 14)
    assert report.log[-1]["loss"] == pytest.approx(whole.log[-1]["loss"], rel=1e-3)
    for name, tensor in tensors(tmp_path / "whole").items():
        assert tensors(tmp_path / "out")[name].numpy() == pytest.approx(tensor.numpy(), rel=1e-3, abs=1e-5)


def test_hard_negatives_share_words_and_are_no_answers(corpus):
    found = pairs_from_text(corpus, PairOptions(keep_snippet=1))
    data, drawn = with_negatives(found, bert_tokenizer(), 1)
    assert list(data.texts) == ["query", "positive", "negative_1"]
    assert data.texts | found.data.texts == data.texts
    lexical = 0
    for query, positive, negative in zip(*data.texts.values(), strict=True):
        assert negative != positive
        assert negative in found.data.texts["positive"]
        lexical += bool(set(negative.split()) & set(query.split()))
    assert lexical >= len(data) - drawn > 0


def test_negatives_that_nobody_ranks_are_drawn(tmp_path):
    path = tmp_path / "two.txt"
    path.write_text("\n".join([" ".join(WORDS[:7] * 2), " ".join(WORDS[7:] * 2)]))
    found = pairs_from_text(path)
    data, drawn = with_negatives(found, bert_tokenizer(), 1)
    assert drawn == 2
    assert data.texts["negative_1"] == list(reversed(data.texts["positive"]))
    with pytest.raises(InputError, match=r"fewer than the 2 passages of .*two.txt, got 2"):
        with_negatives(found, bert_tokenizer(), 2)


def test_negatives_are_drawn_by_the_seed(corpus, monkeypatch):
    found = pairs_from_text(corpus)
    few = {query: found.data.texts["positive"][i - 1 : i] for i, query in enumerate(found.data.texts["query"])}
    monkeypatch.setattr("isthmus.training.self_supervised.find_negatives", lambda *arguments, **options: few)
    one, again, other = (with_negatives(found, bert_tokenizer(), 8, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one[1] == other[1] == 8 * len(found.data) - sum(map(len, few.values()))
    assert one[0].texts["negative_1"][1:] == found.data.texts["positive"][:-1]
    assert one[0].texts != other[0].texts
    for number in range(len(found.data)):
        texts = [column[number] for name, column in one[0].texts.items() if name != "query"]
        assert len(set(texts)) == 9


def test_a_run_says_how_many_negatives_it_had(sparse_folder, corpus, tmp_path, settings):
    report = train_self_supervised(sparse_folder, corpus, tmp_path / "out", settings(steps=2), PairOptions(negatives=2))
    assert report.data["columns"] == ["query", "positive", "negative_1", "negative_2"]
    made = report.data["unlabelled"]
    assert made["negatives"] == 2 * report.data["rows"]
    assert 0 <= made["negatives_drawn"] < made["negatives"]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    told = f"{made['negatives_drawn']} of {made['negatives']} drawn for want of such"
    assert f"- Negatives: 2 per pair, ranked high by BM25; {told}" in card
    plain = train_self_supervised(
        sparse_folder, corpus, tmp_path / "plain", settings(steps=2), PairOptions(negatives=0)
    )
    assert plain.data["columns"] == ["query", "positive"]


def test_passages_are_no_longer_than_what_is_read(sparse_folder, tmp_path, settings):
    (tmp_path / "long.txt").write_text("\n".join(" ".join(f"{word}{i}" for i in range(100)) for word in WORDS))
    short = train_self_supervised(
        sparse_folder, tmp_path / "long.txt", tmp_path / "s", settings(steps=1, max_length=24)
    )
    whole = train_self_supervised(sparse_folder, tmp_path / "long.txt", tmp_path / "w", settings(steps=1))
    assert short.settings["pairs"]["passage_words"] == 12
    assert short.data["rows"] > 3 * whole.data["rows"]


def test_a_dense_encoder_trains_too(dense_folder, corpus, tmp_path, settings):
    report = train_self_supervised(dense_folder, corpus, tmp_path / "out", settings(steps=30, learning_rate=3e-3))
    assert report.log[-1]["loss"] < report.log[0]["loss"]


def test_a_static_encoder_trains_on_hard_negatives(static_folder, corpus, tmp_path, settings):
    pairs = PairOptions(negatives=1)
    report = train_self_supervised(static_folder, corpus, tmp_path / "out", settings(steps=2), pairs)
    assert report.data["columns"] == ["query", "positive", "negative_1"]
    assert report.data["unlabelled"]["negatives_drawn"] < report.data["rows"]


@pytest.mark.parametrize(
    ("changes", "pairs", "message"),
    [
        ({"loss": "kl"}, PairOptions(), "loss must be auto or contrastive without labels or a teacher, got 'kl'"),
        ({"batch_size": 1}, PairOptions(negatives=0), "2 or more without negatives"),
        ({}, PairOptions(kinds=("title",)), "at least 2 pairs to train on, got 0 pairs from 14 documents"),
        ({}, PairOptions(negatives=50), "negatives must be fewer than the .* got 50"),
        ({"loss": "margin-mse"}, PairOptions(), "without labels or a teacher, got 'margin-mse'; name a teacher"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    sparse_folder, corpus, tmp_path, settings, changes, pairs, message
):
    with pytest.raises(InputError, match=message):
        train_self_supervised(sparse_folder, corpus, tmp_path / "out", settings(**changes), pairs)
    assert not (tmp_path / "out").exists()
