"""What is found on texts: reading, vectors, known items."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.diagnostics.activity import check_vectors
from isthmus.diagnostics.inspected import look_into
from isthmus.diagnostics.known_item import check_known_item, draw_snippets, read_part
from isthmus.diagnostics.segmentation import check_reading, is_spaceless
from isthmus.encoders.encoding import encode_texts
from isthmus.vocabulary import Vocabulary
from tests.diagnostics.conftest import TEXTS, WORDS, by_check
from tests.tiny_encoders import splade

CHINESE = "今天天气很好我们去公园散步然后回家吃晚饭看书睡觉明天再来一起学习中文写字"


def reading(encoder, texts):
    return by_check(check_reading(look_into(encoder), texts))


@pytest.mark.parametrize(("strangers", "level"), [(0, "ok"), (1, "ok"), (2, "warning"), (10, "warning"), (11, "error")])
def test_unknown_tokens(strangers, level, encoder):
    words = ["집"] * strangers + [WORDS[0]] * (100 - strangers)
    finding = reading(encoder, [" ".join(words)])["unknown"]
    assert (finding.level, finding.value) == (level, strangers / 100)


def test_fertility(encoder, tmp_path):
    assert reading(encoder, TEXTS)["fertility"].level == "ok"
    spelled = splade(tmp_path / "mlm", "roberta")
    assert reading(spelled, ["the house"])["fertility"].level == "ok"
    finding = reading(spelled, ["wonderful incredible"])["fertility"]
    assert finding.level == "warning"
    assert finding.value == pytest.approx(10.5)


def test_fertility_of_text_without_spaces_counts_characters(tmp_path):
    spelled = splade(tmp_path / "mlm", "roberta")
    finding = reading(spelled, [CHINESE])["fertility"]
    assert finding.level == "warning"
    assert "3.0" in finding.message
    assert "tokens per character" in finding.message


def test_texts_that_are_cut(encoder):
    long = " ".join(WORDS[:63])
    assert reading(encoder, [*TEXTS[:9], long])["cut-texts"].level == "ok"
    finding = reading(encoder, [*TEXTS[:8], long])["cut-texts"]
    assert (finding.level, finding.value) == ("note", pytest.approx(1 / 9))


def vectors_of(*rows, columns=407):
    matrix = np.zeros((len(rows), columns), dtype=np.float32)
    for row, active in zip(matrix, rows, strict=True):
        row[list(active)] = 1.0
    return csr_matrix(matrix)


def checked(vectors, encoder, ids=(), silenced=()):
    vocabulary = Vocabulary.from_tokenizer(encoder.tokenizer)
    return by_check(check_vectors(vectors, vocabulary=vocabulary, token_ids=ids, silenced=silenced))


@pytest.mark.parametrize(("count", "level"), [(4, "warning"), (5, "ok"), (20, "ok"), (21, "warning")])
def test_active_dims(count, level, encoder):
    finding = checked(vectors_of(range(10, 10 + count), range(40, 40 + count)), encoder)["active-dims"]
    assert (finding.level, finding.value) == (level, count)


def test_empty_vectors(encoder):
    finding = checked(vectors_of(range(10, 20), [], range(10, 20)), encoder)["empty-vectors"]
    assert (finding.level, finding.value) == ("error", 1)
    assert "(texts 2 as used)" in finding.message
    assert checked(vectors_of([10], [11]), encoder)["empty-vectors"].level == "ok"


def test_entries_of_zero_are_not_active(encoder):
    stored = csr_matrix((np.zeros(3, dtype=np.float32), [10, 11, 12], [0, 3]), shape=(1, 407))
    findings = checked(stored, encoder)
    assert findings["empty-vectors"].level == "error"
    assert findings["active-dims"].value == 0


def test_dead_columns(encoder):
    vectors = vectors_of([10, 11], [10, 11])
    assert checked(vectors, encoder, [[10, 11, 12, 13]])["dead-columns"].level == "ok"
    finding = checked(vectors, encoder, [[10, 12, 12, 11], [13, 14, 14, 14]])["dead-columns"]
    assert (finding.level, finding.value) == ("warning", 0.6)
    # The most frequent one first.
    assert f"({WORDS[7]}, {WORDS[5]}, {WORDS[6]})" in finding.message
    assert checked(vectors, encoder, [[10, 11, 12, 13, 14]], silenced={12, 13, 14})["dead-columns"].level == "ok"


def test_always_on_columns(encoder):
    half = [[30, 10]] * 5 + [[10]] * 5
    finding = checked(vectors_of(*half), encoder)["always-on"]
    assert (finding.level, finding.value) == ("warning", 1)
    assert WORDS[3] in finding.message
    assert checked(vectors_of(*([[30]] * 5 + [[10]] * 5)), encoder)["always-on"].level == "ok"
    assert checked(vectors_of(*half[:9]), encoder)["always-on"].level == "note"


def test_a_lexical_block_is_not_what_the_encoder_does(encoder):
    vocabulary = Vocabulary.from_tokenizer(encoder.tokenizer)
    rows = [[40 + row, 407 + 30] for row in range(10)]

    def found(**options):
        vectors = vectors_of(*rows, columns=814)
        return by_check(check_vectors(vectors, vocabulary=vocabulary, token_ids=[], **options))

    assert found()["always-on"].level == "warning"
    assert found(columns=407)["always-on"].level == "ok"
    # All of it is stored and searched.
    assert found(columns=407)["active-dims"].value == found()["active-dims"].value == 2


def test_special_columns(encoder):
    findings = checked(vectors_of(*([[2, 30]] * 6 + [[10]] * 6)), encoder)
    assert findings["special-columns"].level == "warning"
    assert "[CLS], in up to 50.0%" in findings["special-columns"].message
    assert "-10000" in findings["special-columns"].remedy
    # Reported once, under its own name.
    assert findings["always-on"].level == "ok"
    assert checked(vectors_of([10]), encoder)["special-columns"].level == "ok"


def test_columns_that_are_no_tokens_are_only_counted():
    findings = by_check(check_vectors(vectors_of([0, 1, 2, 3, 4]), vocabulary=None, token_ids=[]))
    assert set(findings) == {"active-dims", "empty-vectors"}


def test_snippets_are_runs_of_their_text():
    texts = [*TEXTS, "too short"]
    rows, snippets = draw_snippets(texts, seed=3)
    assert rows == list(range(len(TEXTS)))
    assert all(f" {snippet} " in f" {texts[row]} " for row, snippet in zip(rows, snippets, strict=True))
    assert {len(snippet.split()) for snippet in snippets} == {5, 6, 7, 8}
    assert draw_snippets(texts, seed=3) == (rows, snippets)
    assert draw_snippets(texts, seed=4) != (rows, snippets)


def test_snippets_of_text_without_spaces_are_characters():
    assert is_spaceless([CHINESE])
    assert not is_spaceless(TEXTS)
    rows, snippets = draw_snippets([CHINESE, CHINESE[:23]])
    assert rows == [0]
    assert snippets[0] in CHINESE
    assert 10 <= len(snippets[0]) <= 16


def test_only_what_is_read_is_searched_for(encoder):
    long = " ".join(WORDS[:80])
    cut, whole = read_part(encoder.tokenizer, [long, TEXTS[0]], 64)
    assert (cut, whole) == (" ".join(WORDS[:62]), TEXTS[0])
    assert read_part(encoder.tokenizer, [long], None) == [long]


def test_known_items(encoder):
    """From all documents in place to all of them elsewhere."""
    documents = encode_texts(encoder, TEXTS, role="document")
    levels = []
    for misplaced in (0, 18, 24, 34, 38):
        order = np.arange(len(TEXTS))
        order[:misplaced] = np.roll(order[:misplaced], 1)
        finding = check_known_item(encoder, encoder.tokenizer, TEXTS, documents=documents[order])
        assert finding.value == pytest.approx(1 - misplaced / len(TEXTS))
        assert "BM25 over the same tokenizer 1.00, 1.00" in finding.message
        levels.append(finding.level)
    assert levels == ["ok", "ok", "warning", "warning", "error"]


def test_mean_reciprocal_rank(encoder):
    """A document whose twin stands before it is found second."""
    documents = encode_texts(encoder, TEXTS, role="document")[np.repeat(np.arange(20), 2)]
    finding = check_known_item(encoder, None, [TEXTS[i // 2] for i in range(40)], documents=documents)
    assert "success@1 0.50, MRR@10 0.75" in finding.message
    assert "BM25" not in finding.message


def test_known_items_need_texts_that_are_long_enough(encoder):
    assert check_known_item(encoder, encoder.tokenizer, TEXTS[:9]).level == "note"
    assert check_known_item(encoder, encoder.tokenizer, TEXTS[:10]).level == "ok"
    assert check_known_item(encoder, encoder.tokenizer, ["too short"] * 50).level == "note"
