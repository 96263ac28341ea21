"""Train an encoder to treat languages alike, and audit it before and after.

python examples/align.py isthmus/mini-bridge rows.jsonl -o aligned --steps 20
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import isthmus
from isthmus.training import align


def main(argv: Sequence[str] | None = None) -> None:
    """Rows as `isthmus pairs` writes them; audit on other questions than those you train on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("encoder")
    parser.add_argument("rows")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--collection", help="audit on this one")
    parser.add_argument("--languages", default="en,ko")
    parser.add_argument("--max-active-share", type=float, default=0.5)
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args(argv)
    options = {"steps": args.steps, "batch_size": args.batch_size, "max_active_share": args.max_active_share}
    print(align(args.encoder, args.rows, args.output, negatives=0, **options))
    if args.collection:
        print(isthmus.audit([args.encoder, args.output], args.collection, args.languages.split(",")))


if __name__ == "__main__":
    main()
