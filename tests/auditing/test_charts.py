import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from isthmus.auditing import charts
from isthmus.auditing.accents import accents


def of(audit, pool, language):
    return [found for found in audit.results if (found.pool.name, found.pool.query_language) == (pool, language)]


def boxes(svg, kind):
    """Heights of the boxes of a path, by class."""
    path = next(e for e in ElementTree.fromstring(svg).iter("path") if e.get("class") == kind)
    return [float(height) for height in re.findall(r"v([\d.]+)", path.get("d"))]


@pytest.fixture
def audit(make_audit):
    return make_audit(models=("only",), gaps={"ko": 20.0})


ACCENTS = {"en": 0, "ko": 1}


def test_columns_are_octaves_of_ranks():
    assert charts.octaves([1, 2, 3, 4, 7, 8, 15, 16], 5) == [1 / 8, 2 / 8, 2 / 8, 2 / 8, 1 / 8]
    assert charts.octaves([1, 1000], 3) == [0.5, 0, 0.5]


def test_rank_chart_draws_shares_and_states_medians(audit):
    found = replace(
        of(audit, "multi", "ko")[0],
        gold_ranks=((1, 2), (1, 40), (2, 80), (1, 80)),
        gold_languages=(("ko", "en"), ("ko", "en"), ("ko", "en"), ("ko", "en")),
    )
    svg = charts.rank_chart([found], ACCENTS, 0.75)
    # Three of four Korean ranks are 1, one is 2; the full height is three of four.
    highest, second = boxes(svg, "l1")
    assert highest == 46 - 9
    assert second == pytest.approx(highest / 3, abs=0.1)
    assert "Korean: median rank 1, 100% in the first 10" in svg
    assert "English: median rank 60, 25% in the first 10" in svg


def test_the_first_ten_of_a_small_pool_end_with_its_axis(audit):
    (found,) = of(audit, "multi", "ko")
    small = replace(found, pool=replace(found.pool, documents=4), gold_ranks=((1, 4),), gold_languages=(("ko", "en"),))
    svg = ElementTree.fromstring(charts.rank_chart([small], ACCENTS, 1.0))
    band = next(e for e in svg.iter("rect") if e.get("class") == "band")
    axis = next(e.get("d") for e in svg.iter("path") if e.get("class") == "axis")
    assert float(band.get("x")) + float(band.get("width")) == float(axis.rpartition("H")[2])


def test_scale_is_the_highest_column_of_all(audit):
    results = of(audit, "multi", "ko") + of(audit, "multi", "en")
    columns = results[0].pool.documents.bit_length()
    shares = [charts.octaves(found.ranks_of(code), columns) for found in results for code in found.pool.languages]
    assert charts.peak(results) == max(map(max, shares))


def test_pools_of_a_query_language_share_a_chart(make_audit):
    audit = make_audit(models=("only",), languages=("en", "ar", "ko"), pools=("pairs",))
    svg = charts.rank_chart(of(audit, "pairs", "en"), {"en": 0, "ar": 1, "ko": 2}, 1.0)
    assert svg.count("in en+ar") == svg.count("in en+ko") == 2


def test_mix_stacks_to_the_whole_and_sets_the_relevant_apart(audit):
    found = replace(
        of(audit, "multi", "en")[0],
        language_mix={"en": np.array([0.75, 0.5]), "ko": np.array([0.25, 0.5])},
        relevant_mix={"en": np.array([0.5, 0.0]), "ko": np.array([0.25, 0.1])},
    )
    svg = charts.mix_chart(found, ACCENTS)
    solid, pale = boxes(svg, "l0"), boxes(svg, "l0 pale")
    assert solid == [75.0]
    assert pale[:2] == [37.5, 75.0]
    korean = boxes(svg, "l1"), boxes(svg, "l1 pale")
    assert sum(solid + pale + korean[0] + korean[1]) == pytest.approx(3 * 150)  # two ranks and the pool


def test_pool_of_english_distractors_is_that_of_one_question(make_audit):
    audit = make_audit(models=("only",), pools=("english-distractors",))
    svg = charts.mix_chart(audit.results[0], ACCENTS)
    assert boxes(svg, "l1 pale")[-1] == pytest.approx(150 / 41, abs=0.1)


