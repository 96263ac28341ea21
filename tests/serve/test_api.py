"""The API answers what the index and the encoder say, follows the index, and refuses with the field named."""

import json

import numpy as np
import pytest

from isthmus.encoders.encoding import encode_texts
from isthmus.errors import InputError
from isthmus.index import SparseIndex, build_index
from isthmus.serve import Limits
from isthmus.serve.library import Library
from tests.tiny_encoders import splade


def refused(response, status, field):
    assert response.status_code == status, response.text
    found = response.json()
    assert set(found) == {"error", "field"}
    assert found["field"] == field
    assert found["error"]
    return found["error"]


def test_search_is_that_of_the_index(client, idx):
    response = client.post("/api/search", json={"query": "water house", "top_k": 3})
    expected = SparseIndex.open(idx).search("water house", 3)
    found = response.json()
    assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in expected]
    np.testing.assert_allclose([hit["score"] for hit in found["hits"]], [hit.score for hit in expected], rtol=1e-6)
    by_id = {hit["id"]: hit for hit in found["hits"]}
    assert by_id["b"]["title"]["text"] == "capital of korea"
    assert by_id["b"]["language"] == "ko"
    assert by_id["b"]["metadata"] == {"language": "ko", "year": 2002}
    assert by_id["b"]["matches"] is None
    assert found["expansion"] == []
    assert found["generation"] == 1
    assert found["timing"]["batch"] == 1


def test_get_and_post_are_the_same(client):
    body = {"query": "war", "top_k": 2, "matches": True, "expansion": 4, "characters": 5}
    posted = client.post("/api/search", json=body | {"filter": {"language": ["en", "ko"]}}).json()
    parameters = {**body, "matches": "true", "filter": ["language=en", "language=ko"]}
    got = client.get("/api/search", params=parameters).json()
    posted.pop("timing"), got.pop("timing")
    assert got == posted
    assert {hit["language"] for hit in got["hits"]} <= {"en", "ko"}
    assert len(got["expansion"]) == 4
    assert all(len(hit["text"]["text"]) <= 5 for hit in got["hits"])
    explained = client.get("/api/explain", params={"query": "war", "id": "b"}).json()
    assert explained == client.post("/api/explain", json={"query": "war", "id": "b"}).json()


def test_explanation_adds_up_and_points_into_the_text(client):
    (hit,) = client.post("/api/search", json={"query": "water house", "filter": {"language": "en"}}).json()["hits"]
    found = client.post("/api/explain", json={"query": "water house", "id": hit["id"]}).json()
    assert sum(match["score"] for match in found["matches"]) == pytest.approx(hit["score"], rel=1e-5)
    for match in found["matches"]:
        assert match["score"] == pytest.approx(match["query_weight"] * match["document_weight"])
    scores = {match["text"]: match["score"] for match in found["matches"]}
    text = found["text"]["text"]
    assert text == "the house of water. the house"
    words = [text[span["start"] : span["end"]] for span in found["text"]["spans"]]
    matched = [word for word in ("the", "house", "of", "water", "the", "house") if word in scores]
    assert words == [word for word in matched if scores[word] >= 0.05 * max(scores[word] for word in matched)]
    assert len(words) >= 2
    for word, span in zip(words, found["text"]["spans"], strict=True):
        assert span["score"] == pytest.approx(scores[word])
        assert span["terms"] == [word]


def test_title_and_text_have_spans_of_their_own(client):
    for query in ("korea", "war", "capital", "of", "water"):
        found = client.post("/api/explain", json={"query": query, "id": "b"}).json()
        shared = {match["text"] for match in found["matches"]}
        for part in (found["title"], found["text"]):
            for span in part["spans"]:
                assert part["text"][span["start"] : span["end"]] in shared
        if {"korea", "water"} <= shared:
            break
    assert found["title"]["spans"]
    assert found["text"]["spans"]


