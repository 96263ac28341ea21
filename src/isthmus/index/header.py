"""The header of stored vectors, which says what encoder made them: one shape, whatever holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_type_hints

from isthmus.encoders.fingerprint import Fingerprint
from isthmus.errors import IndexFileError, NotFoundError
from isthmus.options import EncodeOptions
from isthmus.reading.shape import checked, made

Self = TypeVar("Self", bound="VectorHeader")


class VectorHeader:
    """The encoder behind stored vectors, and how their texts were encoded.

    A header is a frozen dataclass that has these fields among its own, in the order that its file has.

    Attributes:
        FORMAT: Name of the format, which the file states.
        VERSION: Its version.
        FILE: Name of the file in a folder.
        ABSENT: What to say of a folder without the file.
        STRANGER: What to say of something that is of another format.
        DAMAGED: What of it is damaged, before its place.
        REMEDY: What to do about damage.
        identity: The encoder; None for vectors of unknown origin.
        vocabulary_size: Dimensions of the vectors.
        settings: How the documents were encoded.
    """

    FORMAT: ClassVar[str]
    VERSION: ClassVar[int]
    FILE: ClassVar[str] = ""
    ABSENT: ClassVar[str] = ""
    STRANGER: ClassVar[str] = "must be of format {format!r}; name a folder that Isthmus made"
    DAMAGED: ClassVar[str] = ""
    REMEDY: ClassVar[str]

    identity: Fingerprint | None
    vocabulary_size: int
    settings: Mapping[str, Any]

    @property
    def split(self) -> bool:
        """Whether the vectors are of passages."""
        return bool(self.settings.get("split_texts"))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"format": self.FORMAT, "version": self.VERSION, **asdict(cast(Any, self))}

    @classmethod
    def from_dict(cls: type[Self], content: Any, where: str | Path) -> Self:
        """Read what :meth:`to_dict` wrote.

        Raises:
            IndexFileError: If something else is there, or a later version; names the field that does not fit.
        """
        check_version(content, where, cls.FORMAT, cls.VERSION, stranger=cls.STRANGER)
        try:
            found = made(cls, {key: value for key, value in content.items() if key not in ("format", "version")})
            kinds = get_type_hints(EncodeOptions)
            for name, value in found.settings.items():
                checked(kinds.get(name, Any), value, f"settings.{name:.40}")
        except (ValueError, OverflowError, RecursionError) as error:
            raise cls.damaged(where, error) from error
        return found

    @classmethod
    def read(cls: type[Self], folder: Path) -> Self:
        """Read the file of a folder.

        Raises:
            NotFoundError: If there is none.
            IndexFileError: If it is damaged, of another kind or of a later version.
        """
        path = folder / cls.FILE
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise NotFoundError(f"{folder} must be {cls.ABSENT}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise cls.damaged(path, error) from error
        return cls.from_dict(content, path)

    @classmethod
    def damaged(cls, where: str | Path, why: object) -> IndexFileError:
        """The error that says what is damaged and what to do."""
        return IndexFileError(f"{cls.DAMAGED}{where} is damaged ({why}); {cls.REMEDY}")


def check_version(
    content: Any, where: str | Path, kind: str, version: int, *, stranger: str = VectorHeader.STRANGER
) -> None:
    """Refuse a file of another kind or of a later version.

    Args:
        content: What it holds.
        where: Names it.
        kind: The format that it must state.
        version: The version that it must state.
        stranger: What to say of another kind.

    Raises:
        IndexFileError: Says which and what to do.
    """
    if not isinstance(content, dict) or content.get("format") != kind:
        raise IndexFileError(f"{where} {stranger.format(format=kind)}")
    if content.get("version") != version:
        raise IndexFileError(
            f"{where} has format version {content.get('version')!r:.80}, and this Isthmus reads version {version}; "
            "upgrade Isthmus, or make it again with this one"
        )
