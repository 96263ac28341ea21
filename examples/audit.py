"""Which languages does a model find where several are mixed?

python examples/audit.py isthmus/mini-bridge BM25 --languages en,ko --output audit.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import isthmus


def main(argv: Sequence[str] | None = None) -> None:
    """First whether each language is read at all, then what happens in the mixed pool."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--collection", default="demo")
    parser.add_argument("--languages", default="en,ko")
    parser.add_argument("--output")
    args = parser.parse_args(argv)
    result = isthmus.audit(args.models, args.collection, args.languages.split(","))
    for found in result.results:
        pool = found.pool
        print(f"{found.model}  {pool.name}  asked in {pool.query_language}: Complete@10 {found['complete@10']:.1f}")
    if args.output:
        result.save(args.output)


if __name__ == "__main__":
    main()
