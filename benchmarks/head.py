"""What the fused vocabulary head saves, against the stock SparseEncoder with its settings at their best.

    python benchmarks/head.py --json [--quick] [-o FILE]
    python benchmarks/head.py --profile benchmarks/results/head_profile.txt

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
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
from transformers import BertConfig, BertForMaskedLM

import isthmus
from isthmus import assets
from isthmus.modules.fuse import fuse_head, fused_view, unfuse_head
from isthmus.modules.max_head import active_maxima
from isthmus.reading.storage import atomic_write

BODIES: dict[str, dict[str, int]] = {
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
TRAINED = "mini-splade-en"
# With the tokens of five languages beside its own, which it reads but does not write.
JOINED = "mini-splade-en, source kept"
LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
JOINED_VOCABULARY = 131_303
VOCABULARIES = (30_522, 105_000, 250_002)
LENGTHS = (32, 128, 512)
TOKENS = {"minilm": 2048, "bert-base": 1024, TRAINED: 2048, JOINED: 2048}
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

    def train(self, fused: bool) -> Any:
        """One step; the gradients stay to be compared."""
        total = self.backward(fused)
        self.optimizer.step()
        return total

    def backward(self, fused: bool) -> Any:
        """A step without the optimizer, whose own memory is the same on both sides."""
        (fuse_head if fused else unfuse_head)(self.encoder)
        half = self.count // 2
        total = sum(self.loss([self.features(self.ids[:half]), self.features(self.ids[half : 2 * half])]).values())
        self.optimizer.zero_grad(set_to_none=False)
        total.backward()
        return total

    def body(self) -> Any:
        """The hidden layers alone, and back through them where it is about training: what no head can save."""
        fuse_head(self.encoder)
        half = self.count // 2
        with torch.inference_mode(self.task == "encode"):
            parts = [self.ids] if self.task == "encode" else [self.ids[:half], self.ids[half : 2 * half]]
            states = [self.encoder[0](self.features(part))["token_embeddings"] for part in parts]
            if self.task == "train":
                sum(state.sum() for state in states).backward()
        return states

    def step(self, fused: bool) -> Any:
        """What is timed."""
        return self.encode(fused) if self.task == "encode" else self.train(fused)


def make_encoder(body: str, vocabulary: int) -> SparseEncoder:
    """An encoder with random weights in a published shape, or the trained one."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    source = assets.resolve("isthmus/mini-splade-en")
    if body == TRAINED:
        return SparseEncoder(str(source), device="cpu").float()
    if body == JOINED:
        targets = [f"isthmus/tokenizer-{language}" for language in LANGUAGES]
        options = {"method": "gaussian", "keep_source": True, "output": "source", "show_progress_bar": False}
        return isthmus.transfer(f"isthmus/{TRAINED}", target_tokenizer=targets, **options)[0].float()
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


