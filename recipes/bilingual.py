"""Carry an English encoder into five languages at once, then train it briefly on pairs of all of them.

    python recipes/bilingual.py --encoder isthmus/mini-splade-en --data DATA --out runs/bilingual-splade
    python recipes/bilingual.py --encoder FOLDER_OF_MINILM       --data DATA --out runs/bilingual-minilm

The pairs are headings and sections of documentation (``sections/en-XX.jsonl.xz``), each in English or in the other
language, so that a batch holds all directions and one passage competes with those of every language. The trainers,
losses and schedules are those of sentence-transformers; a killed run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from data import lines, parse_arguments
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
from transformers.trainer_utils import get_last_checkpoint

import isthmus
from isthmus.encoders.load import load_encoder
from isthmus.token_map import Fate, TokenMap

LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
DIRECTIONS = (
    ("query", "passage"),
    ("query_en", "passage"),
    ("query", "passage_en"),
    ("query_en", "passage_en"),
    ("passage", "passage_en"),
)


def pairs(data: Path, per_language: int, seed: int) -> Dataset:
    """Pairs of all languages and directions, shuffled; a row of the files gives one pair of each direction."""
    rng = random.Random(seed)
    found: list[tuple[str, str]] = []
    for language in LANGUAGES:
        rows = [json.loads(line) for line in lines(data / f"sections/en-{language}.jsonl.xz")]
        # Half of the Korean file is machine translation of years ago.
        rows = [row for row in rows if row["source"] != "ms_cpp_docs_mt"]
        rows = [row for row in rows if row["query"].strip() and row["query_en"].strip()]
        for row in rng.sample(rows, min(per_language, len(rows))):
            found += [(row[first], row[second]) for first, second in DIRECTIONS]
    rng.shuffle(found)
    return Dataset.from_dict({"anchor": [pair[0] for pair in found], "positive": [pair[1] for pair in found]})


def carried(name: str, folder: Path) -> Any:
    """The encoder that reads all languages, made once and kept in ``folder``."""
    if not (folder / "modules.json").exists():
        encoder, report = isthmus.transfer(
            name,
            target_tokenizer=[f"isthmus/tokenizer-{language}" for language in LANGUAGES],
            bridge="isthmus/mini-bridge",
            keep_source=True,
        )
        encoder.save_pretrained(str(folder))
        report.save(folder)
    return load_encoder(folder).float()


def freeze_all_but_new_rows(encoder: SparseEncoder | SentenceTransformer, token_map: TokenMap) -> None:
    """Let training move the rows of added tokens alone: what reads and writes English stays bit by bit."""
    encoder.requires_grad_(False)
    weight = encoder.transformers_model.get_input_embeddings().weight
    weight.requires_grad_(True)
    kept = torch.from_numpy(token_map.rows(Fate.KEPT))
    weight.register_hook(lambda gradient: gradient.index_fill(0, kept.to(gradient.device), 0.0))


def train(encoder: SparseEncoder | SentenceTransformer, dataset: Dataset, args: argparse.Namespace) -> None:
    """Train in place."""
    settings: dict[str, Any] = {
        "output_dir": str(args.out / "checkpoints"),
        "max_steps": args.steps,
        "per_device_train_batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "warmup_steps": args.steps // 10,
        "batch_sampler": BatchSamplers.NO_DUPLICATES,
        "bf16": True,
        "use_cpu": not torch.cuda.is_available(),
        "save_steps": 50,
        "save_total_limit": 1,
        "logging_steps": 10,
        "report_to": "none",
        "seed": args.seed,
    }
    if isinstance(encoder, SparseEncoder):
        isthmus.fuse_head(encoder)
        loss: Any = SpladeLoss(
            encoder,
            SparseMultipleNegativesRankingLoss(encoder, scale=1.0),
            document_regularizer_weight=args.document_regularizer_weight,
            query_regularizer_weight=args.query_regularizer_weight,
        )
        trainer: Any = SparseEncoderTrainer(
            encoder, SparseEncoderTrainingArguments(**settings), train_dataset=dataset, loss=loss
        )
    else:
        loss = MultipleNegativesRankingLoss(encoder)
        trainer = SentenceTransformerTrainer(
            encoder, SentenceTransformerTrainingArguments(**settings), train_dataset=dataset, loss=loss
        )
    last = get_last_checkpoint(settings["output_dir"]) if Path(settings["output_dir"]).is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    if isinstance(encoder, SparseEncoder):
        isthmus.unfuse_head(encoder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", default="isthmus/mini-splade-en")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--per-language", type=int, default=2000)
    parser.add_argument("--query-regularizer-weight", type=float, default=0.006)
    parser.add_argument("--document-regularizer-weight", type=float, default=0.004)
    parser.add_argument("--new-rows-only", action="store_true", help="leave everything but the added rows as it is")
    parser.add_argument("--seed", type=int, default=0)
    args = parse_arguments(parser)
    encoder = carried(args.encoder, args.out / "zero-shot")
    length = encoder.max_seq_length
    encoder.max_seq_length = args.max_length
    if args.new_rows_only:
        freeze_all_but_new_rows(encoder, TokenMap.load(args.out / "zero-shot"))
    train(encoder, pairs(args.data, args.per_language, args.seed), args)
    encoder.max_seq_length = length
    encoder.save_pretrained(str(args.out / "trained"))
    shutil.copy(args.out / "zero-shot" / "transfer_report.json", args.out / "trained")


if __name__ == "__main__":
    main()
