"""The index finds what exact search finds, survives every change, and refuses what is damaged."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from scipy.sparse import csr_matrix

from isthmus.errors import IndexFileError, InputError, NotFoundError, OutputError
from isthmus.index import SparseIndex, reader, search
from isthmus.index.encoded_files import encode_documents
from isthmus.index.format import Manifest, manifest_digest, read_manifest, write_manifest
from isthmus.index.merge import groups_to_merge
from isthmus.index.options import MemoryLimits, Weights
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Document
from tests.index.vectors import IDENTITY, SIZE, documents, encode

SMALL = MemoryLimits(postings=60, documents=25, merged=17)
TOKENS = [f"t{number}" for number in range(SIZE)]


def vectors(found: Sequence[Document]) -> csr_matrix:
    return encode_documents(found, encode, SIZE)


def build(
    folder: Path, found: Sequence[Document], weights: Weights = "f32", limits: MemoryLimits | None = None
) -> SparseIndex:
    new = Manifest(0, SIZE, weights, True, IDENTITY)
    with IndexWriter(folder, new=new, replaces=manifest_digest(folder), tokens=TOKENS, limits=limits) as writer:
        for start in range(0, len(found), 10):
            writer.add(found[start : start + 10], vectors(found[start : start + 10]))
        writer.commit()
    return SparseIndex.open(folder, verify_files=True)


def queries(count: int = 12) -> csr_matrix:
    return vectors([one for one in documents(count * 2, seed=5) if one.text][:count])


def check_equal(index: SparseIndex, expected: Sequence[Document], *, exactly: bool = True) -> None:
    """Every query finds the ids and scores of exact search over ``expected``."""
    places, scores = search(queries(), vectors(expected), 9)
    for hits, row, values in zip(index.search_many(queries(), 9), places, scores, strict=True):
        found = row[row >= 0]
        if exactly:
            assert [hit.id for hit in hits] == [expected[place].id for place in found]
        np.testing.assert_allclose([hit.score for hit in hits], values[row >= 0], rtol=1e-6 if exactly else 0.05)
        for hit in hits:
            assert hit.document in expected


@pytest.mark.parametrize("limits", [None, SMALL], ids=["one segment", "many"])
def test_equals_exact_search(tmp_path: Path, limits: MemoryLimits | None) -> None:
    found = documents(200)
    index = build(tmp_path / "idx", found, limits=limits)
    assert len(index) == 200
    # More than eight segments are merged, within the same small limits.
    assert index.summary()["segments"] == (8 if limits else 1)
    assert index.summary()["postings"] == vectors(found).nnz
    check_equal(index, found)
    folder = tmp_path / "idx"
    assert index.summary()["bytes"] == sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    )


def test_scores_are_the_same_bits(tmp_path: Path) -> None:
    index = build(tmp_path, documents(150))
    places, scores = search(queries(), vectors(documents(150)), 20)
    for vector, row, values in zip(index.vectors(queries()), places, scores, strict=True):
        rows, own = index.top(vector, 20)
        np.testing.assert_array_equal(rows, row[row >= 0])
        np.testing.assert_array_equal(own, values[row >= 0])


def test_both_ways_to_add_a_list_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = build(tmp_path, documents(90))
    assert reader.add_list is reader.add_by_scipy
    expected = [index.top(vector, 9) for vector in index.vectors(queries())]
    monkeypatch.setattr(reader, "add_list", reader.add_by_numpy)
    for (rows, scores), vector in zip(expected, index.vectors(queries()), strict=True):
        found = index.top(vector, 9)
        np.testing.assert_array_equal(found[0], rows)
        np.testing.assert_allclose(found[1], scores, rtol=1e-6)


def test_ties_keep_the_order_of_the_corpus_across_segments(tmp_path: Path) -> None:
    same = [Document(f"d{number}", "3 4") for number in range(60)]
    index = build(tmp_path, same, limits=SMALL)
    assert index.summary()["segments"] > 1
    assert [hit.id for hit in index.search(encode(["3"]), 40)] == [f"d{number}" for number in range(40)]


def test_many_documents_take_the_way_over_group_maxima(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = (rng.integers(0, 30, (3000, SIZE)) * (rng.random((3000, SIZE)) < 0.3)).astype(np.float32)
    found = [Document(str(number), "x") for number in range(3000)]
    with IndexWriter(tmp_path, new=Manifest(0, SIZE, "f32", True, None)) as writer:
        writer.add(found, csr_matrix(values))
        writer.commit()
    index = SparseIndex.open(tmp_path)
    query = csr_matrix((rng.random((1, SIZE)) < 0.2).astype(np.float32))
    products = values @ query.toarray()[0]
    expected = np.lexsort((np.arange(3000), -products))[:10]
    assert [int(hit.id) for hit in index.search(query, 10)] == expected.tolist()


@pytest.mark.parametrize("weights", ["f16", "u8"])
@pytest.mark.parametrize("limits", [None, SMALL], ids=["one segment", "many"])
def test_rounded_weights_are_off_by_no_more_than_stated(
    tmp_path: Path, weights: Weights, limits: MemoryLimits | None
) -> None:
    found = documents(150)
    index = build(tmp_path, found, weights, limits)
    index.compact()
    error = index.summary()["weight_error"]
    assert 0 < error < 0.1
    exact = vectors(found)
    for row in range(150):
        for term in range(SIZE):
            segment = index._segments[0]
            assert abs(segment.weight(term, row) - exact[row, term]) <= error + 1e-6
    check_equal(index, found, exactly=False)


def test_filters(tmp_path: Path) -> None:
    found = documents(120)
    index = build(tmp_path, found, limits=SMALL)
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"language": "ko"}, lambda m: m["language"] == "ko"),
        ({"language": ["ko", "zh"], "year": 2001}, lambda m: m["language"] in ("ko", "zh") and m["year"] == 2001),
        ({"public": True}, lambda m: m.get("public")),
        ({"language": "xx"}, lambda m: False),
        ({"language": []}, lambda m: False),
    ]
    for wanted, fits in cases:
        expected = [one for one in found if fits(one.metadata)]
        for vector in index.vectors(queries()):
            hits = index.search(vector, 200, filter=wanted)
            everything = [hit for hit in index.search(vector, 200) if hit.document in expected]
            assert hits == everything
    for field in ("tags", "source", "nothing"):
        with pytest.raises(InputError, match=rf"metadata field .*\(language, public, year\), got '{field}'"):
            index.search(queries(1), filter={field: "a"})


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"year": 2020}, "abc"),
        ({"year": 2020.0}, "abc"),
        ({"year": "2020"}, "abc"),
        ({"year": "2020.0"}, "abc"),
        ({"year": [2020, 2021]}, "abcd"),
        ({"year": 2020.5}, "e"),
        ({"zip": 1234}, "b"),
        ({"zip": "01234"}, "a"),
        ({"flag": True}, "a"),
        ({"flag": 1}, ""),
    ],
)
def test_numbers_that_are_equal_are_equal_in_filters(tmp_path: Path, wanted: dict[str, Any], expected: str) -> None:
    metadata: dict[str, dict[str, Any]] = {
        "a": {"year": 2020.0, "zip": "01234", "flag": True},
        "b": {"year": 2020, "zip": 1234, "flag": False},
        "c": {"year": "2020"},
        "d": {"year": 2021},
        "e": {"year": 2020.5},
    }
    index = build(tmp_path, [Document(name, "1 2 3", metadata=found) for name, found in metadata.items()])
    query = vectors([Document("q", "1 2")])
    assert len(index.search(query, 9)) == 5
    assert {hit.id for hit in index.search(query, 9, filter=wanted)} == set(expected)


def test_explanations_add_up(tmp_path: Path) -> None:
    index = build(tmp_path, documents(80), limits=SMALL)
    for vector in index.vectors(queries()):
        for hit in index.search(vector):
            matches = index.explain(vector, hit.id)
            assert sum(match.score for match in matches) == pytest.approx(hit.score)
            assert [match.score for match in matches] == sorted((match.score for match in matches), reverse=True)
            assert {match.token for match in matches} <= set(TOKENS)
    assert index.explain(encode(["3"]), "d6") == []
    with pytest.raises(InputError, match="document 'nobody' must be in the index"):
        index.explain(encode(["3"]), "nobody")


def test_add_delete_update_compact(tmp_path: Path) -> None:
    found = documents(60)
    index = build(tmp_path, found, limits=SMALL)
    with IndexWriter(tmp_path) as writer:
        assert writer.delete([f"d{number}" for number in range(0, 60, 4)]) == 15
        writer.commit()
    kept = [one for number, one in enumerate(found) if number % 4]
    check_equal(SparseIndex.open(tmp_path), kept)

    more = documents(20, seed=3, first=60)
    changed = [Document("d1", "7 8", metadata={"language": "ko"}), Document("d62", "9")]
    with IndexWriter(tmp_path) as writer:
        writer.add(more, vectors(more))
        writer.commit()
        writer.add(changed, vectors(changed), update=True)
        writer.commit()
    ids = {one.id for one in changed}
    kept = [one for one in [*kept, *more] if one.id not in ids] + changed
    index = SparseIndex.open(tmp_path, verify_files=True)
    assert (len(index), index.summary()["deleted"]) == (len(kept), 17)
    check_equal(index, kept)
    assert index.document("d62") == changed[1]

    index.compact()
    assert (index.summary()["segments"], index.summary()["deleted"]) == (1, 0)
    assert index.summary()["postings"] == vectors(kept).nnz
    check_equal(SparseIndex.open(tmp_path, verify_files=True), kept)
    assert len(list((tmp_path / "segments").iterdir())) == 1

    index.delete([one.id for one in kept])
    assert len(index) == 0
    assert index.search(queries(1)) == []
    index.compact()


def test_ids_are_unique_in_an_index(tmp_path: Path) -> None:
    build(tmp_path, documents(30))
    again = documents(3, first=28)
    with IndexWriter(tmp_path) as writer, pytest.raises(InputError, match="document 'd28' is in the index already"):
        writer.add(again, vectors(again))
    with IndexWriter(tmp_path) as writer:
        with pytest.raises(InputError, match="document 'nobody' must be in the index"):
            writer.delete(["d1", "nobody"])
        writer.delete(["d28", "d29"])
        writer.add(again, vectors(again))
        writer.commit()
    assert len(SparseIndex.open(tmp_path)) == 31


def test_nothing_shows_before_the_commit(tmp_path: Path) -> None:
    found = documents(30)
    build(tmp_path, found)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    more = documents(40, first=30)
    with IndexWriter(tmp_path, limits=SMALL) as writer:
        writer.add(more, vectors(more))
        writer.delete(["d1"])
        assert len(SparseIndex.open(tmp_path)) == 30
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    check_equal(SparseIndex.open(tmp_path, verify_files=True), found)


def test_readers_keep_their_view(tmp_path: Path) -> None:
    found = documents(60)
    index = build(tmp_path, found, limits=SMALL)
    build(tmp_path, [Document("other", "3 4 5")])
    assert [hit.id for hit in SparseIndex.open(tmp_path).search(encode(["3"]))] == ["other"]
    check_equal(index, found)
    assert index.explain(encode(["3"]), index.search(encode(["3"]))[0].id)[0].token == "t3"


def test_readers_open_while_a_writer_works(tmp_path: Path) -> None:
    build(tmp_path, documents(30))
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                index = SparseIndex.open(tmp_path)
                assert len(index) == len({hit.id for hit in index.search(csr_matrix(np.ones((1, SIZE))), 99)}) + 4
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    index = SparseIndex.open(tmp_path)
    for number in range(25):
        with IndexWriter(tmp_path) as writer:
            writer.add([Document(f"more{number}", "3")], encode(["3"]))
            writer.commit(compact=number % 2 == 0)
    done.set()
    thread.join()
    assert not failures
    assert len(index) == 30
    assert len(SparseIndex.open(tmp_path)) == 55


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    build(tmp_path, documents(10))
    with (
        IndexWriter(tmp_path),
        pytest.raises(OutputError, match="is being written by another process"),
        IndexWriter(tmp_path),
    ):
        pass
    # A lock file without a process behind it is no lock.
    (tmp_path / ".lock").write_text("left over")
    with IndexWriter(tmp_path) as writer:
        writer.commit()


def test_a_full_disk_leaves_the_index_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = documents(30)
    build(tmp_path, found)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    more = documents(10, first=30)
    with IndexWriter(tmp_path) as writer, monkeypatch.context() as patch:
        writer.add(more, vectors(more))
        patch.setattr("os.fsync", full)
        with pytest.raises(OutputError, match=r"\(No space left on device\); free space"):
            writer.commit()
    check_equal(SparseIndex.open(tmp_path, verify_files=True), found)
    assert len(list((tmp_path / "segments").iterdir())) == 1


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    found = documents(20)
    build(tmp_path, found)
    (tmp_path / "segments" / "00000009").mkdir()
    (tmp_path / "segments" / "00000009" / "rows.npy").write_bytes(b"half")
    (tmp_path / ".manifest.json.abc").write_bytes(b"half")
    with IndexWriter(tmp_path) as writer:
        writer.commit()
    assert [path.name for path in (tmp_path / "segments").iterdir()] == ["00000001"]
    assert not (tmp_path / ".manifest.json.abc").exists()
    check_equal(SparseIndex.open(tmp_path, verify_files=True), found)


def test_groups_join_the_smallest_neighbours() -> None:
    assert groups_to_merge([5, 1, 1, 9], 3) == [[0], [1, 2], [3]]
    assert groups_to_merge([5, 1, 1, 9], 1) == [[0, 1, 2, 3]]
    assert groups_to_merge([5, 1], 8) == [[0], [1]]


def test_no_documents(tmp_path: Path) -> None:
    index = build(tmp_path, [])
    assert (len(index), index.search(queries(1))) == (0, [])
    index.compact()


def test_save_and_open_elsewhere(tmp_path: Path) -> None:
    found = documents(20)
    build(tmp_path / "a", found).save(tmp_path / "b")
    check_equal(SparseIndex.open(tmp_path / "b", verify_files=True), found)
    with pytest.raises(OutputError, match="already exists"):
        SparseIndex.open(tmp_path / "a").save(tmp_path / "b")
    SparseIndex.open(tmp_path / "a").save(tmp_path / "b", overwrite=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match=r"must hold manifest\.json to be overwritten"):
        SparseIndex.open(tmp_path / "a").save(tmp_path / "c", overwrite=True)


def test_damage_is_refused(tmp_path: Path) -> None:
    build(tmp_path, documents(40))
    segment = tmp_path / "segments" / "00000001"
    for name in ("rows.npy", "weights.npy", "documents.jsonl", "id_rows.npy", "field_values.jsonl"):
        whole = (segment / name).read_bytes()
        (segment / name).write_bytes(whole[:-3])
        with pytest.raises(
            IndexFileError, match=rf"{name} must have \d+ bytes, got \d+; it is damaged: build it again"
        ):
            SparseIndex.open(tmp_path)
        (segment / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(IndexFileError, match=rf"{name} is damaged .its digest differs.; build it again"):
            SparseIndex.open(tmp_path, verify_files=True)
        (segment / name).unlink()
        with pytest.raises(IndexFileError, match=rf"{name} is missing"):
            SparseIndex.open(tmp_path)
        (segment / name).write_bytes(whole)
    whole = (segment / "starts.npy").read_bytes()
    (segment / "starts.npy").write_bytes(b"\x00" * len(whole))
    with pytest.raises(IndexFileError, match=r"starts\.npy must hold 41 numbers of int64"):
        SparseIndex.open(tmp_path)
    (segment / "starts.npy").write_bytes(whole)
    SparseIndex.open(tmp_path, verify_files=True)


@pytest.mark.parametrize(("name", "value"), [("rows.npy", -1), ("rows.npy", 2**30), ("starts.npy", 2**40)])
def test_damaged_lists_never_reach_compiled_code(tmp_path: Path, name: str, value: int) -> None:
    build(tmp_path, documents(40))
    path = tmp_path / "segments" / "00000001" / name
    array = np.load(path)
    array[5:] = value
    np.save(path, array)
    index = SparseIndex.open(tmp_path)
    with pytest.raises(IndexFileError, match=f"{name} is damaged"):
        index.search(csr_matrix(np.ones((1, SIZE))))


def test_pickles_are_not_read(tmp_path: Path) -> None:
    build(tmp_path, documents(4))
    manifest = read_manifest(tmp_path)
    path = tmp_path / "segments" / "00000001" / "id_rows.npy"
    np.save(path, np.array([{}] * 4, dtype=object), allow_pickle=True)
    entry = manifest.segments[0]
    files = {**entry.files, "id_rows.npy": replace(entry.files["id_rows.npy"], bytes=path.stat().st_size)}
    write_manifest(tmp_path, replace(manifest, segments=(replace(entry, files=files),)))
    with pytest.raises(IndexFileError, match=r"id_rows\.npy must hold 4 numbers of int32"):
        SparseIndex.open(tmp_path)


def test_manifests_of_other_kinds_are_refused(tmp_path: Path) -> None:
    build(tmp_path, documents(4))
    path = tmp_path / "manifest.json"
    whole = json.loads(path.read_text())
    cases = [
        (json.dumps(whole | {"version": 9}), "has format version 9, and this Isthmus reads version 2; upgrade Isthmus"),
        (json.dumps(whole | {"format": "x"}), "must be of format 'isthmus-index'"),
        (json.dumps(whole | {"generation": 9}), "its digest differs"),
        ("{", "is damaged"),
        ("[]", "must be of format"),
    ]
    for content, message in cases:
        path.write_text(content)
        with pytest.raises(IndexFileError, match=message):
            SparseIndex.open(tmp_path)
        with pytest.raises(IndexFileError, match=message), IndexWriter(tmp_path):
            pass
    # A later version is not thrown away by a build that fails.
    path.write_text(json.dumps(whole | {"version": 9}))
    new = Manifest(0, SIZE, "f32", True, IDENTITY)
    with pytest.raises(RuntimeError, match="stop"), IndexWriter(tmp_path, new=new, replaces=manifest_digest(tmp_path)):
        raise RuntimeError("stop")
    assert (tmp_path / "segments" / "00000001").is_dir()
    path.unlink()
    with pytest.raises(NotFoundError, match=r"has no manifest\.json; make one with isthmus index"):
        SparseIndex.open(tmp_path)
    with pytest.raises(NotFoundError, match="has no manifest"), IndexWriter(tmp_path / "none"):
        pass
    assert not (tmp_path / "none").exists()


def test_arguments_that_do_not_fit(tmp_path: Path) -> None:
    index = build(tmp_path, documents(10))
    with pytest.raises(InputError, match="top_k must be 1 or more, got 0"):
        index.search(queries(1), 0)
    for call in (index.search, lambda rows: index.explain(rows, "d1")):
        with pytest.raises(InputError, match="query must be one text or one row, got 2 rows"):
            call(queries(2))
    with pytest.raises(InputError, match=r"must have 40 dimensions as the index .*, got 3"):
        index.search(csr_matrix((1, 3), dtype=np.float32))
    with IndexWriter(tmp_path) as writer:
        with pytest.raises(InputError, match=r"must be of shape \(1, 40\), got \(1, 3\)"):
            writer.add([Document("x", "")], csr_matrix((1, 3), dtype=np.float32))
        writer.add([Document("x", "")], csr_matrix(([np.nan], ([0], [0])), shape=(1, SIZE)))
        with pytest.raises(InputError, match="document vectors must be finite"):
            writer.commit()


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    for weights, value in (("u8", -1.0), ("f16", 1e6)):
        with IndexWriter(tmp_path, new=Manifest(0, SIZE, weights, True, None)) as writer:
            writer.add([Document("x", "")], csr_matrix(([value], ([0], [0])), shape=(1, SIZE)))
            with pytest.raises(InputError, match=f"weights='{weights}' holds .* use 'f32'"):
                writer.commit()


def test_the_lock_is_the_kernels(tmp_path: Path) -> None:
    """The writer's lock is an ordinary file lock, so that other tools can hold it too."""
    build(tmp_path, documents(4))
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(OutputError, match="wait until it has ended"),
        IndexWriter(tmp_path),
    ):
        pass
