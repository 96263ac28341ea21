"""What the entries of a tokenizer are: text, kind, role."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, TokenizerError, UnknownNameError
from isthmus.vocabulary.spelling import (
    START,
    Piece,
    Spelling,
    is_punctuation,
    is_unused,
    pipeline_of,
    spell_bytes,
)

ROLES = ("cls", "sep", "pad", "unk", "mask")
# The first role of a token is the one it is matched by: pad comes last because padding is never attended to, so a token
# that is both (pad_token = eos_token) must get the row of the other.
_ROLE_ATTRIBUTES = {"cls": "cls", "sep": "sep", "bos": "cls", "eos": "sep", "unk": "unk", "mask": "mask", "pad": "pad"}


class Kind(str, Enum):
    """What a token is."""

    WORD_START = "word-start"
    CONTINUATION = "continuation"
    SPECIAL = "special"
    UNUSED = "unused"
    BYTE = "byte"
    SYMBOL = "symbol"


TEXT_KINDS = frozenset((Kind.WORD_START, Kind.CONTINUATION, Kind.SYMBOL))


@dataclass(frozen=True, slots=True)
class Token:
    """One entry of a vocabulary.

    Attributes:
        id: Its id.
        raw: As the tokenizer stores it: "##ing", "Ġhouse", "▁집", "<0xE2>".
        surface: The text it stands for, without marker: "ing", "house", "집"; "" when its bytes are no text alone; the
            raw token for special and unused ones.
        canonical: The same spelling in every family: word start "▁house", continuation "house". Bytes that are no
            text alone are "<0xE2>", "<0xEC><0x95>"; special and unused tokens are raw. Punctuation of a vocabulary that
            marks continuations ("." and "##.") has no marker: it does not tell there whether a word starts.
        kind: What it is.
        role: One of ``ROLES`` for special tokens that have one; bos counts as cls, eos as sep.
        byte: 0..255 for tokens of the kind byte.
    """

    id: int
    raw: str
    surface: str
    canonical: str
    kind: Kind
    role: str | None = None
    byte: int | None = None

    @property
    def word_start(self) -> bool:
        """Whether the canonical form has the word-start marker; tells it for symbols too."""
        return self.kind in TEXT_KINDS and self.canonical.startswith(START)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The entries of a tokenizer.

    Attributes:
        tokens: Ascending by id; ids that belong to no token (holes) are absent.
        family: "wordpiece", "byte-bpe", "unigram", "bpe" or "wordlevel".
        roles: Id of the special token of each role that the tokenizer has.
        decode: The tokenizer's own decoding of one id each; only what ``as_released`` asks for needs it.
    """

    tokens: tuple[Token, ...]
    family: str
    roles: Mapping[str, int]
    decode: Callable[[Sequence[int]], list[str]] | None = None

    def __post_init__(self) -> None:
        ids = [token.id for token in self.tokens]
        if not ids or ids[0] < 0 or any(first >= second for first, second in itertools.pairwise(ids)):
            raise TokenizerError(
                "tokens must be at least one, with ascending ids from 0 on; check the tokenizer's vocabulary"
            )

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> Vocabulary:
        """Read a transformers tokenizer: WordPiece, byte-level BPE, Unigram, BPE or WordLevel.

        Args:
            tokenizer: A tokenizer with a ``tokenizers`` backend; its class does not matter.

        Raises:
            TokenizerError: If it has no such backend, an unknown model, or no entries.
        """
        pipeline = pipeline_of(tokenizer)
        spelling = Spelling.of(pipeline)
        vocabulary = pipeline["model"]["vocab"]
        if isinstance(vocabulary, dict):
            raws = {id: raw for raw, id in vocabulary.items()}
        else:
            raws = {id: raw for id, (raw, _) in enumerate(vocabulary)}
        added = {entry["id"]: entry for entry in pipeline.get("added_tokens") or ()}
        raws.update({id: entry["content"] for id, entry in added.items()})

        roles: dict[str, int] = {}
        role_of: dict[int, str] = {}
        for attribute, role in _ROLE_ATTRIBUTES.items():
            id = getattr(tokenizer, f"{attribute}_token_id", None)
            # A role whose token is not in the vocabulary resolves to the id of the unknown token.
            if id is None or raws.get(id) != str(getattr(tokenizer, f"{attribute}_token")):
                continue
            roles.setdefault(role, id)
            role_of.setdefault(id, role)
        special = {id for id, entry in added.items() if entry["special"]} | set(tokenizer.all_special_ids)

        tokens = []
        for id, raw in sorted(raws.items()):
            if id in role_of:
                tokens.append(Token(id, raw, raw, raw, Kind.SPECIAL, role_of[id]))
            elif is_unused(raw):
                tokens.append(Token(id, raw, raw, raw, Kind.UNUSED))
            elif id in special:
                tokens.append(Token(id, raw, raw, raw, Kind.SPECIAL))
            else:
                piece = spelling.read_added(raw) if id in added else spelling.read(raw)
                tokens.append(_text_token(id, raw, piece, bool(spelling.prefix)))

        def decode(ids: Sequence[int]) -> list[str]:
            return [str(text) for text in tokenizer.batch_decode([[id] for id in ids])]

        return cls(tuple(tokens), spelling.family, roles, decode)

    @property
    def size(self) -> int:
        """Largest id + 1: rows of the embedding matrix that the tokenizer needs."""
        return self.tokens[-1].id + 1

    def __len__(self) -> int:
        return len(self.tokens)

    def without(self, ids: NDArray[np.bool_]) -> Vocabulary:
        """The same vocabulary with the tokens of a mask of ids as unused ones, which match and mix into nothing."""
        tokens = [replace(token, kind=Kind.UNUSED) if ids[token.id] else token for token in self.tokens]
        return replace(self, tokens=tuple(tokens))

    @functools.cached_property
    def _by_id(self) -> list[Token | None]:
        places: list[Token | None] = [None] * self.size
        for token in self.tokens:
            places[token.id] = token
        return places

    def get(self, id: int) -> Token | None:
        """Return the token of ``id``, or None for a hole or an id outside the vocabulary."""
        return self._by_id[id] if 0 <= id < self.size else None

    def role(self, role: str) -> Token | None:
        """Return the special token with ``role``, or None when the tokenizer has none.

        Raises:
            UnknownNameError: If ``role`` is not one of ``ROLES``.
        """
        if role not in ROLES:
            raise UnknownNameError("role", role, ROLES)
        return self.get(self.roles[role]) if role in self.roles else None

    def raw_tokens(self) -> list[str]:
        """Return the raw token of every id, "" at holes; length ``size``."""
        return ["" if token is None else token.raw for token in self._by_id]

    def decoded(self) -> list[str]:
        """Return the tokenizer's own decoding of every token alone, in the order of ``tokens``.

        Raises:
            InputError: If the vocabulary was not read from a tokenizer.
        """
        if self.decode is None:
            raise InputError("as_released must be False for a vocabulary without decode; use Vocabulary.from_tokenizer")
        return self.decode([token.id for token in self.tokens])

    def bridge_texts(self, *, strip_marker: bool, as_released: bool = False) -> list[str]:
        """Return what the bridge reads for every id; length ``size``, "" at holes.

        Args:
            strip_marker: Continuation pieces lose their marker ("ing"); False keeps it where the family has one
                ("##ing").
            as_released: The text of SemBridge's released code (arXiv 2605.26002): the tokenizer's own decoding,
                stripped; the raw token where that is empty or looks like "[...]". ``strip_marker`` has no effect then.

        Raises:
            InputError: If ``as_released`` is set on a vocabulary that was not read from a tokenizer.
        """
        texts = [""] * self.size
        if as_released:
            for token, text in zip(self.tokens, self.decoded(), strict=True):
                text = text.strip()
                texts[token.id] = token.raw if not text or (text[0] == "[" and text[-1] == "]") else text
            return texts
        for token in self.tokens:
            text = token.surface.strip() or token.canonical
            keep = not strip_marker and self.family != "byte-bpe" and not token.word_start and token.raw.endswith(text)
            texts[token.id] = token.raw if keep else text
        return texts

    def is_decodable(self, id: int) -> bool:
        """Whether the token stands for text a bridge can read.

        False for bytes, pieces that are no text alone, whitespace, U+FFFD and holes.
        """
        token = self.get(id)
        return token is not None and bool(token.surface.strip()) and "\ufffd" not in token.surface


def _text_token(id: int, raw: str, piece: Piece, marks_continuations: bool) -> Token:
    text, start, data = piece
    marker = START if start else ""
    control = text is not None and data is not None and len(data) == 1 and not (text.isprintable() or text.isspace())
    if data is not None and (text is None or control):
        if len(data) == 1 and not start:
            return Token(id, raw, "", spell_bytes(data), Kind.BYTE, byte=data[0])
        return Token(id, raw, "", marker + spell_bytes(data), Kind.WORD_START if start else Kind.CONTINUATION)
    text = text or ""
    if not text.strip():
        return Token(id, raw, text if marks_continuations else " " * start + text, marker + text, Kind.SYMBOL)
    if is_punctuation(text):
        return Token(id, raw, text, text if marks_continuations else marker + text, Kind.SYMBOL)
    if text.isnumeric():
        return Token(id, raw, text, marker + text, Kind.SYMBOL)
    return Token(id, raw, text, marker + text, Kind.WORD_START if start else Kind.CONTINUATION)
