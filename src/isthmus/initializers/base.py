"""What every initialisation method is given and gives back, and the copies that all of them make alike."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.bridge.embed import BridgeVectors
from isthmus.bridge.refine import Tokenize
from isthmus.errors import BridgeError, InputError
from isthmus.options import option
from isthmus.token_map import FATES, Fate, Sampling, TokenMap
from isthmus.vocabulary import Overlap, Vocabulary
from isthmus.vocabulary.token import TEXT_KINDS, Kind

CandidatePool = Literal["all", "clean", "kind"]
POOL = option("kind", help="Source tokens that may be mixed", panel="Method")


@dataclass(frozen=True, eq=False)
class RowProblem:
    """Two vocabularies, and what is known of them when the rows of one are to be made of the rows of the other.

    Attributes:
        source: The encoder's vocabulary.
        target: The new vocabulary.
        overlap: Target tokens that copy a source token.
        vectors: Bridge vectors of both; None for methods that need none.
        seed: Seed of everything drawn.
        show_progress_bar: None shows bars when stderr is a terminal.
        tokenize_source: Token ids of texts by the encoder's tokenizer (see :func:`tokenize_with`); None for methods
            that read no text.
        tokenize_target: Likewise by the new tokenizer.
    """

    source: Vocabulary
    target: Vocabulary
    overlap: Overlap
    vectors: BridgeVectors | None = None
    seed: int = 0
    show_progress_bar: bool | None = None
    tokenize_source: Tokenize | None = None
    tokenize_target: Tokenize | None = None

    def __post_init__(self) -> None:
        if self.overlap.source_ids.shape != (self.target.size,):
            raise InputError(
                f"overlap must have one entry per target id, {self.target.size}, got {self.overlap.source_ids.shape}; "
                "match these vocabularies again"
            )
        if self.vectors is not None:
            self.vectors.check(self.source, self.target)


class Initializer(Protocol):
    """One method: a frozen dataclass whose fields are its options, an ``Options`` where it has any.

    Attributes:
        name: Key in the registry.
        summary: One line for lists.
        needs_bridge: Whether ``RowProblem.vectors`` must be given; of the class, whether with default options.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs_bridge: ClassVar[bool]

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Say which source tokens, with which weights, make each target token."""
        ...


def require_vectors(method: str, problem: RowProblem) -> BridgeVectors:
    """Return the bridge vectors, or raise InputError where there are none."""
    if problem.vectors is None:
        raise InputError(f"{method} must have bridge vectors, got None; pass bridge= or vectors=")
    return problem.vectors


def require_tokenize(method: str, tokenize: Tokenize | None, side: str) -> Tokenize:
    """Return the tokenizing function, or raise InputError where there is none."""
    if tokenize is None:
        raise InputError(
            f"{method} must have the {side} tokenizer to read text with, got None; pass "
            f"RowProblem(..., tokenize_{side}=tokenize_with(tokenizer))"
        )
    return tokenize


def tokenize_with(tokenizer: Any) -> Tokenize:
    """Make the function that ``RowProblem`` takes of a transformers tokenizer: ids of whole texts, nothing added."""

    def tokenize(texts: Sequence[str]) -> Sequence[Sequence[int]]:
        switches = {"add_special_tokens": False, "truncation": False, "padding": False, "verbose": False}
        ids: list[list[int]] = tokenizer(list(texts), **switches)["input_ids"]
        return ids

    return tokenize


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raise InputError unless ``value`` is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_choice(name: str, value: str, kind: Any) -> None:
    """Raise InputError unless ``value`` is one of the values of a Literal."""
    if value not in get_args(kind):
        raise InputError(f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}")


def candidate_ids(problem: RowProblem, pool: CandidatePool) -> NDArray[np.int64]:
    """Source ids that may get weight, ascending.

    Args:
        problem: With bridge vectors.
        pool: ``all``: every source token the bridge knows. ``clean`` and ``kind``: of these, no special, unused, byte
            or otherwise unreadable ones.

    Raises:
        BridgeError: If none is left.
    """
    vectors = require_vectors("a candidate pool", problem)
    known: NDArray[np.bool_] = np.any(vectors.source, axis=1)
    ids = [
        token.id
        for token in problem.source.tokens
        if known[token.id] and (pool == "all" or is_text(problem.source, token.id))
    ]
    if not ids:
        raise BridgeError(
            f"bridge must know at least one source token of the pool {pool!r}, got none; choose another bridge"
        )
    return np.array(ids, dtype=np.int64)


def candidate_groups(
    problem: RowProblem, ids: NDArray[np.int64], pool: CandidatePool
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split target ids by the source ids that may make them.

    Args:
        problem: With bridge vectors.
        ids: Target ids to make.
        pool: As for :func:`candidate_ids`; ``kind``: continuation pieces are made of continuation pieces and all others
            of all others, unless the source has none of a kind that the bridge knows.

    Returns:
        (target ids, source ids) pairs; the target ids of all pairs are ``ids`` in some order.
    """
    candidates = candidate_ids(problem, pool)
    pieces = _continues(problem.source, candidates)
    if pool != "kind" or pieces.all() or not pieces.any():
        return [(ids, candidates)]
    continues = _continues(problem.target, ids)
    groups = [(ids[continues == piece], candidates[pieces == piece]) for piece in (False, True)]
    return [group for group in groups if len(group[0])] or groups[:1]


