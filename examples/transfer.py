"""Give an English encoder the vocabulary of another language, look inside, keep it.

python examples/transfer.py -o splade-en-ko
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import isthmus


def main(argv: Sequence[str] | None = None) -> None:
    """The built-in models, unless others are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", default="isthmus/mini-splade-en")
    parser.add_argument("--tokenizer", default="isthmus/tokenizer-ko")
    parser.add_argument("--bridge", default="isthmus/mini-bridge")
    parser.add_argument("--vectors", help="token vectors computed elsewhere, instead of a bridge")
    parser.add_argument("--replace", action="store_true", help="do not keep the English vocabulary")
    parser.add_argument("--token", default="학교", help="look at this one")
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args(argv)
    bridge = None if args.vectors else args.bridge
    encoder, report = isthmus.transfer(
        args.encoder,
        target_tokenizer=args.tokenizer,
        bridge=bridge,
        vectors=args.vectors,
        keep_source=not args.replace,
    )
    print(report)
    print(args.token, "=", report.token_map.explain(args.token, 5))
    encoder.save_pretrained(args.output)
    report.save(args.output)


if __name__ == "__main__":
    main()
