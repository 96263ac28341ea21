"""An encoder that stays, and an index, here or in another engine, as it is now: a server answers from them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scipy.sparse import csr_matrix

from isthmus.encoders.encoding import encode_texts, full_precision, in_memory
from isthmus.encoders.load import transfer_folder
from isthmus.encoders.prompts import Role
from isthmus.engines import Engine
from isthmus.errors import EngineError, IndexFileError, NotFoundError
from isthmus.index.options import QueryOptions
from isthmus.index.query_encoder import QueryEncoder
from isthmus.serve.gate import Refusal
from isthmus.serve.sources import open_source
from isthmus.token_map import TokenMap

# Below, the vocabulary head takes less time than choosing which of its columns to compute.
_SHORT = 64
# An engine may be back any time.
RETRY_SECONDS = "1"
_logger = logging.getLogger(__name__)


class Library:
    """An index and its encoder.

    :meth:`encode` belongs to one thread and the index to one, which may be another: neither locks.

    Args:
        url: The index: a folder, or a URL of :mod:`isthmus.engines`.
        options: What encodes the queries; None takes the model that the index names.
        **changes: Fields of ``options`` to replace.

    Attributes:
        name: The index's, without where it is.
        encoder: The loaded SparseEncoder, in full precision.
        model: Its name, without the folders it lies in; None where it has none.
        token_map: What its tokens are made of, where the model's folder tells.

    Raises:
        NotFoundError: If there is no index or no such model.
        IndexFileError: If the index is damaged or of a later version.
        InputError: If no model is known, or it did not make the index.
        TokenMapError: If the token map is damaged.
        EngineError: If a server does not answer.
        MissingExtraError: If the engine needs a package that is not installed.
    """

    def __init__(self, url: str | Path, options: QueryOptions | None = None, **changes: Any) -> None:
        options = QueryOptions.of(options, **changes)
        self._source = open_source(str(url))
        self._failure: str | None = None
        try:
            self.name = self._source.name
            queries = QueryEncoder(self._source.header, f"the index {url}", options)
            opened, self._encoding = queries.open(), queries.encoding
            self.encoder = in_memory(full_precision(opened.encoder))
            self._source.admit(queries)
            name = opened.identity.name
            self.model = Path(name).name if name is not None and Path(name).is_absolute() else name
            self.token_map = TokenMap.find(None if queries.name is None else transfer_folder(queries.name))
        except BaseException:
            self.close()
            raise

    @property
    def problem(self) -> str | None:
        """What is wrong with the index, for those who search: no folders and no addresses; or None."""
        return self._source.problem

    def encode(self, texts: Sequence[str], role: Role) -> csr_matrix:
        """Vectors of texts, shape (texts, vocabulary), computed as those of the index."""
        short = sum(map(len, texts)) <= _SHORT
        return encode_texts(self.encoder, texts, self._encoding, role=role, batch_size=len(texts), stock_head=short)

    def index(self) -> Engine:
        """The index as it is now; of a folder, the one before where that cannot be used, with the reason in the log.

        Raises:
            IndexFileError: If a server has vectors of another model now.
            NotFoundError: If a server has no such index any more.
            EngineError: If a server does not answer.
        """
        return self._source.current()

    @contextmanager
    def reading(self) -> Iterator[Engine]:
        """The index as it is now, for one request.

        Raises:
            Refusal: If it cannot be read, by status 503; the log has the reason, once for requests that fail alike.
        """
        try:
            yield self.index()
        except (IndexFileError, NotFoundError, EngineError) as error:
            # The reason names folders and addresses, which are no business of those who search.
            if str(error) != self._failure:
                self._failure = str(error)
                _logger.error("requests fail, because the index cannot be read: %s", error)
            told = self._source.fail(error)
            again = {"retry_after": RETRY_SECONDS} if isinstance(error, EngineError) else {}
            raise Refusal(503, told, **again) from error
        self._source.succeed()
        if self.problem is None:
            self._failure = None

    def generation(self) -> int | None:
        """How often the index was changed; None where that is not counted."""
        return self._source.generation()

    def fields(self) -> list[str] | None:
        """Metadata fields that can be filtered by; None where any may be asked for."""
        return self._source.fields()

    def close(self) -> None:
        """Give back the engine's connections and locks."""
        self._source.close()
