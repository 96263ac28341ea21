"""Copying an index as a reader: the source is not locked, so it may lie where nothing can be written."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from isthmus.errors import IndexFileError
from isthmus.index.folder import check_free, further
from isthmus.index.format import MANIFEST, REBUILD, SEGMENTS, Manifest, read_manifest
from isthmus.index.writer import IndexWriter
from isthmus.reading.disk import LOCK
from isthmus.reading.storage import atomic_folder, atomic_write, check_folder

_ATTEMPTS = 5


def copy_index(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Copy the last committed state of an index, and what lies beside it; the target changes in one commit.

    Args:
        source: The index; writers may be at work, and none is waited for.
        target: Where the copy goes.
        overwrite: Replace an index that is there; its readers keep what they have.

    Raises:
        NotFoundError: If there is no index.
        IndexFileError: If a file of it is damaged.
        OutputError: If the target exists and must not be replaced, is being written, or cannot be written.
    """
    if (target / MANIFEST).exists() or not (target / LOCK).exists():
        check_folder(target, overwrite=overwrite, marker=MANIFEST)
    replaces = check_free(target, overwrite)
    with ExitStack() as stack:
        manifest, files = _open_files(source, stack)
        # So that the copy of an index into an empty folder is of the same generation.
        new = replace(manifest, generation=manifest.generation - 1, segments=(), files={})
        with IndexWriter(target, new=new, replaces=replaces) as writer:
            writer.copy(manifest, files)
            if not source.samefile(target):
                _copy_further(source, target)
            writer.commit()


def _open_files(folder: Path, stack: ExitStack) -> tuple[Manifest, dict[str, BinaryIO]]:
    """The manifest and all files that it names, open: they can be read when a writer has removed them."""
    for _ in range(_ATTEMPTS):
        manifest = read_manifest(folder)
        names = list(manifest.files)
        names += [f"{SEGMENTS}/{entry.name}/{name}" for entry in manifest.segments for name in entry.files]
        try:
            with ExitStack() as opened:
                files: dict[str, BinaryIO] = {name: opened.enter_context((folder / name).open("rb")) for name in names}
                stack.enter_context(opened.pop_all())
                return manifest, files
        except OSError as error:
            # A writer may have removed it since; then there is a later manifest.
            failed = error
    raise IndexFileError(f"{failed.filename} cannot be read ({failed.strerror}); {REBUILD}") from failed


def _copy_further(source: Path, target: Path) -> None:
    for path in further(source):
        if path.is_symlink():
            # What it leads to is not of the index.
            (target / path.name).unlink(missing_ok=True)
            (target / path.name).symlink_to(path.readlink())
        elif path.is_dir():
            with atomic_folder(target / path.name, overwrite=True) as made:
                shutil.copytree(path, made, symlinks=True, dirs_exist_ok=True)
        else:
            atomic_write(target / path.name, path.read_bytes())
