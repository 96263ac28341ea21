"""Fingerprints of encoders, of weights, settings and tokenizer, by which two are told apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isthmus._lookup import UNREAD
from isthmus.errors import EncoderError, InputError
from isthmus.options import OpenOptions

_NO_MATTER = ("embedding_dimension", "chunk_size")
# Behind the name of a token: the dimension of its occurrence, where that of its meaning is another.
EXACT = " (exact)"
# Before the number of a column that stands for pairs of neighbouring tokens.
PAIR = "pair "


@dataclass(frozen=True)
class Fingerprint:
    """An encoder, recognised by what it computes and not by where it lies.

    Attributes:
        encoder: Digest of all weights and buffers, the modules' settings, prompts and maximum length.
        tokenizer: Digest of the tokenizers.
        name: Path or hub id to load it by, or None where it was never stored; not compared.
    """

    encoder: str
    tokenizer: str
    name: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self)

    def check(self, other: Fingerprint, what: str) -> None:
        """Refuse an encoder that does not make the vectors of ``what``.

        Raises:
            InputError: If the fingerprints differ; says whether weights or tokenizer do.
        """
        differing = [part for part in ("encoder", "tokenizer") if getattr(self, part) != getattr(other, part)]
        if differing:
            raise InputError(
                f"model must be the one that made {what} ({self.name or 'no name kept'}), got {other.name or 'another'}"
                f": the fingerprint of the {' and the '.join(differing)} differs; use that model or encode again "
                "(any_model=True or --any-model searches all the same)"
            )


def identify(encoder: Any, name: str | Path | None = None) -> Fingerprint:
    """Fingerprint a SparseEncoder; reads all its weights once.

    Args:
        encoder: A ``sentence_transformers.SparseEncoder``.
        name: Path or hub id it was loaded from; an existing path is made absolute.

    Raises:
        EncoderError: If it is not a sparse encoder.
    """
    check_sparse(encoder)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(_settings(encoder), sort_keys=True, default=str).encode())
    for key, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    if name is not None and Path(name).exists():
        name = Path(name).absolute()
    return Fingerprint(digest.hexdigest(), _tokenizer_digest(encoder), None if name is None else str(name))


@dataclass(frozen=True)
class OpenEncoder:
    """A loaded encoder with what an index has to know of it.

    Attributes:
        encoder: The SparseEncoder.
        identity: Its fingerprint.
        vocabulary_size: Dimensions of its vectors.
    """

    encoder: Any
    identity: Fingerprint
    vocabulary_size: int

    def tokens(self) -> list[str]:
        """What stands for each dimension."""
        return token_texts(self.encoder, self.vocabulary_size)


def open_encoder(model: Any, options: OpenOptions | None = None, **changes: Any) -> OpenEncoder:
    """Load and fingerprint an encoder.

    Args:
        model: Built-in name, folder or hub id, or a loaded SparseEncoder; what is open already comes back as it is.
        options: How it is opened; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Raises:
        NotFoundError: If there is no such model.
        EncoderError: If it is not sparse, or cannot be opened.
    """
    options = OpenOptions.of(options, **changes)
    if isinstance(model, OpenEncoder):
        return model
    name = model if isinstance(model, (str, Path)) else None
    if name is not None:
        from isthmus.encoders.load import load_encoder

        model = load_encoder(name, trust_remote_code=options.trust_remote_code, argument="model")
    check_sparse(model)
    from isthmus.encoders.encoding import encode_texts

    # Some encoders know their number of dimensions only once they have run.
    size = encode_texts(model, ["."], role="document", document_prompt="", show_progress_bar=False).shape[1]
    return OpenEncoder(model, identify(model, name), size)


def check_sparse(encoder: Any) -> None:
    """Refuse what gives no sparse vectors.

    Raises:
        EncoderError: If it is not a SparseEncoder.
    """
    from sentence_transformers import SparseEncoder

    if not isinstance(encoder, SparseEncoder):
        raise EncoderError(
            f"model must be a SparseEncoder, got {type(encoder).__name__}; inverted lists hold sparse vectors only, "
            "so take a sparse model, or a vector database for a dense one"
        )


def token_texts(encoder: Any, size: int) -> list[str]:
    """What stands for each dimension, from the document side's tokenizer; "" where there is no token.

    Names of a second, lexical block end in :data:`EXACT`, those of pairs begin with :data:`PAIR`. A column that an
    encoder writes and does not read has the name of the source's token.
    """
    tokens = [""] * size
    block = lexical_block(encoder)
    for token, number in encoder.tokenizer.get_vocab().items():
        if number < size:
            tokens[number] = token.removeprefix(UNREAD)
        if block is not None and block + number < size:
            tokens[block + number] = f"{token}{EXACT}"
    if block is not None:
        tokens[2 * block :] = [f"{PAIR}{number}" for number in range(size - 2 * block)]
    return tokens


def lexical_block(encoder: Any) -> int | None:
    """First dimension of the lexical block that ``hybrid`` puts behind an encoder's own; None where there is none."""
    from isthmus.modules.lexical import Lexical

    hybrid = (module for module in encoder.modules() if isinstance(module, Lexical) and module.mode == "hybrid")
    return next((len(module.idf) for module in hybrid), None)


def _settings(encoder: Any) -> dict[str, Any]:
    modules = []
    for name, module in encoder.named_modules():
        config = dict(module.get_config_dict()) if hasattr(module, "get_config_dict") else {}
        # One is filled in by the first text, the other is about memory.
        modules.append([name, type(module).__name__, {k: v for k, v in config.items() if k not in _NO_MATTER}])
    return {
        "modules": modules,
        "prompts": encoder.prompts,
        "default_prompt_name": encoder.default_prompt_name,
        "max_seq_length": encoder.max_seq_length,
    }


def _bytes(tensor: Any) -> Any:
    import torch

    # Bytes, because numpy has no bfloat16.
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _tokenizer_digest(encoder: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    seen: set[int] = set()
    for module in encoder.modules():
        for name in ("processor", "tokenizer"):
            tokenizer = getattr(module, name, None)
            if tokenizer is None or id(tokenizer) in seen:
                continue
            seen.add(id(tokenizer))
            backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
            if hasattr(backend, "to_str"):
                # Padding and truncation are set anew by every call.
                stored = json.loads(backend.to_str()) | {"padding": None, "truncation": None}
                text = json.dumps(stored, sort_keys=True)
            else:
                text = json.dumps(sorted(tokenizer.get_vocab().items()))
            digest.update(text.encode("utf-8", errors="surrogatepass"))
    return digest.hexdigest()
