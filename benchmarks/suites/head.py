"""What the fused vocabulary head saves, against the stock SparseEncoder with its settings at their best.

    python -m benchmarks head [--quick]

Per row one process times both in turn on the same texts, all of them ``length`` tokens long: padding, which the fused
head never computes and the stock head does, would only widen the gap. Weights are random in published shapes (MiniLM:
6 layers of 384, BERT base: 12 of 768); the decoder bias is set so that about 120 entries of a text are active, as
after training. Two more bodies are the built-in trained encoder, alone and reading five more languages of which it
writes nothing (three columns of four are silent).

- encode: hidden layers, head and pooling of a batch, to sparse vectors; ``documents_per_second``.
- train: a step of SpladeLoss with in-batch negatives, forward, backward and AdamW.
- ``activation_memory_ratio``: peak of what a step allocates above weights, gradients and optimizer, fused / stock.
- ``head_vs_product``: time of the fused head / time of the bare float32 product of all states with the decoder.

The stock pooling gets the fastest of several ``chunk_size``; on GPUs with flash attention its inputs are flattened.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import BertConfig, BertForMaskedLM

import isthmus
from benchmarks import harness
from benchmarks.harness import ENCODER, LANGUAGES, RESULTS, ROOT, TOKENIZER, Row
from isthmus import assets
from isthmus.modules.fuse import fuse_head, fused_view, unfuse_head
from isthmus.modules.max_head import active_maxima
from isthmus.reading.storage import read_json

BODIES: dict[str, dict[str, int]] = {
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
TRAINED = "mini-splade-en"
# With the tokens of five languages beside its own, which it reads but does not write.
JOINED = "mini-splade-en, source kept"
JOINED_VOCABULARY = 131_303
VOCABULARIES = (30_522, 105_000, 250_002)
LENGTHS = (32, 128, 512)
TOKENS = {"minilm": 2048, "bert-base": 1024, TRAINED: 2048, JOINED: 2048}
TASKS = ["encode", "train"]
ACTIVE = 120
CHUNKS = (None, 16, 64)


class Bench:
    """An encoder and a batch of id sequences, twice: stock and fused."""

    def __init__(self, task: str, body: str, vocabulary: int, length: int, device: str) -> None:
        torch.manual_seed(0)
        self.task, self.device = task, torch.device(device)
        self.count = max(2, TOKENS[body] // length)
        self.encoder = make_encoder(body, vocabulary).to(device)
        self.vocabulary = self.encoder[0].auto_model.config.vocab_size
        self.ids = torch.randint(1000, self.vocabulary, (self.count, length), device=device)
        calibrate(self.encoder, self.ids)
        self.encoder.train(task == "train")
        # Dropout would make the two sides compute different things.
        self.encoder[0].eval()
        self.view = fused_view(self.encoder)
        self.loss = SpladeLoss(self.encoder, SparseMultipleNegativesRankingLoss(self.encoder), 1e-4, 1e-4)
        self.optimizer = torch.optim.AdamW(self.encoder.parameters(), lr=1e-7)

    def features(self, ids: torch.Tensor) -> dict[str, Any]:
        """Model inputs, nothing padded."""
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "modality": "text"}

    def encode(self, fused: bool) -> Any:
        """Sparse vectors of the batch."""
        with torch.inference_mode():
            if fused:
                return self.view(self.features(self.ids))["sentence_embedding"]
            return self.encoder(self.features(self.ids))["sentence_embedding"].to_sparse()

    def halves(self) -> list[dict[str, Any]]:
        """The texts as queries and their passages."""
        half = self.count // 2
        return [self.features(self.ids[:half]), self.features(self.ids[half : 2 * half])]

    def backward(self, fused: bool) -> Any:
        """A step without the optimizer, whose own memory is the same on both sides; the gradients stay."""
        (fuse_head if fused else unfuse_head)(self.encoder)
        total = sum(self.loss(self.halves()).values())
        self.optimizer.zero_grad(set_to_none=False)
        total.backward()
        return total

    def body(self) -> Any:
        """The hidden layers alone, and back through them where it is about training: what no head can save."""
        fuse_head(self.encoder)
        with torch.inference_mode(self.task == "encode"):
            parts = [self.features(self.ids)] if self.task == "encode" else self.halves()
            states = [self.encoder[0](part)["token_embeddings"] for part in parts]
            if self.task == "train":
                sum(state.sum() for state in states).backward()
        return states

    def held(self, fused: bool) -> Any:
        """What memory is measured of."""
        return self.encode(fused) if self.task == "encode" else self.backward(fused)

    def step(self, fused: bool) -> None:
        """What is timed."""
        self.held(fused)
        if self.task == "train":
            self.optimizer.step()

    def seconds(self, call: Callable[[], Any]) -> float:
        """Time of a call."""

        def finished() -> None:
            call()
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        return harness.timed(finished)[1]


# Dollars, an example to multiply with.
CORE_HOUR = 0.05


def make_encoder(body: str, vocabulary: int) -> SparseEncoder:
    """An encoder with random weights in a published shape, or the trained one."""
    source = assets.resolve(ENCODER)
    if body == TRAINED:
        return SparseEncoder(str(source), device="cpu").float()
    if body == JOINED:
        targets = [TOKENIZER.format(language=language) for language in LANGUAGES]
        options = {"method": "gaussian", "keep_source": True, "output": "source", "show_progress_bar": False}
        return isthmus.transfer(ENCODER, target_tokenizer=targets, **options)[0].float()
    transformer = Transformer(str(source), transformer_task="fill-mask", max_seq_length=512)
    config = BertConfig(vocab_size=vocabulary, max_position_embeddings=512, **BODIES[body])
    transformer.model = BertForMaskedLM(config).float()
    return SparseEncoder(modules=[transformer, SpladePooling("max")], similarity_fn_name="dot", device="cpu")


@torch.inference_mode()
def calibrate(encoder: SparseEncoder, ids: torch.Tensor) -> None:
    """Shift the decoder bias until a text has about ``ACTIVE`` active entries."""
    model = encoder[0].auto_model
    logits = [model(text[None], attention_mask=torch.ones_like(text[None])).logits[0].amax(dim=0) for text in ids[:4]]
    model.get_output_embeddings().bias -= torch.stack(logits).topk(ACTIVE).values[:, -1].mean()


def peak(call: Callable[[], Any], device: torch.device) -> int:
    """Most bytes that a call holds at once above what was there before."""
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        result = call()
    del result
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def difference(bench: Bench) -> Row:
    """Largest absolute difference of the vectors, and of the gradients relative to the largest one."""
    if bench.task == "encode":
        stock, active = bench.encode(False).to_dense(), bench.encode(True)
        fused = torch.zeros_like(stock)
        fused[active.texts, active.entries] = active.values
        return {"max_abs_diff": (stock - fused).abs().max().item(), "active_dims": len(active.values) / bench.count}
    found = []
    for fused in (False, True):
        bench.backward(fused)
        found.append({name: p.grad.clone() for name, p in bench.encoder.named_parameters() if p.grad is not None})
    gaps = {name: (found[1][name] - grad).abs().max().item() for name, grad in found[0].items()}
    largest = max(grad.abs().max().item() for grad in found[0].values())
    return {"max_abs_diff": max(gaps.values()), "max_gradient": largest}


def head_alone(bench: Bench) -> float:
    """Time of the fused head over that of the bare product, on the same states."""
    decoder = bench.encoder[0].auto_model.get_output_embeddings()
    with torch.inference_mode():
        states = bench.view[0](bench.features(bench.ids))["token_embeddings"].flatten(0, 1)
        lengths = [bench.ids.shape[1]] * bench.count
        weight, bias = decoder.weight.detach(), decoder.bias.detach()
        pieces = states.split(256)
        heads, products = [], []
        for _ in range(3):
            heads.append(bench.seconds(lambda: active_maxima(states, weight, bias, lengths)))
            products.append(bench.seconds(lambda: [weight @ piece.T for piece in pieces]))
    return statistics.median(heads) / statistics.median(products)


def measure(task: str, body: str, vocabulary: int, length: int, device: str, repeats: int) -> Row:
    """One row."""
    bench = Bench(task, body, vocabulary, length, device)
    chunks = {}
    for chunk in CHUNKS:
        bench.encoder[1].chunk_size = chunk
        bench.step(False)
        chunks[chunk] = bench.seconds(lambda: bench.step(False))
    best = min(chunks, key=lambda chunk: chunks[chunk])
    bench.encoder[1].chunk_size = best
    bench.step(True)
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(repeats):
        for fused in (False, True):
            times[fused].append(bench.seconds(lambda fused=fused: bench.step(fused)))
    memory = {}
    # The smallest footprint of the stock head is the one to beat, whatever its speed.
    for chunk in CHUNKS:
        bench.encoder[1].chunk_size = chunk
        memory[chunk] = peak(lambda: bench.held(False), bench.device)
    ours = peak(lambda: bench.held(True), bench.device)
    body_mb = peak(bench.body, bench.device) / 1e6
    unfuse_head(bench.encoder)
    stock, fused = statistics.median(times[False]), statistics.median(times[True])
    return {
        "task": task, "body": body, "vocabulary": bench.vocabulary, "length": length, "device": device,
        "batch": bench.count, "speedup": stock / fused, "activation_memory_ratio": ours / min(memory.values()),
        **difference(bench), "head_vs_product": head_alone(bench),
        "documents_per_second": bench.count / fused, "stock_documents_per_second": bench.count / stock,
        "body_activation_mb": body_mb, "activation_mb": ours / 1e6, "stock_activation_mb": min(memory.values()) / 1e6,
        "stock_chunk_size": best, "speedups": [a / b for a, b in zip(times[False], times[True], strict=True)],
    }  # fmt: skip


def grid(quick: bool, tasks: list[str], bodies: list[str]) -> list[tuple[str, str, int, int]]:
    """(task, body, vocabulary, length) of every row."""
    vocabularies, lengths = (VOCABULARIES[:1], (128,)) if quick else (VOCABULARIES, LENGTHS)
    chosen = bodies[:1] if quick else bodies
    rows = [(task, body, v, n) for task in tasks for body in chosen for v in vocabularies for n in lengths]
    trained = [(TRAINED, VOCABULARIES[0]), (JOINED, JOINED_VOCABULARY)]
    return rows + [(task, *encoder, 128) for encoder in trained for task in tasks if not quick]


def main(argv: Sequence[str] | None = None) -> None:
    """Run every row in a process of its own, or one row in this one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks head", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "head.json", help="rows that it has are kept")
    parser.add_argument("--quick", action="store_true", help="one vocabulary, body and length: a look, not a result")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--bodies", nargs="+", choices=list(BODIES), default=list(BODIES))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--row", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.row:
        task, body, vocabulary, length = args.row
        print(json.dumps(measure(task, body, int(vocabulary), int(length), args.device, args.repeats)))
        return
    rows = harness.read_rows(args.output)
    done = {(row["task"], row["body"], row["vocabulary"], row["length"], row["device"]) for row in rows}
    for cell in grid(args.quick, args.tasks, args.bodies):
        if (*cell, args.device) in done:
            continue
        command = [sys.executable, "-m", "benchmarks", "head", "--device", args.device]
        command += ["--repeats", str(args.repeats), "--row", *map(str, cell)]
        # The profiler that counts memory is talkative.
        quiet = os.environ | {"KINETO_LOG_LEVEL": "99"}
        child = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=quiet, cwd=ROOT)
        rows.append(row := json.loads(child.stdout))
        harness.say(f"{cell}: {row['speedup']:.2f}x as fast, {row['activation_memory_ratio']:.3f} of the memory")
        where = harness.machine("torch", "sentence-transformers", "transformers", threads=torch.get_num_threads())
        harness.write_json(args.output, {"rows": rows, **where})


