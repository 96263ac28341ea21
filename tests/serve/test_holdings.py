"""What the explorer knows of the index itself: languages, values, examples, uses of a token, where reading stopped."""

import numpy as np
import pytest

from isthmus.auditing.accents import accents
from isthmus.index import SparseIndex
from tests.serve.conftest import ROWS


def test_languages_and_values_come_from_the_index(client, idx):
    found = client.get("/api/info").json()
    assert [(one["code"], one["documents"]) for one in found["languages"]] == [("en", 2), ("ar", 1), ("ko", 1)]
    assert {one["code"]: one["colour"] for one in found["languages"]} == accents(["ar", "en", "ko"])
    assert set(found["values"]) == set(found["fields"])
    assert found["values"]["year"] == {
        "distinct": 2,
        "top": [{"value": "2002", "documents": 2}, {"value": "2001", "documents": 1}],
    }
    # What is told can be filtered by.
    for field, values in found["values"].items():
        for one in values["top"]:
            hits = client.post("/api/search", json={"query": "house war", "filter": {field: one["value"]}})
            assert hits.status_code == 200
    SparseIndex.open(idx).delete(["d"])
    later = client.get("/api/info").json()
    assert [one["code"] for one in later["languages"]] == ["en", "ko"]


def test_examples_are_how_documents_of_each_language_begin(client):
    texts = {one["language"]: one["text"] for one in client.get("/api/info").json()["examples"]}
    assert texts == {"en": "the house of water. the house", "ko": "capital of korea", "ar": ROWS[3]["text"]}


def test_a_damaged_file_of_values_leaves_the_rest(client, idx):
    (path,) = idx.glob("segments/*/field_values.jsonl")
    content = path.read_bytes()
    path.write_bytes(b"x" * len(content))
    found = client.get("/api/info")
    assert found.status_code == 200
    assert (found.json()["values"], found.json()["documents"]) == (None, 4)


def test_uses_of_a_token_are_those_of_the_index(client, idx, library):
    index = SparseIndex.open(idx)
    matrix = {}
    for document in ROWS:
        for match in index.explain("house water war", document["id"]):
            matrix.setdefault(match.token, {})[document["id"]] = match.document_weight
    token = max(matrix, key=lambda token: len(matrix[token]))
    (row,) = client.get("/api/token", params={"token": token}).json()["rows"]
    weights = matrix[token]
    assert row["written"] is True
    assert row["use"]["documents"] == sum(row["use"]["histogram"]["counts"]) == len(weights)
    best = sorted(weights, key=lambda id: -weights[id])
    assert [one["id"] for one in row["use"]["top"]] == best
    assert [one["weight"] for one in row["use"]["top"]] == pytest.approx([weights[id] for id in best])
    edges, counts = (np.array(row["use"]["histogram"][name]) for name in ("edges", "counts"))
    np.testing.assert_array_equal(counts, np.histogram(list(weights.values()), edges)[0])
    index.delete([best[0]])
    (row,) = client.get("/api/token", params={"token": token}).json()["rows"]
    assert best[0] not in {one["id"] for one in row["use"]["top"]}
    assert row["use"]["documents"] == len(weights) - 1


def test_a_silenced_token_says_so(serve, library):
    import torch

    house = library.encoder.tokenizer.get_vocab()["house"]
    with torch.no_grad():
        library.encoder[0].auto_model.cls.predictions.bias[house] = -1e4
    rows = serve().get("/api/token", params={"token": "house"}).json()["rows"]
    assert [row["written"] for row in rows] == [False]


def test_a_query_of_strange_letters_says_so(client):
    def known(query):
        return client.post("/api/search", json={"query": query}).json()["known"]

    assert known("house") is True
    assert known("ᚠᚢᚦ") is False
    assert known("ᚠᚢᚦ house") is True


def test_an_explanation_tells_where_reading_stopped(serve, library):
    library.encoder.max_seq_length = 8  # Six tokens and the two around them.
    client = serve()
    whole = client.post("/api/explain", json={"query": "house", "id": "b"}).json()
    # The title's three come first: of "war and water" it reads all.
    assert (whole["title"]["text"], whole["read"]) == ("capital of korea", None)
    part = client.post("/api/explain", json={"query": "house", "id": "a"}).json()
    assert part["text"]["text"][: part["read"]] == "the house of water. the"
    library.encoder.max_seq_length = 5
    title_only = serve().post("/api/explain", json={"query": "house", "id": "b"}).json()
    assert title_only["read"] == 0
    assert client.post("/api/search", json={"query": "house"}).json()["hits"][0]["read"] is None
