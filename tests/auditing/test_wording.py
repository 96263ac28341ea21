import shlex
from dataclasses import replace

import pytest
from click import Context
from typer.main import get_command

from isthmus.auditing import verdict
from isthmus.auditing.own_language import OwnLanguage
from isthmus.auditing.verdict import verdicts
from isthmus.auditing.wording import amount, language_list, outcome, p_value, setting, signed
from isthmus.cli import app
from isthmus.evaluation.bootstrap import PairedBootstrap


def preferences(audit):
    return [verdict.preference for verdict in verdicts(audit)]


def own(model, language, ndcg, bm25, low=-0.1, high=0.1):
    return OwnLanguage(model, language, ndcg, bm25, PairedBootstrap(ndcg - bm25, low, high, 0.5, 2000, 0))


@pytest.mark.parametrize(
    ("gaps", "preference"),
    [
        ({"ar": 5.0, "ko": 5.0}, "Leans to English"),
        ({"ar": 5.0, "ko": 0.5}, "Leans to English when asked in Arabic"),
        ({"ar": 0.5, "ko": -0.5}, "No clear lean to English"),
        ({"ar": -5.0, "ko": 0.0}, "Does better in Arabic than in English"),
        ({"ar": -5.0, "ko": 5.0}, "Leans to English when asked in Korean; does better in Arabic than in English"),
    ],
)
def test_preference_follows_the_intervals_of_the_gap(make_audit, gaps, preference):
    # Intervals are one point to either side.
    assert preferences(make_audit(languages=("en", "ar", "ko"), gaps=gaps)) == [preference, preference]


def test_a_certain_but_small_gap_is_no_lean(make_audit, monkeypatch):
    audit = make_audit(models=("only",), gaps={"ko": 2.0})
    assert preferences(audit) == ["Leans to English"]
    monkeypatch.setattr(verdict, "MATERIAL", 2.1)
    assert preferences(audit) == ["No clear lean to English"]


def test_a_model_that_sees_one_language_keeps_to_it(make_audit):
    audit = make_audit(models=("only",))
    results = tuple(
        replace(found, language_share={code: float(code == found.pool.query_language) for code in found.pool.languages})
        for found in audit.results
    )
    assert preferences(replace(audit, results=results)) == [
        "No clear lean to English; keeps to the question’s language"
    ]


def test_pools_of_one_language_show_no_lean(make_audit):
    audit = make_audit(models=("only",), pools=("mono-same",), gaps={"ko": 5.0})
    assert preferences(audit) == ["Does better in English than in Korean"]
    assert preferences(make_audit(models=("only",), pools=("mono-same",))) == ["No clear difference from English"]


def test_detail_gives_gap_and_interval(make_audit):
    verdict = verdicts(make_audit(models=("only",), gaps={"ko": 5.0}))[0]
    assert verdict.detail == (
        "Asked in English, the same questions have a Max@R norm 5.0 points higher than in Korean "
        "(95% interval +4.0 to +6.0)."
    )
    assert {found.pool.name for found in verdict.results} == {"multi"}


@pytest.mark.parametrize(
    ("ndcg", "low", "high", "level"),
    [(0.49, -0.6, 0.1, "hardly"), (0.5, -0.6, 0.1, "alike"), (0.9, -0.2, -0.01, "worse"), (1.0, 0.01, 0.1, "better")],
)
def test_levels_of_reading(ndcg, low, high, level):
    found = own("a", "ko", ndcg, 1.0, low, high)
    assert (found.level, found.reads) == (level, level != "hardly")


def test_reading_comes_first_and_a_preference_only_between_languages_that_are_read(make_audit):
    audit = make_audit(languages=("en", "ko"), gaps={"ko": 5.0})
    read = [own("second", code, 0.8, 0.9) for code in ("en", "ko")]
    audit = replace(audit, own_languages=(own("first", "en", 0.8, 0.9), own("first", "ko", 0.1, 0.9), *read))
    blind, able = verdicts(audit)
    assert (blind.headline, able.headline) == ("Reads English; hardly reads Korean", "Reads English and Korean")
    assert (blind.preference, blind.told) == ("What it prefers cannot be told", ())
    assert able.preference == "Leans to English"
    # Of three languages, the two that are read still compete.
    audit = make_audit(languages=("en", "ar", "ko"), models=("first",), gaps={"ar": 5.0, "ko": 5.0})
    three = [own("first", code, ndcg, 0.9) for code, ndcg in (("en", 0.8), ("ar", 0.8), ("ko", 0.1))]
    (verdict,) = verdicts(replace(audit, own_languages=tuple(three)))
    assert verdict.headline == "Reads English and Arabic; hardly reads Korean"
    assert {found.pool.query_language for found in verdict.told} == {"en", "ar"}
    assert verdict.preference == "Leans to English"
    assert "Korean" not in verdict.detail


