"""What the benchmarks train on: pairs from documentation, and unlabelled text in the target language."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

from dev_pairs import PROSE

# Half of the Korean sections are machine translations of years ago.
LEFT_OUT = ("ms_cpp_docs_mt",)


def target_text(data: Path, language: str) -> list[str]:
    """Unlabelled text for FOCUS: target sides of the training pairs, without the prose that development reads."""
    texts = []
    with lzma.open(data / f"parallel/en-{language}.tsv.xz", "rt", encoding="utf-8") as stream:
        for line in stream:
            source, _, text = line.rstrip("\n").split("\t")[:3]
            if not source.startswith((*PROSE, *LEFT_OUT)):
                texts.append(text)
    return texts + [text for row in training_rows(data, language) for text in (row["query"], row["passage"])]


def training_rows(data: Path, language: str) -> list[dict[str, Any]]:
    """Headings and sections of documentation to train on."""
    with lzma.open(data / f"sections/en-{language}.jsonl.xz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [row for row in rows if row["source"] not in LEFT_OUT and row["query"].strip() and row["passage"].strip()]
