"""A vocabulary for readers: what stands for a dimension, what a token is made of, which ones lie near it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._lookup import find_token
from isthmus.encoders.fingerprint import EXACT, PAIR, lexical_block, token_texts
from isthmus.errors import InputError, TokenizerError
from isthmus.token_map import Fate, TokenMap
from isthmus.vocabulary import Vocabulary
from isthmus.vocabulary.token import TEXT_KINDS, Kind

# Rows that were not made for their token: all of the first kind are equal, those of the second are noise.
_MEANINGLESS = (Fate.BACKGROUND, Fate.SAMPLED)


class Words:
    """The vocabulary of an encoder.

    Args:
        encoder: A SparseEncoder.
        token_map: What its tokens are made of, or None; left aside where it is not about this vocabulary.
    """

    def __init__(self, encoder: Any, token_map: TokenMap | None) -> None:
        self._encoder = encoder
        try:
            self._vocabulary: Vocabulary | None = Vocabulary.from_tokenizer(encoder.tokenizer)
        except TokenizerError:
            self._vocabulary = None
        known = encoder.tokenizer.get_vocab()
        self.tokens: list[str] = token_texts(encoder, 1 + max(known.values()))
        self._block = lexical_block(encoder)
        self.ids: Mapping[str, int] = known
        if token_map is not None and list(token_map.target_tokens) != self.tokens[: token_map.shape[0]]:
            token_map = None
        self.token_map = token_map
        self.written_as: Mapping[str, str] = {} if token_map is None else token_map.info.get("written_as", {})

    @functools.cached_property
    def foreign(self) -> frozenset[int]:
        """Tokens that stand for characters that the vocabulary does not have: the unknown one, and single bytes."""
        found = () if self._vocabulary is None else self._vocabulary.tokens
        unknown = self._encoder.tokenizer.unk_token_id
        return frozenset(token.id for token in found if token.kind is Kind.BYTE or token.id == unknown)

    def token(self, term: int) -> str:
        """What stands for a dimension; its number where there is nothing."""
        if self._block is not None and term >= 2 * self._block:
            return f"{PAIR}{term - 2 * self._block}"
        if self._block is not None and term >= self._block:
            return self.token(term - self._block) + EXACT
        return (self.tokens[term] if term < len(self.tokens) else "") or str(term)

    def show(self, token: str) -> str:
        """A raw token as a reader knows it: "집" for "▁집" or "Ġì§ĳ"; continuations start with "##" in every family."""
        if token.endswith(EXACT):
            return self.show(token.removesuffix(EXACT)) + EXACT
        found = None if self._vocabulary is None else self._vocabulary.get(self.ids.get(token, -1))
        if found is None or found.kind in (Kind.SPECIAL, Kind.UNUSED) or not found.surface:
            return token
        return f"##{found.surface}" if found.kind is Kind.CONTINUATION else found.surface

    def show_source(self, token: str) -> str:
        """The same for a token of the vocabulary that the map starts from; raw where this encoder does not know it."""
        return self.show(token) if token in self.ids else token

    def describe(self, text: str, top_k: int) -> list[dict[str, Any]]:
        """All of :meth:`rows`."""
        return list(self.rows(text, top_k))

    def rows(self, text: str, top_k: int) -> Iterator[dict[str, Any]]:
        """What the explorer's token page shows, one row per token that a text is or consists of, as they are made.

        Args:
            text: A token with or without its marker, or any text.
            top_k: Rows at most, and tokens of each list.

        Raises:
            InputError: If no part of the text is in the vocabulary, nor in the one that the map starts from.
        """
        try:
            ids = [find_token(self.tokens, text, "target")]
        except InputError:
            ids = self._pieces(text)[:top_k]
        if ids:
            return (self._row(id, top_k) for id in ids)
        goes_into = self._goes_into(text, top_k)
        if not goes_into:
            raise InputError(f"token must be in the vocabulary, or consist of tokens that are, got {text!r:.80}")
        row: dict[str, Any] = {"id": None, "token": text, "text": text, "fate": None, "written_as": None, "made_of": []}
        return iter([{**row, "goes_into": goes_into, "neighbours": []}])

    def _row(self, id: int, top_k: int) -> dict[str, Any]:
        token = self.tokens[id]
        row: dict[str, Any] = {"id": id, "token": token, "text": self.show(token), "fate": None, "made_of": []}
        row["written_as"] = self.show(self.written_as[token]) if token in self.written_as else None
        if self.token_map is not None and id < self.token_map.shape[0]:
            made_of = self.token_map.explain(id, top_k)
            row["fate"] = self.token_map.fate(id).value
            row["made_of"] = [{"text": self.show_source(source), "weight": weight} for source, weight in made_of]
        return row | {"goes_into": self._goes_into(row["text"], top_k), "neighbours": self.neighbours(id, top_k)}

    def _goes_into(self, text: str, top_k: int) -> list[dict[str, Any]]:
        """Tokens that the source token of this text went into, itself left out where the source vocabulary was kept."""
        if self.token_map is None:
            return []
        try:
            found = self.token_map.used_by(text, top_k + 1)
        except InputError:
            return []
        others = [(token, weight) for token, weight in found if self.show(token) != text]
        return [{"text": self.show(token), "weight": weight} for token, weight in others[:top_k]]

    def neighbours(self, id: int, top_k: int) -> list[dict[str, Any]]:
        """Tokens whose input embeddings have the highest cosine with that of a token; none where its row means nothing.

        Returns:
            Objects with ``text`` and ``similarity``, nearest first.
        """
        table, norms, usable = self._embeddings
        if table is None or id >= len(usable) or not usable[id]:
            return []
        products = (table @ table[id]).double().numpy()
        similarity = np.where(usable, products / (norms * norms[id]), -1.0)
        similarity[id] = -1.0
        order = np.argsort(-similarity, kind="stable")[:top_k]
        return [
            {"text": self.show(self.tokens[other]), "similarity": float(similarity[other])}
            for other in order
            if similarity[other] > 0
        ]

    @functools.cached_property
    def _embeddings(self) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_]]:
        """The table as it lies in the model, the lengths of its rows, and which of them were made for a word."""
        found = (getattr(module, "auto_model", None) for module in self._encoder.modules())
        model = next((model for model in found if model is not None), None)
        weight = None if model is None else getattr(model.get_input_embeddings(), "weight", None)
        if weight is None or self._vocabulary is None:
            return None, np.zeros(0), np.zeros(0, dtype=np.bool_)
        table = weight.detach().cpu()
        norms = table.norm(dim=1).double().numpy()
        usable = np.zeros(len(norms), dtype=np.bool_)
        words = [token.id for token in self._vocabulary.tokens if token.kind in TEXT_KINDS and token.id < len(usable)]
        usable[words] = True
        if self.token_map is not None:
            rows = self.token_map.rows(*_MEANINGLESS)
            usable[rows[rows < len(usable)]] = False
        return table, norms, usable & (norms > 0)

    def _pieces(self, text: str) -> list[int]:
        ids = self._encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
        unknown = self._encoder.tokenizer.unk_token_id
        return [id for id in dict.fromkeys(ids) if id != unknown]