@pytest.mark.parametrize(
    ("kind", "ndcg", "gap", "commands"),
    [
        ("SparseEncoder", 0.1, 5.0, ["isthmus adapt corpus.jsonl --encoder 'my model'", "isthmus doctor 'my model'"]),
        ("SentenceTransformer", 0.1, 5.0, ["isthmus doctor 'my model'"]),
        ("SparseEncoder", 0.9, 5.0, ["isthmus align 'my model'"]),
        ("SparseEncoder", 0.9, 0.0, ["isthmus index 'my model'"]),
        ("SentenceTransformer", 0.9, 0.0, ["isthmus audit 'my model' --collection FOLDER --languages en,ko"]),
    ],
)
def test_the_next_command_follows_from_what_was_found(make_audit, kind, ndcg, gap, commands):
    audit = make_audit(models=("my model",), gaps={"ko": gap})
    languages = (own("my model", "en", 0.9, 0.9), own("my model", "ko", ndcg, 0.9))
    audit = replace(audit, own_languages=languages, settings={"models": {"my model": {"class": kind}}})
    lines = [line for _, line in verdicts(audit)[0].commands]
    assert [line[: len(start)] for line, start in zip(lines, commands, strict=True)] == commands
    command = get_command(app)
    for line in lines:
        # What is told can be typed: the flags are those of the command.
        name, *given = shlex.split(line)[1:]
        flags = {flag for parameter in command.get_command(Context(command), name).params for flag in parameter.opts}
        assert {word for word in given if word.startswith("-")} <= flags


def test_many_languages_are_summed_up_by_the_ends(make_audit):
    gaps = {"ar": 5.0, "hi": -2.0, "ko": 1.0, "ru": 3.0}
    detail = verdicts(make_audit(languages=("en", *gaps), gaps=gaps))[0].detail
    assert detail.endswith("from 2.0 points lower than in Hindi to 5.0 points higher than in Arabic.")


def test_languages_with_several_pools_are_told_apart(make_audit):
    audit = make_audit(models=("only",), languages=("en", "ar", "ko"), pools=("pairs",), gaps={"ar": 5.0, "ko": 5.0})
    assert preferences(audit) == ["Leans to English"]
    detail = verdicts(audit)[0].detail
    assert detail.endswith("from 5.0 points higher than in Arabic (en+ar) to 5.0 points higher than in Korean (ar+ko).")


def test_without_english_the_ends_are_named(make_audit):
    audit = make_audit(models=("only",), languages=("ar", "ko"))
    verdict = verdicts(audit)[0]
    worse, better = sorted(
        (found for found in audit.results if found.pool.name == "multi"), key=lambda found: found["max@r_norm"]
    )
    names = {"ar": "Arabic", "ko": "Korean"}
    assert verdict.preference == (
        f"{names[better.pool.query_language]} questions do best, {names[worse.pool.query_language]} questions worst"
    )
    assert amount("max@r_norm", better["max@r_norm"]) in verdict.detail
    assert "english_first" not in verdict.glance


def test_english_distractors_say_how_often_english_blocks(make_audit):
    audit = make_audit(models=("only",), pools=("english-distractors",))
    share = amount("english_first", audit.results[0]["english_first"])
    assert preferences(audit) == [f"English stands in the way of {share} of Korean questions"]


def test_numbers_have_the_digits_of_their_metric():
    assert amount("max@r", 12.34) == "12.3"
    assert amount("ndcg@10", 0.5) == "0.500"
    assert amount("english_first", 0.305) == "30%"
    assert amount("ndcg@10", None) == amount("ndcg@10", float("nan")) == "–"
    assert signed("complete@10", -1.25) == "−1.2"
    assert signed("english_first", 0.031) == "+3"
    assert signed("max@r", -0.01) == "0.0"
    assert p_value(0.0004) == "p < 0.001"
    assert p_value(0.05) == "p 0.050"


def test_outcomes_mind_which_end_is_good():
    assert outcome("max@r", 1, 2) == "worse"
    assert outcome("ndcg@10", 0.1, 0.2) == "better"
    assert outcome("ndcg@10", -0.2, -0.1) == "worse"
    assert outcome("ndcg@10", -0.1, 0.1) == ""
    assert outcome("language_preference", 0.1, 0.2) == "more"
    assert outcome("language_preference", -0.2, -0.1) == "less"


def test_settings_read_as_text():
    assert setting(None) == "not set"
    assert setting(False) == "no"
    assert setting(float("inf")) == "no limit"
    assert setting({"a": 1, "b": None}) == "a 1, b not set"
    assert setting({}) == "none"


def test_languages_read_as_text():
    assert language_list(["en"]) == "English"
    assert language_list(["en", "ko", "tlh"]) == "English, Korean and tlh"
