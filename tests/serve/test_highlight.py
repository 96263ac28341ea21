"""Spans lie where their tokens stand, and the part of a text that is shown is the best one."""

import pytest

from isthmus.index.hits import Match
from isthmus.serve.highlight import Highlighter, Span, excerpt
from isthmus.serve.words import Words


@pytest.fixture
def highlight(library):
    return Highlighter(library.encoder, Words(library.encoder, library.token_map)).spans


def match(token, score):
    return Match(token, 1.0, score, score)


def test_tokens_and_words_made_of_them(highlight):
    text = "home, house and war"
    found = {text[span.start : span.end]: span for span in highlight(text, [match("house", 2.0), match("school", 1.0)])}
    assert set(found) == {"home", "house"}
    assert found["home"].score == pytest.approx(0.7 * 2 + 0.3 * 1)
    assert found["home"].terms == ("house", "school")
    assert found["house"] == Span(6, 11, 2.0, ("house",))


def test_without_a_map_only_tokens_themselves(library):
    spans = Highlighter(library.encoder, Words(library.encoder, None)).spans("home house", [match("house", 2.0)])
    assert [(span.start, span.end) for span in spans] == [(5, 10)]


def test_an_exact_match_stands_where_its_token_does(highlight):
    (span,) = highlight("war water", [match("war", 1.0), match("war (exact)", 2.0)])
    assert span == Span(0, 3, 3.0, ("war",))
    (span,) = highlight("war water", [match("water (exact)", 2.0)])
    assert span == Span(4, 9, 2.0, ("water",))


def test_faint_spans_are_left_out(highlight):
    assert [span.terms for span in highlight("war water", [match("war", 10.0), match("water", 0.1)])] == [("war",)]


def test_only_what_the_encoder_reads_is_marked(highlight, library):
    text = "of " * (library.encoder.max_seq_length - 2) + "war"
    assert highlight(text, [match("war", 1.0)]) == []
    assert len(highlight(text[3:], [match("war", 1.0)])) == 1


def test_marks_stay_with_their_letter(highlight):
    # The tokenizer drops the accent, so its token ends before it.
    text = "war\u0301 water"
    assert [text[span.start : span.end] for span in highlight(text, [match("war", 1.0)])] == ["war\u0301"]


def test_no_matches_no_spans(highlight):
    assert highlight("war", []) == []
    assert highlight("", [match("war", 1.0)]) == []
    assert highlight("war", [match("unheard", 1.0)]) == []


def test_excerpt():
    text = "nothing here " * 20 + "but war and war there" + " more of nothing" * 20
    spans = [Span(0, 7, 1.0, ()), Span(264, 267, 1.0, ()), Span(272, 275, 1.0, ())]
    start, end = excerpt(text, spans, 60)
    assert "war and war" in text[start:end]
    assert end - start <= 60
    assert text[start - 1] == " "
    assert excerpt(text, spans[:1], 60) == (0, 60)
    assert excerpt(text, [], 60) == (0, 60)
    assert excerpt("short", spans, 60) == (0, 5)
    assert excerpt(text, spans, 0)[0] == excerpt(text, spans, 0)[1]
    last = [Span(len(text) - 7, len(text), 1.0, ())]
    start, end = excerpt(text, last, 60)
    assert text[start:end].endswith("nothing")


def test_span_moves_into_a_part():
    span = Span(4, 8, 1.0, ("a",))
    assert span.moved(2, 10) == Span(2, 6, 1.0, ("a",))
    assert span.moved(6, 1) == Span(0, 1, 1.0, ("a",))
    assert span.moved(8, 5) is None
    assert span.moved(0, 4) is None
