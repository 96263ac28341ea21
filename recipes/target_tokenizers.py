"""Make the target tokenizers `isthmus/tokenizer-ar` ... `-zh`: WordPiece with a normaliser that fits the script.

ar, hi and ru are trained on plain text, as `isthmus tokenizer` does it; ko and zh take published vocabularies.

    python recipes/target_tokenizers.py --data DATA --out src/isthmus/assets
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

from data import lines, parse_arguments

from isthmus.vocabulary import train_tokenizer
from isthmus.vocabulary.script import normalizer_of
from isthmus.vocabulary.train_tokenizer import assemble

GIVEN = {"ko": "koelectra.txt", "zh": "bert-base-chinese.txt"}
SCRIPTS = {"ko": "HANGUL", "zh": "CJK"}
SEED = 11


def given(language: str, data: Path) -> Any:
    """A tokenizer over a published vocabulary; the Korean one is cased."""
    # Not splitlines: one entry is itself a line separator (U+2028).
    entries = (data / "vocab" / GIVEN[language]).read_text(encoding="utf-8").rstrip("\n").split("\n")
    vocabulary = {token: i for i, token in enumerate(entries)}
    return assemble(vocabulary, normalizer_of(SCRIPTS[language], lowercase=language != "ko"))


def trained(language: str, data: Path, size: int) -> Any:
    """A tokenizer trained on the distinct lines of the plain text, in random order."""
    texts = list(dict.fromkeys(line for line in lines(data / f"text/{language}.txt.xz") if line.strip()))
    random.Random(SEED).shuffle(texts)
    tokenizer, report = train_tokenizer(texts, vocabulary_size=size, language=language)
    print(report)
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("src/isthmus/assets"))
    parser.add_argument("--vocabulary", type=int, default=24_000)
    parser.add_argument("--languages", default="ar,hi,ko,ru,zh")
    args = parse_arguments(parser)
    for language in args.languages.split(","):
        made = given(language, args.data) if language in GIVEN else trained(language, args.data, args.vocabulary)
        made.save_pretrained(str(args.out / f"tokenizer-{language}"))
        print(language, len(made))


if __name__ == "__main__":
    main()
