from dataclasses import replace

import pytest

from isthmus.auditing import verdict
from isthmus.auditing.verdict import verdicts
from isthmus.auditing.wording import amount, language_list, outcome, p_value, setting, signed


def headlines(audit):
    return [verdict.headline for verdict in verdicts(audit)]


@pytest.mark.parametrize(
    ("gaps", "headline"),
    [
        ({"ar": 5.0, "ko": 5.0}, "Leans to English"),
        ({"ar": 5.0, "ko": 0.5}, "Leans to English when asked in Arabic"),
        ({"ar": 0.5, "ko": -0.5}, "No clear lean to English"),
        ({"ar": -5.0, "ko": 0.0}, "Does better in Arabic than in English"),
        ({"ar": -5.0, "ko": 5.0}, "Leans to English when asked in Korean; does better in Arabic than in English"),
    ],
)
def test_headline_follows_the_intervals_of_the_gap(make_audit, gaps, headline):
    # Intervals are one point to either side.
    assert headlines(make_audit(languages=("en", "ar", "ko"), gaps=gaps)) == [headline, headline]


def test_a_certain_but_small_gap_is_no_lean(make_audit, monkeypatch):
    audit = make_audit(models=("only",), gaps={"ko": 2.0})
    assert headlines(audit) == ["Leans to English"]
    monkeypatch.setattr(verdict, "MATERIAL", 2.1)
    assert headlines(audit) == ["No clear lean to English"]


def test_a_model_that_sees_one_language_keeps_to_it(make_audit):
    audit = make_audit(models=("only",))
    results = tuple(
        replace(found, language_share={code: float(code == found.pool.query_language) for code in found.pool.languages})
        for found in audit.results
    )
    assert headlines(replace(audit, results=results)) == ["No clear lean to English; keeps to the question’s language"]


def test_pools_of_one_language_show_no_lean(make_audit):
    audit = make_audit(models=("only",), pools=("mono-same",), gaps={"ko": 5.0})
    assert headlines(audit) == ["Does better in English than in Korean"]
    assert headlines(make_audit(models=("only",), pools=("mono-same",))) == ["No clear difference from English"]


def test_detail_gives_gap_and_interval(make_audit):
    verdict = verdicts(make_audit(models=("only",), gaps={"ko": 5.0}))[0]
    assert verdict.detail == (
        "Asked in English, the same questions have a Max@R norm 5.0 points higher than in Korean "
        "(95% interval +4.0 to +6.0)."
    )
    assert {found.pool.name for found in verdict.results} == {"multi"}


def test_many_languages_are_summed_up_by_the_ends(make_audit):
    gaps = {"ar": 5.0, "hi": -2.0, "ko": 1.0, "ru": 3.0}
    detail = verdicts(make_audit(languages=("en", *gaps), gaps=gaps))[0].detail
    assert detail.endswith("from 2.0 points lower than in Hindi to 5.0 points higher than in Arabic.")


def test_languages_with_several_pools_are_told_apart(make_audit):
    audit = make_audit(models=("only",), languages=("en", "ar", "ko"), pools=("pairs",), gaps={"ar": 5.0, "ko": 5.0})
    assert headlines(audit) == ["Leans to English"]
    detail = verdicts(audit)[0].detail
    assert detail.endswith("from 5.0 points higher than in Arabic (en+ar) to 5.0 points higher than in Korean (ar+ko).")


def test_without_english_the_ends_are_named(make_audit):
    audit = make_audit(models=("only",), languages=("ar", "ko"))
    verdict = verdicts(audit)[0]
    worse, better = sorted(
        (found for found in audit.results if found.pool.name == "multi"), key=lambda found: found["max@r_norm"]
    )
    names = {"ar": "Arabic", "ko": "Korean"}
    assert verdict.headline == (
        f"{names[better.pool.query_language]} questions do best, {names[worse.pool.query_language]} questions worst"
    )
    assert amount("max@r_norm", better["max@r_norm"]) in verdict.detail
    assert "english_first" not in verdict.glance


def test_english_distractors_say_how_often_english_blocks(make_audit):
    audit = make_audit(models=("only",), pools=("english-distractors",))
    share = amount("english_first", audit.results[0]["english_first"])
    assert headlines(audit) == [f"English stands in the way of {share} of Korean questions"]


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
