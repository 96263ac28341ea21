"""Give an encoder the words of its texts back, and measure it beside the plain one and BM25.

python examples/echo.py splade-en-ko --collection demo --language ko
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import isthmus
from isthmus.encoders.load import kept_tokens, load_encoder
from isthmus.lexical import add_lexical


def main(argv: Sequence[str] | None = None) -> None:
    """The echo is fitted to the passages of the collection; no question and no judgement is looked at."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("encoder")
    parser.add_argument("--collection", default="demo")
    parser.add_argument("--language")
    args = parser.parse_args(argv)
    collection = isthmus.load_collection(args.collection, language=args.language)
    plain = load_encoder(args.encoder)
    echoing = add_lexical(plain, list(collection.corpus.values()), "echo", known=kept_tokens(args.encoder))
    for name, model in (("plain", load_encoder(args.encoder)), ("echo", echoing), ("BM25", "BM25")):
        print(f"{name:6} nDCG@10 {isthmus.evaluate(model, collection)['ndcg@10']:.3f}")


if __name__ == "__main__":
    main()
