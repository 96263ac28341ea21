"""Options of building, changing and searching an index; neither numpy nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from isthmus.assets import model_names
from isthmus.encoders.options import CorpusOptions
from isthmus.errors import InputError
from isthmus.options import OpenOptions, Options, option

Weights = Literal["f32", "f16", "u8"]
PART_SIZE = 1024


@dataclass(frozen=True)
class MemoryLimits:
    """Bounds of the memory that building an index takes.

    Attributes:
        postings: A segment is closed when it has as many; about 1 GB while rows are turned to lists, at 24 bytes each.
        documents: A segment is closed when it has as many.
        merged: Postings held at a time while segments are merged; about 1 GB, at 60 bytes each. A single longer list is
            held whole.
    """

    postings: int = 2**25
    documents: int = 2**20
    merged: int = 2**24


@dataclass(frozen=True)
class StoreOptions(Options):
    """How vectors are stored.

    Attributes:
        weights: How to store weights: ``f32``, ``f16`` or ``u8``, the latter with one scale per file of weights.
    """

    weights: Weights = option("f32", help="How weights are stored.")

    def __post_init__(self) -> None:
        if self.weights not in get_args(Weights):
            raise InputError(f"weights must be 'f32', 'f16' or 'u8', got {self.weights!r}")
        super().__post_init__()


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th part of an encoded corpus, from part ``number`` on.

    Attributes:
        number: 1 to ``count``.
        count: How many shards there are.
    """

    number: int = 1
    count: int = 1

    @property
    def name(self) -> str:
        """For a file."""
        return f"{self.number}-of-{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``3/16``.

        Raises:
            InputError: If it is something else.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise InputError(f"shard must be NUMBER/COUNT, as 1/16 to 16/16, got {text!r}")
        return cls(int(number), int(count))


@dataclass(frozen=True)
class EncodeCorpusOptions(StoreOptions, CorpusOptions):
    """How a corpus becomes part files.

    Attributes:
        part_size: Documents per part; within a part, texts are sorted by length while they are encoded.
        processes: Workers.
        ray: Workers are Ray actors; needs the extra ``ray``.
        shard: ``3/16`` makes the third of 16 shares of the parts; without, what is missing is made, and the folder is
            complete.
    """

    part_size: int = option(PART_SIZE, help="Documents per part file.", at_least=1)
    processes: int = option(1, help="Encode in this many processes.", at_least=1)
    ray: bool = option(False, help="The processes are Ray actors (extra: ray).")
    shard: str | None = option(None, help="Make only share K of N of the parts: K/N, as 3/16.", recorded=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard is not None:
            Shard.parse(self.shard)


@dataclass(frozen=True)
class IndexOptions(StoreOptions, CorpusOptions):
    """How a corpus becomes an index; of a corpus that is encoded already, options of encoding must be left alone.

    Attributes:
        text: Store title and text with the documents.
        overwrite: Replace an index that is there.
        shards: Parts of an index on OpenSearch or Elasticsearch; None leaves it to the cluster.
        replicas: Copies of each; None leaves it to the cluster.
        alias: The name is that of an alias; a new index is built beside the one that it has, and takes its place.
        limits: Of memory; None takes the defaults.
    """

    text: bool = option(True, help="Store texts with the documents.")
    overwrite: bool = option(False, help="Replace the index that is there, and the encoder of --lexical.")
    shards: int | None = option(None, help="OpenSearch, Elasticsearch: parts of the index.", at_least=1, recorded=False)
    replicas: int | None = option(
        None, help="OpenSearch, Elasticsearch: copies of each part.", at_least=0, recorded=False
    )
    alias: bool = option(
        False,
        help="OpenSearch, Elasticsearch: the name is an alias; build beside what it has, then move it.",
        recorded=False,
    )
    limits: MemoryLimits | None = None

    def check_stored(self, where: object) -> None:
        """Refuse a way to store weights for a server, which has its own.

        Args:
            where: Names it.

        Raises:
            InputError: If one was given.
        """
        if self.weights != "f32":
            raise InputError(f"weights must be 'f32' for {where}, got {self.weights!r}: a server stores its own way")

    def check_undivided(self, where: object) -> None:
        """Refuse shards, replicas and an alias for an index that has none.

        Args:
            where: Names it.

        Raises:
            InputError: If one of them was given.
        """
        for name in ("shards", "replicas", "alias"):
            value = getattr(self, name)
            if value is not None and value is not False:
                raise InputError(
                    f"{name} must come with opensearch:// or elasticsearch://, got {where}; leave out --{name}"
                )


def _read_ids(path: Path) -> list[str]:
    from isthmus.reading.fields import FieldNames, Row
    from isthmus.reading.lines import read_lines
    from isthmus.reading.records import kind_of, read_records

    if kind_of(path) is None:
        # White space is a part of an id.
        return [line for _, line in read_lines(path)]
    row_of = Row(FieldNames(), "passage")
    return [row_of.identifier(row, where)[1] for where, row in read_records(path, refusal=InputError)]


@dataclass(frozen=True)
class ChangeOptions(CorpusOptions):
    """A change of an index that is there; it says itself how its documents are encoded and stored.

    Attributes:
        update: Let the documents added replace those with the same ids.
        delete: Ids to delete.
        compact: Merge everything into one segment.
        limits: Of memory; None takes the defaults.
    """

    update: bool = option(False, help="Add, and replace documents of the same ids.")
    delete: Sequence[str] = option(
        (), help="File of ids to delete, one a line or .jsonl.", names=("--delete-ids",), kind=Path, read=_read_ids
    )
    compact: bool = option(False, help="Merge segments and drop deleted documents.")
    limits: MemoryLimits | None = None


@dataclass(frozen=True)
class ModelOptions(OpenOptions):
    """The model of the queries of an index.

    Attributes:
        model: A loaded SparseEncoder, or a built-in name, folder or hub id; None takes the one that the index names. It
            is opened by the first query that is a text.
    """

    model: Any = option(
        None, kind=str, help="Encoder of the queries; default: the one the index names.", complete=model_names
    )


@dataclass(frozen=True)
class QueryOptions(ModelOptions):
    """The encoder of the queries of an index.

    Attributes:
        any_model: Accept a model that did not make the index; of two that write the same columns, the one with more of
            them must leave the others empty.
        query_prompt: Put before queries; None takes what the index was made with, else the model's own, "" none.
    """

    any_model: bool = option(False, help="Accept a model that did not make the index.")
    query_prompt: str | None = option(
        None, help="Put before queries; default: as the index was made, else the model's own prompt."
    )