def test_labels_of_thin_shares_do_not_cover_each_other():
    assert charts._spread([100.0, 98.0, 50.0, 49.0], 13) == [100.0, 87.0, 50.0, 37.0]


def test_gap_chart_places_both_languages_on_the_scale(audit):
    found = of(audit, "multi", "ko")[0]
    svg = charts.gap_chart([found], "max@r_norm", ACCENTS)
    ring, dot = (float(circle.get("cx")) for circle in ElementTree.fromstring(svg).iter("circle"))
    scale = (262 - charts.LEFT - 12) / 100
    assert dot == pytest.approx(charts.LEFT + 6 + scale * found["max@r_norm"], abs=0.1)
    assert ring - dot == pytest.approx(20 * scale, abs=0.1)
    assert "+20.0" in svg
    assert "gap +19.0 to +21.0" in svg


def test_split_bars_fill_the_width_and_state_every_share(audit):
    svg = charts.split_chart(of(audit, "multi", "ko"))
    widths = [
        float(bar.get("width")) for bar in ElementTree.fromstring(svg).iter("rect") if bar.get("class") != "hover"
    ]
    assert sum(widths) == pytest.approx(charts.WIDTH - charts.LEFT, abs=0.3)
    assert "relevant, other language 3%" in svg


def test_a_pointer_reads_every_value(audit):
    found = replace(
        of(audit, "multi", "ko")[0],
        gold_ranks=((1, 2), (1, 40), (2, 80), (1, 80)),
        gold_languages=(("ko", "en"), ("ko", "en"), ("ko", "en"), ("ko", "en")),
        language_mix={"en": np.array([0.75]), "ko": np.array([0.25])},
        relevant_mix={"en": np.array([0.5]), "ko": np.array([0.125])},
    )

    def told(svg):
        return [title.text for title in ElementTree.fromstring(svg).iter("title")]

    assert "Rank 1: 75.0% of relevant Korean" in told(charts.rank_chart([found], ACCENTS, 1.0))
    assert "Rank 64 to 127: 50.0% of relevant English" in told(charts.rank_chart([found], ACCENTS, 1.0))
    mix = ["Rank 1: English 75.0%, relevant 50.0%; Korean 25.0%, relevant 12.5%", "The pool: English 50%, Korean 50%"]
    assert told(charts.mix_chart(found, ACCENTS)) == mix
    (gap,) = told(charts.gap_chart([found], "max@r_norm", ACCENTS))
    assert gap.endswith("difference +20.0, 95% interval +19.0 to +21.0")
    assert "relevant, own language: 50.0%" in told(charts.split_chart([found]))


def test_a_language_has_its_colour_whatever_else_is_there():
    many = ("en", "ko", "zh", "ru", "ar", "de", "es", "hi")
    alone = {code: accents([code])[code] for code in many}
    assert accents(many) == alone
    assert sorted(alone.values()) == list(range(8))
    assert accents(["ko", "en"]) == accents(["en", "ko"]) == {"en": 0, "ko": alone["ko"]}
    # Where two would share one, the rarer gives way.
    assert accents(["ja"])["ja"] == alone["ko"]
    assert accents(["ja", "ko"]) == {"ko": alone["ko"], "ja": alone["ko"] + 1}
    assert set(accents([*many, "ja", "tlh", "\ud800"]).values()) == set(range(8))


@pytest.mark.parametrize("name", ["<script>", 'a" onload="x'])
def test_names_of_languages_are_escaped(make_audit, name):
    audit = make_audit(models=("only",), languages=("en", name))
    found = of(audit, "multi", name)
    accents = {"en": 0, name: 1}
    for svg in (
        charts.rank_chart(found, accents, 1.0),
        charts.mix_chart(found[0], accents),
        charts.gap_chart(found, "complete@10", accents),
        charts.split_chart(found),
    ):
        root = ElementTree.fromstring(svg)
        assert not list(root.iter("script"))
        assert not any("onload" in element.attrib for element in root.iter())
