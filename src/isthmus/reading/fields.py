"""Which fields of a row are its id, its text and its title."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from isthmus.errors import CollectionError
from isthmus.reading.lines import is_unicode

Role = Literal["passage", "query"]
# "docid" and "contents" are those of MIRACL and Pyserini.
IDS = {"passage": ("id", "_id", "docid"), "query": ("id", "_id", "query_id", "qid")}
TEXTS = {"passage": ("text", "contents"), "query": ("text", "query", "question")}
TITLE = "title"
NESTED = "metadata"
DEEPEST = 64


@dataclass(frozen=True)
class FieldNames:
    """Names that a person gave; None where the usual ones are meant.

    Attributes:
        id: Of the field with the id of a passage or query.
        text: Of the field with the text of a passage.
        title: Of the field with its title.
    """

    id: str | None = None
    text: str | None = None
    title: str | None = None


def columns_of(names: FieldNames, role: Role) -> tuple[str, ...]:
    """What the columns of a TSV file may be called; the first two are those of one without names."""
    given = [name for name in (names.id, names.text, names.title) if name]
    return ("id", "text", *IDS[role][1:], *TEXTS[role][1:], TITLE, *given)


class Row:
    """Reads the rows of one source.

    Args:
        names: Names of the fields.
        role: Of the rows.
    """

    def __init__(self, names: FieldNames, role: Role) -> None:
        self._names, self._role = names, role
        self._title_seen = False

    def read(self, row: Any, where: str) -> tuple[str, str, str, dict[str, Any]]:
        """Id, text, title and metadata of a row.

        Raises:
            CollectionError: If a field is missing or of another type; names the line.
        """
        if not isinstance(row, Mapping):
            raise CollectionError(
                f"{where}: must be an object with id and text, got {type(row).__name__}; mend it or remove it"
            )
        id_field, identifier = self.identifier(row, where)
        text_field, text = self._text(row, identifier, where)
        title_field, title = self._title(row, where)
        if not isinstance(text, str) or not isinstance(title, str):
            got = text if not isinstance(text, str) else title
            raise CollectionError(
                f"{where}: text (and title) of {identifier!r} must be a string, got {got!r:.80}; mend it or remove it"
            )
        if not is_unicode(f"{identifier}{text}{title}"):
            raise CollectionError(
                f"{where}: id, text and title of {identifier!r} must be Unicode, got half of a surrogate pair; write "
                "the character whole"
            )
        if self._role == "query" and not text.strip():
            raise CollectionError(f"{where}: text of {identifier!r} must not be empty; remove the line or fill it")
        ids = () if self._names.id else ("id", "_id")
        metadata = _metadata(row, {id_field, text_field, title_field, *ids})
        if any(is_deep(value) for value in metadata.values()):
            raise CollectionError(
                f"{where}: metadata of {identifier!r} must be nested at most {DEEPEST} levels deep; flatten it"
            )
        return identifier, text, title, {key: finite(value) for key, value in metadata.items()}

    def identifier(self, row: Mapping[str, Any], where: str) -> tuple[str, str]:
        """Name and value of the field of the id.

        Raises:
            CollectionError: If there is none, or two that differ; names the line.
        """
        given, usual = self._names.id, IDS[self._role]
        # Queries may call theirs otherwise than passages.
        names = (given,) if given and (given in row or self._role == "passage") else usual
        name = next((name for name in names if _is_there(row.get(name))), names[0])
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            raise CollectionError(
                f"{where}: {self._names.id or 'id'} must be a string that is not empty, got {value!r}; the fields are "
                f"{_listed(row)}; give every {self._role} an id of its own, or name its field with --id-field"
            )
        other = row.get("_id") if name == "id" and self._names.id is None else None
        if isinstance(other, (str, int)) and str(other) not in (str(value), ""):
            raise CollectionError(
                f"{where}: id must be one, got {str(value)!r} in 'id' and {str(other)!r} in '_id'; say which with "
                "--id-field"
            )
        return name, str(value)

    def _text(self, row: Mapping[str, Any], identifier: str, where: str) -> tuple[str, Any]:
        given = self._names.text if self._role == "passage" else None
        names = (given,) if given else TEXTS[self._role]
        name = next((name for name in names if _is_there(row.get(name))), None)
        if name is not None:
            return name, row[name]
        # Null says that there is none.
        if any(name in row for name in names):
            return names[0], ""
        raise CollectionError(
            f"{where}: text (and title) of {identifier!r} must be a string, got None; the fields are {_listed(row)}; "
            "name the field of the text with --text-field"
        )

    def _title(self, row: Mapping[str, Any], where: str) -> tuple[str, Any]:
        given = self._names.title if self._role == "passage" else None
        if given and given not in row and not self._title_seen:
            raise CollectionError(
                f"{where}: must have the field {given!r} of --title-field, got {_listed(row)}; name one of them"
            )
        self._title_seen = True
        title = row.get(given or TITLE)
        return given or TITLE, title if title and _is_there(title) else ""


def _is_there(value: Any) -> bool:
    """Whether a value is neither null nor NaN, by which tables say that there is none."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _listed(row: Iterable[str]) -> str:
    return ", ".join(map(str, row)) or "none"


def _metadata(row: Mapping[str, Any], taken: set[str]) -> dict[str, Any]:
    """The other fields; those of an object called ``metadata`` stand beside them, and yield to them."""
    nested = row.get(NESTED)
    inner = nested if isinstance(nested, Mapping) else {}
    outer = {key: value for key, value in row.items() if key not in taken and not (key == NESTED and inner is nested)}
    return {str(key): value for key, value in {**inner, **outer}.items()}


def is_deep(value: Any, levels: int = DEEPEST) -> bool:
    """Whether objects and lists lie deeper in each other than what goes through them can follow."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return levels < 0 or any(is_deep(one, levels - 1) for one in inner)


def finite(value: Any) -> Any:
    """A value of JSON with null for NaN and infinity: JSON has none, and tables say NaN for what is missing."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
