"""Train an encoder on pairs, or on unlabelled text with its own echo as the teacher.

python examples/train.py splade-en-ko --pairs pairs.jsonl -o trained
python examples/train.py splade-en-ko --corpus corpus.jsonl -o taught
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from isthmus.training import train, train_self_supervised


def main(argv: Sequence[str] | None = None) -> None:
    """Either way a plain encoder folder is written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("encoder")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--pairs")
    data.add_argument("--corpus")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-active-share", type=float, default=0.5)
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args(argv)
    options = {"steps": args.steps, "batch_size": args.batch_size, "max_active_share": args.max_active_share}
    if args.pairs:
        print(train(args.encoder, args.pairs, args.output, **options))
    else:
        print(train_self_supervised(args.encoder, args.corpus, args.output, teacher="echo", **options))


if __name__ == "__main__":
    main()