def open_ids(problem: RowProblem, *, as_released: bool = False) -> NDArray[np.int64]:
    """Target ids that copy nothing and that a method must make, ascending.

    Special, unused and unreadable tokens are not among them: they mean nothing a method could find, and take the
    background. ``as_released`` opens every token, as SemBridge's released code does (arXiv 2605.26002).
    """
    ids = [
        token.id
        for token in problem.target.tokens
        if problem.overlap.source_ids[token.id] < 0 and (as_released or is_text(problem.target, token.id))
    ]
    return np.array(ids, dtype=np.int64)


def bridged_ids(problem: RowProblem, vectors: BridgeVectors, *, as_released: bool = False) -> NDArray[np.int64]:
    """As :func:`open_ids`, of which those that the bridge knows."""
    ids = open_ids(problem, as_released=as_released)
    return ids[vectors.target[ids].any(axis=1)]


def assemble(
    method: Initializer,
    problem: RowProblem,
    *,
    mixed: tuple[NDArray[np.int64], csr_matrix] | None = None,
    sampling: Sampling | None = None,
) -> TokenMap:
    """Copy the overlap and fill the other rows.

    Args:
        method: Its name and options are recorded in ``TokenMap.info``.
        problem: The problem it solved.
        mixed: Target ids and their weights, shape (ids, source.size).
        sampling: Draws the rows of :func:`open_ids` that are not mixed.

    Returns:
        The map; what is neither copied, mixed nor drawn is background, the mean of all source tokens.
    """
    shape = (problem.target.size, problem.source.size)
    fates = np.full(shape[0], FATES.index(Fate.BACKGROUND), dtype=np.uint8)
    if sampling is not None:
        fates[open_ids(problem)] = FATES.index(Fate.SAMPLED)
    copies = np.flatnonzero(problem.overlap.source_ids >= 0)
    fates[copies] = problem.overlap.fates[copies]
    rows, columns, data = copies, problem.overlap.source_ids[copies], np.ones(len(copies))
    if mixed is not None:
        ids, weights = mixed
        fates[ids] = FATES.index(Fate.BRIDGED)
        rows = np.concatenate([rows, np.repeat(ids, np.diff(weights.indptr))])
        columns = np.concatenate([columns, weights.indices])
        data = np.concatenate([data, weights.data])
    background = None
    if (fates == FATES.index(Fate.BACKGROUND)).any():
        background = np.zeros(shape[1])
        background[[token.id for token in problem.source.tokens]] = 1 / len(problem.source.tokens)
    return TokenMap(
        weights=csr_matrix((data, (rows, columns)), shape=shape),
        fates=fates,
        source_tokens=problem.source.raw_tokens(),
        target_tokens=problem.target.raw_tokens(),
        background=background,
        sampling=sampling,
        info=_info(method, problem),
    )


def _info(method: Any, problem: RowProblem) -> dict[str, Any]:
    bridge = problem.vectors.identity if problem.vectors is not None and method.needs_bridge else None
    options = {entry.name: _recorded(getattr(method, entry.name)) for entry in fields(method)}
    return {"method": method.name, "options": options, "seed": problem.seed, "bridge": bridge}


def _recorded(value: Any) -> Any:
    """An option as a JSON value: texts by their number and hash, since a map carries no corpus; files by their name."""
    if isinstance(value, Path):
        return value.name
    if isinstance(value, (list, tuple)):
        digest = hashlib.blake2b(digest_size=16)
        for text in value:
            digest.update(f"{len(text)} {text}".encode(errors="surrogatepass"))
        return f"{len(value)} texts, blake2b {digest.hexdigest()}"
    return value


def _continues(vocabulary: Vocabulary, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    kinds = {token.id: token.kind for token in vocabulary.tokens}
    return np.array([kinds[id] == Kind.CONTINUATION for id in ids.tolist()], dtype=bool)


def is_text(vocabulary: Vocabulary, id: int) -> bool:
    """Whether a token stands for readable text: it is no special, unused, byte or broken one, and no hole."""
    token = vocabulary.get(id)
    return token is not None and token.kind in TEXT_KINDS and vocabulary.is_decodable(id)
