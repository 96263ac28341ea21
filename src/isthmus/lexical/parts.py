"""Giving an encoder the words of its texts back, with statistics of unlabelled texts.

What is added is described in :mod:`isthmus.modules.lexical` and :mod:`isthmus.modules.column_scale`; here are the
numbers they need. Nothing is chosen by judgements.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.encoders.cards import carry_card
from isthmus.encoders.encoding import encode_texts
from isthmus.encoders.fingerprint import check_sparse, lexical_block
from isthmus.errors import EncoderError, InputError, UnknownNameError
from isthmus.lexical.statistics import (
    MAX_TEXTS,
    SelfActivation,
    Statistics,
    draw_snippets,
    fit_formula,
    gather,
    lexical_vectors,
    lucene_idf,
)
from isthmus.modules.column_scale import ColumnScale
from isthmus.modules.lexical import MODES, Lexical, LexicalMode, check_formula
from isthmus.modules.trim import Trim, check_trim

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

# Of the lexical scores' spread to that of the encoder's, and of the IDF: chosen on development data.
WEIGHT = 2.0
POWER = 0.75


def add_lexical(
    encoder: SparseEncoder,
    texts: Iterable[str],
    mode: LexicalMode | None = "echo",
    *,
    calibrate: bool = True,
    weight: float = WEIGHT,
    power: float | None = None,
    k1: float = 1.5,
    b: float = 0.75,
    self_activation: SelfActivation | None = None,
    leave_out: Iterable[int] = (),
    known: Iterable[int] = (),
    known_share: float | None = None,
    trim: tuple[int, int] | None = None,
    seed: int = 0,
    max_texts: int = MAX_TEXTS,
    batch_size: int = 32,
    dtype: Literal["float32", "bfloat16"] = "float32",
    show_progress_bar: bool | None = None,
) -> SparseEncoder:
    """Add what a transfer lost, exact matching of words, and weigh down columns that are active everywhere.

    Every token's IDF and the average length come from all texts; how often columns are active, and the strength of the
    lexical part, from a sample. The strength is such that the scores of the lexical part alone, of pieces of these
    texts with the texts, spread ``weight`` times as far (in standard deviations) as the encoder's own.

    Args:
        encoder: A SPLADE-like encoder, whose columns are the tokens of its tokenizer; not modified.
        texts: Unlabelled texts of the collection or its kind, at least ten; read once, as a stream.
        mode: ``echo`` raises columns of the vocabulary, ``hybrid`` puts a second block of columns behind them, None
            calibrates alone.
        calibrate: Multiply every column by the square root of the IDF of its activation,
            sqrt(log(1 + (N - df + 0.5) / (df + 0.5))), df being the number of sampled texts in which it is active.
        weight: Spread of the lexical scores, known tokens counted as others, as a multiple of that of the encoder's.
        power: Exponent of the IDF; None is 0.75. With 0.5, lexical scores are those of BM25.
        k1: Saturation of the number of occurrences, as in BM25.
        b: Normalisation by length, as in BM25.
        self_activation: From :func:`fit_self_activation`, instead of ``weight``, ``power``, ``k1`` and ``b``.
        leave_out: Ids of tokens that get no lexical weight, besides special ones.
        known: Ids of tokens that the encoder was trained with, those that a transfer with ``keep_source`` kept:
            ``report.token_map.rows(Fate.KEPT)``, or :func:`isthmus.encoders.load.kept_tokens` of its folder. They count
            only where the encoder writes their column itself.
        known_share: Share of a known token in a score, of what another would have, 0 to 1; None is 0.5 for ``echo``
            and 0.25 for ``hybrid``.
        trim: Largest entries of the encoder's own, of a query and of a document, that are kept beside the words; None
            keeps all. The strength is that of the whole vectors either way.
        seed: Seed of the sample and of the pieces.
        max_texts: Size of the sample.
        batch_size: Texts per encoding step.
        dtype: As for :func:`isthmus.encoders.encoding.encode_texts`.
        show_progress_bar: None shows it on a terminal.

    Returns:
        A new encoder with weights of its own, which saves like any other; :class:`Lexical` says how it is loaded. Train
        before, not after: the words that training would teach are scored already.

    Raises:
        EncoderError: If the encoder is not sparse, its columns are no tokens, or it carries these parts already.
        UnknownNameError: If there is no such mode.
        InputError: If an argument is out of its range, the texts are too few, or all scores are the same.
    """
    _check_arguments(mode, calibrate, weight, self_activation)
    if trim is not None:
        check_trim(trim)
    if self_activation is not None:
        power, k1, b = self_activation.power, self_activation.k1, self_activation.b
    power = POWER if power is None else power
    check_formula(power, k1, b, known_share=known_share)
    check_encoder(encoder, mode, calibrate=calibrate)
    encode = _Encode(encoder, batch_size, dtype, show_progress_bar)
    weightless = _ids("leave_out", leave_out, encode.size)
    trained_with = torch.zeros(encode.size, dtype=torch.bool)
    trained_with[_ids("known", known, encode.size)] = True
    statistics = gather(encoder, texts, encode.size, max_texts=max_texts, seed=seed, show=show_progress_bar)
    documents = encode(statistics.sample, "document") if calibrate or self_activation is None else None
    added: list[Any] = []
    if calibrate and documents is not None:
        added.append(ColumnScale(torch.from_numpy(activation_scale(documents))))
    if mode is not None:
        options: dict[str, Any] = {"power": power, "k1": k1, "b": b, "special_ids": encoder.tokenizer.all_special_ids}
        idf = torch.from_numpy(statistics.idf())
        idf[weightless] = 0.0
        lexical = Lexical(mode, idf, statistics.average_length, **options)
        if self_activation is not None:
            strength = self_activation.strength
        else:
            scale = added[0].scale.numpy() if added else np.ones(encode.size, dtype=np.float32)
            strength = _strength(encode, lexical, statistics, documents, scale, weight, seed)
        options |= {"strength": strength, "known": trained_with, "known_share": known_share}
        added.append(Lexical(mode, idf, statistics.average_length, **options))
    if trim is not None:
        added.insert(-1 if mode is not None else len(added), Trim(*trim))
    note = describe(mode, calibrate=calibrate, trim=trim)
    return _appended(encoder, added, f"with {note} from {statistics.count:,} texts")


def fit_self_activation(
    encoder: SparseEncoder,
    texts: Iterable[str],
    *,
    calibrate: bool = True,
    seed: int = 0,
    max_texts: int = MAX_TEXTS,
    batch_size: int = 32,
    dtype: Literal["float32", "bfloat16"] = "float32",
    show_progress_bar: bool | None = None,
) -> SelfActivation:
    """Find the lexical weights that an encoder gives to the tokens of its own texts.

    The document formula of :class:`isthmus.modules.lexical.Lexical` is fitted by least squares to the value of column t
    in every sampled text that holds token t. Fitted on the *source* of a transfer, in English, it tells
    :func:`add_lexical` how high an echo has to be in the other language.

    Args:
        encoder: The source encoder, not modified.
        texts: Unlabelled texts of its language, at least ten; read once, as a stream.
        calibrate: Fit the calibrated values; the same is needed in :func:`add_lexical`.
        seed: As for :func:`add_lexical`.
        max_texts: As for :func:`add_lexical`.
        batch_size: As for :func:`add_lexical`.
        dtype: As for :func:`isthmus.encoders.encoding.encode_texts`.
        show_progress_bar: None shows it on a terminal.

    Returns:
        The fitted numbers, and how well they fit.

    Raises:
        EncoderError: As for :func:`add_lexical`.
        InputError: If the texts are too few, or the encoder hardly ever activates a token of its text.
    """
    check_encoder(encoder, "echo", calibrate=calibrate)
    encode = _Encode(encoder, batch_size, dtype, show_progress_bar)
    statistics = gather(encoder, texts, encode.size, max_texts=max_texts, seed=seed, show=show_progress_bar)
    vectors = encode(statistics.sample, "document")
    if calibrate:
        vectors = csr_matrix(vectors.multiply(activation_scale(vectors)))
    return fit_formula(encoder, statistics, vectors, calibrated=calibrate, batch_size=batch_size)


def scale_lexical(encoder: Any, vectors: csr_matrix, factor: float) -> csr_matrix:
    """Weigh the lexical part of a hybrid's query vectors anew, without encoding or indexing anything again.

    Args:
        encoder: The encoder that made them, with ``hybrid``.
        vectors: Shape (queries, columns).
        factor: Of the lexical scores; 0 turns the lexical part off, 1 leaves it.

    Raises:
        InputError: If ``factor`` is negative, or the encoder has no block of lexical columns of its own.
    """
    block = lexical_block(encoder)
    if block is None:
        raise InputError(
            f"lexical weight {factor:g} must come with an encoder that has a lexical block, got one without; make the "
            "index with --lexical hybrid (echo has no columns of its own to weigh)"
        )
    if not (math.isfinite(factor) and factor >= 0):
        raise InputError(f"lexical weight must be 0 or more, got {factor}; 0 turns the lexical part off")
    scaled = csr_matrix(vectors, copy=True)
    scaled.data[scaled.indices >= block] *= factor
    scaled.eliminate_zeros()
    return scaled


def activation_scale(vectors: csr_matrix) -> NDArray[np.float32]:
    """Square root of the IDF of every column's activation, shape (columns,)."""
    active = np.bincount(vectors.indices[vectors.data > 0], minlength=vectors.shape[1])
    return np.sqrt(lucene_idf(vectors.shape[0], active)).astype(np.float32)


