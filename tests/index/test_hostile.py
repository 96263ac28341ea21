"""Manifests of another shape: one error, which names the field, and nothing outside of the folder is touched."""

import json
import shutil

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from isthmus.errors import IndexFileError, InputError, OutputError
from isthmus.index import SparseIndex
from isthmus.index.encoded_files import EncodedHeader
from isthmus.index.format import Manifest, _digest_of_json
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Document
from isthmus.reading.shape import is_inside

SIZE = 8


@pytest.fixture
def folder(tmp_path):
    """An index with a deleted document."""
    with IndexWriter(tmp_path / "idx", new=Manifest(0, SIZE, "f32", True, None), tokens=["t"] * SIZE) as writer:
        documents = [Document(f"d{i}", "text", metadata={"language": "ko"}) for i in range(3)]
        writer.add(documents, csr_matrix(np.eye(3, SIZE, dtype=np.float32)))
        writer.commit()
    SparseIndex.open(tmp_path / "idx").delete(["d1"])
    return tmp_path / "idx"


def change(folder, edit):
    """Rewrite the manifest, with a digest that vouches for it."""
    path = folder / "manifest.json"
    content = json.loads(path.read_bytes())
    content.pop("digest")
    edit(content)
    path.write_text(json.dumps(content | {"digest": _digest_of_json(content)}))


def leaves(value, path=()):
    """Every place in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from leaves(one, (*path, key))


def put(content, path, value):
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


WRONG = [None, True, -1, 1.5, "x", [], {}, [1], {"a": 1}, 10**30, "../../victim", float("nan")]
FREE = ("settings",)


def test_every_field_of_another_type_is_refused_or_means_the_same(folder):
    whole = folder.parent / "whole"
    shutil.copytree(folder, whole)
    content = json.loads((folder / "manifest.json").read_bytes())
    refused = 0
    for path in leaves(content):
        if not path or path[0] in (*FREE, "digest"):
            continue
        for wrong in WRONG:
            change(folder, lambda content, path=path, wrong=wrong: put(content, path, wrong))
            try:
                SparseIndex.open(folder)
            except IndexFileError:
                refused += 1
            shutil.copy(whole / "manifest.json", folder)
    assert refused > 300


@pytest.mark.parametrize(
    ("path", "wrong", "told"),
    [
        (("segments", 0, "name"), "../../victim", "segments[0].name must have names like those"),
        (("segments", 0, "name"), "/etc", "segments[0].name must have names like those"),
        (("segments", 0, "name"), "00000001\n", "segments[0].name must have names like those"),
        (("segments", 0, "deleted"), "../../x.npy", "segments[0].deleted must have names like those"),
        (("segments", 0, "files", "../../victim.npy"), {"bytes": 1, "digest": ""}, "segments[0].files must have names"),
        (("files", "../victim"), {"bytes": 1, "digest": ""}, "files must have names like those"),
        (("segments", 0, "documents"), "3", "segments[0].documents must be a whole number, got '3'"),
        (("segments", 0, "deletions"), 9, "segments[0].documents, postings and deletions must be"),
        (("segments", 0, "scale"), float("inf"), "segments[0].scale must be a finite number"),
        (("segments", 0), None, "segments[0] must be an object, got None"),
        (("segments",), {"0": 1}, "segments must be a list"),
        (("weights",), "f64", "weights must be one of 'f32', 'f16', 'u8', got 'f64'"),
        (("settings",), {"query_prompt": 3}, "settings.query_prompt must be a string, got 3"),
        (("identity",), {"encoder": "a"}, "identity.tokenizer is missing"),
        (("more",), 1, "more is no field of it"),
        (("vocabulary_size",), 2**40, "vocabulary_size must be 1 to"),
    ],
)  # fmt: skip
def test_the_field_is_named(folder, path, wrong, told):
    change(folder, lambda content: put(content, path, wrong))
    with pytest.raises(IndexFileError) as raised:
        SparseIndex.open(folder)
    assert told in str(raised.value)


def test_a_delete_writes_nothing_outside(folder):
    victim = folder.parent / "victim"
    shutil.copytree(folder / "segments" / "00000001", victim)
    before = sorted(path.name for path in victim.iterdir())
    change(folder, lambda content: put(content, ("segments", 0, "name"), "../../victim"))
    with pytest.raises(IndexFileError):
        SparseIndex.open(folder).delete(["d0"])
    with pytest.raises(IndexFileError), IndexWriter(folder):
        pass
    assert sorted(path.name for path in victim.iterdir()) == before


@pytest.mark.parametrize("place", ["segments", "segments/00000001", ".lock"])
def test_links_are_read_and_not_written_through(folder, place):
    outside = folder.parent / "outside"
    (folder / place).rename(outside)
    (folder / place).symlink_to(outside)
    before = sorted(path.name for path in outside.rglob("*"))
    index = SparseIndex.open(folder)
    assert len(index) == 2
    with pytest.raises(OutputError, match="must not be a symbolic link"):
        index.delete(["d0"])
    assert sorted(path.name for path in outside.rglob("*")) == before
    with pytest.raises(OutputError, match="must not be a symbolic link"):
        SparseIndex.open(folder).save(folder, overwrite=True)


def test_a_copy_does_not_take_what_links_lead_to(folder):
    secret = folder.parent / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (folder / "notes").mkdir()
    (folder / "notes" / "key").symlink_to(secret / "key")
    (folder / "all").symlink_to(secret)
    SparseIndex.open(folder).save(folder.parent / "copy")
    copied = folder.parent / "copy"
    assert (copied / "all").is_symlink()
    assert (copied / "notes" / "key").is_symlink()


def test_the_header_of_an_encoded_corpus_names_the_field_too():
    content = {"format": "isthmus-encoding", "version": 1, "identity": {"encoder": "a", "tokenizer": "b"}}
    content |= {"vocabulary_size": 4, "weights": "f32", "part_size": 2}
    assert EncodedHeader.from_dict(content, "h").part_size == 2
    with pytest.raises(IndexFileError, match="part_size must be a whole number"):
        EncodedHeader.from_dict(content | {"part_size": None}, "h")


def test_ids_that_differ_by_normal_form_alone_are_two(folder):
    both = ["\u00e9", "e\u0301"]
    with IndexWriter(folder) as writer:
        documents = [Document(name, "text") for name in both]
        writer.add(documents, csr_matrix(np.eye(2, SIZE, dtype=np.float32)))
        writer.commit()
    SparseIndex.open(folder).delete(both[:1])
    index = SparseIndex.open(folder)
    assert index.document(both[1]).id == both[1]
    with pytest.raises(InputError):
        index.document(both[0])


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "C:\\x", "..\\x", "a\0b", "//host/x"])
def test_paths_that_leave_a_folder(name):
    assert not is_inside(name)
    assert all(map(is_inside, ("a/b", "", "1_Pooling")))
