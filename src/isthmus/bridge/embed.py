"""One vector per token of both vocabularies, from any SentenceTransformer or from a file."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from isthmus._progress import wanted
from isthmus.bridge import cache as disk
from isthmus.bridge.options import BridgeOptions
from isthmus.errors import BridgeError, EncoderError, NotFoundError
from isthmus.vocabulary import Vocabulary
from isthmus.vocabulary.token import TEXT_KINDS

MARKERS = "▁Ġ#"


@dataclass(frozen=True, eq=False)
class Sentences:
    """Unlabelled sentences of a language in the bridge's space.

    Attributes:
        texts: The sentences.
        vectors: Shape (sentences, dim), unit length.
    """

    texts: list[str]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class BridgeVectors:
    """Vectors of both vocabularies in the bridge's space.

    Attributes:
        source: Shape (source.size, dim), unit length; zero rows at holes and at tokens the bridge knows nothing of.
        target: Shape (target.size, dim), likewise.
        identity: Hash of the bridge, or of the file's vectors.
        sentences: Of each side, source first, what :func:`isthmus.bridge.sentences.add_sentences` embedded.
    """

    source: NDArray[np.float32]
    target: NDArray[np.float32]
    identity: str
    sentences: tuple[Sentences | None, Sentences | None] = (None, None)

    def __post_init__(self) -> None:
        if self.source.ndim != 2 or self.target.ndim != 2 or self.source.shape[1] != self.target.shape[1]:
            raise BridgeError(
                "source and target vectors must be matrices of one dimension, got shapes "
                f"{self.source.shape} and {self.target.shape}; embed both with the same bridge"
            )

    def check(self, source: Vocabulary, target: Vocabulary) -> None:
        """Raise BridgeError unless there is one row per id of both vocabularies."""
        if (len(self.source), len(self.target)) != (source.size, target.size):
            raise BridgeError(
                f"bridge vectors must have one row per id, {source.size} source and {target.size} target, got "
                f"{len(self.source)} and {len(self.target)}; compute them for these tokenizers"
            )


def embed_vocabularies(
    bridge: Any | str | Path,
    source: Vocabulary,
    target: Vocabulary,
    options: BridgeOptions | None = None,
    **changes: Any,
) -> BridgeVectors:
    """Embed the tokens of both vocabularies, one text per token and no prompt.

    Every distinct text is embedded once. With the cache, the vectors of each vocabulary are kept under a key made of
    the bridge's identity and the texts, so a second run computes nothing and another target reuses the source.

    Args:
        bridge: A SentenceTransformer (static-embedding models too), a built-in name, a path or a hub id.
        source: The encoder's vocabulary.
        target: The new vocabulary.
        options: How; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Raises:
        NotFoundError: If ``bridge`` names nothing that can be opened.
        BridgeError: If it is no SentenceTransformer, gives NaN, or knows less than half of a vocabulary.

    Example:
        >>> embed_vocabularies("isthmus/mini-bridge", english, korean, cache=False).target.shape  # doctest: +SKIP
        (32200, 192)
    """
    options = BridgeOptions.of(options, **changes)
    model = open_bridge(bridge, trust_remote_code=options.trust_remote_code)
    identity = bridge_identity(model)
    folder, cache = disk.folder_for(options), options.cache

    by_id = [
        side.bridge_texts(strip_marker=options.strip_marker, as_released=options.as_released)
        for side in (source, target)
    ]
    distinct = [sorted(set(texts) - {""}, key=lambda text: (len(text), text)) for texts in by_id]
    paths = [disk.path_for(folder, identity, texts) for texts in distinct]
    cached = [disk.read(path, len(texts)) if cache else None for path, texts in zip(paths, distinct, strict=True)]

    known: dict[str, NDArray[np.float32]] = {}
    for texts, rows in zip(distinct, cached, strict=True):
        known.update(zip(texts, rows, strict=True) if rows is not None else ())
    missing = sorted({*distinct[0], *distinct[1]} - known.keys(), key=lambda text: (len(text), text))
    if missing:
        # No prompt: a default one would pull all single words together.
        rows_of_missing = encode_texts(model, missing, "", options.batch_size, options.show_progress_bar)
        known.update(zip(missing, rows_of_missing, strict=True))
    if cache:
        for texts, path, rows in zip(distinct, paths, cached, strict=True):
            if rows is None and texts:
                disk.write(path, np.stack([known[text] for text in texts]))

    blank = np.zeros_like(next(iter(known.values())))
    known[""] = blank
    if not options.as_released:
        known.update(dict.fromkeys(_unread(getattr(model, "tokenizer", None), list(known)), blank))
    matrices = [np.stack([known[text] for text in texts]) for texts in by_id]
    _check_known(matrices[0], source, "source")
    _check_known(matrices[1], target, "target")
    return BridgeVectors(matrices[0], matrices[1], identity)


def load_vectors(path: str | Path, source: Vocabulary, target: Vocabulary) -> BridgeVectors:
    """Read token vectors that were computed elsewhere.

    Args:
        path: A safetensors or .npz file with the matrices ``source`` and ``target``, one row per token id; rows are
            scaled to unit length.
        source: The encoder's vocabulary.
        target: The new vocabulary.

    Raises:
        NotFoundError: If there is no such file.
        BridgeError: If it is damaged or does not fit the vocabularies.

    Example:
        >>> vectors = load_vectors("vectors.safetensors", english, korean)  # doctest: +SKIP
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist; give a .safetensors or .npz file")
    digest = hashlib.blake2b(digest_size=16)
    matrices = []
    try:
        tensors = np.load(path, allow_pickle=False) if path.suffix == ".npz" else _read_safetensors(path)
        for side in ("source", "target"):
            matrices.append(np.asarray(tensors[side]).astype(np.float32))
    except (
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        raise BridgeError(
            f"{path} must be a .safetensors or .npz file with float matrices 'source' and 'target', "
            f"got {error}; write it again"
        ) from error
    for matrix in matrices:
        digest.update(np.ascontiguousarray(matrix).data)
    vectors = BridgeVectors(matrices[0], matrices[1], digest.hexdigest())
    vectors.check(source, target)
    for matrix, vocabulary, side in zip(matrices, (source, target), ("source", "target"), strict=True):
        holes = np.ones(len(matrix), dtype=bool)
        holes[[token.id for token in vocabulary.tokens]] = False
        matrix[holes] = 0
        raws = vocabulary.raw_tokens()
        _normalise(matrix, raws)
        _check_known(matrix, vocabulary, side)
    return vectors


def _read_safetensors(path: Path) -> dict[str, Any]:
    # numpy has no bfloat16, in which large bridges are often run.
    from safetensors.torch import load_file

    return {name: tensor.float().numpy() for name, tensor in load_file(path).items()}


def bridge_identity(model: Any) -> str:
    """Hash what a bridge's vectors depend on: parameters, architecture, configuration and tokenizer.

    Args:
        model: A SentenceTransformer.

    Returns:
        32 hexadecimal digits, the same wherever the model is stored.
    """
    import torch

    digest = hashlib.blake2b(digest_size=16)
    settings = [repr(model), getattr(model, "truncate_dim", None), str(getattr(model, "max_seq_length", None))]
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if hasattr(config, "to_dict"):
            values = {k: v for k, v in config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
            settings.append(json.dumps(values, sort_keys=True, default=str))
        settings.append(_tokenizer_settings(getattr(module, "tokenizer", None)))
    digest.update(json.dumps(settings).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tokenizer_settings(tokenizer: Any) -> str | None:
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        return json.dumps(tokenizer.get_vocab(), sort_keys=True) if hasattr(tokenizer, "get_vocab") else None
    pipeline = json.loads(backend.to_str())
    # Every call sets these two anew, so they are a state and not a setting.
    pipeline.pop("truncation", None)
    pipeline.pop("padding", None)
    return json.dumps(pipeline, sort_keys=True)


def open_bridge(bridge: Any | str | Path, *, trust_remote_code: bool = False) -> Any:
    """Open a bridge by its name, or check one that is open.

    Raises:
        NotFoundError: If ``bridge`` names nothing that can be opened.
        BridgeError: If it is no dense SentenceTransformer.
    """
    model = _load(bridge, trust_remote_code) if isinstance(bridge, (str, Path)) else bridge
    if not (hasattr(model, "encode") and hasattr(model, "state_dict")):
        raise BridgeError(f"bridge must be a SentenceTransformer, a name or a path, got {type(model).__name__}")
    if any(type(module).__name__ == "SpladePooling" for module in model.modules()):
        raise BridgeError(
            "bridge must be a dense model, got a sparse encoder; choose a multilingual SentenceTransformer"
        )
    return model


def _load(name: str | Path, trust_remote_code: bool) -> Any:
    from isthmus.encoders.load import load_encoder

    try:
        return load_encoder(name, trust_remote_code=trust_remote_code, argument="bridge", dense=True)
    except EncoderError as error:
        raise BridgeError(str(error)) from error


def encode_texts(model: Any, texts: list[str], prompt: str, batch_size: int, show: bool | None) -> NDArray[np.float32]:
    """Unit vectors of texts by a bridge, shape (texts, dim); zero where the model gives zero.

    Args:
        model: A SentenceTransformer.
        texts: What to embed.
        prompt: Put before each; an empty one switches a default prompt off.
        batch_size: Texts per forward pass.
        show: None shows a bar when stderr is a terminal.

    Raises:
        BridgeError: If it gives NaN, or no dense vectors.
    """
    rows = model.encode(
        texts,
        prompt=prompt,
        batch_size=batch_size,
        show_progress_bar=wanted(show),
        convert_to_numpy=True,
        # Done below in float32: in half precision a text without pieces would become 0 / 0.
        normalize_embeddings=False,
    )
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or len(rows) != len(texts):
        raise BridgeError(
            f"bridge must give one dense vector per text, got {type(rows).__name__}; choose a dense model"
        )
    return _normalise(rows.astype(np.float32), texts)


def unit_rows(rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Scale rows of shape (rows, dim) to unit length; zero rows stay."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, 1), dtype=np.float32)


def _unread(tokenizer: Any, texts: list[str]) -> list[str]:
    """Texts that a bridge's own tokenizer turns into unknown tokens alone: they would all share one vector."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "encode_batch"):
        return []
    settings = json.loads(backend.to_str())["model"]
    unknown = {settings.get("unk_id"), backend.token_to_id(settings.get("unk_token") or "")} - {None}
    encoded = backend.encode_batch(texts, add_special_tokens=False)
    found = []
    for text, encoding in zip(texts, encoded, strict=True):
        pieces = zip(encoding.ids, encoding.tokens, encoding.attention_mask, strict=True)
        read = {id for id, token, attended in pieces if attended and token.strip(MARKERS)}
        if unknown.intersection(encoding.ids) and read <= unknown:
            found.append(text)
    return found


def _normalise(rows: NDArray[np.float32], texts: list[str]) -> NDArray[np.float32]:
    """Scale ``rows`` to unit length in place; zero rows stay."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(norms))
    if len(bad):
        examples = ", ".join(repr(texts[row]) for row in bad[:5])
        raise BridgeError(
            f"bridge vectors must be finite, got NaN or infinity for {len(bad)} tokens ({examples}); load the bridge "
            "in float32, or choose another"
        )
    norms[norms == 0] = 1
    rows /= norms[:, None].astype(np.float32)
    return rows


def _check_known(matrix: NDArray[np.float32], vocabulary: Vocabulary, side: str) -> None:
    """A bridge may miss rare characters (their tokens then have no vector), but not most of a vocabulary."""
    tokens = (token for token in vocabulary.tokens if token.kind in TEXT_KINDS)
    readable = [token.id for token in tokens if vocabulary.is_decodable(token.id)]
    unknown = [id for id in readable if not matrix[id].any()]
    if 2 * len(unknown) > len(readable):
        raws = vocabulary.raw_tokens()
        examples = ", ".join(repr(raws[id]) for id in unknown[:5])
        raise BridgeError(
            f"bridge must know the {side} vocabulary, got zero vectors for {len(unknown)} of {len(readable)} tokens "
            f"({examples}); choose a bridge that was trained on this language and script"
        )
