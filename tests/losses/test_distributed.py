"""Two processes that rank each other's candidates train as one process with both batches does."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from sentence_transformers import SparseEncoder

from isthmus.losses import CachedNamedSpladeLoss, NamedSpladeLoss
from tests.losses.conftest import PAIRS, dense, features, gradients, sparse

ROOT = Path(__file__).parents[2]
HALF = 2
LABELS = {
    "clear": [[1, 1, 0], [0, 1, 1], [1, 1, 1], [1, 0, 1]],
    "proximity": [[1], [0], [1], [1]],
    "infonce": [[1], [1], [0], [1]],
}
WEIGHTS = {"document_regularizer_weight": 0.01, "query_regularizer_weight": 0.03}
FORMS = ("plain", "cached", "sparse", "sparse cached")
CASES = [(name, form) for name in PAIRS for form in FORMS]
CODE = """
    import os
    import sys
    import time
    from pathlib import Path

    import torch
    from torch.nn.parallel import DistributedDataParallel

    from sentence_transformers import SentenceTransformer, SparseEncoder

    from tests.losses.conftest import PAIRS, features
    from tests.losses.test_distributed import CASES, HALF, LABELS, build

    folder = Path(sys.argv[1])
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    rows = slice(rank * HALF, (rank + 1) * HALF)
    results = {}
    for name, form in CASES:
        kind, columns = ("sparse" if "sparse" in form else "dense"), PAIRS[name][2]
        of = SparseEncoder if kind == "sparse" else SentenceTransformer
        encoder = of(str(folder / kind), device="cpu").train()
        loss = build(encoder, name, form, gather_across_devices=True)
        loss.model = DistributedDataParallel(encoder, find_unused_parameters=True)
        labels = torch.tensor(LABELS[name])[rows]
        total = torch.stack(list(loss(features(encoder, columns, rows), labels).values())).sum()
        total.backward()
        mean = total.detach().clone()
        torch.distributed.all_reduce(mean)
        grads = {key: p.grad for key, p in encoder.named_parameters() if p.grad is not None}
        results[name, form] = {"loss": mean / 2, "gradients": grads}
    found, part = folder / "found.pt", folder / "found.part"
    if rank == 0:
        torch.save(results, part)
        part.rename(found)
    while not found.exists():
        time.sleep(0.05)
    # Gloo's threads sometimes abort a process that takes its group down, after all is computed.
    os._exit(0)
"""


def build(encoder, name, form, **options):
    """The loss of a case; a sparse one with both regularisers around it."""
    plain, cached, columns = PAIRS[name]
    size = {"mini_batch_size": 1} if "cached" in form else {}
    if "sparse" not in form:
        return (cached if size else plain)(encoder, columns, **options, **size)
    around = CachedNamedSpladeLoss if size else NamedSpladeLoss
    return around(encoder, plain(encoder, columns, **options), **WEIGHTS, **size)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    dense(folder / "mean").save_pretrained(str(folder / "dense"))
    sparse(folder / "splade").save_pretrained(str(folder / "sparse"))
    return folder


@pytest.fixture(scope="module")
def results(encoders):
    """What two processes find in every case."""
    script = encoders / "run.py"
    script.write_text(textwrap.dedent(CODE), encoding="utf-8")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", script, encoders,
    ]  # fmt: skip
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return torch.load(encoders / "found.pt", weights_only=True)


@pytest.fixture
def expected(encoders, tmp_path):
    """Loss and gradients of a case in one process with all rows; regularisers of the halves, as processes see them."""

    def call(name, form):
        plain, _, columns = PAIRS[name]
        labels = torch.tensor(LABELS[name])
        if "sparse" not in form:
            encoder = dense(tmp_path)
            found, grads = gradients(encoder, plain(encoder, columns), columns, labels, slice(0, 2 * HALF))
            return sum(found.values()), grads
        encoder = SparseEncoder(str(encoders / "sparse"), device="cpu").train()
        around = build(encoder, name, "sparse")
        inputs = features(encoder, columns, slice(0, 2 * HALF))
        vectors = [encoder(one)["sentence_embedding"] for one in inputs]
        total = sum(around.loss.compute_loss_from_embeddings(vectors, labels).values())
        for rows in (slice(0, HALF), slice(HALF, 2 * HALF)):
            half = around.compute_loss_from_embeddings([vector[rows] for vector in vectors], labels[rows])
            total = total + sum(value for key, value in half.items() if "regularizer" in key) / 2
        total.backward()
        return total.detach(), {key: p.grad for key, p in encoder.named_parameters() if p.grad is not None}

    return call


@pytest.mark.parametrize(("name", "form"), CASES)
def test_two_processes_are_one(results, expected, name, form):
    found, (loss, grads) = results[name, form], expected(name, form)
    torch.testing.assert_close(found["loss"], loss, rtol=1e-4, atol=1e-6)
    assert found["gradients"].keys() == grads.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in grads.values())
    for key, gradient in grads.items():
        torch.testing.assert_close(found["gradients"][key], gradient, rtol=1e-4, atol=2e-6)
