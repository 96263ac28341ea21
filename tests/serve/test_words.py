"""Tokens as readers know them, in every family; neighbours are those of the embedding."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from isthmus.errors import InputError
from isthmus.serve.words import Words
from isthmus.token_map import FATES, Fate, Sampling
from tests.modules.lexical_parts import lexical_for
from tests.tiny_encoders import FAMILIES, inference_free, splade


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_shown_the_same_in_every_family(family, tmp_path):
    encoder = splade(tmp_path / "model", family)
    words = Words(encoder, None)
    shown = {words.show(token) for token in words.tokens if token}
    assert {"house", "water"} <= shown
    assert not any(text.startswith(("Ġ", "▁")) and len(text) > 1 for text in shown)
    assert words.show("never seen") == "never seen"
    (row,) = words.describe("house", 3)
    assert row["text"] == "house"
    assert row["fate"] is None
    assert len(row["neighbours"]) <= 3


def test_neighbours_are_by_cosine_of_embeddings(library):
    words = Words(library.encoder, None)
    table = library.encoder[0].auto_model.get_input_embeddings().weight.detach()
    house = words.ids["house"]
    cosine = torch.nn.functional.cosine_similarity(table, table[house][None]).numpy()
    found = words.neighbours(house, 3)
    for one in found:
        assert one["similarity"] == pytest.approx(cosine[words.ids[one["text"]]], abs=1e-5)
    others = [id for token, id in words.ids.items() if not token.startswith("[") and token != "house"]
    assert found[0]["similarity"] == pytest.approx(cosine[others].max(), abs=1e-5)


def test_rows_that_mean_nothing_have_no_neighbours(library):
    fates = library.token_map.fates.copy()
    weights = library.token_map.weights.tolil()
    war = library.token_map.target_tokens.index("war")
    fates[war], weights[war] = FATES.index(Fate.SAMPLED), 0
    weights = weights.tocsr()
    weights.eliminate_zeros()
    sampled = replace(library.token_map, fates=fates, weights=weights, sampling=Sampling("normal"))
    words = Words(library.encoder, sampled)
    assert words.neighbours(war, 5) == []
    assert words.describe("war", 5)[0]["fate"] == "sampled"
    assert "war" not in {one["text"] for one in words.neighbours(words.ids["house"], 50)}


def test_a_token_of_the_source_vocabulary_alone(library):
    own = library.token_map
    source = [*own.source_tokens[:-1], "casa"]
    weights = own.weights.tolil()
    weights[own.target_tokens.index("home"), len(source) - 1] = 0.5
    words = Words(library.encoder, replace(own, source_tokens=source, weights=weights.tocsr()))
    (row,) = words.describe("casa", 5)
    assert row["id"] is None
    assert {"text": "home", "weight": 0.5} in row["goes_into"]


def test_a_map_of_another_vocabulary_is_left_aside(library):
    other = replace(library.token_map, target_tokens=[*library.token_map.target_tokens[:-1], "other"])
    assert Words(library.encoder, other).token_map is None


def test_folded_tokens_say_what_they_are_written_as(library):
    folded = replace(library.token_map, info={"written_as": {"home": "house"}})
    (row,) = Words(library.encoder, folded).describe("home", 5)
    assert row["written_as"] == "house"


def test_an_encoder_with_routes(tmp_path):
    words = Words(inference_free(tmp_path / "model"), None)
    (row,) = words.describe("house", 4)
    assert row["text"] == "house"
    with pytest.raises(InputError, match="token must"):
        words.describe("집", 4)
    assert np.isfinite([one["similarity"] for one in row["neighbours"]]).all()


def test_a_hybrid_has_two_names_for_a_token_and_one_row(tmp_path):
    encoder = splade(tmp_path, "roberta")
    plain = Words(encoder, None)
    encoder.append(lexical_for(encoder, "hybrid"))
    words = Words(encoder, None)
    house, size = words.ids["Ġhouse"], len(encoder.tokenizer)
    assert words.token(house) == "Ġhouse"
    assert words.token(size + house) == "Ġhouse (exact)"
    assert words.show("Ġhouse (exact)") == "house (exact)"
    assert words.describe("house", 3) == plain.describe("house", 3)
