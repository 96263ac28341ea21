import csv
import io
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from isthmus.auditing.measures import METRICS
from isthmus.auditing.own_language import OwnLanguage
from isthmus.auditing.page import render_audit, write_audit_report
from isthmus.errors import OutputError
from isthmus.evaluation.bootstrap import PairedBootstrap

HOSTILE = " <script>alert(1)</script> \"><img src=x onerror='alert(2)'> &amp; {{ 7 * 7 }}"
VOID = {"meta", "br", "img", "hr", "link", "input", "wbr"}


class Page(HTMLParser):
    """Elements with their attributes, and whether every one is closed in turn."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


CASES = {
    "two models": {},
    "one model": {"models": ("only",)},
    "three models, three languages": {"models": ("a", "b", "c"), "languages": ("en", "ar", "hi")},
    "no English": {"languages": ("ko", "ar")},
    "more languages than colours": {"languages": ("en", "ar", "de", "el", "es", "hi", "ko", "ru", "vi", "zh")},
    "every pool": {
        "languages": ("ko", "en", "ar"),
        "pools": ("mono-same", "mono-cross", "multi", "pairs", "partly-parallel", "english-distractors"),
    },
    "no mixed pool": {"pools": ("mono-same",)},
    "unknown language and pool": {"languages": ("en", "tlh"), "pools": ("new",)},
}


@pytest.mark.parametrize("case", CASES)
def test_page_is_well_formed_and_says_everything(make_audit, case):
    audit = make_audit(**CASES[case])
    page = Page(render_audit(audit))
    assert not page.open
    text = " ".join(page.text)
    for word in [
        *audit.models,
        *(pool.rule for pool in audit.pools),
        audit.pools[0].deduplication,
        audit.pools[0].ties,
    ]:
        assert word in text
    for metric in METRICS.values():
        assert metric.meaning in text
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))
    assert "no limit" in text
    assert "nan" not in text.lower().split()


def test_links_of_the_page_lead_somewhere(make_audit):
    page = Page(render_audit(make_audit()))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    inside = {link["href"] for link in page.all("a") if "download" not in link}
    assert inside <= {f"#{name}" for name in ids}
    assert len(inside) == 8
    sections = {attributes.get("id") for attributes in page.all("section")}
    assert {"ranks", "mix", "gap", "split", "metrics", "comparison", "questions", "settings"} <= sections


def test_one_model_has_nothing_to_compare_and_no_english_no_gap(make_audit):
    ids = {attributes.get("id") for attributes in Page(render_audit(make_audit(models=("only",)))).all("section")}
    assert "comparison" not in ids
    ids = {attributes.get("id") for attributes in Page(render_audit(make_audit(languages=("ko", "ar")))).all("section")}
    assert "gap" not in ids


def test_gaps_of_pools_of_one_language_are_drawn_where_no_other_has_any(make_audit):
    html = render_audit(make_audit(models=("only",), pools=("english-distractors", "mono-same", "mono-cross")))
    section = html[html.index('<section id="gap">') : html.index('<section id="metrics">')]
    assert (
        section.count("<h3>Only the question’s language</h3>") == section.count("<h3>Only one other language</h3>") == 1
    )
    assert section.count('<svg class="chart gap"') == 4


def test_hostile_text_stays_text(make_audit):
    audit = make_audit(models=(f"a{HOSTILE}", f"b{HOSTILE}"), text=HOSTILE)
    html = render_audit(audit)
    page = Page(html)
    assert not page.open
    assert not page.all("script")
    assert not page.all("img")
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    text = " ".join(page.text)
    for shown in (audit.models[1], audit.collection, "question 0" + HOSTILE, "passage 1" + HOSTILE, "by id" + HOSTILE):
        assert shown in text


def test_hostile_language_codes_stay_text(make_audit):
    page = Page(render_audit(make_audit(languages=("en", "<script>"))))
    assert not page.open
    assert not page.all("script")


def test_page_loads_and_runs_nothing(make_audit):
    html = render_audit(make_audit())
    page = Page(html)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", html)
    for tag in ("script", "link", "iframe", "object", "img"):
        assert not page.all(tag)
    assert not any({"src", "style", "srcset"} & set(attributes) for _, attributes in page.elements)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


def test_questions_and_passages_tell_language_and_direction(make_audit):
    page = Page(render_audit(make_audit(languages=("en", "ar"))))
    written = [attributes for tag, attributes in page.elements if attributes.get("class") in ("asked", "text")]
    assert {attributes["lang"] for attributes in written} == {"en", "ar"}
    assert all(attributes["dir"] == "auto" for attributes in written)
    assert all(attributes["lang"] == "en" for attributes in page.all("html"))


def test_charts_and_tables_can_be_read_aloud(make_audit):
    page = Page(render_audit(make_audit()))
    charts = page.all("svg")
    assert len(charts) > 10
    assert all(chart.get("aria-label") or chart.get("aria-hidden") == "true" for chart in charts)
    assert all(heading.get("scope") for heading in page.all("th"))
    captions, tables = page.all("caption"), page.all("table")
    assert len(captions) == len(tables) > 4


def test_relevant_hits_are_marked_in_words(make_audit):
    html = render_audit(make_audit(models=("only",), pools=("multi",)))
    questions = html.count('<details class="question"')
    # The second hit of each question, and the first relevant passage further down.
    assert questions == 10
    assert html.count("✓ relevant") == 2 * questions


def test_median_stands_below_the_mean_rank(make_audit):
    audit = make_audit(models=("only",), pools=("multi",))
    found = replace(audit.results[0], per_query={**audit.results[0].per_query, "max@r": np.array([9.0, 1, 40, 2])})
    html = render_audit(replace(audit, results=(found, *audit.results[1:])))
    assert ">13.0<small>20.0–<wbr>30.0</small><small>median 5.5</small></td>" in html
    # One for each result, below no other metric.
    assert html.count("<small>median ") == len(audit.results)


def test_large_audits_stay_small(make_audit):
    languages = ("en", "ar", "de", "es", "hi", "ru", "vi", "zh")
    audit = make_audit(languages=languages, text="नमस्ते दुनिया " * 500)
    # The rules are the project's own sentences, and the name is whoever's who asks; neither is cut.
    short = tuple(replace(pool, rule="a", deduplication="b", ties="c") for pool in audit.pools)
    results = tuple(replace(r, pool=p) for r, p in zip(audit.results, short * len(audit.models), strict=True))
    html = render_audit(replace(audit, collection="a", pools=short, results=results, comparisons=(), settings={}))
    assert len(html.encode()) < 2_000_000


def test_lone_surrogates_are_replaced(make_audit, tmp_path):
    write_audit_report(make_audit(text=" \ud800"), tmp_path / "page.html")
    assert "question 0 ?" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_report_is_written_whole_or_not_at_all(make_audit, tmp_path):
    path = tmp_path / "new" / "page.html"
    write_audit_report(make_audit(), str(path))
    assert path.read_text(encoding="utf-8") == render_audit(make_audit())
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
    with pytest.raises(OutputError, match="cannot be written"):
        write_audit_report(make_audit(), path / "below")


def test_package_data_holds_the_templates():
    from importlib.resources import files

    names = {entry.name for entry in (files("isthmus.auditing") / "templates").iterdir()}
    assert {"audit.html.j2", "audit.css"} <= names


def test_page_says_that_copies_are_kept(make_audit):
    audit = make_audit()
    assert "a copy of its passage" not in render_audit(audit)
    kept = replace(audit, pools=tuple(replace(pool, keep_copies=True) for pool in audit.pools))
    assert "a copy of its passage for each" in render_audit(kept)


def own(model, language, ndcg):
    return OwnLanguage(model, language, ndcg, 0.8, PairedBootstrap(ndcg - 0.8, -0.7, -0.1, 0.001, 2000, 0))


@pytest.fixture
def deaf(make_audit):
    """The first model hardly reads Korean, and is never tempted by English therefore; the second reads both."""
    audit = make_audit(gaps={"ko": 0.0})
    languages = [own("first", "ko", 0.1), *(own("second", code, 0.7) for code in ("en", "ko"))]
    return replace(audit, own_languages=(own("first", "en", 0.7), *languages))


def test_reading_stands_before_preference(deaf):
    html = render_audit(deaf)
    first, second = (part.split("</section>")[0] for part in html.split('<p class="model">')[1:])
    for part in (first, second):
        assert part.index("<h2>Reads") < part.index("BM25") < part.index('class="prefers"')
    assert "<h2>Reads English; hardly reads Korean</h2>" in first
    assert re.search(r'<small class="hardly">hardly reads it</small></th>\s*<td title="[^"]*">0.100<svg', first)
    assert "What it prefers cannot be told" in first
    assert "Irrelevant English before any of them" not in first
    assert "Irrelevant English before any of them" in second
    # BM25 stands beside every language.
    assert first.count(">0.800<svg") == second.count(">0.800<svg") == 2


def test_what_a_model_cannot_read_is_no_merit(deaf):
    html = render_audit(deaf)
    metrics = html[html.index('<section id="metrics">') : html.index('<section id="comparison">')]
    untold = re.findall(r'<td class="untold" title="([^"]*)"', metrics)
    # In both directions of the mixed pool, and on Korean from English and back.
    assert len(untold) == 2 * 2
    assert all("hardly reads one of the languages" in title for title in untold)
    comparison = html[html.index('<section id="comparison">') : html.index('<section id="questions">')]
    judged = set(re.findall(r'<summary>([^<]*)</summary>.*?</th><td class="\w+"', comparison))
    assert "Complete@10" in judged
    assert "English first" in comparison
    assert "English first" not in judged
    # Where both read, it is one.
    able = replace(deaf, own_languages=tuple(replace(own, ndcg=0.7) for own in deaf.own_languages))
    assert 'class="untold"' not in render_audit(able)


def test_files_of_the_page_hold_its_numbers(make_audit):
    audit = make_audit(text=HOSTILE)
    audit = replace(audit, own_languages=tuple(own("first", code, 0.1) for code in audit.languages))
    page = Page(render_audit(audit))
    links = {link["download"]: link["href"] for link in page.all("a") if "download" in link}
    assert set(links) == {"audit.csv", "audit.json"}
    held = {name: unquote(link.partition(",")[2]) for name, link in links.items()}
    assert json.loads(held["audit.json"]) == json.loads(audit.to_json())
    rows = list(csv.DictReader(io.StringIO(held["audit.csv"])))
    for row, found in zip(rows, json.loads(held["audit.json"])["rows"], strict=True):
        assert (row["model"], row["pool"], row["query_language"]) == (
            found["model"],
            found["pool"],
            found["query_language"],
        )
        assert float(row["ndcg@10"]) == found["ndcg@10"]
        assert [float(row["ndcg@10_low"]), float(row["ndcg@10_high"])] == found["ndcg@10_ci"]
        assert row["english_first"] == ("" if found["english_first"] is None else str(found["english_first"]))
        assert row["level"] == ("hardly" if row["model"] == "first" else "")


def test_small_samples_are_called_so(make_audit):
    audit = make_audit()
    assert "Small sample:</strong> 40 questions, fewer than 300" in render_audit(audit)
    large = replace(audit, query_ids=tuple(map(str, range(300))))
    assert "Small sample" not in render_audit(large)


def test_every_metric_has_its_definition_beside_it(make_audit):
    html = render_audit(make_audit())
    for metric in METRICS.values():
        meaning = re.escape(metric.meaning.replace("'", "&#39;"))
        beside = re.compile(rf"{re.escape(metric.label)}</summary><span>{meaning}")
        assert beside.search(html), metric.label


def test_languages_have_one_colour_on_the_whole_page(make_audit):
    html = render_audit(make_audit(languages=("zh", "en", "ko")))
    found = dict.fromkeys(re.findall(r'<span class="lang (l\d)"><i></i>(\w+)</span>', html))
    assert {name: colour for colour, name in found} == {"English": "l0", "Korean": "l1", "Chinese": "l2"}
    assert len(found) == 3
