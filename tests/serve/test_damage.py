"""An index that is damaged while it is served is nobody's fault but the server's, and its folder nobody's business."""

import logging
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from isthmus.index import SparseIndex
from isthmus.serve.library import Library
from tests.serve.conftest import ROWS

SEARCH = {"query": "water house", "filter": {"language": "en"}}


def damage(idx, name):
    """Overwrite all that stands behind a file's header, where it lies, as a failing disk would."""
    (path,) = (idx / "segments").glob(f"*/{name}")
    content = path.read_bytes()
    start = len(content) - np.load(path).nbytes if path.suffix == ".npy" else 0
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * (len(content) - start))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("file", "path", "asked"),
    [
        ("rows.npy", "search", SEARCH),
        ("documents.jsonl", "search", SEARCH),
        ("field_values.jsonl", "search", SEARCH),
        ("documents.jsonl", "search", SEARCH | {"matches": True}),
        ("documents.jsonl", "explain", {"query": "water house", "id": "a"}),
    ],
)
def test_damage_is_not_the_fault_of_who_asks(client, idx, caplog, method, file, path, asked):
    damage(idx, file)
    if method == "GET":
        asked = {**asked, "filter": "language=en"} if "filter" in asked else asked
        answer = client.get(f"/api/{path}", params=asked)
    else:
        answer = client.post(f"/api/{path}", json=asked)
    assert answer.status_code == 503, answer.text
    found = answer.json()
    assert found["field"] is None
    assert "the server's log says" in found["error"]
    health = client.get("/health")
    assert (health.status_code, health.json()) == (200, {"status": "degraded", "problem": found["error"]})
    info = client.get("/api/info")
    assert info.json()["problem"] == found["error"]
    for told in (answer, health, info):
        assert str(idx.parent) not in told.text
        assert file not in told.text
    assert str(next((idx / "segments").iterdir()) / file) in caplog.text
    assert "build it again" in caplog.text


def test_what_is_read_from_other_files_is_still_answered(client, idx, caplog):
    damage(idx, "documents.jsonl")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert client.post("/api/search", json=SEARCH).status_code == 503
            assert client.post("/api/encode", json={"texts": ["war"]}).status_code == 200
            assert client.get("/api/token", params={"token": "home"}).status_code == 200
    # Requests that fail alike are one line in the log.
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 1
    assert client.get("/health").json()["status"] == "degraded"


def test_an_index_that_takes_its_place_heals_it(client, idx, model):
    damage(idx, "rows.npy")
    assert client.post("/api/search", json=SEARCH).status_code == 503
    SparseIndex.build(str(model), [{"id": "n", "text": "water house", "language": "en"}], idx, overwrite=True)
    (hit,) = client.post("/api/search", json=SEARCH).json()["hits"]
    assert hit["id"] == "n"
    assert client.get("/health").json() == {"status": "ok", "problem": None}


def test_a_copy_put_back_heals_it_once_it_is_whole(client, idx, tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.serve.sources.MENDED", 0.0)
    shutil.copytree(idx, tmp_path / "copy")
    found = client.post("/api/search", json=SEARCH).json()["hits"]
    segment = "segments/00000001"
    for name in ("rows.npy", "documents.jsonl"):
        os.truncate(idx / segment / name, 0)
    assert client.post("/api/search", json=SEARCH).status_code == 503
    # As `cp -r` does: in place, one after the other, and the manifest first.
    for name in ("manifest.json", f"{segment}/rows.npy"):
        (idx / name).write_bytes((tmp_path / "copy" / name).read_bytes())
        assert client.post("/api/search", json=SEARCH).status_code == 503
        assert client.get("/health").json()["status"] == "degraded"
    (idx / segment / "documents.jsonl").write_bytes((tmp_path / "copy" / segment / "documents.jsonl").read_bytes())
    assert client.post("/api/search", json=SEARCH).json()["hits"] == found
    assert client.get("/health").json() == {"status": "ok", "problem": None}


def test_another_index_written_over_it_is_used_only_when_it_is_whole(client, idx, model, tmp_path, monkeypatch):
    """Of the same sizes, so that digests alone tell that its files are not of one index."""
    monkeypatch.setattr("isthmus.serve.sources.MENDED", 0.0)
    other = [{**row, "id": row["id"].replace("a", "n")} for row in ROWS]
    SparseIndex.build(str(model), other, tmp_path / "other")
    names = sorted(path.relative_to(idx) for path in idx.rglob("*") if path.is_file() and path.name != ".lock")
    assert [(idx / name).stat().st_size for name in names[1:]] == [
        (tmp_path / "other" / name).stat().st_size for name in names[1:]
    ]
    seen = set()
    for name in names:
        content = (tmp_path / "other" / name).read_bytes()
        if content != (idx / name).read_bytes():
            (idx / name).write_bytes(content)
        answer = client.post("/api/search", json=SEARCH)
        seen.add((answer.status_code, *[hit["id"] for hit in answer.json().get("hits", ())]))
    assert (answer.status_code, [hit["id"] for hit in answer.json()["hits"]]) == (200, ["n"])
    assert seen <= {(200, "a"), (503,), (200, "n")}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the list of mapped files is one of Linux")
def test_no_file_of_the_model_stays_mapped(idx, model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    library = Library(idx, model=str(tmp_path / "model"))
    before = library.encode(["water house"], "query")
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    for path in (tmp_path / "model").rglob("*.safetensors"):
        os.truncate(path, 0)
    assert (library.encode(["water house"], "query") != before).nnz == 0


def test_what_does_not_fit_is_still_the_fault_of_who_asks(client):
    assert client.get("/api/explain", params={"query": "war", "id": "zz"}).status_code == 404
    answer = client.post("/api/search", json={"query": "war", "filter": {"colour": "red"}})
    assert (answer.status_code, answer.json()["field"]) == (422, "filter")
    assert "language" in answer.json()["error"]
    assert client.get("/health").json()["status"] == "ok"
