"""How a tokenizer family spells text in its tokens, and how to read it back."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from isthmus._lookup import byte_alphabet
from isthmus.encoders.tokenizer_files import SPLIT_BEFORE
from isthmus.errors import TokenizerError

START = "▁"
# Tokenizers that need words found by a program of the language: MeCab, Sudachi, VnCoreNLP, jieba, Moses.
_SEGMENTERS = ("BertJapanese", "Phobert", "Cpm", "RoFormer", "XLMTokenizer", "Flaubert")
FAMILIES = ("wordpiece", "byte-bpe", "unigram", "bpe", "wordlevel")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_UNUSED = re.compile(r"[\[<]?\|?(unused|madeupword|reserved_special_token)[_-]?\d+\|?[\]>]?", re.IGNORECASE)


class Piece(NamedTuple):
    """What a raw token spells.

    Attributes:
        text: Its text without the word-start or continuation marker; None when its bytes are no text alone.
        start: Whether it starts a word.
        data: Its bytes without the marker, where the family spells bytes; None elsewhere.
    """

    text: str | None
    start: bool
    data: bytes | None = None


@dataclass(frozen=True)
class Spelling:
    """Reads raw tokens of one tokenizer.

    Attributes:
        family: One of ``FAMILIES``.
        byte_level: Tokens are written in the byte alphabet of byte-level BPE.
        prefix: Marker of continuation pieces ("##"), or "" where word starts are marked instead.
        marker: Marker of word starts where ``prefix`` is ""; "" where nothing is marked, and every piece is a word.
        suffix: Marker of word ends ("</w>"), or "". Such a vocabulary does not tell word starts: pieces that end a word
            are mostly whole words and count as word starts, the others as continuations.
    """

    family: str
    byte_level: bool = False
    prefix: str = ""
    marker: str = START
    suffix: str = ""

    @classmethod
    def of(cls, pipeline: dict[str, Any]) -> Spelling:
        """Read the spelling off a tokenizer's JSON description.

        Raises:
            TokenizerError: If its model is none of those known.
        """
        model = pipeline["model"]
        kinds = {"WordPiece": "wordpiece", "BPE": "bpe", "Unigram": "unigram", "WordLevel": "wordlevel"}
        family = kinds.get(str(model.get("type")))
        if family is None:
            raise TokenizerError(
                f"tokenizer must have one of the models {', '.join(kinds)}, got {model.get('type')!r}; "
                "choose another tokenizer"
            )
        parts = [part for name in ("normalizer", "pre_tokenizer", "decoder") for part in _parts(pipeline.get(name))]
        byte_level = any(part.get("type") == "ByteLevel" for part in parts)
        markers = [part["replacement"] for part in parts if part.get("type") == "Metaspace"]
        prefix, suffix = (model.get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix"))
        if family == "bpe" and not (byte_level or markers or prefix or suffix or model.get("byte_fallback")):
            markers = [START if any(piece.startswith(START) for piece in model["vocab"]) else ""]
        return cls(
            family="byte-bpe" if byte_level and family == "bpe" else family,
            byte_level=byte_level,
            prefix=prefix,
            marker=markers[0] if markers else START,
            suffix=suffix,
        )

    def read(self, raw: str) -> Piece:
        """Read an entry of the tokenizer's model."""
        if self.family == "wordlevel" or not self.marker:
            return Piece(raw, True)
        body, start = raw, False
        if self.prefix:
            start = not raw.startswith(self.prefix) or raw == self.prefix
            body = raw if start else raw[len(self.prefix) :]
        elif self.suffix:
            start = raw.endswith(self.suffix) and raw != self.suffix
            body = raw.removesuffix(self.suffix) if start else raw
        if self.byte_level:
            return self._read_bytes(body, start)
        if self.prefix or self.suffix:
            return Piece(body, start)
        match = _BYTE.fullmatch(raw)
        if match:
            return Piece(None, False, bytes.fromhex(match[1]))
        start = raw.startswith(self.marker)
        return Piece(raw.removeprefix(self.marker).replace(self.marker, " "), start)

    def read_added(self, content: str) -> Piece:
        """Read a token that was added to the vocabulary: plain text that is found anywhere, so a word of its own."""
        if self.prefix and content.startswith(self.prefix) and content != self.prefix:
            return Piece(content[len(self.prefix) :], False)
        text = content if self.byte_level or not self.marker else content.replace(self.marker, " ")
        return Piece(text.removeprefix(" "), True)

    def _read_bytes(self, body: str, start: bool) -> Piece:
        alphabet = byte_alphabet()
        try:
            data = bytes(alphabet[character] for character in body)
        except KeyError:
            return Piece(body, start)
        if not (self.prefix or self.suffix) and data[:1] == b" ":
            data, start = data[1:], True
        try:
            return Piece(data.decode(), start, data)
        except UnicodeDecodeError:
            return Piece(None, start, data)