def check_encoder(encoder: Any, mode: LexicalMode | None, *, calibrate: bool) -> None:
    """Refuse what a lexical part, or a calibration, cannot be added to.

    Raises:
        EncoderError: If it is not sparse, its columns are no tokens, or it carries these parts already.
    """
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    check_sparse(encoder)
    modules = list(encoder.modules())
    if not any(isinstance(module, SpladePooling) for module in modules):
        raise EncoderError(
            "encoder must have columns that are tokens (a SpladePooling module), got "
            f"{', '.join(type(module).__name__ for module in encoder.children())}; take a SPLADE encoder"
        )
    present = [type(module).__name__ for module in modules if isinstance(module, (Lexical, Trim))]
    if calibrate:
        present += [type(module).__name__ for module in modules if isinstance(module, ColumnScale)]
    if present:
        remedy = "start from the encoder that it was added to"
        if present == ["ColumnScale"] and mode is not None:
            remedy += ", or pass calibrate=False (--no-calibrate)"
        raise EncoderError(
            f"encoder must not carry the parts that are added to it, got one with {present[0]}; {remedy}"
        )


class _Encode:
    """Encodes texts whole: a limit of active dimensions applies to the vector that comes out in the end."""

    def __init__(self, encoder: Any, batch_size: int, dtype: Any, show: bool | None) -> None:
        self.encoder = encoder
        self.options: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype}
        self.show = show
        # Some encoders know their number of dimensions only once they have run.
        self.size: int = encode_texts(encoder, ["."], role="document", show_progress_bar=False, **self.options).shape[1]

    def __call__(self, texts: list[str], role: Literal["query", "document"]) -> csr_matrix:
        limit = None if self.encoder.max_active_dims is None else self.size
        vectors = encode_texts(
            self.encoder, texts, role=role, max_active_dims=limit, show_progress_bar=self.show, **self.options
        )
        if not np.isfinite(vectors.data).all():
            raise EncoderError(
                "encoder must give finite vectors, got NaN or infinity; see what isthmus doctor says about it"
            )
        return vectors


