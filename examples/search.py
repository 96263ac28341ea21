"""Index a corpus in a folder, search it, and say why the best hit was found.

python examples/search.py splade-en-ko corpus.jsonl "Where can I borrow a book?" -o idx
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import isthmus


def main(argv: Sequence[str] | None = None) -> None:
    """A corpus is a file as `isthmus index` reads it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("encoder")
    parser.add_argument("corpus")
    parser.add_argument("query")
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args(argv)
    index = isthmus.SparseIndex.build(args.encoder, args.corpus, args.output)  # opens again with SparseIndex.open
    hits = index.search(args.query, top_k=3)
    for hit in hits:
        print(f"{hit.score:.2f}  {hit.id}  {hit.document.text}")
    for match in index.explain(args.query, hits[0].id)[:5] if hits else ():
        print(f"{match.token}  {match.query_weight:.2f} x {match.document_weight:.2f}")


if __name__ == "__main__":
    main()
