"""What a server answers from: an encoder that stays, and an index that is opened anew when a writer has changed it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.sparse import csr_matrix

from isthmus.errors import InputError, IsthmusError
from isthmus.search.encode import Role, encode_texts, full_precision
from isthmus.search.format import MANIFEST
from isthmus.search.identity import open_encoder
from isthmus.search.index import SparseIndex
from isthmus.token_map import TokenMap
from isthmus.transfer.load import local_folder

# Below, the vocabulary head takes less time than choosing which of its columns to compute.
_SHORT = 64
_logger = logging.getLogger(__name__)


class Library:
    """An index and its encoder.

    :meth:`encode` belongs to one thread and :meth:`index` to one, which may be another: neither locks.

    Args:
        folder: The index.
        model: Built-in name, folder or hub id of the encoder, or a loaded one; None takes what the index names.
        any_model: Accept a model that did not make the index.
        trust_remote_code: Run code that comes with the model.

    Attributes:
        encoder: The loaded SparseEncoder, in full precision.
        model: Its name, without the folders it lies in; None where it has none.
        token_map: What its tokens are made of, where the model's folder tells.
        problem: That the index on disk is not the one that is searched, for those who search; or None.

    Raises:
        NotFoundError: If there is no index or no such model.
        IndexFileError: If the index is damaged or of a later version.
        InputError: If no model is known, or it did not make the index.
        TokenMapError: If the token map is damaged.
    """

    def __init__(
        self, folder: str | Path, *, model: Any = None, any_model: bool = False, trust_remote_code: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.problem: str | None = None
        self._seen = self._look()
        self._index = SparseIndex.open(self.folder)
        made_by = self._index.manifest.identity
        if model is None:
            model = None if made_by is None else made_by.name
        if model is None:
            raise InputError(f"the index {folder} names no model; pass the one that made it (model=, --model)")
        opened = open_encoder(model, trust_remote_code=trust_remote_code)
        self._identity = None if any_model else opened.identity
        self._check(self._index, opened.vocabulary_size)
        self._vocabulary_size = opened.vocabulary_size
        self.encoder = full_precision(opened.encoder)
        name = opened.identity.name
        self.model = Path(name).name if name is not None and Path(name).is_absolute() else name
        self.token_map = TokenMap.find(local_folder(model) if isinstance(model, (str, Path)) else None)

    def encode(self, texts: Sequence[str], role: Role) -> csr_matrix:
        """Vectors of texts, shape (texts, vocabulary), computed as those of the index."""
        dtype = self._index.manifest.settings.get("dtype", "float32")
        return encode_texts(
            self.encoder,
            texts,
            role=role,
            batch_size=len(texts),
            dtype=dtype,
            stock_head=sum(map(len, texts)) <= _SHORT,
            show_progress_bar=False,
        )

    def index(self) -> SparseIndex:
        """The index as it is on disk now; the one before where that cannot be used, with the reason in the log."""
        seen = self._look()
        if seen != self._seen:
            # What is opened may be later than what was seen; then it is opened once more, which costs a millisecond.
            self._seen = seen
            try:
                opened = SparseIndex.open(self.folder)
                self._check(opened, self._vocabulary_size)
                self._index, self.problem = opened, None
            except (IsthmusError, OSError) as error:
                # The reason names folders, which are no business of those who search.
                self.problem = "the index on disk is damaged or of another model; the server's log says more"
                _logger.warning("still searching the index as it was, because the new one cannot be used: %s", error)
        return self._index

    def _look(self) -> tuple[int, ...] | None:
        """What changes with every manifest; a file that replaces another has another number."""
        try:
            found = (self.folder / MANIFEST).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _check(self, index: SparseIndex, vocabulary_size: int) -> None:
        made_by = index.manifest.identity
        if made_by is not None and self._identity is not None:
            made_by.check(self._identity, f"the index {self.folder}")
        if index.manifest.vocabulary_size != vocabulary_size:
            raise InputError(
                f"model must have {index.manifest.vocabulary_size} dimensions as the index {self.folder}, got "
                f"{vocabulary_size}; pass the model that made it"
            )
