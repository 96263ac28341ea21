"""Make the target tokenizers `isthmus/tokenizer-ar` ... `-zh`: WordPiece with a normaliser that fits the script.

ar, hi and ru are trained on plain text; ko and zh take published vocabularies. Diacritics that belong to the spelling
(Hindi vowel signs, Cyrillic й) survive; only Arabic vowel marks and tatweel, which writers leave out, are removed.

    python recipes/target_tokenizers.py --data DATA --out src/isthmus/assets
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from data import lines, parse_arguments
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
ARABIC_MARKS = Regex("[\u064b-\u065f\u0670\u0640]")
GIVEN = {"ko": "koelectra.txt", "zh": "bert-base-chinese.txt"}
SEED = 11


def normalizer(language: str) -> normalizers.Normalizer:
    """Unicode form, case and marks as the script's readers ignore them."""
    cased = language == "ko"
    steps: list[normalizers.Normalizer] = [
        normalizers.NFC() if language in ("hi", "ko") else normalizers.NFKC(),
        normalizers.BertNormalizer(lowercase=not cased, strip_accents=False),
    ]
    if language == "ar":
        steps.append(normalizers.Replace(ARABIC_MARKS, ""))
    return normalizers.Sequence(steps)


def build(language: str, data: Path, size: int) -> PreTrainedTokenizerFast:
    """A BERT-style tokenizer of ``language``."""
    if language in GIVEN:
        # Not splitlines: one entry is itself a line separator (U+2028).
        entries = (data / "vocab" / GIVEN[language]).read_text(encoding="utf-8").rstrip("\n").split("\n")
        tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(entries)}, unk_token="[UNK]"))
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizer(language)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    if language not in GIVEN:
        texts = list(dict.fromkeys(line for line in lines(data / f"text/{language}.txt.xz") if line.strip()))
        random.Random(SEED).shuffle(texts)
        trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(SPECIALS.values()), limit_alphabet=400)
        tokenizer.train_from_iterator(texts, trainer)
    ids = {token: tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=list(ids.items())
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **SPECIALS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("src/isthmus/assets"))
    parser.add_argument("--vocabulary", type=int, default=24_000)
    parser.add_argument("--languages", default="ar,hi,ko,ru,zh")
    args = parse_arguments(parser)
    for language in args.languages.split(","):
        tokenizer = build(language, args.data, args.vocabulary)
        tokenizer.save_pretrained(str(args.out / f"tokenizer-{language}"))
        print(language, len(tokenizer))


if __name__ == "__main__":
    main()
