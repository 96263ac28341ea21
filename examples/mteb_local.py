"""A transferred encoder on a retrieval task of one's own through mteb, without a network.

    python examples/mteb_local.py --language ko

The encoder is made from the models that ship with Isthmus, the task from its demo collection; ``--encoder`` takes any
encoder folder instead, and :func:`task_of` any collection that ``isthmus.load_collection`` reads.
"""

from __future__ import annotations

import argparse
from typing import Any

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from sentence_transformers import SparseEncoder

import isthmus
from isthmus.transferring.preset import preset

# mteb wants ISO 639-3 and a script.
LANGUAGES = {
    "ar": "arb-Arab",
    "en": "eng-Latn",
    "hi": "hin-Deva",
    "ko": "kor-Hang",
    "ru": "rus-Cyrl",
    "zh": "zho-Hans",
}


def task_of(collection: Any) -> AbsTaskRetrieval:
    """Wrap a collection as a retrieval task of mteb that is already loaded, so that nothing is fetched.

    Args:
        collection: What ``isthmus.load_collection`` returned, in one of ``LANGUAGES``.
    """

    class LocalRetrieval(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=f"Local{collection.name.title()}Retrieval",
            description="A collection on this machine",
            type="Retrieval",
            dataset={"path": collection.name, "revision": "local"},
            eval_splits=["test"],
            eval_langs=[LANGUAGES[collection.language]],
            main_score="ndcg_at_10",
        )

    task = LocalRetrieval()
    task.dataset = {
        "default": {
            "test": {
                "corpus": rows(collection.corpus),
                "queries": rows(collection.queries),
                "relevant_docs": collection.qrels,
                "top_ranked": None,
            }
        }
    }
    task.data_loaded = True
    return task


def rows(texts: dict[str, str]) -> Dataset:
    """Texts by id as the table mteb reads."""
    return Dataset.from_dict({"id": list(texts), "text": list(texts.values())})


def ndcg(encoder: Any, collection: Any) -> float:
    """nDCG@10 of an encoder as mteb measures it, rounded to five decimals."""
    # Without cache=None, mteb hands out what it stored for another encoder without a name.
    result = mteb.evaluate(encoder, task_of(collection), cache=None, show_progress_bar=False)
    return float(result.task_results[0].get_score())


def main() -> None:
    """Measure an encoder with mteb and with Isthmus."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--language", default="ko", choices=sorted(LANGUAGES))
    parser.add_argument(
        "--encoder", help="folder or hub id of a SparseEncoder; by default the mini models are transferred"
    )
    args = parser.parse_args()
    encoder = SparseEncoder(args.encoder) if args.encoder else isthmus.transfer(**preset(f"mini-{args.language}"))[0]
    # mteb computes in the checkpoint's own precision.
    encoder.float()
    collection = isthmus.load_collection("demo", language=args.language)
    print(f"nDCG@10 by mteb    {ndcg(encoder, collection):.4f}")
    print(f"nDCG@10 by isthmus {isthmus.evaluate(encoder, collection).to_dict()['ndcg@10']:.4f}")


if __name__ == "__main__":
    main()
