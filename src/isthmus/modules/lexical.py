"""The words of a text beside what an encoder makes of them, with weights like those of BM25.

After a transfer, target tokens that are made of the same source tokens get the same weight on every text: their
identity is lost, and with it the exact matching of names, numbers and rare words that makes BM25 strong. Two remedies
that need no labels:

- *echo*: the column of a token that occurs in the text becomes max(own value, lexical weight), as MILCO's LexEcho
  (arXiv 2510.00671) learns to do. Needs no more columns.
- *hybrid*: the lexical weights are columns of their own, so a score is the encoder's plus that of BM25, in one index.
  Pairs of neighbouring tokens can have columns too: a language whose tokens are single characters has its words back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from sentence_transformers.base.modules import Module
from torch import Tensor

from isthmus.errors import InputError, UnknownNameError
from isthmus.modules.column_scale import hub_options
from isthmus.modules.max_head import ActiveEntries
from isthmus.modules.token_counts import PAIR_COLUMNS, TokenCounts, count_pairs, count_tokens
from isthmus.modules.trim import UNTRIMMED

LexicalMode = Literal["echo", "hybrid"]
MODES: tuple[LexicalMode, ...] = get_args(LexicalMode)
# Chosen on development pairs, within the language and from English (docs/results/exact-matching.md). In a hybrid what
# the encoder itself finds by a token is counted as well.
KNOWN_SHARE: dict[LexicalMode, float] = {"echo": 0.5, "hybrid": 0.25}
# Of a pair's score, in that of a token of the same IDF; chosen likewise.
PAIR_SHARE = 0.2


class Lexical(Module):  # type: ignore[misc]
    """Adds the tokens of the text itself to ``sentence_embedding``.

    The weight of token t that occurs tf times among the ``length`` tokens of a text, special, padding, unknown and
    prompt tokens left out and the text cut as the encoder cuts it, is ::

        document, or no task:  strength * idf[t] ** power * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average))
        query:                 strength * idf[t] ** power * tf

    With ``power`` 1/2 the dot product of the two is ``strength ** 2`` times BM25 over the encoder's tokens, with an IDF
    of log(1 + (N - df + 0.5) / (df + 0.5)) as Lucene computes it.

    ``known`` tokens are those that the encoder was trained with: they weigh less, and nothing in a text where the
    encoder leaves their column empty, as it does with "how" and "the". Their IDF is one of texts in another language,
    in which every English word is rare.

    Takes dense tensors, with their gradient, and :class:`isthmus.modules.max_head.ActiveEntries`, which stay sparse. It
    has no parameters. A saved encoder names this class: loading it needs Isthmus, by
    :func:`isthmus.encoders.load.load_encoder`, or ``SparseEncoder(folder, trust_remote_code=True)``, which
    sentence-transformers asks for with every class not its own.

    Args:
        mode: ``echo`` raises the columns of the vocabulary, ``hybrid`` puts as many new ones behind them.
        idf: IDF of every token, finite and not negative, shape (vocabulary,); a token with 0 gets no weight.
        average_length: Tokens of an average text.
        strength: Factor of all weights.
        power: Exponent of the IDF.
        k1: Saturation of the number of occurrences, as in BM25.
        b: Normalisation by length, as in BM25.
        special_ids: Ids that never count.
        known: Whether the encoder was trained with a token, shape (vocabulary,); None is with none.
        known_share: Share of a known token in a product of two texts, of what another would have, 0 to 1; None is 0.5
            for ``echo`` and 0.25 for ``hybrid``.
        pair_idf: IDF of every column of pairs (:data:`isthmus.modules.token_counts.PAIR_COLUMNS`), which then stand
            behind those of the tokens; a pair has :data:`PAIR_SHARE` of a token's part in a product. Only with
            ``hybrid``; None is without pairs.

    Raises:
        UnknownNameError: If there is no such mode.
        InputError: If a number is out of its range.
    """

    config_keys: list[str] = ["mode", "average_length", "strength", "power", "k1", "b", "special_ids", "known_share"]  # noqa: RUF012
    forward_kwargs: set[str] = {"task"}  # noqa: RUF012

    def __init__(
        self,
        mode: LexicalMode,
        idf: Tensor,
        average_length: float,
        *,
        strength: float = 1.0,
        power: float = 0.75,
        k1: float = 1.5,
        b: float = 0.75,
        special_ids: Sequence[int] = (),
        known: Tensor | None = None,
        known_share: float | None = None,
        pair_idf: Tensor | None = None,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise UnknownNameError("mode", str(mode), MODES)
        check_formula(power, k1, b, known_share=known_share, strength=strength, average_length=average_length)
        idf = torch.as_tensor(idf).detach().float().clone()
        if idf.ndim != 1 or not len(idf) or not bool(torch.isfinite(idf).all() and (idf >= 0).all()):
            raise InputError(
                f"idf must be one finite number of 0 or more per token, got shape {tuple(idf.shape)} with "
                f"{int((~torch.isfinite(idf) | (idf < 0)).sum())} others; compute it from texts anew"
            )
        self.mode = mode
        self.average_length = float(average_length)
        self.strength, self.power, self.k1, self.b = float(strength), float(power), float(k1), float(b)
        self.special_ids = sorted({int(i) for i in special_ids if i < len(idf)})
        self.register_buffer("idf", idf)
        self.known_share = float(KNOWN_SHARE[mode] if known_share is None else known_share)
        known = torch.zeros(len(idf), dtype=torch.bool) if known is None else torch.as_tensor(known).bool().clone()
        if known.shape != idf.shape:
            raise InputError(f"known must have the shape of idf, {tuple(idf.shape)}, got {tuple(known.shape)}")
        self.register_buffer("known", known)
        pairs = torch.zeros(0) if pair_idf is None else torch.as_tensor(pair_idf).detach().float().clone()
        if pair_idf is not None and (mode != "hybrid" or pairs.shape != (PAIR_COLUMNS,)):
            raise InputError(
                f"pair_idf must have shape ({PAIR_COLUMNS},) and go with hybrid, got {tuple(pairs.shape)} with {mode}"
            )
        # Encoders without pairs stay what they were, for those who know them by their weights.
        self.register_buffer("pair_idf", pairs, persistent=pair_idf is not None)
        left_out = torch.zeros(len(idf), dtype=torch.bool)
        left_out[self.special_ids] = True
        self.register_buffer("left_out", left_out, persistent=False)

    def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        """Add the weights of ``input_ids`` to ``sentence_embedding``, which comes out as float32.

        Args:
            features: Of a batch, padded or flattened.
            task: ``query`` or another; None takes what the features say.
        """
        vectors = features["sentence_embedding"]
        texts, tokens, values = self._counting(features.pop(UNTRIMMED, vectors), *self.weights(features, task))
        if len(self.pair_idf):
            pairs = self._weighed(count_pairs(features, self.left_out), self.pair_idf, features, task)
            texts, tokens = torch.cat([texts, pairs[0]]), torch.cat([tokens, pairs[1] + len(self.idf)])
            values = torch.cat([values, math.sqrt(PAIR_SHARE) * pairs[2]])
        if isinstance(vectors, ActiveEntries):
            features["sentence_embedding"] = self._add_sparse(vectors, texts, tokens, values)
            return features
        block = values.new_zeros(len(vectors), len(self.idf) + len(self.pair_idf))
        block[texts, tokens] = values
        if self.mode == "hybrid":
            features["sentence_embedding"] = torch.cat([vectors.float(), block], dim=1)
        else:
            vectors = vectors.float()
            # Unlike torch.maximum, all of the gradient is the encoder's where it is not outweighed.
            features["sentence_embedding"] = torch.where(block > vectors, block, vectors)
        return features

    def weights(self, features: dict[str, Any], task: str | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Lexical weights of a batch, of known tokens wherever they stand; arguments as for :meth:`forward`.

        Returns:
            Rows and token ids, ascending, and the weights, float32, all above zero and of shape (active,).
        """
        texts, tokens, values = self._weighed(count_tokens(features, self.left_out), self.idf, features, task)
        values = torch.where(self.known[tokens], math.sqrt(self.known_share) * values, values)
        counted = values > 0
        return texts[counted], tokens[counted], values[counted]

    def _weighed(
        self, counted: TokenCounts, idf: Tensor, features: dict[str, Any], task: str | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        texts, columns, counts, lengths = counted
        values = frequency = counts.float()
        if (task if task is not None else features.get("task")) != "query":
            relative = lengths[texts].float() / self.average_length
            values = frequency * (self.k1 + 1) / (frequency + self.k1 * (1 - self.b + self.b * relative))
        rarity = idf.float()[columns]
        values = self.strength * rarity**self.power * values
        # A power of 0 would make a weight of an IDF of 0.
        active = (values > 0) & (rarity > 0)
        return texts[active], columns[active], values[active]

    def _counting(
        self, own: Tensor | ActiveEntries, texts: Tensor, tokens: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Without known tokens whose column the encoder leaves empty."""
        if isinstance(own, ActiveEntries):
            written = own.values > 0
            places = own.texts[written] * len(self.idf) + own.entries[written]
            active = torch.isin(texts * len(self.idf) + tokens, places)
        else:
            active = own[texts, tokens] > 0
        counts = active | ~self.known[tokens]
        return texts[counts], tokens[counts], values[counts]

    def _add_sparse(self, own: ActiveEntries, texts: Tensor, tokens: Tensor, values: Tensor) -> ActiveEntries:
        """Both sets of entries as one; the winner of an entry that is not the encoder's is -1."""
        width = self.get_embedding_dimension()
        if self.mode == "hybrid":
            tokens = tokens + len(self.idf)
        keys = torch.cat([own.texts * width + own.entries, texts * width + tokens])
        together = torch.cat([own.values.float(), values])
        winners = torch.cat([own.winners, torch.full_like(tokens, -1)])
        order = keys.argsort(stable=True)
        keys, together, winners = keys[order], together[order], winners[order]
        # Of two entries in one place the encoder's comes first. Not <=, because NaN has to stay.
        same = keys[1:] == keys[:-1]
        larger = torch.cat([same & (together[1:] > together[:-1]), same.new_zeros(len(keys[:1]))])
        dropped = larger.clone()
        dropped[1:] |= same & ~larger[:-1]
        keys, together, winners = keys[~dropped], together[~dropped], winners[~dropped]
        return ActiveEntries(keys // width, keys % width, together, winners)

    def get_embedding_dimension(self) -> int:
        """Columns of the vectors: those of the vocabulary, twice with ``hybrid``, and those of pairs."""
        return len(self.idf) * (2 if self.mode == "hybrid" else 1) + len(self.pair_idf)

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the config, the IDF and which tokens are known to a folder."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Lexical:
        """Read what :meth:`save` wrote; arguments as for every module of sentence-transformers."""
        options = hub_options(kwargs)
        weights = cls.load_torch_weights(model_name_or_path, subfolder, **options)
        buffers = {name: weights.get(name) for name in ("known", "pair_idf")}
        return cls(idf=weights["idf"], **buffers, **cls.load_config(model_name_or_path, subfolder, **options))


def check_formula(power: float, k1: float, b: float, *, known_share: float | None = None, **positive: float) -> None:
    """Check the numbers of the formula of :class:`Lexical`.

    Args:
        power: Exponent of the IDF.
        k1: Saturation.
        b: Normalisation by length.
        known_share: Share of known tokens; None is the default.
        positive: Numbers that must be above zero, by name.

    Raises:
        InputError: If one is out of its range; names it.
    """
    for name, value in positive.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be above 0, got {value}")
    for name, value in {"power": power, "k1": k1}.items():
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} must be 0 or more, got {value}")
    for name, value in {"b": b, "known_share": 0.0 if known_share is None else known_share}.items():
        if not 0 <= value <= 1:
            raise InputError(f"{name} must be between 0 and 1, got {value}")


__all__ = ["KNOWN_SHARE", "MODES", "PAIR_SHARE", "Lexical", "LexicalMode", "check_formula"]
