"""Cut long documents into passages that an encoder reads whole.

    python examples/chunk.py documents.jsonl -o corpus.jsonl --words 120

A passage ends where a sentence ends. Its id is the document's with a number behind it;
`document` names where it is from.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from isthmus.reading.corpus import Corpus

# Thai, Lao, Burmese, Khmer, Japanese and Chinese write no spaces between words.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
SENTENCE = re.compile(r"(?<=[.!?।؟])\s+|(?<=[。！？])|\n+")


def size(text: str) -> int:
    """Words; where no spaces are written, two characters count as one."""
    return len(text.split()) + len(UNSPACED.findall(text)) // 2


def passages(text: str, words: int) -> Iterator[str]:
    """Neighbouring sentences, together at most ``words`` long where no sentence is longer by itself."""
    kept: list[str] = []
    for sentence in filter(None, map(str.strip, SENTENCE.split(text))):
        if kept and size(" ".join([*kept, sentence])) > words:
            yield " ".join(kept)
            kept = []
        kept.append(sentence)
    if kept:
        yield " ".join(kept)


def main(argv: Sequence[str] | None = None) -> None:
    """Read documents as `isthmus index` does and write passages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--words", type=int, default=120)
    args = parser.parse_args(argv)
    count = 0
    with args.output.open("w", encoding="utf-8") as lines:
        for document in Corpus(args.corpus):
            for number, text in enumerate(passages(document.text, args.words)):
                row = {"id": f"{document.id}-{number}", "title": document.title, "text": text, "document": document.id}
                lines.write(json.dumps(document.metadata | row, ensure_ascii=False) + "\n")
                count += 1
    print(f"{count} passages written to {args.output}")


if __name__ == "__main__":
    main()
