"""Giving an encoder the words of its texts back, with statistics of unlabelled texts.

What is added is described in :mod:`isthmus.modules.lexical` and :mod:`isthmus.modules.column_scale`; here are the
numbers they need. Nothing is chosen by judgements.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.encoders.cards import carry_card
from isthmus.encoders.encoding import encode_texts
from isthmus.encoders.fingerprint import check_sparse, lexical_block
from isthmus.encoders.prompts import Role
from isthmus.errors import EncoderError, InputError
from isthmus.lexical.options import (
    PAIRED_KNOWN_SHARE,
    POWER,
    WEIGHT,
    AddLexicalOptions,
    LexicalOptions,
)
from isthmus.lexical.statistics import (
    MIN_TEXTS,
    SelfActivation,
    Statistics,
    draw_snippets,
    fit_formula,
    gather,
    lexical_vectors,
    lucene_idf,
)
from isthmus.modules.column_scale import ColumnScale
from isthmus.modules.lexical import Lexical, LexicalMode, check_formula
from isthmus.modules.trim import Trim, check_trim

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


def add_lexical(
    encoder: SparseEncoder,
    texts: Iterable[str],
    mode: LexicalMode | EllipsisType | None = ...,
    options: AddLexicalOptions | None = None,
    *,
    known: Iterable[int] = (),
    leave_out: Iterable[int] = (),
    self_activation: SelfActivation | None = None,
    **changes: Any,
) -> SparseEncoder:
    """Add what a transfer lost, exact matching of words, and weigh down columns that are active everywhere.

    Every token's IDF and the average length come from all texts; how often columns are active, and the strength of the
    lexical part, from a sample. The strength is such that the scores of the lexical part alone, of pieces of these
    texts with the texts, spread ``weight`` times as far (in standard deviations) as the encoder's own.

    Args:
        encoder: A SPLADE-like encoder, whose columns are the tokens of its tokenizer; not modified.
        texts: Unlabelled texts of the collection or its kind, at least ten; read once, as a stream.
        mode: As in the options, which have it where it is left out; None is ``none``.
        options: What is added, and how; None takes the defaults.
        known: Ids of tokens that the encoder was trained with, those that a transfer with ``keep_source`` kept:
            ``report.token_map.rows(Fate.KEPT)``, or :func:`isthmus.encoders.load.kept_tokens` of its folder. They count
            only where the encoder writes their column itself.
        leave_out: Ids of tokens that get no lexical weight, besides special ones.
        self_activation: From :func:`fit_self_activation`, instead of ``weight``, ``power``, ``k1`` and ``b``.
        **changes: Fields of ``options`` to replace.

    Returns:
        A new encoder with weights of its own, which saves like any other; :class:`Lexical` says how it is loaded. Train
        before, not after: the words that training would teach are scored already.

    Raises:
        EncoderError: If the encoder is not sparse, its columns are no tokens, or it carries these parts already.
        UnknownNameError: If there is no such mode.
        InputError: If an argument is out of its range, the texts are too few, or all scores are the same.

    Example:
        >>> encoder = add_lexical(load_encoder("splade-ko"), texts, "echo")  # doctest: +SKIP
        >>> encoder.save_pretrained("splade-ko-echo")  # doctest: +SKIP
    """
    if mode is not ...:
        changes["mode"] = "none" if mode is None else mode
    options = AddLexicalOptions.of(options, **changes)
    if options.trim is not None:
        check_trim(options.trim)
    formula = _formula(options, self_activation)
    check_formula(**formula, known_share=options.known_share)
    check_encoder(encoder, options)
    encode = _Encode(encoder, options)
    weightless = _ids("leave_out", leave_out, encode.size)
    trained_with = torch.zeros(encode.size, dtype=torch.bool)
    trained_with[_ids("known", known, encode.size)] = True
    statistics = gather(encoder, texts, encode.size, options)
    documents = encode(statistics.sample, "document") if options.calibrate or self_activation is None else None
    added: list[Any] = []
    if options.calibrate and documents is not None:
        added.append(ColumnScale(torch.from_numpy(activation_scale(documents))))
    if options.mode != "none":
        numbers: dict[str, Any] = {**formula, "special_ids": encoder.tokenizer.all_special_ids}
        idf = torch.from_numpy(statistics.idf())
        idf[weightless] = 0.0
        if self_activation is not None:
            strength = self_activation.strength
        else:
            scale = added[0].scale.numpy() if added else np.ones(encode.size, dtype=np.float32)
            lexical = Lexical(options.mode, idf, statistics.average_length, **numbers)
            strength = _strength(encode, lexical, statistics, documents, scale)
        share = PAIRED_KNOWN_SHARE if options.pairs and options.known_share is None else options.known_share
        numbers |= {"strength": strength, "known": trained_with, "known_share": share}
        numbers["pair_idf"] = statistics.pair_idf()
        added.append(Lexical(options.mode, idf, statistics.average_length, **numbers))
    if options.trim is not None:
        added.insert(-1 if options.mode != "none" else len(added), Trim(*options.trim))
    return _appended(encoder, added, f"with {options.describe()} from {statistics.count:,} texts")


def fit_self_activation(
    encoder: SparseEncoder, texts: Iterable[str], options: AddLexicalOptions | None = None, **changes: Any
) -> SelfActivation:
    """Find the lexical weights that an encoder gives to the tokens of its own texts.

    The document formula of :class:`isthmus.modules.lexical.Lexical` is fitted by least squares to the value of column t
    in every sampled text that holds token t. Fitted on the *source* of a transfer, in English, it tells
    :func:`add_lexical` how high an echo has to be in the other language.

    Args:
        encoder: The source encoder, not modified.
        texts: Unlabelled texts of its language, at least ten; read once, as a stream.
        options: Whether values are calibrated, as then in :func:`add_lexical`, and how texts are sampled and encoded;
            None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Returns:
        The fitted numbers, and how well they fit.

    Raises:
        EncoderError: As for :func:`add_lexical`.
        InputError: If the texts are too few, or the encoder hardly ever activates a token of its text.
    """
    options = AddLexicalOptions.of(options, **changes)
    check_encoder(encoder, options)
    encode = _Encode(encoder, options)
    statistics = gather(encoder, texts, encode.size, options)
    vectors = encode(statistics.sample, "document")
    if options.calibrate:
        vectors = csr_matrix(vectors.multiply(activation_scale(vectors)))
    return fit_formula(encoder, statistics, vectors, calibrated=options.calibrate, batch_size=options.batch_size)


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


def check_encoder(encoder: Any, options: LexicalOptions) -> None:
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
    if options.calibrate:
        present += [type(module).__name__ for module in modules if isinstance(module, ColumnScale)]
    if present:
        remedy = "start from the encoder that it was added to"
        if present == ["ColumnScale"] and options.mode != "none":
            remedy += ", or pass calibrate=False (--no-calibrate)"
        raise EncoderError(
            f"encoder must not carry the parts that are added to it, got one with {present[0]}; {remedy}"
        )


def check_transfer(source: Any, options: LexicalOptions, texts: Sequence[str], *, name: str, path: Path | None) -> None:
    """Refuse before a transfer what cannot be added to its result.

    Args:
        source: The loaded encoder that is transferred, whose modules the result will have.
        options: What is to be added.
        texts: What it is to be fitted to.
        name: The encoder's, for messages.
        path: File of the texts, for messages.

    Raises:
        InputError: If there are too few texts.
        EncoderError: If the encoder is not sparse, or does not do otherwise.
    """
    from sentence_transformers import SparseEncoder

    if len(texts) < MIN_TEXTS:
        raise InputError(
            f"--lexical-texts must hold at least {MIN_TEXTS} texts, got {len(texts)} in {path}; add texts of what "
            "will be searched"
        )
    if not isinstance(source, SparseEncoder):
        raise EncoderError(
            f"ENCODER must be sparse with --lexical {options.mode}, got {name}, which is dense; leave --lexical "
            "out, or take a SPLADE encoder"
        )
    check_encoder(source, options)


class _Encode:
    """Encodes texts whole: a limit of active dimensions applies to the vector that comes out in the end."""

    def __init__(self, encoder: Any, options: AddLexicalOptions) -> None:
        self.encoder = encoder
        self.options = options
        # Some encoders know their number of dimensions only once they have run.
        self.size: int = encode_texts(encoder, ["."], options, role="document", show_progress_bar=False).shape[1]

    def __call__(self, texts: list[str], role: Role) -> csr_matrix:
        limit = None if self.encoder.max_active_dims is None else self.size
        vectors = encode_texts(self.encoder, texts, self.options, role=role, max_active_dims=limit)
        if not np.isfinite(vectors.data).all():
            raise EncoderError(
                "encoder must give finite vectors, got NaN or infinity; see what isthmus doctor says about it"
            )
        return vectors


def _formula(options: AddLexicalOptions, fitted: SelfActivation | None) -> dict[str, float]:
    """The numbers of the lexical formula: those of the options, or those that were fitted."""
    if fitted is None:
        return {"power": POWER if options.power is None else options.power, "k1": options.k1, "b": options.b}
    if not isinstance(fitted, SelfActivation):
        raise InputError(f"self_activation must come from fit_self_activation, got {type(fitted).__name__}")
    if options.mode != "none" and fitted.calibrated != options.calibrate:
        raise InputError(
            f"self_activation must be fitted with the same calibrate, got {fitted.calibrated} there and "
            f"{options.calibrate} here; fit it again with calibrate={options.calibrate}"
        )
    return {"power": fitted.power, "k1": fitted.k1, "b": fitted.b}


def _ids(name: str, tokens: Iterable[int], size: int) -> list[int]:
    found = list(tokens)
    wrong = next((i for i in found if isinstance(i, (bool, np.bool_)) or not 0 <= i < size), None)
    if wrong is not None:
        raise InputError(f"{name} must hold ids of tokens, 0 to {size - 1}, got {wrong}; leave it out")
    return [int(i) for i in found]


def _strength(
    encode: _Encode, lexical: Lexical, statistics: Statistics, documents: Any, scale: NDArray[np.float32]
) -> float:
    """The factor that gives lexical scores the wanted spread, in that of the encoder's; both sides have it."""
    options = encode.options
    snippets = draw_snippets(encode.encoder.tokenizer, statistics.sample, options.seed)
    queries = encode(snippets, "query")
    own = (queries.multiply(scale**2) @ documents.T).toarray().astype(np.float64)
    words = lexical_vectors(encode.encoder, lexical, snippets, "query", options.batch_size)
    held = lexical_vectors(encode.encoder, lexical, statistics.sample, "document", options.batch_size)
    exact = (words @ held.T).toarray().astype(np.float64)
    spread = {"encoder": float(own.std()), "lexical part": float(exact.std())}
    for name, value in spread.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(
                f"texts must be told apart by the scores of the {name}, got one and the same for every pair "
                f"of {len(snippets)} pieces with {len(statistics.sample)} texts; pass texts that differ, and see "
                "what isthmus doctor says about the encoder"
            )
    weight = WEIGHT if options.weight is None else options.weight
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
