"""A small run of the cluster's suite, on real nodes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.suites.cluster import Nodes, lose_a_node
from isthmus.engines.comparison import sample_queries
from isthmus.engines.contents import read_documents
from isthmus.index import SparseIndex
from isthmus.index.encoded_files import encode_documents
from isthmus.index.format import Manifest
from isthmus.index.writer import IndexWriter
from tests.index.vectors import IDENTITY, SIZE, documents, encode


@pytest.mark.long
@pytest.mark.skipif("ISTHMUS_OPENSEARCH" not in os.environ, reason="no OpenSearch: set ISTHMUS_OPENSEARCH")
@pytest.mark.skipif(not (os.environ.get("JAVA_HOME") or shutil.which("java")), reason="no Java for OpenSearch")
def test_a_cluster_that_loses_the_node_we_talk_to_loses_nothing(tmp_path: Path) -> None:
    found = documents(800)
    with IndexWriter(tmp_path / "idx", new=Manifest(0, SIZE, "f32", True, IDENTITY)) as writer:
        writer.add(found, encode_documents(found, encode, SIZE))
        writer.commit()
    exact = SparseIndex.open(tmp_path / "idx")
    windows = ((some[start : start + 80], vectors[start : start + 80])
               for some, vectors in read_documents(exact) for start in range(0, len(some), 80))  # fmt: skip
    nodes = Nodes(tmp_path / "nodes", 3)
    try:
        row = lose_a_node(nodes, exact, windows, sample_queries(exact, 30))
    finally:
        nodes.stop()
    assert (row["sent"], row["killed_at"], row["back_at"]) == (800, 320, 560)
    assert (row["compared"], row["lost"], row["wrong"], row["more"], row["unknown"]) == (800, 0, 0, 0, 0)
    assert (row["recall@10"], row["search_errors"]) == (1.0, 0)
    assert 0 < row["drift"] <= 2.0**-9
    assert row["searches"] > 0
