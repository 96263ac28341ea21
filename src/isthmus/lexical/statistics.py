"""Statistics of texts: how rare their tokens are, and which weight an encoder gives to those of its own text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from isthmus._progress import progress
from isthmus.encoders.prompts import prompt_name
from isthmus.errors import InputError
from isthmus.lexical.options import AddLexicalOptions
from isthmus.modules.lexical import Lexical
from isthmus.modules.token_counts import PAIR_COLUMNS, TokenCounts, count_pairs, count_tokens

MIN_TEXTS = 10
SNIPPETS = 200
SNIPPET_TOKENS = (8, 16)
# Texts whose ids are made at a time; an encoder's own batches would be needlessly many.
_READ = 256


@dataclass(frozen=True)
class Statistics:
    """Counts of the tokens in texts.

    Attributes:
        count: Texts with at least one token.
        frequency: Of them, those that hold each token, int64, shape (vocabulary,).
        average_length: Tokens of an average one.
        pair_frequency: Of them, those that hold each column of pairs; None where pairs were not counted.
        sample: Some of them, in their order.
    """

    count: int
    frequency: NDArray[np.int64]
    average_length: float
    pair_frequency: NDArray[np.int64] | None
    sample: list[str]

    def idf(self) -> NDArray[np.float32]:
        """IDF of every token; those that never occur have the largest."""
        return lucene_idf(self.count, self.frequency).astype(np.float32)

    def pair_idf(self) -> torch.Tensor | None:
        """IDF of every column of pairs; None where pairs were not counted."""
        if self.pair_frequency is None:
            return None
        return torch.from_numpy(lucene_idf(self.count, self.pair_frequency).astype(np.float32))


@dataclass(frozen=True)
class SelfActivation:
    """The formula of :class:`isthmus.modules.lexical.Lexical` as an encoder itself weighs the tokens of its texts.

    Attributes:
        strength: Factor.
        power: Exponent of the IDF.
        k1: Saturation of the number of occurrences.
        b: Normalisation by length.
        calibrated: Whether the encoder's columns were calibrated.
        occurrences: Pairs of a text and a token in it that it was fitted on.
        explained: Share of the values' variance that it explains, 1 at most.
    """

    strength: float
    power: float
    k1: float
    b: float
    calibrated: bool
    occurrences: int
    explained: float


def lucene_idf(count: int, frequency: NDArray[Any]) -> NDArray[np.float64]:
    """IDF of BM25 as Lucene computes it: log(1 + (N - df + 0.5) / (df + 0.5)), never negative."""
    return np.log1p((count - frequency + 0.5) / (frequency + 0.5))


def gather(
    encoder: Any, texts: Iterable[str], size: int, options: AddLexicalOptions | None = None, **changes: Any
) -> Statistics:
    """Count tokens as an encoder reads them, documents of it, and draw a sample; memory does not grow with the texts.

    Args:
        encoder: A SparseEncoder.
        texts: Read once; those without a token are left out.
        size: Columns of its vectors.
        options: Size and seed of the sample; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Raises:
        InputError: If ``texts`` is one string or holds something else, or fewer than ten have a token.
    """
    options = AddLexicalOptions.of(options, **changes)
    max_texts = options.max_texts
    if isinstance(texts, str):
        raise InputError(f"texts must be an iterable of strings, got one string {texts[:40]!r}; put it into a list")
    if max_texts < MIN_TEXTS:
        raise InputError(f"max_texts must be {MIN_TEXTS} or more, got {max_texts}")
    generator = np.random.default_rng(options.seed)
    left_out = special_mask(encoder, size)
    frequency = np.zeros(size, dtype=np.int64)
    pairs = np.zeros(PAIR_COLUMNS, dtype=np.int64) if options.pairs else None
    chosen: dict[int, tuple[int, str]] = {}
    count = length = 0
    total = len(texts) if isinstance(texts, Sized) else None
    remaining = iter(progress(_checked(texts), desc="Counting tokens", total=total, show=options.show_progress_bar))
    while window := list(itertools.islice(remaining, _READ)):
        features = _features(encoder, window, "document")
        counts = count_tokens(features, left_out)
        if pairs is not None:
            pairs += np.bincount(count_pairs(features, left_out).tokens.numpy(), minlength=PAIR_COLUMNS)
        frequency += np.bincount(counts.tokens.numpy(), minlength=size)
        for text, tokens in zip(window, counts.lengths.tolist(), strict=True):
            if not tokens:
                continue
            length += tokens
            # Vitter's algorithm R: every text is in the sample with the same probability.
            place = count if count < max_texts else int(generator.integers(0, count + 1))
            if place < max_texts:
                chosen[place] = count, text
            count += 1
    if count < MIN_TEXTS:
        raise InputError(
            f"texts must hold at least {MIN_TEXTS} texts with tokens that the tokenizer knows, got {count}; pass more "
            "texts of the collection"
        )
    return Statistics(count, frequency, length / count, pairs, [text for _, text in sorted(chosen.values())])


def lexical_vectors(
    encoder: Any,
    lexical: Lexical,
    texts: list[str],
    role: Literal["query", "document"],
    batch_size: int,
    own: csr_matrix | None = None,
) -> csr_matrix:
    """Lexical weights of texts, shape (texts, vocabulary).

    Args:
        encoder: The encoder without its lexical part.
        lexical: The part.
        texts: What to weigh.
        role: What the texts are.
        batch_size: Texts per step.
        own: The encoder's vectors of the texts, which decide where known tokens count; None where there are none.
    """
    size = len(lexical.idf)
    parts = [csr_matrix((0, size), dtype=np.float32)]
    for start in range(0, len(texts), batch_size):
        window = texts[start : start + batch_size]
        rows, tokens, values = (part.numpy() for part in lexical.weights(_features(encoder, window, role), role))
        parts.append(csr_matrix((values, (rows, tokens)), shape=(len(window), size)))
    weights = vstack(parts, format="csr")
    if own is None:
        return weights
    of_known = csr_matrix(weights.multiply(lexical.known.numpy()))
    return csr_matrix(weights - of_known + of_known.multiply(own > 0))


def draw_snippets(tokenizer: Any, texts: list[str], seed: int, count: int = SNIPPETS) -> list[str]:
    """Draw pieces of 8 to 16 consecutive tokens, of different texts, from what an encoder reads of them.

    Args:
        tokenizer: The encoder's.
        texts: Texts with at least one token each.
        seed: Seed of texts, places and lengths.
        count: How many, at most one a text.
    """
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.choice(len(texts), size=min(count, len(texts)), replace=False))
    snippets = []
    for row in chosen:
        read = tokenizer(
            texts[row], add_special_tokens=False, truncation=True, return_offsets_mapping=tokenizer.is_fast
        )
        ids, length = read["input_ids"], int(generator.integers(SNIPPET_TOKENS[0], SNIPPET_TOKENS[1] + 1))
        start = int(generator.integers(0, max(1, len(ids) - length + 1)))
        stop = min(start + length, len(ids))
        if tokenizer.is_fast:
            offsets = read["offset_mapping"]
            snippets.append(texts[row][offsets[start][0] : offsets[stop - 1][1]])
        else:
            snippets.append(tokenizer.decode(ids[start:stop]))
    return snippets


def fit_formula(
    encoder: Any, statistics: Statistics, vectors: csr_matrix, *, calibrated: bool, batch_size: int
) -> SelfActivation:
    """Fit the document formula to an encoder's document vectors of the sample.

    Args:
        encoder: The encoder.
        statistics: Of its texts.
        vectors: Of ``statistics.sample``, shape (texts, vocabulary).
        calibrated: Whether columns were multiplied by :func:`isthmus.lexical.adding.activation_scale`.
        batch_size: Texts per step.

    Raises:
        InputError: If the values cannot be fitted.
    """
    from scipy.optimize import curve_fit

    left_out = special_mask(encoder, vectors.shape[1])
    idf = statistics.idf().astype(np.float64)
    columns: list[NDArray[np.float64]] = []
    for start in range(0, vectors.shape[0], batch_size):
        counts = _counts(encoder, statistics.sample[start : start + batch_size], left_out)
        rows, tokens = (part.numpy().copy() for part in counts[:2])
        own = np.asarray(vectors[start + rows, tokens]).ravel()
        lengths = counts.lengths.numpy()[rows] / statistics.average_length
        columns.append(np.stack([idf[tokens], counts.counts.numpy(), lengths, own]).astype(np.float64))
    rarity, frequency, relative, values = np.concatenate(columns, axis=1)

    def formula(_: Any, strength: float, power: float, k1: float, b: float) -> NDArray[np.float64]:
        saturated = frequency * (k1 + 1) / (frequency + k1 * (1 - b + b * relative))
        return np.asarray(strength * rarity**power * saturated, dtype=np.float64)

    start_at = (max(float(values.mean()), 1e-3), 0.5, 1.5, 0.75)
    bounds = ([0.0, 0.0, 0.0, 0.0], [np.inf, 10.0, 100.0, 1.0])
    try:
        found, _ = curve_fit(formula, np.zeros(len(values)), values, p0=start_at, bounds=bounds)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"texts must let the formula be fitted, got {error}; pass more texts") from error
    variance = float(values.var())
    if not (np.isfinite(found).all() and found[0] > 1e-6 and variance > 0):
        raise InputError(
            f"encoder must activate the tokens of its own texts, got {float((values > 0).mean()):.1%} of {len(values)} "
            "occurrences active; fit on the encoder and the language that it was trained for"
        )
    residual = float(np.square(formula(None, *found) - values).mean())
    strength, power, k1, b = (float(value) for value in found)
    return SelfActivation(strength, power, k1, b, calibrated, len(values), 1 - residual / variance)


def special_mask(encoder: Any, size: int) -> torch.Tensor:
    """Ids of special tokens, the unknown one among them, as a mask of shape (size,)."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[[i for i in encoder.tokenizer.all_special_ids if i < size]] = True
    return mask


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"texts must be strings, got {type(text).__name__}")
        yield text


def _features(encoder: Any, texts: list[str], role: Literal["query", "document"]) -> dict[str, Any]:
    name = prompt_name(encoder, role)
    features: dict[str, Any] = encoder.preprocess(
        texts, prompt=None if name is None else encoder.prompts[name], task=role
    )
    return features


def _counts(encoder: Any, texts: list[str], left_out: torch.Tensor) -> TokenCounts:
    return count_tokens(_features(encoder, texts, "document"), left_out)
