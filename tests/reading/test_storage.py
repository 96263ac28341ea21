import errno
import gzip
import lzma
import os
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from isthmus.errors import CollectionError, InputError, MissingExtraError, NotFoundError, OutputError
from isthmus.reading import storage
from isthmus.reading.lines import read_lines
from isthmus.reading.storage import (
    atomic_folder,
    atomic_write,
    atomic_write_all,
    check_folder,
    read_json,
)


def fail(number):
    def raise_error(*_, **__):
        raise OSError(number, os.strerror(number))

    return raise_error


def test_atomic_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    atomic_write(path, b"old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "file", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("owner", "function"), [(os, "fsync"), (Path, "replace"), (Path, "chmod")])
def test_a_full_disk_leaves_the_old_files_and_nothing_else(owner, function, tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    atomic_write_all({first: b"1", second: b"2"})
    monkeypatch.setattr(owner, function, fail(errno.ENOSPC))
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\); free space"):
        atomic_write_all({first: b"new", second: b"new"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"first": b"1", "second": b"2"}


def test_no_file_is_replaced_before_all_are_written(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    atomic_write_all({first: b"1", second: b"2"})
    calls, fsync = [], os.fsync

    def second_fails(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            fail(errno.ENOSPC)()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", second_fails)
    with pytest.raises(OutputError, match="second cannot be written"):
        atomic_write_all({first: b"new", second: b"new"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"first": b"1", "second": b"2"}


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "file", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        atomic_write(tmp_path / "file" / "below", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        atomic_write(tmp_path / "folder", b"")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_read_json(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(NotFoundError, match="does not exist"):
        read_json(path)
    path.write_text('{"a": "집"}', encoding="utf-8")
    assert read_json(path) == {"a": "집"}
    path.write_text("[1]")
    with pytest.raises(InputError, match="must hold a JSON object, got list"):
        read_json(path)
    path.write_bytes(b'{"a": "\xff')
    with pytest.raises(InputError, match="must be a JSON file"):
        read_json(path)


def test_atomic_folder_appears_whole(tmp_path):
    path = tmp_path / "made"
    with atomic_folder(path) as folder:
        (folder / "file").write_text("1")
        assert not path.exists()
    assert (path / "file").read_text() == "1"
    with pytest.raises(OutputError, match="already exists"), atomic_folder(path):
        pass
    with atomic_folder(path, overwrite=True) as folder:
        (folder / "other").write_text("2")
    assert [entry.name for entry in path.iterdir()] == ["other"]
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_folder_keeps_the_old_one_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path = tmp_path / "made"
    path.mkdir()
    (path / "file").write_text("old")
    replace = Path.replace

    def fails_for_the_new(self, target):
        if Path(target) == path and (self / "file").read_text() == "new":
            raise OSError(errno.EIO, "broken")
        return replace(self, target)

    def overwrite():
        with atomic_folder(path, overwrite=True) as folder:
            (folder / "file").write_text("new")

    # Where the system does not let two folders change places.
    monkeypatch.setattr(storage, "exchange", lambda first, second: False)
    monkeypatch.setattr(Path, "replace", fails_for_the_new)
    with pytest.raises(OutputError, match="made cannot be written"):
        overwrite()
    assert (path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RuntimeError("stop"), RuntimeError),
        (OSError(errno.ENOSPC, "full"), OutputError),
        (NotFoundError("no such model"), NotFoundError),
    ],
)
def test_atomic_folder_disappears_when_the_body_fails(error, raised, tmp_path):
    def fill():
        with atomic_folder(tmp_path / "made") as folder:
            (folder / "file").write_text("1")
            raise error

    with pytest.raises(raised):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_atomic_folder_tells_of_a_full_disk_and_leaves_nothing(tmp_path):
    # safetensors has an exception of its own for it, which is no OSError.
    with pytest.raises(OutputError, match="made cannot be written"), atomic_folder(tmp_path / "made"):
        raise SafetensorError("No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_atomic_folder_opens_its_files_to_others(tmp_path):
    with atomic_folder(tmp_path / "made") as folder:
        (folder / "closed").write_text("1")
        (folder / "closed").chmod(0o600)
        (folder / "open").write_text("2")
    assert (tmp_path / "made" / "closed").stat().st_mode == (tmp_path / "made" / "open").stat().st_mode


def test_atomic_folder_keeps_the_old_one_when_interrupted(tmp_path, monkeypatch):
    path = tmp_path / "made"
    path.mkdir()
    (path / "file").write_text("old")
    replace = Path.replace

    def interrupt(self, target):
        if Path(target) == path and (self / "file").read_text() == "new":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(storage, "exchange", lambda first, second: False)
    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt), atomic_folder(path, overwrite=True) as folder:
        (folder / "file").write_text("new")
    assert (path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_check_folder_replaces_only_what_holds_the_marker(tmp_path):
    path = tmp_path / "made"
    check_folder(path, marker="model")
    check_folder(path / "below" / "it", marker="model")
    path.mkdir()
    check_folder(path, marker="model")
    check_folder(path, overwrite=True, marker="model")
    (path / "thesis").write_text("")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="made"):
            check_folder(path, overwrite=overwrite, marker="model")
    (path / "model").write_text("")
    check_folder(path, overwrite=True, marker="model")
    with pytest.raises(OutputError, match="no folder can be made"):
        check_folder(path / "thesis" / "below", marker="model")


TEXT = "\ufeffone\r\n\n  two\u2028three \x85\n \nlast"


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_lines_are_numbered_and_end_at_line_feeds_alone(ending, pack, tmp_path):
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(pack(TEXT.encode()))
    assert list(read_lines(path)) == [(1, "one"), (3, "  two\u2028three \x85"), (5, "last")]
    assert list(read_lines(path, keep_blank=True))[1] == (2, "")


@pytest.mark.parametrize("refusal", [InputError, CollectionError])
def test_lines_that_cannot_be_read(refusal, tmp_path):
    with pytest.raises(NotFoundError, match=r"none.txt does not exist"):
        list(read_lines(tmp_path / "none.txt", refusal=refusal))
    (tmp_path / "a.txt").write_bytes(b"one\n\xff\n")
    with pytest.raises(refusal, match=r"a.txt, line 2: must be UTF-8 text"):
        list(read_lines(tmp_path / "a.txt", refusal=refusal))
    (tmp_path / "a.xz").write_bytes(lzma.compress(b"one\n" * 5000)[:40])
    with pytest.raises(refusal, match=r"a.xz is damaged after line \d .*; check it, or fetch it again"):
        list(read_lines(tmp_path / "a.xz", refusal=refusal))
    with pytest.raises(refusal, match="cannot be read"):
        list(read_lines(tmp_path, refusal=refusal))


def test_zstandard(tmp_path):
    zstandard = pytest.importorskip("zstandard", reason="needs the extra zstd")
    path = tmp_path / "a.txt.zst"
    packed = zstandard.compress(TEXT.encode())
    path.write_bytes(packed + zstandard.compress(b"\nmore"))
    assert [line for _, line in read_lines(path)] == ["one", "  two\u2028three \x85", "last", "more"]
    for damaged in (packed[:-4], packed[:8] + b"\xff" * 8):
        path.write_bytes(damaged)
        with pytest.raises(CollectionError, match=r"a.txt.zst is damaged after line \d .*; check it, or fetch it"):
            list(read_lines(path, refusal=CollectionError))


def test_zstandard_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "a.txt.zst").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"\[zstd\]"):
        list(read_lines(tmp_path / "a.txt.zst"))
