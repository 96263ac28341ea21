"""Two processes that rank each other's candidates train as one process with both batches does."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from tests.losses.conftest import PAIRS, dense, gradients

ROOT = Path(__file__).parents[2]
HALF = 2
LABELS = {"clear": [[1, 1, 0], [0, 1, 1], [1, 1, 1], [1, 0, 1]], "proximity": [[1], [0], [1], [1]]}
CODE = """
    import os
    import sys
    import time
    from pathlib import Path

    import torch
    from torch.nn.parallel import DistributedDataParallel

    from sentence_transformers import SentenceTransformer

    from tests.losses.conftest import PAIRS, features
    from tests.losses.test_distributed import HALF, LABELS

    name, form, folder = sys.argv[1:]
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    rows = slice(rank * HALF, (rank + 1) * HALF)
    encoder = SentenceTransformer(str(Path(folder) / "encoder"), device="cpu").train()
    plain, cached, columns = PAIRS[name]
    options = {"mini_batch_size": 1} if form == "cached" else {}
    loss = (cached if options else plain)(encoder, columns, gather_across_devices=True, **options)
    loss.model = DistributedDataParallel(encoder, find_unused_parameters=True)
    labels = torch.tensor(LABELS[name])[rows]
    found = loss(features(encoder, columns, rows), labels)
    total = torch.stack(list(found.values())).sum()
    total.backward()
    mean = total.detach().clone()
    torch.distributed.all_reduce(mean)
    found, part = Path(folder) / "found.pt", Path(folder) / "found.part"
    if rank == 0:
        grads = {key: p.grad for key, p in encoder.named_parameters() if p.grad is not None}
        torch.save({"loss": mean / 2, "gradients": grads}, part)
        part.rename(found)
    while not found.exists():
        time.sleep(0.05)
    # Gloo's threads sometimes abort a process that takes its group down, after all is computed.
    os._exit(0)
"""


@pytest.mark.parametrize(("name", "form"), [("clear", "plain"), ("clear", "cached"), ("proximity", "plain")])
def test_two_processes_are_one(tmp_path, name, form):
    encoder = dense(tmp_path)
    encoder.save_pretrained(str(tmp_path / "encoder"))
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(CODE), encoding="utf-8")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        script, name, form, tmp_path,
    ]  # fmt: skip
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    plain, _, columns = PAIRS[name]
    labels = torch.tensor(LABELS[name])
    components, expected = gradients(encoder, plain(encoder, columns), columns, labels, slice(0, 2 * HALF))
    torch.testing.assert_close(found["loss"], sum(components.values()), rtol=1e-4, atol=1e-6)
    assert found["gradients"].keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(found["gradients"][key], gradient, rtol=1e-4, atol=2e-6)
