"""From an encoder and a tokenizer to an encoder over that tokenizer's vocabulary, and a report.

``transfer`` opens names and paths; ``transfer_encoder`` works on objects and touches neither disk nor network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.assets import PREFIX, PUBLISHED
from isthmus.bridge import BridgeVectors, add_sentences, embed_vocabularies, load_vectors, open_bridge
from isthmus.encoders.cards import read_language, read_license
from isthmus.encoders.load import load_encoder, load_tokenizer, local_folder
from isthmus.errors import InputError
from isthmus.transferring.options import TransferOptions, check_options
from isthmus.transferring.origin import Origin, languages_of
from isthmus.transferring.report import TransferReport
from isthmus.transferring.steps import run_transfer
from isthmus.vocabulary import Vocabulary

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder


def transfer(
    encoder: str | Path,
    options: TransferOptions | None = None,
    *,
    target_tokenizer: str | Path | Sequence[str | Path],
    bridge: str | Path | None = None,
    vectors: str | Path | None = None,
    **changes: Any,
) -> tuple[SparseEncoder | SentenceTransformer, TransferReport]:
    """Give an encoder the vocabulary of another language (arXiv 2605.26002 with ``method="sembridge"``).

    A sparse encoder reads and writes the new vocabulary, or writes the source's with ``output="source"``; of a dense
    one, only what it reads changes.

    Args:
        encoder: SPLADE-like or dense encoder: a built-in name, a folder or a hub id.
        options: How; None takes the defaults.
        target_tokenizer: Tokenizer of the target language, likewise; any number of them with ``keep_source``.
        bridge: Multilingual dense model that embeds the tokens of both, likewise; for methods that need one.
        vectors: File of token vectors computed elsewhere (safetensors or npz), instead of ``bridge``.
        **changes: Fields of ``options`` to replace, or options of the method.

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

    Example:
        >>> encoder, report = isthmus.transfer(  # doctest: +SKIP
        ...     "isthmus/mini-splade-en", target_tokenizer="isthmus/tokenizer-ko", bridge="isthmus/mini-bridge")
        >>> encoder.save_pretrained("splade-ko")  # doctest: +SKIP
    """
    # A wrong option is told before anything is downloaded.
    options = check_options(options, bridge=bridge, vectors=vectors, **changes)
    names = (target_tokenizer,) if isinstance(target_tokenizer, (str, Path)) else tuple(target_tokenizer)
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"target_tokenizer must name every tokenizer once, got {str(name)!r} twice; leave one out")
    folder, tokenizer_folders = local_folder(encoder), [local_folder(name) for name in names]
    trusted = options.trust_remote_code
    loaded = load_encoder(encoder, trust_remote_code=trusted, whole=True)
    tokenizers = [load_tokenizer(name, trust_remote_code=trusted) for name in names]

    def make_vectors(source: Vocabulary, target: Vocabulary) -> BridgeVectors:
        if vectors is not None:
            return load_vectors(vectors, source, target)
        model = open_bridge(bridge, trust_remote_code=trusted)
        return add_sentences(embed_vocabularies(model, source, target, options=options), model, options)

    languages = languages_of(options.language)
    if not languages:
        found = [code for place in tokenizer_folders if place is not None for code in read_language(place)]
        languages = tuple(dict.fromkeys(["en", *found] if found and options.keep_source else found))
    origin = Origin(
        license=read_license(loaded, folder),
        # A path on this machine says nothing on a card.
        base_model=str(encoder) if folder is None or str(encoder).startswith("isthmus/") else None,
        tokenizer_name=" + ".join(
            str(name) if place is None else place.name for name, place in zip(names, tokenizer_folders, strict=True)
        ),
        encoder_name=_public(encoder),
        bridge_name=_public(bridge or vectors),
        languages=languages,
        keeps_source=options.keep_source,
        writes_source=options.reads_beside,
    )
    shown = [f"target tokenizer {name}" for name in names]
    return run_transfer(loaded, tokenizers, shown, make_vectors, options, origin)


def _public(name: str | Path | None) -> str | None:
    """What may be told of a name: all of a built-in one or a hub id, the last part of a path."""
    if name is None or str(name).startswith((PREFIX, PUBLISHED)):
        return None if name is None else str(name)
    path = Path(name).expanduser()
    return path.name if path.exists() else str(name)


def transfer_encoder(
    encoder: SparseEncoder | SentenceTransformer,
    tokenizer: Any,
    options: TransferOptions | None = None,
    *,
    bridge: Any = None,
    vectors: BridgeVectors | None = None,
    **changes: Any,
) -> tuple[SparseEncoder | SentenceTransformer, TransferReport]:
    """As :func:`transfer`, on objects; modifies none of its arguments.

    Touches neither the network nor, unless an option names a file, the disk.

    Args:
        encoder: The source encoder.
        tokenizer: The target tokenizer, or several with ``keep_source``.
        options: How; None takes the defaults.
        bridge: A SentenceTransformer.
        vectors: Token vectors, instead of ``bridge``.
        **changes: Fields of ``options`` to replace, or options of the method.

    Returns:
        The transferred encoder and the report.

    Raises:
        IsthmusError: As :func:`transfer`, except for what concerns names and paths.

    Example:
        >>> encoder, report = transfer_encoder(encoder, tokenizer, bridge=model, alpha=3.0)  # doctest: +SKIP
        >>> report.token_map.explain("집", 2)  # doctest: +SKIP
    """
    if isinstance(bridge, (str, Path)):
        raise InputError(f"bridge must be a SentenceTransformer, got {str(bridge)!r}; open it, or call transfer()")
    if vectors is not None and not isinstance(vectors, BridgeVectors):
        raise InputError(
            f"vectors must be BridgeVectors, got {type(vectors).__name__}; read a file with isthmus.bridge.load_vectors"
        )
    options = check_options(options, bridge=bridge, vectors=vectors, **(changes | {"cache": False}))

    def make_vectors(source: Vocabulary, target: Vocabulary) -> BridgeVectors:
        if vectors is not None:
            return vectors
        return add_sentences(embed_vocabularies(bridge, source, target, options=options), bridge, options)

    tokenizers = list(tokenizer) if isinstance(tokenizer, (list, tuple)) else [tokenizer]
    origin = Origin(languages=languages_of(options.language))
    names = ["target tokenizer" if len(tokenizers) == 1 else f"target tokenizer {i}" for i in range(len(tokenizers))]
    return run_transfer(encoder, tokenizers, names, make_vectors, options, origin)
