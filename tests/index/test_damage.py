"""Files of an index with bytes changed: refused, or read as before, and never anything else."""

import random
import shutil

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.engines.contents import filled, read_vectors
from isthmus.errors import IndexFileError, InputError, OutputError
from isthmus.index import SparseIndex
from isthmus.index.folder import check_free
from isthmus.index.format import Manifest
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Document

SIZE = 40
TRIES = 25


@pytest.fixture
def folder(tmp_path):
    """An index of two segments, one of them with a deleted document."""
    generator = np.random.default_rng(0)
    new = Manifest(0, SIZE, "f32", True, None)
    for start in (0, 12):
        documents = [
            Document(f"d{i}", f"text {i}", metadata={"language": "ko" if i % 3 else "en", f"only{i}": i})
            for i in range(start, start + 12)
        ]
        dense = generator.random((12, SIZE), dtype=np.float32) * (generator.random((12, SIZE)) < 0.3)
        with IndexWriter(tmp_path / "idx", new=new, tokens=[f"t{i}" for i in range(SIZE)]) as writer:
            writer.add(documents, csr_matrix(dense.astype(np.float32)))
            writer.commit()
        new = None
    SparseIndex.open(tmp_path / "idx").delete(["d7"])
    return tmp_path / "idx"


def read_all(folder):
    """What every way of reading gives."""
    index = SparseIndex.open(folder)
    query = csr_matrix(np.ones((1, SIZE), dtype=np.float32))
    hits = index.search(query, 24)
    found = [(hit.id, hit.score, hit.document.text) for hit in hits]
    filtered = [hit.id for hit in index.search(query, 24, filter={"language": "en"})]
    matches = [[match.token for match in index.explain(query, hit.id)] for hit in hits]
    vectors = sum(float(part.sum()) for _, part in read_vectors(index))
    return found, filtered, matches, round(vectors, 3), filled(index), index.document("d11").text


# A changed weight is another weight, a letter another letter: `isthmus index --verify` reads the digests.
UNSEEN = {"weights.npy", "documents.jsonl", "rows.npy", "starts.npy", "id_digests.npy", "id_rows.npy"} | {
    f"field_{name}" for name in ("starts.npy", "rows.npy", "codes.npy", "values.jsonl")
}


@pytest.mark.long
def test_changed_bytes_are_refused_or_change_nothing_else(folder):
    whole = read_all(folder)
    generator = random.Random(0)
    refused, unseen = 0, set()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"):
        content = path.read_bytes()
        for _ in range(TRIES):
            changed = bytearray(content)
            changed[generator.randrange(len(changed))] = generator.randrange(256)
            if changed == content:
                continue
            path.write_bytes(changed)
            try:
                if read_all(folder) != whole:
                    unseen.add("deleted" if path.name.startswith("deleted") else path.name)
            except IndexFileError:
                refused += 1
            except InputError as error:
                # An id became another one, which is then not in the index.
                unseen.add(str(error).rpartition("; ")[2])
            with pytest.raises(IndexFileError):
                SparseIndex.open(folder, verify_files=True)
        path.write_bytes(content)
    assert refused > 100
    assert unseen <= UNSEEN | {"deleted", "check the id"}
    assert read_all(folder) == whole


@pytest.mark.parametrize("name", ["weights.npy", "rows.npy", "documents.jsonl"])
def test_damage_is_not_merged_into_what_has_good_digests(folder, name):
    path = folder / "segments" / "00000001" / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(IndexFileError, match=rf"{name} is damaged"):
        SparseIndex.open(folder).compact()
    assert (folder / "manifest.json").read_bytes() == before
    with pytest.raises(IndexFileError):
        SparseIndex.open(folder, verify_files=True)


def test_a_manifest_of_brackets_is_refused(folder):
    (folder / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(IndexFileError, match="damaged"):
        SparseIndex.open(folder)


@pytest.mark.parametrize("own", ["segments/2024/thesis.txt", "tokens-mine.json", ".notes"])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path, own):
    path = tmp_path / "mine" / own
    path.parent.mkdir(parents=True)
    path.write_text("years of work")
    with pytest.raises(OutputError, match="must be empty or an index"):
        check_free(tmp_path / "mine", overwrite=False)
    (tmp_path / "mine" / ".lock").touch()
    with pytest.raises(OutputError, match="must be empty or an index"):
        check_free(tmp_path / "mine", overwrite=True)


@pytest.mark.parametrize("content", ['{"name": "My web page", "icons": []}', "[1]", "no JSON"])
def test_a_manifest_of_somebody_else_is_left_alone(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(
        OutputError, match=r"must be empty or an index, got another manifest\.json; choose another folder"
    ):
        check_free(tmp_path, overwrite=True)


def test_what_a_killed_build_left_is_no_obstacle(folder):
    (folder / "manifest.json").unlink()
    (folder / ".manifest.json.x7").touch()
    check_free(folder, overwrite=False)
    with IndexWriter(folder, new=Manifest(0, SIZE, "f32", True, None), tokens=[]) as writer:
        writer.commit()
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "manifest.json",
        "segments",
        "tokens-00000001.json",
    ]
    assert not list((folder / "segments").iterdir())


def test_a_build_that_failed_leaves_no_folder_behind(tmp_path):
    def build():
        with IndexWriter(tmp_path / "idx", new=Manifest(0, SIZE, "f32", True, None), tokens=["a"]) as writer:
            writer.add([Document("a", "text")], csr_matrix(np.ones((1, SIZE), dtype=np.float32)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build()
    assert list(tmp_path.iterdir()) == []
    check_free(tmp_path / "idx", overwrite=False)


def test_rare_metadata_costs_only_the_documents_that_have_it(tmp_path):
    documents = [Document(f"d{i}", "text", metadata={f"field {i}": i}) for i in range(500)]
    vectors = csr_matrix(np.ones((500, SIZE), dtype=np.float32))
    with IndexWriter(tmp_path / "idx", new=Manifest(0, SIZE, "f32", True, None), tokens=[]) as writer:
        writer.add(documents, vectors)
        writer.commit()
    segment = tmp_path / "idx" / "segments" / "00000001"
    assert sum(path.stat().st_size for path in segment.glob("field_*.npy")) < 20_000
    index = SparseIndex.open(tmp_path / "idx")
    assert [hit.id for hit in index.search(vectors[0], 5, filter={"field 77": 77})] == ["d77"]
    assert index.search(vectors[0], 5, filter={"field 77": 78}) == []
    shutil.rmtree(tmp_path / "idx")
