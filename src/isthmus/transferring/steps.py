"""The steps of a transfer, on objects: vocabularies, bridge, token map, encoder, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from isthmus.bridge import refine_vectors
from isthmus.encoders.cards import license_warning, read_license
from isthmus.initializers import Problem
from isthmus.initializers.base import tokenize_with
from isthmus.transferring import advice as checks
from isthmus.transferring.options import MakeVectors, Settings
from isthmus.transferring.origin import Origin, build_card
from isthmus.transferring.report import TransferReport, summarise
from isthmus.vocabulary import Vocabulary, coverage

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder


def run_transfer(
    encoder: Any,
    tokenizers: Sequence[Any],
    names: Sequence[str],
    make_vectors: MakeVectors | None,
    settings: Settings,
    origin: Origin,
) -> tuple[SparseEncoder | SentenceTransformer, TransferReport]:
    """Make the token map, apply it to everything with a vocabulary dimension, and report.

    Args:
        encoder: The source encoder; it is not changed.
        tokenizers: The target tokenizers.
        names: What error messages call them.
        make_vectors: Gives bridge vectors of two vocabularies; None where there is no bridge.
        settings: How to transfer.
        origin: Where the parts come from, for the card.

    Returns:
        The transferred encoder and the report.

    Raises:
        IsthmusError: As :func:`isthmus.transfer`, except for what concerns names and paths.
    """
    from isthmus.encoders.heads import check_finite, check_rows
    from isthmus.encoders.parts import put_together, take_apart
    from isthmus.transferring.activation import check_matchable, match_activation
    from isthmus.transferring.columns import silence
    from isthmus.transferring.statics import check_statics, query_weights
    from isthmus.transferring.swap import check_bias, swap_vocabulary
    from isthmus.transferring.target import fold_columns, make_target

    start = time.perf_counter()
    initializer = settings.initializer()
    bias = check_bias(settings.bias_in_effect)
    parts = take_apart(encoder)
    if bias == "matched":
        check_matchable(encoder, parts, settings)
    license = origin.license or read_license(encoder)
    if parts.statics:
        settings = settings.for_static_queries()
    made = make_target(parts, tokenizers, names, settings)
    tokenizer = made.tokenizer
    source, target = Vocabulary.from_tokenizer(parts.tokenizer), Vocabulary.from_tokenizer(tokenizer)
    if made.foreign is not None:
        # An English encoder learnt next to nothing about letters of other scripts: nothing is to be made of them.
        source = source.without(made.foreign[: source.size])
    check_statics(parts, target, settings)
    for module, head in zip(parts.transformers, parts.heads, strict=True):
        check_rows(head, source.raw_tokens())
        check_finite(module.model)
    vectors = make_vectors(source, target) if initializer.needs_bridge and make_vectors is not None else None
    overlap = settings.overlap(target, source, made.kept)
    tokenize = tokenize_with(parts.tokenizer), tokenize_with(tokenizer)
    refined, refinement = vectors, None
    if vectors is not None and settings.refine_in_effect:
        refined, refinement = refine_vectors(vectors, source, target, *tokenize)
    problem = Problem(
        source, target, overlap, refined, settings.seed, settings.show_progress_bar,
        tokenize_source=tokenize[0], tokenize_target=tokenize[1],
    )  # fmt: skip
    token_map = settings.check_mixed(initializer.token_map(problem))
    roles = dict(target.roles)
    models = {
        id(module): swap_vocabulary(
            module.model, token_map, roles, bias=bias, norm=settings.norm_in_effect,
            own_direction=settings.own_direction_in_effect, seed=settings.seed,
        )
        for module in parts.transformers
    }  # fmt: skip
    if parts.sparse:
        token_map, unwritten = fold_columns(token_map, made.unwritten, settings)
        for module, head in zip(parts.transformers, parts.heads, strict=True):
            silence(models[id(module)], head, unwritten)
    weights = query_weights(parts, tokenizer, target, token_map, settings)
    card = build_card(encoder, origin, license)
    result = put_together(encoder, parts, tokenizer, models, weights, target.size, card)
    if bias == "matched":
        match_activation(
            result, parts, token_map, settings.sample_texts or (), seed=settings.seed, show=settings.show_progress_bar
        )
    coverages = None
    if settings.sample_texts is not None:
        coverages = (coverage(parts.tokenizer, settings.sample_texts), coverage(tokenizer, settings.sample_texts))
    warnings = [
        checks.bare_warning(encoder),
        *(checks.script_warnings(target, token_map, vectors) if vectors is not None else ()),
        checks.flat_warning(vectors, refinement) if vectors is not None else None,
        license_warning(license),
        checks.unk_warning(coverages[1]) if coverages is not None else None,
        checks.frame_warning(parts.tokenizer, tokenizer),
        *(checks.position_warning(head.positions.padding_idx, roles["pad"]) for head in parts.heads if head.positions),
    ]
    report = summarise(
        token_map,
        settings.method,
        target,
        settings=settings.recorded(sparse=parts.sparse),
        vectors=refined,
        refinement=refinement,
        coverages=coverages,
        license=license,
        warnings=tuple(warning for warning in warnings if warning is not None),
    )
    return result, report.timed(time.perf_counter() - start)
