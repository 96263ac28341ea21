"""Adapting: what is read of a corpus, what is measured on, what is chosen, and a run that is broken off."""

import json
import random

import numpy as np
import pytest
from sentence_transformers import SparseEncoder

import isthmus
from isthmus.adapting import adapt, adaptation
from isthmus.adapting.conclusion import conclude
from isthmus.adapting.outcome import Adaptation, ArmResult, choose, worth_a_look
from isthmus.adapting.questions import asked_by_a_person, made_of_text, read_questions
from isthmus.adapting.sample import draw_sample
from isthmus.encoders.load import load_encoder
from isthmus.errors import CollectionError, InputError, OutputError
from isthmus.reading.disk import locked
from tests.tiny_encoders import splade

SYLLABLES = "가나다라마바사아자차카타파하고노도로모보소오조초코토포호구누두루무부수우주추쿠투푸후"


def documents(count=60, seed=0):
    draw = random.Random(seed)
    words = ["".join(draw.choices(SYLLABLES, k=2)) for _ in range(80)]
    return [{"id": f"d{number}", "text": " ".join(draw.choices(words, k=30)) + "."} for number in range(count)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("adapt") / "corpus.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in documents()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny English encoder and the built-in bridge."""
    root = tmp_path_factory.mktemp("models")
    splade(root / "backbone").save_pretrained(str(root / "encoder"))
    return {"encoder": root / "encoder", "bridge": "isthmus/mini-bridge"}


QUICK = {"minutes": 0, "vocabulary_size": 400, "pool": 60, "show_progress_bar": False, "keep_source": False}


def test_the_language_is_what_documents_say_or_the_script_tells():
    rows = documents(30)
    found = draw_sample(rows, language=None, seed=0)
    assert (found.language, found.script, found.guessed) == ("ko", "HANGUL", True)
    said = draw_sample([row | {"language": "ko"} for row in rows], language=None, seed=0)
    assert (said.language, said.guessed) == ("ko", False)
    english = [{"id": str(number), "text": "words of a language in Latin letters"} for number in range(3)]
    with pytest.raises(InputError, match=r"language must be given for text in the script LATIN.*--language"):
        draw_sample(english, language=None, seed=0)
    assert draw_sample(english, language="vi", seed=0).language == "vi"
    with pytest.raises(InputError, match="CORPUS must hold text, got 1 documents without any"):
        draw_sample([{"id": "a", "text": " "}], language="ko", seed=0)


def test_documents_that_questions_need_are_kept():
    rows = documents(30)
    kept = draw_sample(rows, language="ko", seed=0, wanted=["d7"])
    assert "d7" in [document.id for document in kept.documents]
    with pytest.raises(InputError, match="questions must name documents of the corpus that have text, got 'x'"):
        draw_sample(rows, language="ko", seed=0, wanted=["d7", "x"])


def test_questions_of_the_text_are_not_in_the_passage_they_came_from():
    sample = draw_sample(documents(), language="ko", seed=0)
    made = made_of_text(sample, pool=60, seed=0)
    assert len(made.queries) >= 20
    for query, grades in made.qrels.items():
        (passage,) = grades
        assert made.queries[query] not in made.corpus[passage]
    assert made_of_text(sample, pool=60, seed=0).queries == made.queries
    assert made_of_text(sample, pool=60, seed=1).queries != made.queries
    with pytest.raises(InputError, match="CORPUS must give 20 questions to measure on"):
        made_of_text(draw_sample(documents(5), language="ko", seed=0), pool=60, seed=0)


def test_a_question_is_a_whole_sentence_where_there_are_three():
    sentences = [" ".join(f"가{place}나{number}" for number in range(6)) + "." for place in range(5)]
    rows = [{"id": f"d{number}", "text": " ".join(f"{one[:-1]}{number}." for one in sentences)} for number in range(30)]
    made = made_of_text(draw_sample(rows, language="ko", seed=0), pool=60, seed=0)
    told = {one for row in rows for one in row["text"].replace(". ", ".|").split("|")}
    assert set(made.queries.values()) <= told


def test_the_doctor_concludes_with_the_best_arm_and_its_command(models):
    texts = [row["text"] for row in documents()]
    found = conclude(models["encoder"], texts, show_progress_bar=False)
    assert found.check == "best-arm"
    assert " is best: nDCG@10 " in found.message
    assert "questions made of the text" in found.message
    assert (found.remedy == "") == (found.level == "ok")
    if found.level == "note":
        assert found.remedy.startswith("isthmus ")
    assert conclude(models["encoder"], texts[:3]).message.startswith("nothing is concluded: CORPUS must give 20")


def test_a_persons_questions(tmp_path):
    path = tmp_path / "questions.tsv"
    path.write_text("가나 다라\td3\n가나 다라\td4\n마바?\td5\n", encoding="utf-8")
    rows = read_questions(path)
    sample = draw_sample(documents(), language="ko", seed=0, wanted=[identifier for _, identifier in rows])
    made = asked_by_a_person(sample, rows, pool=20, seed=0)
    assert len(made.corpus) == 20
    assert made.qrels == {"q0": {"d3": 1, "d4": 1}, "q1": {"d5": 1}}
    path.write_text("가나 다라\td3\nonly one\n", encoding="utf-8")
    with pytest.raises(CollectionError, match=r"questions.tsv, line 2: must be a question and an id"):
        read_questions(path)
    lines = tmp_path / "questions.jsonl"
    lines.write_text('{"query": "가", "id": 3}\n{"query": "나"}\n', encoding="utf-8")
    with pytest.raises(CollectionError, match=r"line 2: must have 'query' and 'id', got query"):
        read_questions(lines)


def arm(name, scores):
    return ArmResult.of(name, np.array(scores, dtype=float), 1.0)


def test_another_arm_than_the_default_must_be_certainly_better():
    first = [0.5, 0.4, 0.6, 0.5] * 20
    better = [score + 0.1 for score in first]
    noise = [score + (0.3 if place % 2 else -0.29) for place, score in enumerate(first)]
    assert choose([arm("BM25", [1.0] * 80), arm("transferred", noise), arm("hybrid", first)]) == "hybrid"
    assert choose([arm("transferred", first), arm("hybrid", first), arm("taught", better)]) == "taught"
    assert choose([arm("as it is", first), arm("transferred", better)]) == "transferred"


def test_scores_that_a_person_should_look_at():
    low, high = [0.2, 0.4] * 40, [0.6, 0.7] * 40
    told = worth_a_look([arm("as it is", low), arm("transferred", high), arm("BM25", high)], "as it is")
    assert told == ["BM25 finds these questions certainly better than as it is: ask forty of your own (--questions)"]
    arms = [arm("as it is", low), arm("transferred", low), arm("BM25", low)]
    assert "the transfer is not certainly better" in worth_a_look(arms, "transferred")[0]
    assert worth_a_look([arm("as it is", low), arm("transferred", high), arm("BM25", low)], "transferred") == []


def test_the_verdict_compares_with_bm25():
    arms = (arm("BM25", [0.5] * 40), arm("echo", [0.75] * 40))
    found = Adaptation(arms, "echo", "ko", "HANGUL", 3, "40 questions", "e", None, 1.0)
    assert found.verdict().startswith("echo: nDCG@10 0.750 (± 0.000), above BM25 with 0.500 (difference +0.250")
    assert "per_query" not in found.to_dict()["arms"][0]


def test_a_run_goes_on_where_it_was_broken_off(corpus, models, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    add = adaptation.add_lexical

    def broken(encoder, texts, mode, **options):
        if mode == "hybrid":
            raise KeyboardInterrupt
        return add(encoder, texts, mode, **options)

    monkeypatch.setattr(adaptation, "add_lexical", broken)
    with pytest.raises(KeyboardInterrupt):
        adapt(corpus, folder, **models, **QUICK)
    monkeypatch.setattr(adaptation, "add_lexical", add)
    monkeypatch.setattr(adaptation, "transfer_encoder", lambda *_, **__: pytest.fail("transferred again"))
    with pytest.raises(OutputError, match="already holds something else than this adaptation"):
        adapt(corpus, folder, **models, **QUICK, seed=3)
    found = adapt(corpus, folder, **models, **QUICK)
    assert [made.name for made in found.arms] == ["as it is", "transferred", "BM25", "echo", "hybrid"]
    assert isinstance(load_encoder(folder / "encoder"), SparseEncoder)
    assert not (folder / "arms").exists()
    # Once more is no work.
    monkeypatch.setattr(adaptation, "evaluate_model", lambda *_, **__: pytest.fail("measured again"))
    assert str(adapt(corpus, folder, **models, **QUICK)) == str(found)
    hits = isthmus.SparseIndex.open(folder / "index").search(documents()[0]["text"], top_k=3)
    assert hits
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert found.chosen in page
    assert "What was tried" in page
    assert json.loads((folder / "adapt.json").read_text(encoding="utf-8"))["finished"]["chosen"] == found.chosen


def test_two_runs_cannot_share_a_folder(corpus, models, tmp_path):
    folder = tmp_path / "out"
    with locked(folder), pytest.raises(OutputError, match="is being written by another process"):
        adapt(corpus, folder, **models, **QUICK)


def test_an_arm_can_be_fixed_and_text_is_escaped(tmp_path, models):
    rows = [row | {"text": row["text"] + " <script>alert(1)</script>"} for row in documents()]
    found = adapt(rows, tmp_path / "out", arm="echo", **models, **QUICK)
    assert found.chosen == "echo"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script>" not in page
