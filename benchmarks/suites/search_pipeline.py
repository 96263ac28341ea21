"""From an encoder's folder to a searchable index, stage by stage, each beside the least that it could take."""

from __future__ import annotations

import json
import lzma
import os
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, say, timed
from isthmus import assets
from isthmus.encoders.fingerprint import OpenEncoder, identify, open_encoder
from isthmus.encoders.load import load_encoder
from isthmus.index import SparseIndex, build_index, encode_corpus
from isthmus.index.build import PART_SIZE

LIBRARIES = ("sentence_transformers", "isthmus.encoders.encoding")
CHARACTERS = 400
BATCH = 32
SAMPLE = 4 * PART_SIZE
QUERY = "how to keep bread fresh"


def pipeline(model: str, documents: int, folder: Path, threads: int) -> list[Row]:
    """A row for each stage: its seconds, and ``floor``, which says what was taken for the least that it could take.

    Floors of encoding are measured on a sample and multiplied.
    """
    corpus, idx = folder / "corpus.jsonl", folder / "idx"
    texts = passages(documents)
    corpus.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    rows: list[Row] = []

    def row(stage: str, seconds: float, floor: str, least: float) -> None:
        rows.append({"stage": stage, "seconds": seconds, "floor": floor, "floor_seconds": least})
        say(f"{stage:24} {seconds:9.3f} s; {floor} {least:.3f} s")

    torch, torch_alone = timed(lambda: import_module("torch"))
    torch.set_num_threads(threads)
    _, others = timed(lambda: [import_module(name) for name in LIBRARIES])
    row("load libraries", torch_alone + others, "torch alone", torch_alone)
    opened, seconds = timed(lambda: open_encoder(model))
    _, least = timed(lambda: load_encoder(model, trust_remote_code=False, argument="model"))
    row("open encoder", seconds, "without its fingerprint", least)
    _, seconds = timed(lambda: encode_corpus(opened.encoder, corpus, folder / "encoded", batch_size=BATCH))
    sample = texts[:SAMPLE]
    least = floor_of_encoding(opened.encoder, sample) * len(texts) / len(sample)
    row("encode to parts", seconds, "tokens and hidden layers, without the vocabulary head", least)
    given = OpenEncoder(opened.encoder, identify(opened.encoder, model), opened.vocabulary_size)
    _, seconds = timed(lambda: build_index(given, folder / "encoded", idx))
    _, least = timed(lambda: (shutil.copytree(idx, folder / "copy"), os.sync()))
    row("parts to index", seconds, "writing the index's files once more", least)
    index, seconds = timed(lambda: SparseIndex.open(idx, model=opened.encoder))
    _, least = timed(lambda: [path.open("rb").close() for path in idx.rglob("*") if path.is_file()])
    row("open index", seconds, "opening its files", least)
    _, seconds = timed(lambda: index.search(QUERY))
    _, least = timed(lambda: index.search(QUERY))
    row("first query, of a text", seconds, "the same query again", least)
    summary = index.summary()
    told = {"model": model, "asked_for": documents, "threads": threads, "documents": len(index)}
    told |= {"postings": summary["postings"], "bytes": summary["bytes"]}
    return [{**told, **one} for one in rows]


def passages(count: int) -> list[str]:
    """Windows of running English text, overlapping where the text is short; of ISTHMUS_DATA, else of the demo."""
    data = os.environ.get("ISTHMUS_DATA")
    if data is None:
        demo = (assets.resolve("isthmus/demo") / "en" / "corpus.jsonl").read_text(encoding="utf-8")
        text = " ".join(json.loads(line)["text"] for line in demo.splitlines())
    else:
        with lzma.open(Path(data) / "text" / "en.txt.xz", "rt", encoding="utf-8") as stream:
            text = " ".join(stream.read().split())
    step = max(1, (len(text) - CHARACTERS) // count)
    return [text[place * step : place * step + CHARACTERS] for place in range(count)]


def floor_of_encoding(encoder: Any, texts: list[str]) -> float:
    """Seconds of the tokenizer and of the hidden layers alone, over the batches that encoding makes."""
    import torch

    from isthmus.encoders.encoding import full_precision
    from isthmus.modules.fuse import fused_view

    view = fused_view(full_precision(encoder))
    if view is None:
        raise SystemExit("the pipeline is measured with a SPLADE encoder")
    batches = []
    for start in range(0, len(texts), PART_SIZE):
        window = sorted(texts[start : start + PART_SIZE], key=len, reverse=True)
        batches += [window[first : first + BATCH] for first in range(0, len(window), BATCH)]
    with torch.inference_mode():
        return timed(lambda: [view[0](view.preprocess(batch, task="document")) for batch in batches])[1]