def head_table(results: Path) -> str:
    """Time and memory of the fused head against the stock one."""
    found = read_json(results / "head.json")
    libraries = found["libraries"]
    rows = [
        [
            f"{row['task']}, {row['body']}", f"{row['vocabulary']:,}", str(row["length"]), row["device"],
            f"{row['speedup']:.2f}x", f"{row['activation_memory_ratio']:.2f}", f"{row['head_vs_product']:.2f}",
            f"{row['max_abs_diff']:.0e}",
        ]
        for row in sorted(found["rows"], key=lambda row: (row["task"], row["body"], row["vocabulary"], row["length"]))
    ]  # fmt: skip
    lines = [
        f"Against sentence-transformers {libraries['sentence-transformers']} with the best of three chunk sizes,",
        f"torch {libraries['torch']}, {found['threads']} threads, float32. Memory: peak of what a step allocates,",
        "fused / stock. Head / product: time of the fused head alone over that of the bare float32 product; below 1",
        "because most of it runs in bfloat16. Largest difference: of the vectors (encode), of the gradients (train).",
    ]
    header = ["task, body", "vocabulary", "length", "device", "speed", "memory", "head / product", "largest difference"]
    return harness.markdown(header, rows, lines)


def million_table(results: Path) -> str:
    """Time and money of encoding a million passages of 128 tokens on processors."""
    found = read_json(results / "head.json")
    bodies = {"mini-splade-en": 0, "mini-splade-en, source kept": 1, "minilm": 2, "bert-base": 3}
    measured = [row for row in found["rows"] if row["task"] == "encode" and row["length"] == 128]
    rows = []
    for row in sorted(measured, key=lambda row: (bodies[row["body"]], row["vocabulary"])):
        hours = 1e6 / row["documents_per_second"] / 3600
        cores = hours * found["threads"]
        price = f"{cores * CORE_HOUR:.1f}"
        rows.append([row["body"], f"{row['vocabulary']:,}", f"{hours:.0f}", f"{cores:.0f}", price])
    lines = [
        f"From the rate of a few batches with the fused head on {found['threads']} threads, multiplied.",
        f"Money at {CORE_HOUR} dollars a core hour: put your own price there.",
    ]
    return harness.markdown(["encoder", "vocabulary", "hours", "core hours", "dollars"], rows, lines)


TABLES = {"head": head_table, "million": million_table}
