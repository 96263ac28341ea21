"""Memory of building an index: bounded by the limits, not by the corpus."""

import subprocess
import sys

import pytest

# Under a limit of what the process may allocate; mapped files are not allocated.
SCRIPT = """
import re, resource, sys
from pathlib import Path
import numpy as np
from scipy.sparse import csr_matrix
from isthmus.reading.corpus import Document
from isthmus.index.format import Manifest
from isthmus.index.options import MemoryLimits
from isthmus.index.writer import IndexWriter

folder, rooms, entries, columns, text = Path(sys.argv[1]), sys.argv[2], 60, 3000, "word " * 80
limits = MemoryLimits(postings=2**18, documents=2**14, merged=2**17) if rooms == "small" else MemoryLimits()
generator = np.random.default_rng(0)
held = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + 64 * 2**20,) * 2)
with IndexWriter(folder, new=Manifest(0, columns, "f32", True, None), tokens=[], limits=limits) as writer:
    for first in range(0, 100_000, 1000):
        indices = generator.integers(0, columns // entries, (1000, entries)) + np.arange(entries) * (columns // entries)
        values, starts = generator.random(1000 * entries, dtype=np.float32), np.arange(1001) * entries
        vectors = csr_matrix((values, indices.ravel().astype(np.int32), starts), shape=(1000, columns))
        writer.add([Document(f"d{first + i}", text, metadata={"language": "ko"}) for i in range(1000)], vectors)
    writer.commit(compact=True)
print(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is one of Linux")
def test_memory_is_bounded_by_the_limits(tmp_path):
    def build(limits):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / limits), limits]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    bounded, unbounded = build("small"), build("large")
    assert bounded.returncode == 0, bounded.stderr
    assert int(bounded.stdout) > 90e6
    assert unbounded.returncode != 0
    assert "MemoryError" in unbounded.stderr
