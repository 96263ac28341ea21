"""What a token map says about the tokens of the texts."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.diagnostics.mapped import check_token_map
from isthmus.token_map import FATES, Fate, Sampling, TokenMap
from isthmus.vocabulary import Vocabulary
from tests.diagnostics.conftest import by_check

SOURCE = ("a", "b", "c")


def token_map(tokens, rows):
    """A map in which the first tokens have ``rows`` and the others are copies of "a"."""
    rows = [*rows, *[(Fate.EXACT, {0: 1.0})] * (len(tokens) - len(rows))]
    weights = np.zeros((len(tokens), len(SOURCE)))
    for row, (_, mixed) in zip(weights, rows, strict=True):
        row[list(mixed)] = list(mixed.values())
    fates = np.array([FATES.index(fate) for fate, _ in rows], dtype=np.uint8)
    return TokenMap(
        csr_matrix(weights), fates, SOURCE, tokens, background=np.full(3, 1 / 3), sampling=Sampling("normal")
    )


@pytest.fixture
def vocabulary(encoder):
    return Vocabulary.from_tokenizer(encoder.tokenizer)


ROWS = [
    (Fate.EXACT, {1: 1.0}),
    (Fate.KEPT, {2: 1.0}),
    (Fate.BRIDGED, {0: 0.5, 1: 0.5}),
    (Fate.BRIDGED, {0: 0.5, 1: 0.5}),
    (Fate.BRIDGED, {0: 0.4, 1: 0.6}),
    (Fate.BACKGROUND, {}),
    (Fate.BACKGROUND, {}),
    (Fate.SAMPLED, {}),
    (Fate.SAMPLED, {}),
]


def check(vocabulary, ids):
    return by_check(check_token_map(token_map(vocabulary.raw_tokens(), ROWS), vocabulary, ids))


def test_where_the_tokens_of_the_texts_come_from(vocabulary):
    finding = check(vocabulary, [[0, 0, 1, 2], [2, 4, 5, 7]])["token-map"]
    assert (finding.level, finding.value) == ("warning", 0.25)
    assert "37.5% are copied or kept, 37.5% bridged, 25.0% without" in finding.message
    assert check(vocabulary, [[0] * 9, [5]])["token-map"].level == "ok"


@pytest.mark.parametrize(
    ("ids", "share"),
    [([0, 1, 2, 4], 0), ([0, 1, 2, 3], 0.5), ([5, 6], 1), ([7, 8], 0), ([2, 2, 0], 0), ([0, 20, 21], 2 / 3)],
)
def test_tokens_that_share_their_row(ids, share, vocabulary):
    finding = check(vocabulary, [ids])["shared-rows"]
    assert finding.value == pytest.approx(share)
    assert finding.level == ("warning" if share > 0.3 else "ok")


def test_examples_of_shared_rows(vocabulary):
    assert "([CLS] = [SEP])" in check(vocabulary, [[3, 0, 2]])["shared-rows"].message


@pytest.mark.parametrize(("weight", "share"), [(0.52, 1), (0.6, 0)])
def test_rows_that_are_nearly_equal(weight, share, vocabulary):
    """Cosines of .9992 and .981."""
    rows = [(Fate.BRIDGED, {0: 0.5, 1: 0.5}), (Fate.BRIDGED, {0: weight, 1: 1 - weight})]
    found = check_token_map(token_map(vocabulary.raw_tokens(), rows), vocabulary, [[0, 1]])
    assert by_check(found)["shared-rows"].value == share


@pytest.mark.parametrize("change", [lambda tokens: tokens[:-1], lambda tokens: [*tokens[:-1], "other"]])
def test_map_of_another_tokenizer(change, vocabulary):
    tokens = vocabulary.raw_tokens()
    found = by_check(check_token_map(token_map(change(tokens), ROWS), vocabulary, [[0]]))
    assert set(found) == {"token-map"}
    assert found["token-map"].level == "error"
    assert tokens[-1] in found["token-map"].message


def test_without_texts_a_map_only_has_to_belong(vocabulary):
    assert by_check(check_token_map(token_map(vocabulary.raw_tokens(), ROWS), vocabulary, None)).keys() == {"token-map"}