def is_unused(raw: str) -> bool:
    """Whether a raw token is a reserved place: ``[unused7]``, ``<unused7>``, ``madeupword0001``."""
    return _UNUSED.fullmatch(raw) is not None


def is_punctuation(text: str) -> bool:
    """Whether every character is punctuation or a symbol (Unicode P, S); False for the empty text."""
    return bool(text) and all(unicodedata.category(character)[0] in "PS" for character in text)


def is_han(text: str) -> bool:
    """Whether ``text`` is one Chinese character."""
    return _HAN.fullmatch(text) is not None


def spell_bytes(data: bytes) -> str:
    """Write bytes as byte-fallback tokens do: the byte 226 is ``<0xE2>``."""
    return "".join(f"<0x{value:02X}>" for value in data)


def is_written_byte(raw: str) -> bool:
    """Whether a token is one byte as :func:`spell_bytes` writes it."""
    return _BYTE.fullmatch(raw) is not None


def backend_of(tokenizer: Any) -> Any:
    """Return the ``tokenizers.Tokenizer`` inside a transformers tokenizer.

    Raises:
        TokenizerError: If there is none.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None) or getattr(tokenizer, "_tokenizer", None)
    if not hasattr(backend, "to_str"):
        raise TokenizerError(
            f"tokenizer must be a transformers tokenizer with a tokenizers backend, got {type(tokenizer).__name__}; "
            f"{_remedy(type(tokenizer).__name__)}"
        )
    return backend


def _remedy(kind: str) -> str:
    """What to do with a tokenizer that has no tokenizer.json."""
    if not kind.startswith(_SEGMENTERS):
        return "convert it to a tokenizer.json and load that with AutoTokenizer.from_pretrained"
    made = f"{SPLIT_BEFORE}; or " if kind.startswith("BertJapanese") else ""
    return (
        f"a program finds its words first, which no tokenizer.json can do: {made}train a tokenizer on text of the "
        "language instead (--target-text); if that text is split into words beforehand, so must be what the encoder "
        "reads"
    )


def pipeline_of(tokenizer: Any) -> dict[str, Any]:
    """Return the JSON description of a transformers tokenizer: its model, the steps around it, its added tokens.

    Raises:
        TokenizerError: If it has no backend.
    """
    pipeline: dict[str, Any] = json.loads(backend_of(tokenizer).to_str())
    return pipeline


def wrap_backend(backend: Any, like: Any) -> Any:
    """Make an ordinary tokenizer of a backend, with the settings and special tokens of another one."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=like.model_max_length,
        padding_side=like.padding_side,
        truncation_side=like.truncation_side,
        model_input_names=like.model_input_names,
        clean_up_tokenization_spaces=like.clean_up_tokenization_spaces,
        extra_special_tokens=list(like.extra_special_tokens),
        **like.special_tokens_map,
    )


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for name in ("normalizers", "pretokenizers", "decoders"):
            for child in node.get(name) or ():
                yield from _parts(child)