def _check_arguments(mode: str | None, calibrate: bool, weight: float, self_activation: SelfActivation | None) -> None:
    if mode is not None and mode not in MODES:
        raise UnknownNameError("mode", str(mode), MODES)
    if mode is None and not calibrate:
        raise InputError("mode must be echo or hybrid where calibrate is False, got None; nothing would be added")
    if not (math.isfinite(weight) and weight > 0):
        raise InputError(f"weight must be above 0, got {weight}; mode=None adds no lexical part")
    if self_activation is None:
        return
    if not isinstance(self_activation, SelfActivation):
        raise InputError(f"self_activation must come from fit_self_activation, got {type(self_activation).__name__}")
    if mode is not None and self_activation.calibrated != calibrate:
        raise InputError(
            f"self_activation must be fitted with the same calibrate, got {self_activation.calibrated} there and "
            f"{calibrate} here; fit it again with calibrate={calibrate}"
        )


def _ids(name: str, tokens: Iterable[int], size: int) -> list[int]:
    found = list(tokens)
    wrong = next((i for i in found if isinstance(i, (bool, np.bool_)) or not 0 <= i < size), None)
    if wrong is not None:
        raise InputError(f"{name} must hold ids of tokens, 0 to {size - 1}, got {wrong}; leave it out")
    return [int(i) for i in found]


