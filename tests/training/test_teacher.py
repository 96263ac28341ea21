import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer, SparseEncoder

import isthmus
from isthmus.encoders.encoding import encode_texts
from isthmus.errors import EncoderError, InputError, NotFoundError, TokenMapError
from isthmus.lexical import add_lexical
from isthmus.token_map import Fate, TokenMap
from isthmus.training import PairOptions, pairs_from_text, train_self_supervised
from isthmus.training.self_supervised import with_negatives
from isthmus.training.teacher import with_scores
from isthmus.training.text_options import TAUGHT
from tests.tokenizers import wordpiece
from tests.training.conftest import tensors

WORDS = "the house home of war water school korea capital wars houses schools schooling homes and".split()
TEXTS = [" ".join((WORDS[i], WORDS[i + 1], "of", WORDS[i + 2]) * 4) for i in range(0, 13)]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    return path


@pytest.fixture
def student(sparse_folder):
    return SparseEncoder(str(sparse_folder), device="cpu")


@pytest.fixture
def rows(corpus, student):
    return with_negatives(pairs_from_text(corpus, TAUGHT), student.tokenizer, 2)[0]


def margins(scores):
    scores = np.asarray(scores)
    return scores[:, :1] - scores[:, 1:]


def own_scores(model, rows):
    queries = encode_texts(model, rows.texts["query"], role="query").toarray()
    columns = [column for column in rows.texts if column != "query"]
    return np.stack(
        [(queries * encode_texts(model, rows.texts[name], role="document").toarray()).sum(axis=1) for name in columns],
        axis=1,
    )


def test_scores_are_the_echo_s_on_the_scale_of_the_student(student, rows):
    before = student.max_seq_length
    scored = with_scores(rows, "echo", student)
    assert student.max_seq_length == before
    assert scored.texts == rows.texts
    positives = list(dict.fromkeys(rows.texts["positive"]))
    literal = own_scores(add_lexical(student, positives, "echo"), rows)
    own = own_scores(student, rows)
    factor = margins(own).std() / margins(literal).std()
    assert np.asarray(scored.scores) == pytest.approx(literal * factor, abs=1e-3)
    assert margins(scored.scores).std() == pytest.approx(margins(own).std(), rel=1e-2)
    # It is the words that the student lost: the echo knows its own passage better.
    assert (margins(literal) > 0).mean() > (margins(own) > 0).mean()


def test_another_encoder_teaches_sparse_or_dense(student, dense_folder, rows):
    dense_encoder = SentenceTransformer(str(dense_folder), device="cpu")
    same = with_scores(rows, student, student)
    assert np.asarray(same.scores) == pytest.approx(own_scores(student, rows), abs=1e-3)
    dense = with_scores(rows, dense_encoder, student)
    queries, positives = (
        dense_encoder.encode(rows.texts[name], normalize_embeddings=True) for name in ("query", "positive")
    )
    cosines = (queries * positives).sum(axis=1)
    assert np.corrcoef(np.asarray(dense.scores)[:, 0], cosines)[0, 1] == pytest.approx(1, abs=1e-3)


def test_both_spreads_are_of_the_same_rows(student, rows, monkeypatch):
    monkeypatch.setattr("isthmus.training.teacher.SAMPLE", 4)
    own = own_scores(student, rows)
    # The student teaches itself: only what is measured on other rows can change its scores.
    for seed in range(3):
        assert np.asarray(with_scores(rows, student, student, seed=seed).scores) == pytest.approx(own, abs=1e-3)