def timed(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call."""
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


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


def difference(bench: Bench) -> dict[str, float]:
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


def head_alone(bench: Bench) -> dict[str, float]:
    """The fused head beside the bare product, on the same states."""
    decoder = bench.encoder[0].auto_model.get_output_embeddings()
    with torch.inference_mode():
        states = bench.view[0](bench.features(bench.ids))["token_embeddings"].flatten(0, 1)
        lengths = [bench.ids.shape[1]] * bench.count
        weight, bias = decoder.weight.detach(), decoder.bias.detach()
        pieces = states.split(256)
        heads, products = [], []
        for _ in range(3):
            heads.append(timed(lambda: active_maxima(states, weight, bias, lengths), bench.device))
            products.append(timed(lambda: [weight @ piece.T for piece in pieces], bench.device))
    return {"head_vs_product": statistics.median(heads) / statistics.median(products)}


def measure(task: str, body: str, vocabulary: int, length: int, device: str, repeats: int) -> dict[str, Any]:
    """One row."""
    bench = Bench(task, body, vocabulary, length, device)
    chunks = {}
    for chunk in CHUNKS:
        bench.encoder[1].chunk_size = chunk
        bench.step(False)
        chunks[chunk] = timed(lambda: bench.step(False), bench.device)
    best = min(chunks, key=lambda chunk: chunks[chunk])
    bench.encoder[1].chunk_size = best
    bench.step(True)
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(repeats):
        for fused in (False, True):
            times[fused].append(timed(lambda fused=fused: bench.step(fused), bench.device))
    held = bench.encode if task == "encode" else bench.backward
    memory = {}
    # The smallest footprint of the stock head is the one to beat, whatever its speed.
    for chunk in CHUNKS:
        bench.encoder[1].chunk_size = chunk
        memory[chunk] = peak(lambda: held(False), bench.device)
    ours = peak(lambda: held(True), bench.device)
    body_mb = peak(bench.body, bench.device) / 1e6
    unfuse_head(bench.encoder)
    stock, fused = statistics.median(times[False]), statistics.median(times[True])
    return {
        "task": task, "body": body, "vocabulary": bench.vocabulary, "length": length, "device": device,
        "batch": bench.count, "speedup": stock / fused, "activation_memory_ratio": ours / min(memory.values()),
        **difference(bench),
        **head_alone(bench),
        "documents_per_second": bench.count / fused, "stock_documents_per_second": bench.count / stock,
        "body_activation_mb": body_mb, "activation_mb": ours / 1e6, "stock_activation_mb": min(memory.values()) / 1e6,
        "stock_chunk_size": best, "speedups": [a / b for a, b in zip(times[False], times[True], strict=True)],
    }  # fmt: skip


def profile(body: str, vocabulary: int, length: int, device: str) -> str:
    """Where the time of each side goes, by operator."""
    tables = []
    for task in ("encode", "train"):
        bench = Bench(task, body, vocabulary, length, device)
        for fused in (False, True):
            bench.step(fused)
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
                bench.step(fused)
            title = f"{task}, {'fused' if fused else 'stock'}, {body}, {vocabulary:,} tokens, length {length}, {device}"
            tables.append(f"{title}\n{found.key_averages().table(sort_by='self_cpu_time_total', row_limit=12)}")
    return "\n".join(tables)


def grid(quick: bool, tasks: list[str], bodies: list[str]) -> list[tuple[str, str, int, int]]:
    """(task, body, vocabulary, length) of every row."""
    vocabularies, lengths = (VOCABULARIES[:1], (128,)) if quick else (VOCABULARIES, LENGTHS)
    chosen = bodies[:1] if quick else bodies
    rows = [(task, body, v, n) for task in tasks for body in chosen for v in vocabularies for n in lengths]
    trained = [(TRAINED, VOCABULARIES[0]), (JOINED, JOINED_VOCABULARY)]
    return rows + [(task, *encoder, 128) for encoder in trained for task in tasks if not quick]


def main() -> None:
    """Run every row in a process of its own, or one row in this one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the rows as JSON on standard output")
    parser.add_argument("-o", "--output", type=Path, help="also write them here; rows that are there are kept")
    parser.add_argument("--quick", action="store_true", help="one vocabulary, body and length: a look, not a result")
    parser.add_argument("--tasks", nargs="+", choices=["encode", "train"], default=["encode", "train"])
    parser.add_argument("--bodies", nargs="+", choices=list(BODIES), default=list(BODIES))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", type=Path, help="only write where the time of one shape goes to this file")
    parser.add_argument("--row", nargs=4, metavar=("TASK", "BODY", "VOCABULARY", "LENGTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.profile:
        text = profile(options.bodies[0], VOCABULARIES[0], LENGTHS[1], options.device)
        atomic_write(options.profile, "\n".join(line.rstrip() for line in text.splitlines()).encode() + b"\n")
        return
    if options.row:
        task, body, vocabulary, length = options.row
        print(json.dumps(measure(task, body, int(vocabulary), int(length), options.device, options.repeats)))
        return
    rows = json.loads(options.output.read_text())["rows"] if options.output and options.output.exists() else []
    done = {(row["task"], row["body"], row["vocabulary"], row["length"], row["device"]) for row in rows}
    for cell in grid(options.quick, options.tasks, options.bodies):
        if (*cell, options.device) in done:
            continue
        command = [sys.executable, __file__, "--device", options.device, "--repeats", str(options.repeats)]
        # The profiler that counts memory is talkative.
        quiet = os.environ | {"KINETO_LOG_LEVEL": "99"}
        command += ["--row", *map(str, cell)]
        child = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=quiet)
        rows.append(json.loads(child.stdout))
        print(summary(rows[-1]), file=sys.stderr, flush=True)
        if options.output:
            atomic_write(options.output, (json.dumps({"rows": rows, **machine()}, indent=1) + "\n").encode())
    if options.json:
        print(json.dumps(rows, indent=1))


def summary(row: dict[str, Any]) -> str:
    """One line for people."""
    return (
        f"{row['task']:6} {row['body']:14} {row['vocabulary']:7,} tokens, length {row['length']:3} on {row['device']}: "
        f"{row['speedup']:.2f}x as fast, {row['activation_memory_ratio']:.3f} of the memory, "
        f"head / product {row['head_vs_product']:.2f}, largest difference {row['max_abs_diff']:.1e}"
    )


def machine() -> dict[str, Any]:
    """Where this ran."""
    libraries = {name: version(name) for name in ("torch", "sentence-transformers", "transformers")}
    return {"threads": torch.get_num_threads(), "python": platform.python_version(), "libraries": libraries}


if __name__ == "__main__":
    main()