def _strength(
    encode: _Encode,
    lexical: Lexical,
    statistics: Statistics,
    documents: Any,
    scale: NDArray[np.float32],
    weight: float,
    seed: int,
) -> float:
    """The factor that gives lexical scores ``weight`` times the spread of the encoder's; both sides have it."""
    snippets = draw_snippets(encode.encoder.tokenizer, statistics.sample, seed)
    queries = encode(snippets, "query")
    own = (queries.multiply(scale**2) @ documents.T).toarray().astype(np.float64)
    batch_size = encode.options["batch_size"]
    words = lexical_vectors(encode.encoder, lexical, snippets, "query", batch_size)
    held = lexical_vectors(encode.encoder, lexical, statistics.sample, "document", batch_size)
    exact = (words @ held.T).toarray().astype(np.float64)
    spread = {"encoder": float(own.std()), "lexical part": float(exact.std())}
    for name, value in spread.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(
                f"texts must be told apart by the scores of the {name}, got one and the same for every pair "
                f"of {len(snippets)} pieces with {len(statistics.sample)} texts; pass texts that differ, and see "
                "what isthmus doctor says about the encoder"
            )
    return math.sqrt(weight * spread["encoder"] / spread["lexical part"])


def _appended(encoder: Any, added: list[Any], note: str) -> SparseEncoder:
    from sentence_transformers import SparseEncoder

    modules = copy.deepcopy(OrderedDict(encoder.named_children()))
    for module in added:
        number = len(modules)
        while str(number) in modules:
            number += 1
        modules[str(number)] = module
    card = copy.copy(encoder.model_card_data)
    card.tags = list(card.tags or [])
    result = SparseEncoder(
        modules=modules,
        device=str(encoder.device),
        prompts=dict(encoder.prompts),
        default_prompt_name=encoder.default_prompt_name,
        similarity_fn_name=encoder.similarity_fn_name,
        max_active_dims=encoder.max_active_dims,
        model_card_data=card,
    )
    result.module_kwargs = copy.deepcopy(encoder.module_kwargs)
    carry_card(encoder, result, note)
    return result.eval()


def describe(mode: LexicalMode | None, *, calibrate: bool, trim: tuple[int, int] | None = None) -> str:
    """What is added, in words."""
    parts = {None: [], "echo": ["lexical echo"], "hybrid": ["a lexical block"]}[mode]
    cut = [] if trim is None else [f"a trim to {trim[0]} and {trim[1]} entries"]
    return " and ".join([*parts, *(["column calibration"] if calibrate else []), *cut])