def test_a_sorted_corpus_does_not_decide_the_scale(student, dense_folder, rows, monkeypatch):
    teacher = SentenceTransformer(str(dense_folder), device="cpu")
    spread = np.abs(margins(own_scores(student, rows))).max(axis=1)
    order = np.argsort(spread)
    texts = {name: [column[row] for row in order] for name, column in rows.texts.items()}
    ordered = replace(rows, texts=texts)

    def factor(rows, seed):
        scaled = with_scores(rows, teacher, student, seed=seed)
        return margins(scaled.scores).std() / margins(whole.scores).std()

    whole = with_scores(rows, teacher, student)
    assert factor(ordered, 0) == pytest.approx(1, rel=1e-3)
    monkeypatch.setattr("isthmus.training.teacher.SAMPLE", len(rows) // 2)
    factors = [factor(ordered, seed) for seed in range(8)]
    assert factor(ordered, 0) == factors[0]
    assert len(set(factors)) > 1
    assert np.mean(factors) == pytest.approx(1, rel=0.25)


def test_the_student_reads_what_it_will_read_in_training(student, rows):
    short = with_scores(rows, "echo", student, max_length=6)
    assert np.asarray(short.scores) != pytest.approx(np.asarray(with_scores(rows, "echo", student).scores), rel=1e-3)


@pytest.mark.parametrize("hub", [False, True])
def test_tokens_that_a_transfer_kept_weigh_less_in_an_echo(sparse_folder, corpus, tmp_path, settings, monkeypatch, hub):
    folder = tmp_path / "kept"
    wordpiece(["집", "학교", "물", "나라"], lowercase=False).save_pretrained(str(tmp_path / "korean"))
    encoder, report = isthmus.transfer(
        sparse_folder, target_tokenizer=tmp_path / "korean", method="mean", keep_source=True
    )
    encoder.save_pretrained(str(folder))
    report.token_map.save(folder)
    kept = report.token_map.rows(Fate.KEPT)
    assert len(kept)
    given = []

    def watched(data, teacher, model, **options):
        given.append((options["known"], with_scores(data, teacher, model, **options).scores))
        return with_scores(data, teacher, model, **options | {"known": ()})

    monkeypatch.setattr("isthmus.training.self_supervised.with_scores", watched)
    if hub:
        monkeypatch.setattr("isthmus.encoders.load.local_folder", lambda name: None)
    train_self_supervised(folder, corpus, tmp_path / "out", settings(steps=1), teacher="echo")
    [(known, scores)] = given
    assert list(known) == kept.tolist()
    rows = with_negatives(pairs_from_text(corpus, TAUGHT), encoder.tokenizer, 2)[0]
    others = with_scores(rows, "echo", encoder, max_length=settings().max_length)
    assert np.asarray(scores) != pytest.approx(np.asarray(others.scores), rel=1e-3)
    assert TokenMap.load(tmp_path / "out").rows(Fate.KEPT).tolist() == kept.tolist()


def test_a_damaged_token_map_matters_to_an_echo_alone(sparse_folder, corpus, tmp_path, settings):
    folder = tmp_path / "model"
    shutil.copytree(sparse_folder, folder)
    (folder / "token_map.json").write_text("{")
    with pytest.raises(TokenMapError, match="token_map"):
        train_self_supervised(folder, corpus, tmp_path / "out", settings(steps=1), teacher="echo")
    for number, teacher in enumerate((None, sparse_folder)):
        train_self_supervised(folder, corpus, tmp_path / f"out{number}", settings(steps=1), teacher=teacher)


def test_a_student_learns_its_echo(sparse_folder, student, corpus, tmp_path, settings):
    chosen = settings(steps=60, query_regularizer_weight=0, document_regularizer_weight=0)
    report = train_self_supervised(sparse_folder, corpus, tmp_path / "out", chosen, teacher="echo")
    assert report.settings["loss"] == "margin-mse"
    assert report.settings["teacher"] == "echo"
    assert report.settings["pairs"]["keep_snippet"] == 1
    assert report.data["columns"] == ["query", "positive", "negative_1", "negative_2"]
    assert report.log[-1]["loss"] < 0.7 * report.log[0]["loss"]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "- Teacher: its own lexical echo, before training, by margin-mse" in card
    trained = SparseEncoder(str(tmp_path / "out"), device="cpu")
    found = pairs_from_text(corpus, replace(TAUGHT, passage_words=128))
    rows = with_negatives(found, student.tokenizer, 2)[0]
    wanted = margins(with_scores(rows, "echo", student).scores)
    errors = [np.abs(margins(own_scores(model, rows)) - wanted).mean() for model in (student, trained)]
    assert errors[1] < 0.7 * errors[0]


def test_an_interrupted_run_goes_on_with_the_same_scores(sparse_folder, corpus, tmp_path, settings, interrupted):
    chosen = settings(steps=14, save_steps=5, batch_size=4)
    train_self_supervised(sparse_folder, corpus, tmp_path / "whole", chosen, teacher="hybrid")

    with interrupted(7):
        train_self_supervised(sparse_folder, corpus, tmp_path / "out", chosen, teacher="hybrid")
    with pytest.raises(InputError, match="teacher 'hybrid' then and 'echo' now"):
        train_self_supervised(sparse_folder, corpus, tmp_path / "out", chosen, teacher="echo")
    report = train_self_supervised(sparse_folder, corpus, tmp_path / "out", chosen, teacher="hybrid")
    assert report.resumed_from == 5
    for name, tensor in tensors(tmp_path / "whole").items():
        assert tensors(tmp_path / "out")[name].numpy() == pytest.approx(tensor.numpy(), rel=1e-3, abs=1e-5)


def test_the_report_knows_another_teacher_by_its_weights(sparse_folder, dense_folder, corpus, tmp_path, settings):
    report = train_self_supervised(sparse_folder, corpus, tmp_path / "out", settings(steps=1), teacher=dense_folder)
    assert report.settings["teacher"]["name"] == str(dense_folder)
    assert len(report.settings["teacher"]["weights"]) > 10
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"- Teacher: {dense_folder.parent.name}/{dense_folder.name}, by margin-mse" in card
    assert str(tmp_path) not in card
    assert json.loads((tmp_path / "out" / "training_report.json").read_text()) == report.to_dict()


@pytest.mark.parametrize(
    ("changes", "pairs", "teacher", "error", "message"),
    [
        ({"loss": "contrastive"}, None, "echo", InputError, "auto, margin-mse or kl with a teacher, got 'contrastive'"),
        ({}, PairOptions(), "echo", InputError, "negatives must be 1 or more with a teacher, got 0"),
        ({}, None, "no-such-folder/x/y", NotFoundError, "no-such-folder/x/y"),
        ({}, None, "BM25", InputError, "teacher must be an encoder, echo or hybrid, got 'bm25'"),
        (
            {},
            None,
            "no-such-teacher",
            NotFoundError,
            "^teacher must be 'echo', 'hybrid', a built-in name, .* got 'no-s",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    sparse_folder, corpus, tmp_path, settings, monkeypatch, changes, pairs, teacher, error, message
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(error, match=message):
        train_self_supervised(sparse_folder, corpus, tmp_path / "out", settings(**changes), pairs, teacher=teacher)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("teacher", ["echo", "hybrid", "another"])
@pytest.mark.parametrize("kind", ["dense", "static"])
def test_a_dense_student_is_refused_before_anything_is_read(
    dense_folder, static_folder, tmp_path, settings, kind, teacher
):
    folder = {"dense": dense_folder, "static": static_folder}[kind]
    message = f"model must be a SparseEncoder to learn from a teacher, got the dense encoder '{folder}'; take a sparse"
    with pytest.raises(EncoderError, match=message):
        train_self_supervised(folder, tmp_path / "none.txt", tmp_path / "out", settings(), teacher=teacher)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def unmined(monkeypatch):
    """Mining fails the test."""

    def fail(*arguments, **options):
        raise AssertionError("mined")

    monkeypatch.setattr("isthmus.training.self_supervised.find_negatives", fail)


def test_a_dense_student_of_the_hub_is_refused_before_mining(
    dense_folder, corpus, tmp_path, settings, monkeypatch, unmined
):
    # What a hub id stands for is known when it has been loaded.
    monkeypatch.setattr("isthmus.training.teacher.local_folder", lambda name: None)
    with pytest.raises(EncoderError, match="model must be a SparseEncoder to learn from a teacher, got SentenceTransf"):
        train_self_supervised(dense_folder, corpus, tmp_path / "out", settings(), teacher="echo")


@pytest.mark.filterwarnings("ignore:the encoder carries a lexical part")
def test_a_student_with_an_echo_is_refused_before_mining(student, corpus, tmp_path, settings, unmined):
    add_lexical(student, TEXTS, "echo").save_pretrained(str(tmp_path / "echo"))
    with pytest.raises(EncoderError, match=r"must not carry the parts that are added to it.* start from the encoder"):
        train_self_supervised(tmp_path / "echo", corpus, tmp_path / "out", settings(), teacher="echo")


def test_with_scores_names_a_dense_student(dense_folder, rows):
    dense = SentenceTransformer(str(dense_folder), device="cpu")
    with pytest.raises(EncoderError, match="model must be a SparseEncoder to learn from a teacher, got SentenceTransf"):
        with_scores(rows, dense, dense)


def test_a_teacher_that_tells_nothing_apart_is_refused(student, rows):
    alike = replace(rows, texts=rows.texts | {f"negative_{i}": rows.texts["positive"] for i in (1, 2)})
    with pytest.raises(InputError, match="teacher must tell positives and negatives apart"):
        with_scores(alike, student, student)
