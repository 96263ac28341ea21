"""What is fuzzed: every reader of bytes from outside."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.engines.contents import filled, read_vectors
from isthmus.errors import IsthmusError
from isthmus.index import SparseIndex
from isthmus.index.build import change_index
from isthmus.index.encoded_files import Inline, encode_documents, read_parts, read_tokens, write_parts
from isthmus.index.encoded_header import EncodedHeader
from isthmus.index.format import Manifest
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Corpus
from isthmus.token_map import FATES, Fate, TokenMap
from tests.fuzz.cases import Find, Target
from tests.index.vectors import IDENTITY, SIZE, documents, encode, rows

TOKENS = [f"t{number}" for number in range(SIZE)]
ONES = csr_matrix(np.ones((1, SIZE), dtype=np.float32))


def make_index(folder: Path) -> None:
    """Two segments, one of them with a deleted document."""
    new: Manifest | None = Manifest(0, SIZE, "f32", True, IDENTITY)
    for first in (0, 8):
        found = documents(8, first=first)
        with IndexWriter(folder, new=new, tokens=TOKENS) as writer:
            writer.add(found, encode_documents(found, encode, SIZE))
            writer.commit()
        new = None
    change_index(folder, delete=["d3"])


def read_index(folder: Path) -> Any:
    """In every way; then it is changed, which reads files too."""
    refused: IsthmusError | None = None
    for way in (_search, _look, _vectors):
        try:
            way(SparseIndex.open(folder))
        except IsthmusError as error:
            refused = error
    SparseIndex.open(folder, verify_files=True)
    if refused is not None:
        raise refused
    change_index(folder, delete=["d5"], compact=True)
    return _search(SparseIndex.open(folder))


def _search(index: SparseIndex) -> Any:
    hits = index.search(ONES, 20)
    only = index.search(ONES, 20, filter={"language": "ko", "year": 2001})
    return [(hit.id, hit.score, hit.document) for hit in hits], [hit.id for hit in only], index.summary()


def _look(index: SparseIndex) -> Any:
    return index.explain(ONES, "d4"), index.field_values("language"), index.document("d9"), index.token(1)


def _vectors(index: SparseIndex) -> Any:
    return [vectors.sum() for _, vectors in read_vectors(index)], filled(index)


ENCODING = EncodedHeader(IDENTITY, SIZE, "u8", 5, {"dtype": "float32"})


def make_parts(folder: Path) -> None:
    """An encoded corpus of three parts."""
    write_parts(Corpus(documents(12)), folder, ENCODING, Inline(encode, SIZE), tokens=TOKENS)


def read_encoded(folder: Path) -> Any:
    """To the end; then encoding goes on."""
    read_tokens(folder)
    found = [(documents, vectors.indices.tolist(), vectors.data.tolist()) for documents, vectors in read_parts(folder)]
    write_parts(Corpus(documents(12)), folder, ENCODING, Inline(encode, SIZE), tokens=TOKENS)
    return found


def make_token_map(folder: Path) -> None:
    """Copied, mixed and background rows."""
    weights = csr_matrix(np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0]], dtype=np.float64))
    fates = np.array([FATES.index(fate) for fate in (Fate.EXACT, Fate.BRIDGED, Fate.BACKGROUND)], dtype=np.uint8)
    background = np.full(3, 1 / 3)
    TokenMap(weights, fates, ["a", "b", "c"], ["x", "y", "z"], background, info={"method": "bridge"}).save(folder)


def read_token_map(folder: Path) -> Any:
    """And use it."""
    found = TokenMap.load(folder)
    made = found.apply(np.eye(found.shape[1]))
    return made.tolist(), [found.explain(row) for row in range(len(found.target_tokens))], found.counts()


def make_reports(folder: Path) -> None:
    """What commands leave for later ones."""
    from isthmus.adapting.adaptation_folder import STATE
    from isthmus.training.output import begin

    begin(folder / "run", {"steps": 4, "loss": "splade"})
    (folder / "run" / "checkpoints" / "checkpoint-2").mkdir()
    (folder / "run" / "checkpoints" / "checkpoint-2" / "document_regularizer.json").write_text(
        json.dumps({"weight": 0.1, "dims": 9.5, "error": 0.2})
    )
    (folder / "adapted").mkdir()
    (folder / "adapted" / STATE).write_text(json.dumps({"key": "x", "done": {"bm25": [0.5]}, "seconds": 1.5}))


def read_reports(folder: Path) -> Any:
    """As the commands that go on do."""
    from isthmus.adapting.adaptation_folder import check_place
    from isthmus.training.callbacks import ActiveDimsController
    from isthmus.training.output import check_settings

    loss = SimpleNamespace(document_regularizer=SimpleNamespace(window=lambda: None))
    scheduler = SimpleNamespace(max_document_regularizer_weight=0.0)
    controller = ActiveDimsController(loss, scheduler, 8, folder / "run" / "checkpoints" / "checkpoint-2")
    check_settings(folder / "run", {"steps": 4, "loss": "splade"}, overwrite=False)
    check_place(folder / "adapted", {"a": "b"}, overwrite=True)
    return float(scheduler.max_document_regularizer_weight), controller.dims


def make_corpora(folder: Path) -> None:
    """One of every kind."""
    found = rows(documents(6))
    lines = "".join(json.dumps(row) + "\n" for row in found).encode()
    (folder / "a.jsonl").write_bytes(lines)
    (folder / "a.json").write_text(json.dumps(found))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))
    (folder / "a.jsonl.xz").write_bytes(lzma.compress(lines))
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        with (folder / name).open("w", newline="") as stream:
            writer = csv.writer(stream, delimiter=delimiter)
            writer.writerow(["id", "text", "title"])
            writer.writerows([row["id"], row["text"] or "x", 'a "title"'] for row in found)
    try:
        import pyarrow.parquet
        import zstandard
    except ImportError:
        return
    (folder / "a.jsonl.zst").write_bytes(zstandard.compress(lines))
    table = pyarrow.table({"id": [row["id"] for row in found], "text": [row["text"] for row in found]})
    pyarrow.parquet.write_table(table, folder / "a.parquet")


def read_corpora(folder: Path) -> Any:
    """Each of them; what was read is written as an index writes it."""
    refused: IsthmusError | None = None
    found = []
    for path in sorted(folder.iterdir()):
        try:
            found += [document.to_json() for document in Corpus(path)]
        except IsthmusError as error:
            refused = error
    if refused is not None:
        raise refused
    return found


@cache
def _encoder_folder() -> Path:
    import tempfile

    from tests.tiny_encoders import splade

    root = Path(tempfile.mkdtemp(prefix="isthmus-fuzz-"))
    splade(root / "backbone").save_pretrained(str(root / "encoder"))
    return root / "encoder"


def make_encoder(folder: Path) -> None:
    """A tiny encoder."""
    import shutil

    shutil.copytree(_encoder_folder(), folder, dirs_exist_ok=True)


def read_encoder(folder: Path) -> Any:
    """Open it and encode."""
    from isthmus.encoders.encoding import encode_texts
    from isthmus.encoders.fingerprint import open_encoder
    from isthmus.options import OpenOptions

    opened = open_encoder(str(folder), OpenOptions())
    return encode_texts(opened.encoder, ["the house of war"], role="query", show_progress_bar=False).nnz


@cache
def _client(process: int) -> Any:
    """A server of an index, in this process: its threads do not come along to a child."""
    from starlette.testclient import TestClient

    from isthmus.serve import Limits, create_app
    from isthmus.serve.library import Library

    index = _encoder_folder().parent / "idx"
    found = [{"id": "a", "text": "the house of war", "language": "en"}, {"id": "b", "text": "water home"}]
    if not index.exists():
        SparseIndex.build(str(_encoder_folder()), found, index)
    client = TestClient(create_app(Library(index), limits=Limits(window=0.0)), raise_server_exceptions=False)
    client.__enter__()
    return client


BODIES = {
    "search": {"query": "house", "top_k": 5, "filter": {"language": ["en"]}, "matches": True},
    "explain": {"query": "the house", "id": "a"},
    "encode": {"texts": ["war", "water"], "role": "query"},
    "token": {"token": "house"},
}


def make_bodies(folder: Path) -> None:
    """A body for every path, by its name."""
    for name, body in BODIES.items():
        (folder / f"{name}.json").write_text(json.dumps(body))


def read_bodies(folder: Path) -> Any:
    """Send each; a server answers or refuses, and is not at fault."""
    found = []
    for path in sorted(folder.iterdir()):
        answer = _client(os.getpid()).post(
            f"/api/{path.stem}", content=path.read_bytes(), headers={"content-type": "application/json"}
        )
        if answer.status_code >= 500:
            raise Find(f"status {answer.status_code} of {path.stem}: {answer.text[:200]}")
        found.append(answer.status_code)
    return found


TARGETS = {
    "index": Target(make_index, read_index),
    "parts": Target(make_parts, read_encoded),
    "token-map": Target(make_token_map, read_token_map),
    "reports": Target(make_reports, read_reports),
    "corpora": Target(make_corpora, read_corpora),
    "bodies": Target(make_bodies, read_bodies),
    "encoder": Target(make_encoder, read_encoder),
}