def test_encode(client, library):
    texts = ["water", "the house of war"]
    found = client.post("/api/encode", json={"texts": texts, "role": "document"}).json()["vectors"]
    expected = encode_texts(library.encoder, texts, role="document", show_progress_bar=False)
    tokens = library.encoder.tokenizer.convert_ids_to_tokens(range(expected.shape[1]))
    for row, vector in zip(expected, found, strict=True):
        assert vector["active"] == row.nnz == len(vector["terms"])
        weights = {term["token"]: term["weight"] for term in vector["terms"]}
        wanted = {tokens[i]: value for i, value in zip(row.indices, row.data, strict=True)}
        assert weights == pytest.approx(wanted, rel=1e-5)
        assert [*weights.values()] == sorted(weights.values(), reverse=True)
    short = client.post("/api/encode", json={"texts": texts, "role": "document", "top_k": 2}).json()["vectors"]
    assert short[0]["terms"] == found[0]["terms"][:2]
    assert short[0]["active"] == found[0]["active"]


def test_token(client):
    (row,) = client.get("/api/token", params={"token": "home"}).json()["rows"]
    assert row["fate"] == "bridged"
    assert [(one["text"], one["weight"]) for one in row["made_of"]] == [("house", 0.7), ("school", 0.3)]
    (house,) = client.get("/api/token", params={"token": " house "}).json()["rows"]
    assert house["goes_into"] == [{"text": "home", "weight": 0.7}]
    pieces = client.get("/api/token", params={"token": "houses of", "top_k": 3}).json()["rows"]
    assert [row["text"] for row in pieces] == ["house", "##s", "of"]
    refused(client.get("/api/token", params={"token": "집"}), 404, "token")


def test_info_names_no_folder(client, idx):
    response = client.get("/api/info")
    found = response.json()
    assert (found["documents"], found["index"], found["model"]) == (4, "idx", "tiny")
    assert "language" in found["fields"]
    assert found["token_map"] is True
    assert found["limits"]["top_k"] == Limits.top_k
    assert str(idx.parent) not in response.text
    assert client.get("/health").json() == {"status": "ok", "problem": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": " \t\n"}, "query"),
        ({"query": 5}, "query"),
        ({"query": "w" * 61}, "query"),
        ({"query": "war", "top_k": 0}, "top_k"),
        ({"query": "war", "top_k": 13}, "top_k"),
        ({"query": "war", "top_k": "3"}, "top_k"),
        ({"query": "war", "top_k": 10**400}, "top_k"),
        ({"query": "war", "expansion": 13}, "expansion"),
        ({"query": "war", "characters": -1}, "characters"),
        ({"query": "war", "filter": {"nothing": "x"}}, "filter"),
        ({"query": "war", "filter": {"year": None}}, "filter.year"),
        ({"query": "war", "unknown": 1}, "unknown"),
        ([], "body"),
    ],
)
def test_what_does_not_fit_is_named(serve, body, field):
    client = serve(query=60, top_k=12)
    response = client.post("/api/search", json=body)
    # Behind a filter's field stands which of the kinds it may have was tried.
    assert response.json()["field"].startswith(field)
    refused(response, 422, response.json()["field"])


@pytest.mark.parametrize(
    "content", [b"{", b"", b"[" * 60_000, b'{"query": ' + b"1" * 5_000 + b"}", b"\xff\xfe", b'{"query": "\xff"}']
)
def test_what_is_no_json_is_refused(client, content):
    response = client.post("/api/search", content=content, headers={"content-type": "application/json"})
    if content:
        assert "must be a JSON object in UTF-8" in refused(response, 400, "body")
    else:
        refused(response, 422, "body")


