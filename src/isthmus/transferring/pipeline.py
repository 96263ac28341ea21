"""From an encoder and a tokenizer to an encoder over that tokenizer's vocabulary, and a report.

``transfer`` opens names and paths; ``transfer_encoder`` works on objects and touches neither disk nor network.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.bridge import BridgeVectors, embed_vocabularies, load_vectors, open_bridge
from isthmus.encoders.cards import read_language, read_license
from isthmus.encoders.load import load_encoder, load_tokenizer, local_folder
from isthmus.errors import InputError
from isthmus.initializers.base import Pool
from isthmus.transferring.options import Bias, Norm, Output, Settings
from isthmus.transferring.origin import Origin, languages_of
from isthmus.transferring.report import TransferReport
from isthmus.transferring.steps import run_transfer
from isthmus.vocabulary import Vocabulary

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder

# What Settings takes of the arguments by their names.
SHARED = tuple(field.name for field in fields(Settings) if field.name != "options")


def transfer(
    encoder: str | Path,
    *,
    target_tokenizer: str | Path | Sequence[str | Path],
    bridge: str | Path | None = None,
    vectors: str | Path | None = None,
    method: str = "sembridge",
    alpha: float = 4.0,
    as_released: bool = False,
    exact: bool = True,
    fuzzy: bool = True,
    symbol: bool = True,
    strip_marker: bool = True,
    refine: bool = True,
    bridge_texts: Sequence[str] | None = None,
    bridge_source_texts: Sequence[str] | None = None,
    pool: Pool = "kind",
    bias: Bias = "mixed",
    norm: Norm = "mixed",
    own_direction: float = 0.0,
    keep_source: bool = False,
    output: Output | None = None,
    fold: float | None = None,
    idf_texts: Iterable[str] | None = None,
    sample_texts: Sequence[str] | None = None,
    language: str | Sequence[str] | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
    show_progress_bar: bool | None = None,
    **options: Any,
) -> tuple[SparseEncoder | SentenceTransformer, TransferReport]:
    """Give an encoder the vocabulary of another language (arXiv 2605.26002 with ``method="sembridge"``).

    A sparse encoder reads and writes the new vocabulary; of a dense one, only what it reads changes.

    Args:
        encoder: SPLADE-like or dense encoder: a built-in name, a folder or a hub id.
        target_tokenizer: Tokenizer of the target language, likewise; any number of them with ``keep_source``.
        bridge: Multilingual dense model that embeds the tokens of both, likewise; for methods that need one.
        vectors: File of token vectors computed elsewhere (safetensors or npz), instead of ``bridge``.
        method: A key of ``isthmus.initializers.INITIALIZERS``.
        alpha: Sparsity of the mixtures, for methods that have it.
        as_released: Do as the released code in every respect: overlap by spelling, markers kept, pool ``all``, bias by
            position; overrides those arguments.
        exact: Copy tokens with an equal canonical form.
        fuzzy: Copy tokens that are equal in lower case.
        symbol: Copy numbers, punctuation and white space.
        strip_marker: The bridge reads "ing" for "##ing".
        refine: Take off what all vectors of the bridge share (:func:`isthmus.bridge.refine_vectors`).
        bridge_texts: Unlabelled texts of the target languages, 1,000 or more, from which token vectors are learned that
            explain what the bridge makes of sentences (:mod:`isthmus.bridge.sentences`); None for none.
        bridge_source_texts: The same in the source's language.
        pool: Source tokens that may be mixed: ``clean`` leaves special, unused and unreadable ones out, ``kind`` also
            makes continuation pieces of continuation pieces alone, ``all`` takes everything.
        bias: Decoder bias: ``mixed`` as the rows; ``zero``; ``position``: token k keeps that of source token k, as
            code that only resizes leaves it (ids beyond the source have none, or the mean where the decoder is not
            tied to the embeddings); or ``matched``: such that mixed columns are active on ``sample_texts`` as often as
            what they are made of (:func:`isthmus.transferring.activation.match_activation`).
        norm: Length of mixed rows: ``mixed`` as the mean gives it, or ``restored`` to the mean length of its parts.
        own_direction: Add a random direction to every mixed row, this many times as long, and scale the row back to
            its length: for encoders that will be trained, which hardly tell rows with the same mixture apart.
        keep_source: Keep the source vocabulary and add the target tokens to it: the result reads all languages, and
            the source's own as before. Needs WordPiece tokenizers of other scripts. Single letters of those scripts
            in the source's vocabulary are made anew like the added tokens.
        output: Vocabulary that a sparse result writes with ``keep_source``: ``source``, ``target`` or ``both``; None is
            the one that measured best, ``source``.
        fold: Cosine of two tokens' rows above which only the one with the lower id is written, on behalf of both; 1
            folds none. None is the one that measured best: 0.8 with ``keep_source`` and an output other than
            ``source``, else 1.
        idf_texts: Target documents to compute the query weights of an inference-free encoder from; without them the
            source's weights go through the map.
        sample_texts: Target texts to measure fertility and unknown tokens on, and rates of activation with ``matched``.
        language: Languages of the result for its card, ISO 639-1; None takes what the tokenizer's card says.
        seed: Seed of everything drawn.
        trust_remote_code: Run code that comes with encoder, tokenizer or bridge.
        show_progress_bar: None shows bars when stderr is a terminal.
        **options: Further options of the method.

    Returns:
        The transferred encoder, which sentence-transformers saves and opens like any other, and the report.

    Raises:
        NotFoundError: If a name or path leads nowhere.
        UnknownNameError: If there is no such method, bias, norm or built-in asset.
        InputError: If an option does not fit.
        EncoderError: If a sparse encoder has no MLM head, or any has ids beyond its rows or NaN weights, or its biases
            cannot be matched.
        TokenizerError: If the tokenizer cannot be a target.
        BridgeError: If the method needs a bridge and there is none, or its vectors do not fit.
    """
    settings = Settings(
        method, alpha, as_released, exact, fuzzy, symbol, strip_marker, refine, bridge_texts, bridge_source_texts, pool,
        bias, norm, own_direction, keep_source, output, fold, idf_texts, sample_texts, seed, show_progress_bar, options,
    )  # fmt: skip
    # A wrong option is told before anything is downloaded.
    given = bridge is not None or vectors is not None
    settings.check_bridge(bridge=bridge is not None, vectors=vectors is not None)
    names = (target_tokenizer,) if isinstance(target_tokenizer, (str, Path)) else tuple(target_tokenizer)
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"target_tokenizer must name every tokenizer once, got {str(name)!r} twice; leave one out")
    folder, tokenizer_folders = local_folder(encoder), [local_folder(name) for name in names]
    loaded = load_encoder(encoder, trust_remote_code=trust_remote_code, whole=True)
    tokenizers = [load_tokenizer(name, trust_remote_code=trust_remote_code) for name in names]

    def make_vectors(source: Vocabulary, target: Vocabulary) -> BridgeVectors:
        if vectors is not None:
            return load_vectors(vectors, source, target)
        model = open_bridge(bridge, trust_remote_code=trust_remote_code)
        return settings.with_sentences(model, embed_vocabularies(model, source, target, **settings.token_texts()))

    languages = languages_of(language)
    if not languages:
        found = [code for place in tokenizer_folders if place is not None for code in read_language(place)]
        languages = tuple(dict.fromkeys(["en", *found] if found and keep_source else found))
    origin = Origin(
        license=read_license(loaded, folder),
        # A path on this machine says nothing on a card.
        base_model=str(encoder) if folder is None or str(encoder).startswith("isthmus/") else None,
        tokenizer_name=" + ".join(
            str(name) if place is None else place.name for name, place in zip(names, tokenizer_folders, strict=True)
        ),
        languages=languages,
        keeps_source=keep_source,
    )
    shown = [f"target tokenizer {name}" for name in names]
    return run_transfer(loaded, tokenizers, shown, make_vectors if given else None, settings, origin)


def check_options(*, bridge: str | Path | None = None, vectors: str | Path | None = None, **given: Any) -> None:
    """Refuse options of :func:`transfer` that do not fit, before anything is loaded, trained or downloaded.

    Args:
        bridge: As for :func:`transfer`; it is not opened.
        vectors: Likewise.
        given: Its other arguments.

    Raises:
        UnknownNameError: As :func:`transfer`.
        InputError: As :func:`transfer`.
        BridgeError: If the method needs a bridge and there is none.
    """
    known = inspect.signature(transfer).parameters
    shared = {name: given.get(name, known[name].default) for name in SHARED}
    options = {name: value for name, value in given.items() if name not in known}
    Settings(**shared, options=options).check_bridge(bridge=bridge is not None, vectors=vectors is not None)


def transfer_encoder(
    encoder: SparseEncoder | SentenceTransformer,
    tokenizer: Any,
    *,
    bridge: Any = None,
    vectors: BridgeVectors | None = None,
    method: str = "sembridge",
    alpha: float = 4.0,
    as_released: bool = False,
    exact: bool = True,
    fuzzy: bool = True,
    symbol: bool = True,
    strip_marker: bool = True,
    refine: bool = True,
    bridge_texts: Sequence[str] | None = None,
    bridge_source_texts: Sequence[str] | None = None,
    pool: Pool = "kind",
    bias: Bias = "mixed",
    norm: Norm = "mixed",
    own_direction: float = 0.0,
    keep_source: bool = False,
    output: Output | None = None,
    fold: float | None = None,
    idf_texts: Iterable[str] | None = None,
    sample_texts: Sequence[str] | None = None,
    language: str | Sequence[str] | None = None,
    seed: int = 0,
    show_progress_bar: bool | None = None,
    **options: Any,
) -> tuple[SparseEncoder | SentenceTransformer, TransferReport]:
    """As :func:`transfer`, on objects; modifies none of its arguments.

    Touches neither the network nor, unless an option names a file, the disk.

    Args:
        encoder: The source encoder.
        tokenizer: The target tokenizer, or several with ``keep_source``.
        bridge: A SentenceTransformer.
        vectors: Token vectors, instead of ``bridge``.
        method: A key of ``isthmus.initializers.INITIALIZERS``.
        alpha: Sparsity of the mixtures, for methods that have it.
        as_released: Do as the released code in every respect; overrides the arguments it concerns.
        exact: Copy tokens with an equal canonical form.
        fuzzy: Copy tokens that are equal in lower case.
        symbol: Copy numbers, punctuation and white space.
        strip_marker: The bridge reads "ing" for "##ing".
        refine: Take off what all vectors of the bridge share.
        bridge_texts: Unlabelled texts of the target languages to learn token vectors from.
        bridge_source_texts: The same in the source's language.
        pool: Source tokens that may be mixed, ``kind``, ``clean`` or ``all``.
        bias: Decoder bias, ``mixed``, ``zero``, ``position`` or ``matched``.
        norm: Length of mixed rows, ``mixed`` or ``restored``.
        own_direction: Length of a random direction in every mixed row, as a multiple of its own.
        keep_source: Keep the source vocabulary and add the target tokens to it.
        output: Vocabulary that is written with ``keep_source``: ``source``, ``target`` or ``both``.
        fold: Cosine of two tokens' rows above which only one of them is written.
        idf_texts: Target documents for the query weights of an inference-free encoder.
        sample_texts: Target texts to measure fertility and unknown tokens on, and rates of activation with ``matched``.
        language: Languages of the result for its card, ISO 639-1.
        seed: Seed of everything drawn.
        show_progress_bar: None shows bars when stderr is a terminal.
        **options: Further options of the method.

    Returns:
        The transferred encoder and the report.

    Raises:
        IsthmusError: As :func:`transfer`, except for what concerns names and paths.
    """
    if isinstance(bridge, (str, Path)):
        raise InputError(f"bridge must be a SentenceTransformer, got {str(bridge)!r}; open it, or call transfer()")
    if vectors is not None and not isinstance(vectors, BridgeVectors):
        raise InputError(
            f"vectors must be BridgeVectors, got {type(vectors).__name__}; read a file with isthmus.bridge.load_vectors"
        )
    settings = Settings(
        method, alpha, as_released, exact, fuzzy, symbol, strip_marker, refine, bridge_texts, bridge_source_texts, pool,
        bias, norm, own_direction, keep_source, output, fold, idf_texts, sample_texts, seed, show_progress_bar, options,
    )  # fmt: skip

    def make_vectors(source: Vocabulary, target: Vocabulary) -> BridgeVectors:
        if vectors is not None:
            return vectors
        made = embed_vocabularies(bridge, source, target, cache=False, **settings.token_texts())
        return settings.with_sentences(bridge, made, cache=False)

    given = bridge is not None or vectors is not None
    settings.check_bridge(bridge=bridge is not None, vectors=vectors is not None)
    tokenizers = list(tokenizer) if isinstance(tokenizer, (list, tuple)) else [tokenizer]
    origin = Origin(languages=languages_of(language))
    names = ["target tokenizer" if len(tokenizers) == 1 else f"target tokenizer {i}" for i in range(len(tokenizers))]
    return run_transfer(encoder, tokenizers, names, make_vectors if given else None, settings, origin)
