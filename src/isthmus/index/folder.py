"""An index folder from outside: whether it may be replaced, and what lies in it that no index needs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from isthmus.errors import IndexFileError, NotFoundError, OutputError
from isthmus.index.format import MANIFEST, SEGMENTS, Manifest, manifest_digest, read_manifest
from isthmus.reading.disk import LOCK

_SEGMENT = re.compile(r"\d{8}")
_TOKENS = re.compile(r"tokens-\d{8}\.json")
# Files that a killed process had not finished writing, see isthmus.reading.storage.atomic_write.
_UNFINISHED = re.compile(r"\.(manifest\.json|tokens-\d{8}\.json)\..+")


def check_free(folder: Path, overwrite: bool) -> str | None:
    """Refuse a folder that holds something else, before long work.

    Returns:
        What is seen there, see :func:`isthmus.index.format.manifest_digest`: a writer replaces that and nothing else.

    Raises:
        OutputError: If it does, or holds an index and ``overwrite`` is off.
    """
    seen = manifest_digest(folder) if folder.is_dir() else None
    if seen is not None:
        if not overwrite:
            raise OutputError(f"{folder} already exists; choose another folder, or pass --overwrite, --add or --update")
        if not _is_index(folder):
            raise OutputError(f"{folder} must be empty or an index, got another {MANIFEST}; choose another folder")
    elif folder.exists():
        others = _others(folder) if folder.is_dir() else [folder]
        if others:
            raise OutputError(f"{folder} must be empty or an index, got {others[0].name}; choose another folder")
    return seen


def check_encoder(folder: Path, seen: Manifest, now: Manifest) -> None:
    """Refuse an index that is not the one vectors were made for: documents may have come since, another encoder not.

    Args:
        folder: The index.
        seen: Its manifest when the encoder was chosen.
        now: Its manifest.

    Raises:
        OutputError: If the encoder, its dimensions or the settings differ.
    """
    of = [(one.identity, one.vocabulary_size, one.settings) for one in (seen, now)]
    fingerprints = [None if one is None else (one.encoder, one.tokenizer) for one, _, _ in of]
    if fingerprints[0] != fingerprints[1] or of[0][1:] != of[1][1:]:
        raise OutputError(
            f"{folder} was built anew by another process, with another encoder or other settings, since this one "
            "began; nothing was added: run the command again with the encoder that it has now"
        )


def refuse_links(folder: Path) -> None:
    """Refuse to write where links lead out of an index: what they name is not of it, and could be removed.

    Raises:
        OutputError: Names the first.
    """
    within = sorted((folder / SEGMENTS).glob("*"))
    for path in (folder / LOCK, folder / SEGMENTS, *within):
        if path.is_symlink():
            raise OutputError(f"{path} must not be a symbolic link where an index is written; put in what it leads to")


def named_manifests(folder: Path) -> list[Manifest] | None:
    """The manifest on the disk, if there is one; None for one that cannot be read, but may be worth a repair."""
    try:
        return [read_manifest(folder)]
    except NotFoundError:
        return []
    except IndexFileError:
        return None


def segment_folders(folder: Path) -> list[Path]:
    """The folders of segments, those that no manifest names among them."""
    return [path for path in (folder / SEGMENTS).glob("*") if _SEGMENT.fullmatch(path.name)]


def further(folder: Path) -> list[Path]:
    """What lies beside an index: files and folders that others put there."""
    own = (MANIFEST, SEGMENTS, LOCK)
    return sorted(path for path in folder.iterdir() if path.name not in own and not _is_own_file(path))


def remove_unnamed(folder: Path, manifests: Sequence[Manifest]) -> None:
    """Remove files that none of the manifests names; who has them open keeps them.

    Where the system refuses to remove an open file, the next writer tries again.
    """
    with suppress(OSError):
        named = {entry.name: set[str]() for manifest in manifests for entry in manifest.segments}
        for manifest in manifests:
            for entry in manifest.segments:
                named[entry.name] |= set(entry.files)
        for segment in segment_folders(folder):
            if segment.name not in named:
                shutil.rmtree(segment, ignore_errors=True)
            else:
                _unlink(path for path in segment.glob("deleted-*.npy") if path.name not in named[segment.name])
        files = {name for manifest in manifests for name in manifest.files}
        _unlink(path for path in folder.iterdir() if path.name not in files and _is_own_file(path))
        if not manifests:
            (folder / SEGMENTS).rmdir()


def _is_own_file(path: Path) -> bool:
    """Whether a file beside the manifest can only be one that Isthmus wrote."""
    return bool(_TOKENS.fullmatch(path.name) or _UNFINISHED.fullmatch(path.name))


def _is_index(folder: Path) -> bool:
    """Whether ``manifest.json``, a name that others use too, is one of an index; it may be damaged."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return (folder / SEGMENTS).is_dir()
    return isinstance(content, dict) and content.get("format") == Manifest.FORMAT


def _others(folder: Path) -> list[Path]:
    """What lies in a folder beside that which an interrupted build left, and its successor will remove."""
    if not (folder / LOCK).exists():
        return list(folder.iterdir())
    within = (folder / SEGMENTS).iterdir() if (folder / SEGMENTS).is_dir() else ()
    return further(folder) + [path for path in within if not _SEGMENT.fullmatch(path.name)]


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)
