import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from isthmus.auditing.measures import METRICS
from isthmus.auditing.page import render_audit, write_audit_report
from isthmus.errors import OutputError

HOSTILE = " <script>alert(1)</script> \"><img src=x onerror='alert(2)'> &amp; {{ 7 * 7 }}"
VOID = {"meta", "br", "img", "hr", "link", "input"}


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
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in ids}
    sections = {attributes.get("id") for attributes in page.all("section")}
    assert {"ranks", "mix", "gap", "split", "metrics", "comparison", "questions", "settings"} <= sections


def test_one_model_has_nothing_to_compare_and_no_english_no_gap(make_audit):
    ids = {attributes.get("id") for attributes in Page(render_audit(make_audit(models=("only",)))).all("section")}
    assert "comparison" not in ids
    ids = {attributes.get("id") for attributes in Page(render_audit(make_audit(languages=("ko", "ar")))).all("section")}
    assert "gap" not in ids


def test_gaps_of_pools_of_one_language_are_drawn_where_no_other_has_any(make_audit):
    html = render_audit(make_audit(models=("only",), pools=("english-distractors", "mono-same", "mono-cross")))
    section = html[html.index('<section id="gap">') : html.index('<section id="split">')]
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
    scrolled = [attributes for attributes in page.all("div") if "scroll" in attributes.get("class", "")]
    assert scrolled
    assert all(attributes.get("tabindex") == "0" and attributes.get("aria-label") for attributes in scrolled)


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
    assert "<td>13.0<small>20.0 – 30.0</small><small>median 5.5</small></td>" in html
    # One for each result, below no other metric.
    assert html.count("<small>median ") == len(audit.results)


def test_large_audits_stay_small(make_audit):
    languages = ("en", "ar", "de", "es", "hi", "ru", "vi", "zh")
    html = render_audit(make_audit(languages=languages, text="नमस्ते दुनिया " * 500))
    # The rules, which are the project's own sentences, are the only text that is not cut.
    rules = len(("नमस्ते दुनिया " * 500).encode())
    assert len(html.encode()) - 40 * rules < 2_000_000


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
