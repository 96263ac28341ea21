"""BM25 over the subwords of a tokenizer, as sparse vectors like any other model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from isthmus import assets
from isthmus.errors import InputError, NotFoundError

ENGLISH_TOKENIZER = "isthmus/mini-splade-en"
MULTILINGUAL_TOKENIZER = "isthmus/mini-bridge"


class BM25:
    """Lexical baseline: bm25s with ``method="lucene"`` over subword ids.

    Its document vectors hold the BM25 weight of every subword, its query vectors the number of times a subword occurs,
    so that their dot product is the BM25 score. Special tokens, the unknown token among them, are left out and nothing
    is truncated.

    Args:
        tokenizer: A transformers tokenizer, or its built-in name, path or hub id; or a ``tokenizers.Tokenizer``, as a
            StaticEmbedding has it.
        k1: Term frequency saturation; bm25s's default.
        b: Length normalisation; bm25s's default.
        trust_remote_code: Passed on when the tokenizer is loaded.

    Raises:
        NotFoundError: If there is no tokenizer under this name.
        InputError: If a number is out of its range, or the tokenizer is of another kind.
    """

    method = "lucene"

    def __init__(self, tokenizer: Any, *, k1: float = 1.5, b: float = 0.75, trust_remote_code: bool = False) -> None:
        if k1 < 0 or not 0 <= b <= 1:
            raise InputError(f"k1 must be 0 or more and b must be in 0..1, got {k1} and {b}")
        self.k1 = k1
        self.b = b
        self.tokenizer_name = str(tokenizer) if isinstance(tokenizer, (str, Path)) else type(tokenizer).__name__
        if isinstance(tokenizer, (str, Path)):
            from isthmus.encoders.load import try_tokenizer

            name = tokenizer
            tokenizer, faults = try_tokenizer(name, trust_remote_code=trust_remote_code, argument="tokenizer")
            for fault in faults[:1]:
                raise NotFoundError(
                    "tokenizer must be a built-in name, or the folder or hub id of a tokenizer, got "
                    f"{str(name)!r} ({fault.message}); {fault.remedy}"
                ) from fault.cause
        self.tokenizer = _with_special_tokens(tokenizer)

    @classmethod
    def for_language(cls, language: str | None) -> BM25:
        """BM25 over the built-in tokenizer of ``language``.

        Raises:
            InputError: If there is none.
        """
        return cls(default_tokenizer(language))

    def settings(self) -> dict[str, Any]:
        """What a result has to state about this model."""
        return {"tokenizer": self.tokenizer_name, "bm25_method": self.method, "k1": self.k1, "b": self.b}

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of the subwords of each text, special tokens left out."""
        if not texts:
            return []
        special = set(self.tokenizer.all_special_ids)
        encoded = self.tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
        return [[i for i in ids if i not in special] for ids in encoded["input_ids"]]

    def encode_documents(self, texts: Sequence[str]) -> csr_matrix:
        """BM25 weights of every subword of a whole corpus, float32, shape (texts, vocabulary)."""
        import bm25s
        from bm25s.tokenization import Tokenized

        ids, size = self.token_ids(texts), self._size()
        if not any(ids):
            return csr_matrix((len(texts), size), dtype=np.float32)
        scorer = bm25s.BM25(method=self.method, k1=self.k1, b=self.b)
        vocabulary = {str(i): i for i in range(size)}
        scorer.index(Tokenized(ids=ids, vocab=vocabulary), create_empty_token=False, show_progress=False)
        scores = scorer.scores
        parts = (scores["data"], scores["indices"], scores["indptr"][: size + 1])
        return csc_matrix(parts, shape=(len(texts), size)).tocsr()

    def encode_queries(self, texts: Sequence[str]) -> csr_matrix:
        """Number of occurrences of every subword, float32, shape (texts, vocabulary)."""
        ids = self.token_ids(texts)
        indptr: NDArray[np.int64] = np.cumsum([0, *map(len, ids)])
        columns = np.fromiter((i for row in ids for i in row), dtype=np.int32, count=int(indptr[-1]))
        matrix = csr_matrix((np.ones(len(columns), dtype=np.float32), columns, indptr), shape=(len(ids), self._size()))
        matrix.sum_duplicates()
        return matrix

    def _size(self) -> int:
        return 1 + max(int(i) for i in self.tokenizer.get_vocab().values())


def _with_special_tokens(tokenizer: Any) -> Any:
    """A tokenizer that knows its special and its unknown token, which a bare ``tokenizers.Tokenizer`` does not."""
    from tokenizers import Tokenizer

    if isinstance(tokenizer, Tokenizer):
        from transformers import PreTrainedTokenizerFast

        model = json.loads(tokenizer.to_str())["model"]
        unknown = model.get("unk_token")
        if model.get("unk_id") is not None:
            unknown = tokenizer.id_to_token(model["unk_id"])
        special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=unknown, extra_special_tokens=special)
    if not hasattr(tokenizer, "all_special_ids"):
        raise InputError(
            f"tokenizer must be one of transformers or a tokenizers.Tokenizer, got {type(tokenizer).__name__}; pass "
            "the name of another one, or leave BM25's negatives out of training"
        )
    return tokenizer


def default_tokenizer(language: str | None) -> str:
    """Built-in tokenizer of a language.

    Raises:
        InputError: If there is none.
    """
    if language is None:
        raise InputError("language (or tokenizer) must be given for BM25, got None")
    base = language.split("-")[0].lower()
    name = ENGLISH_TOKENIZER if base == "en" else f"{assets.PREFIX}tokenizer-{base}"
    if name not in assets.names():
        known = ", ".join(known for known in assets.names() if "/tokenizer-" in known)
        raise InputError(f"tokenizer must be given for BM25 in {language!r}; built-in ones are {known}")
    return name
