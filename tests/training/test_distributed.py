import json
import os
import subprocess
import sys

from sentence_transformers import SparseEncoder

from tests.training.conftest import PAIRS, tensors


def test_two_processes_train_one_encoder(sparse_folder, write, tmp_path):
    output = tmp_path / "out"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        "-m", "isthmus", "train", sparse_folder, "--train", write(PAIRS), "-o", output, "--steps", "6",
        "--batch-size", "2", "--learning-rate", "0.01", "--no-bf16", "--target-active-dims", "6",
        "--regularizer-warmup", "0.1", "--save-steps", "3", "--json",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert (report["processes"], report["steps"], report["stopped_early"]) == (2, 6, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pairs.jsonl"]
    assert not (output / "checkpoints").exists()
    before, after = tensors(sparse_folder), tensors(output)
    assert any((before[name] != after[name]).any() for name in before)
    assert SparseEncoder(str(output), device="cpu").encode(["the house"]).coalesce().values().numel() > 0
