"""The header of an encoded corpus, see :mod:`isthmus.index.encoded_files`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from isthmus.encoders.fingerprint import Fingerprint
from isthmus.index.header import VectorHeader
from isthmus.index.options import Weights

HEADER = "encoding.json"


@dataclass(frozen=True)
class EncodedHeader(VectorHeader):
    """The header of an encoded corpus: what it was made with. The same settings continue it, others are refused.

    Attributes:
        identity: The encoder.
        vocabulary_size: Dimensions of the vectors.
        weights: How weights are stored.
        part_size: Documents in a part.
        settings: How texts are split and encoded, see :class:`isthmus.encoders.options.CorpusOptions`.
        complete: Counts and the error bound of the weights, once all is done.
    """

    FORMAT: ClassVar[str] = "isthmus-encoding"
    VERSION: ClassVar[int] = 1
    FILE: ClassVar[str] = HEADER
    ABSENT: ClassVar[str] = f"an encoded corpus, but has no {HEADER}; run isthmus encode"
    REMEDY: ClassVar[str] = "remove the file and run isthmus encode again"

    identity: Fingerprint
    vocabulary_size: int
    weights: Weights
    part_size: int
    settings: dict[str, Any] = field(default_factory=dict)
    complete: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        numbers = {"vocabulary_size": self.vocabulary_size, "part_size": self.part_size}
        if self.complete is not None:
            numbers |= {name: self.complete[name] for name in ("documents", "postings", "parts", "empty")}
            float(self.complete["error"])
        for name, number in numbers.items():
            if type(number) is not int or not 0 <= number < 2**63:
                raise ValueError(f"{name} must be a number of things, got {number!r:.80}")
        if self.vocabulary_size >= 2**31:
            raise ValueError(f"vocabulary_size must fit int32, got {self.vocabulary_size}")

    def to_bytes(self) -> bytes:
        """JSON for :data:`HEADER`."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False).encode()
