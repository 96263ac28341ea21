"""What was taken for granted while files were read: counted, said in one line for each kind, refused where asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus.errors import CollectionError


@dataclass(frozen=True)
class _Kind:
    """What is said of one, and of several; ``defect`` is what a strict reader refuses."""

    one: str
    several: str
    defect: bool = True


KINDS = {
    "passages_without_text": _Kind(
        "passage has no text, no query finds it", "passages have no text, no query finds them"
    ),
    "repeated_passages": _Kind("passage is there twice, read once", "passages are there twice, read once"),
    "repeated_queries": _Kind("query is there twice, read once", "queries are there twice, read once"),
    "repeated_judgements": _Kind("judgement is there twice, read once", "judgements are there twice, read once"),
    "judgements_of_missing_passages": _Kind(
        "judgement is of a passage that is not there; it counts in the ideal DCG and in recall",
        "judgements are of passages that are not there; they count in the ideal DCG and in recall",
    ),
    "judgements_of_missing_queries": _Kind(
        "judgement is of a query that is not there and cannot be asked",
        "judgements are of queries that are not there and cannot be asked",
    ),
    "decoded_files": _Kind("file was decoded", "files were decoded", defect=False),
    "other_delimiters": _Kind(
        "file has its fields between other signs than commas",
        "files have their fields between other signs than commas",
        defect=False,
    ),
}  # fmt: skip


@dataclass
class Notes:
    """Counts by kind, with the first place of each.

    Attributes:
        strict: Refuse what is no matter of form: passages without text, repetitions, judgements of what is not there.
        counts: How often each kind of :data:`KINDS` came up.
        first: Where each came up first, and with what.
    """

    strict: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, tuple[str, str]] = field(default_factory=dict)

    def take(self, kind: str, where: str, what: str) -> None:
        """Count one.

        Args:
            kind: Key of :data:`KINDS`.
            where: File and line.
            what: Its id or name.

        Raises:
            CollectionError: If the notes are strict and this is a defect.
        """
        if self.strict and KINDS[kind].defect:
            raise CollectionError(f"{where}: {what!r}: {KINDS[kind].one}; mend it, or leave out --strict")
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, (where, what))

    def add(self, other: Notes) -> None:
        """Count what other notes have."""
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            self.first.setdefault(kind, other.first[kind])

    def sentences(self) -> list[str]:
        """One line for each kind: how many, what it means, and the first of them."""
        said = []
        for kind, count in self.counts.items():
            where, what = self.first[kind]
            words = KINDS[kind].one if count == 1 else KINDS[kind].several
            said.append(f"{count:,} {words} ({'' if count == 1 else 'first '}{what!r} in {where})")
        return said
