"""The steps of a transfer, on objects: vocabularies, bridge, token map, encoder, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from isthmus.bridge import refine_vectors
from isthmus.encoders.cards import license_warning, read_license
from isthmus.initializers import RowProblem
from isthmus.initializers.base import tokenize_with
from isthmus.transferring import advice as checks
from isthmus.transferring.options import MakeVectors, TransferOptions
from isthmus.transferring.origin import Origin, build_card
from isthmus.transferring.report import TransferReport, summarise
from isthmus.vocabulary import Coverage, Vocabulary, coverage, match

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder


def run_transfer(
    encoder: Any,
    tokenizers: Sequence[Any],
    names: Sequence[str],
    make_vectors: MakeVectors,
    options: TransferOptions,
    origin: Origin,
) -> tuple[SparseEncoder | SentenceTransformer, TransferReport]:
    """Make the token map, apply it to everything with a vocabulary dimension, and report.

    Args:
        encoder: The source encoder; it is not changed.
        tokenizers: The target tokenizers.
        names: What error messages call them.
        make_vectors: Gives bridge vectors of two vocabularies, for methods that need them.
        options: How to transfer.
        origin: Where the parts come from, for the card.

    Returns:
        The transferred encoder and the report.
    """
    from isthmus.encoders.heads import check_finite, check_rows
    from isthmus.encoders.parts import put_together, take_apart
    from isthmus.transferring.columns import fold_columns, make_target, read_beside, silence
    from isthmus.transferring.rows import check_matchable, match_activation
    from isthmus.transferring.statics import check_statics, query_weights
    from isthmus.transferring.swap import swap_vocabulary

    start = time.perf_counter()
    initializer = options.initializer
    matched = options.bias_in_effect == "matched"
    parts = take_apart(encoder)
    if matched:
        check_matchable(encoder, parts, options)
    license = origin.license or read_license(encoder)
    if parts.statics:
        options = options.for_static_queries()
    made = make_target(parts, tokenizers, names, options)
    source, target = Vocabulary.from_tokenizer(parts.tokenizer), Vocabulary.from_tokenizer(made.tokenizer)
    if made.foreign is not None:
        # An English encoder learnt next to nothing about letters of other scripts: nothing is to be made of them.
        source = source.without(made.foreign[: source.size])
    check_statics(parts, target, options)
    for module, head in zip(parts.transformers, parts.heads, strict=True):
        check_rows(head, source.raw_tokens())
        check_finite(module.model)
    vectors = make_vectors(source, target) if initializer.needs_bridge else None
    tokenize = tokenize_with(parts.tokenizer), tokenize_with(made.tokenizer)
    refined, refinement = vectors, None
    if vectors is not None and options.refine_in_effect:
        refined, refinement = refine_vectors(vectors, source, target, *tokenize)
    problem = RowProblem(
        source, target, match(target, source, options, kept=made.kept), refined, options.seed,
        options.show_progress_bar, tokenize_source=tokenize[0], tokenize_target=tokenize[1],
    )  # fmt: skip
    token_map = options.check_mixed(initializer.token_map(problem))
    # What is told of a transfer is told of the tokens that the target tokenizer gives.
    told = summarise(token_map, options.method, target, vectors=refined, refinement=refinement)
    known = checks.script_warnings(target, token_map, vectors) if vectors is not None else ()
    made, token_map, roles = read_beside(made, problem, token_map, options)
    tokenizer = made.tokenizer
    models = {id(module): swap_vocabulary(module.model, token_map, roles, options) for module in parts.transformers}
    if parts.sparse:
        token_map, unwritten = fold_columns(token_map, made.unwritten, options)
        for module, head in zip(parts.transformers, parts.heads, strict=True):
            silence(models[id(module)], head, unwritten)
    weights = query_weights(parts, tokenizer, target, token_map, options)
    card = build_card(encoder, origin, license)
    result = put_together(encoder, parts, tokenizer, models, weights, token_map.shape[0], card)
    if matched:
        match_activation(result, parts, token_map, options)
    coverages: tuple[Coverage | None, Coverage | None] = (None, None)
    if options.sample_texts is not None:
        coverages = (coverage(parts.tokenizer, options.sample_texts), coverage(tokenizer, options.sample_texts))
    warnings = [
        checks.bare_warning(encoder),
        *known,
        checks.flat_warning(vectors, refinement) if vectors is not None else None,
        license_warning(license),
        checks.unk_warning(coverages[1]) if coverages[1] is not None else None,
        checks.frame_warning(parts.tokenizer, tokenizer),
        *(checks.position_warning(head.positions.padding_idx, roles["pad"]) for head in parts.heads if head.positions),
    ]
    # Dense encoders have no bias, and write no vocabulary.
    settings = options.to_dict() | ({} if parts.sparse else dict.fromkeys(("bias", "output", "fold")))
    report = replace(
        told.of_all(token_map),
        settings=settings,
        source_coverage=coverages[0],
        target_coverage=coverages[1],
        english_unchanged=made.english_unchanged,
        english_checked=made.english_checked,
        license=license,
        origin=origin.to_dict(),
        warnings=tuple(warning for warning in warnings if warning is not None),
    )
    return result, replace(report, seconds=time.perf_counter() - start)