def test_text_must_be_unicode(client):
    for body in (b'{"query": "\\ud800"}', b'{"query": "war", "filter": {"\\ud800": "x"}}'):
        response = client.post("/api/search", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 422, response.text


def test_a_body_of_another_type_is_refused(client):
    # A page of another site may send this one without asking first.
    response = client.post("/api/search", content=b'{"query": "war"}', headers={"content-type": "text/plain"})
    assert response.status_code == 422


def test_unknown_document_path_and_method(client):
    refused(client.get("/api/explain", params={"query": "war", "id": "zz"}), 404, "id")
    assert "/openapi.json" in refused(client.get("/api/nothing"), 404, None)
    refused(client.get("/page/../app.py"), 404, None)
    response = client.put("/api/search", json={})
    assert "must be GET, POST, got PUT" in refused(response, 405, None)
    assert response.headers["allow"] == "GET, POST"
    refused(client.get("/api/search", params={"query": "war", "filter": "language"}), 422, "filter")
    refused(client.post("/api/encode", json={"texts": ["war"] * 33}), 422, "texts")


def test_answers_are_json_whatever_documents_hold(client, idx):
    (hit,) = client.post("/api/search", json={"query": "school", "filter": {"language": "ar"}}).json()["hits"]
    assert hit["metadata"]["score"] is None
    SparseIndex.open(idx).add([{"id": "e", "text": "water", "language": "\udfff", "\ud800": [float("inf")]}])
    found = client.post("/api/search", json={"query": "water"}).json()
    assert {"language": "?", "?": [None]} in [hit["metadata"] for hit in found["hits"]]


def test_a_changed_index_is_followed(client, idx):
    body = {"query": "korea", "top_k": 9}
    before = client.post("/api/search", json=body).json()
    SparseIndex.open(idx).add([{"id": "new", "text": "korea korea", "language": "ko"}])
    after = client.post("/api/search", json=body).json()
    assert "new" in {hit["id"] for hit in after["hits"]} - {hit["id"] for hit in before["hits"]}
    assert after["generation"] == before["generation"] + 1
    SparseIndex.open(idx).delete(["new"])
    assert "new" not in {hit["id"] for hit in client.post("/api/search", json=body).json()["hits"]}
    assert client.get("/api/info").json()["documents"] == 4


def test_an_index_that_cannot_be_used_leaves_the_one_before(client, idx, tmp_path, caplog):
    manifest = (idx / "manifest.json").read_bytes()
    before = client.get("/api/info").json()
    (idx / "manifest.json").write_bytes(b"{}")
    assert client.post("/api/search", json={"query": "war"}).json()["hits"]
    found = client.get("/api/info")
    assert "damaged" in found.json()["problem"]
    assert str(idx.parent) not in found.text
    assert client.get("/health").json() == {"status": "degraded", "problem": found.json()["problem"]}
    assert "manifest.json" in caplog.text
    (idx / "manifest.json").unlink()
    assert client.post("/api/search", json={"query": "war"}).json()["hits"]
    (idx / "manifest.json").write_bytes(manifest)
    assert client.get("/api/info").json() == before

    other = splade(tmp_path / "other", seed=3)
    build_index(other, {"x": "war"}, idx, overwrite=True)
    assert "another model" in client.get("/api/info").json()["problem"]
    assert "fingerprint" in caplog.text
    assert client.get("/api/info").json()["documents"] == 4


def test_model_must_be_the_one_of_the_index(idx, tmp_path):
    splade(tmp_path / "other", seed=3).save_pretrained(str(tmp_path / "wrong"))
    with pytest.raises(InputError, match="fingerprint"):
        Library(idx, model=tmp_path / "wrong")
    assert Library(idx, model=tmp_path / "wrong", any_model=True).token_map is None


def test_openapi_names_every_answer(client):
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/api/search", "/api/explain", "/api/encode", "/api/token", "/api/info", "/health", "/ready",
    }  # fmt: skip
    for operations in schema["paths"].values():
        for operation in operations.values():
            assert "200" in operation["responses"]
            assert "#/components/schemas/HTTPValidationError" not in json.dumps(operation)
    assert client.get("/docs").status_code == 404


def test_limits_must_be_positive():
    for wrong in (
        {"top_k": 9},
        {"batch": 0},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"window": -1},
        {"window": 11},
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Limits(**wrong)
