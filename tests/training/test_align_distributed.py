import json
import os
import subprocess
import sys

import pytest
from sentence_transformers import SentenceTransformer

from tests.training.conftest import tensors
from tests.training.test_align import ROWS


# 7 rows are 3 full batches, and so one for each of two processes; the third is left out, other rows in every epoch.
@pytest.mark.parametrize(
    ("rows", "options"),
    [
        pytest.param(ROWS, ["--steps", "4", "--negatives", "0"], marks=pytest.mark.long),
        (ROWS[:7], ["--epochs", "4", "--negatives", "2"]),
    ],
    ids=["without negatives", "with negatives, rows left over"],
)
def test_two_processes_align_one_encoder(dense_folder, write, tmp_path, rows, options):
    output = tmp_path / "out"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "isthmus",
        "align", dense_folder, "--train", write(rows), "-o", output, "--batch-size", "2",
        "--mini-batch-size", "1", "--gather", "--learning-rate", "0.01", "--no-bf16", "--save-steps", "2", "--json",
        *options,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert (report["processes"], report["steps"], report["rows_per_step"]) == (2, 4, 2.0)
    assert (report["stopped_early"], report["settings"]["gather_across_devices"]) == (False, True)
    assert len(report["data"]["mined"]) == (0 if rows is ROWS else 2)
    assert "How this model was aligned" in (output / "README.md").read_text(encoding="utf-8")
    before, after = tensors(dense_folder), tensors(output)
    assert any((before[name] != after[name]).any() for name in before)
    assert SentenceTransformer(str(output), device="cpu").encode(["the house"]).shape == (1, 16)
