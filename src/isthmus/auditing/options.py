"""What an audit can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.assets import tokenizer_names
from isthmus.auditing.pools import DEFAULT_POOLS
from isthmus.options import EncodeOptions, OpenOptions, ReadOptions, RunOptions, option

RESAMPLES = 2000


def listed(text: str) -> list[str]:
    """The parts of ``a,b,c``."""
    return [part.strip() for part in text.split(",") if part.strip()]


@dataclass(frozen=True)
class AuditOptions(EncodeOptions, OpenOptions, RunOptions, ReadOptions):
    """How to audit; beside these, how texts are read and encoded, models opened, and everything drawn.

    Attributes:
        pools: Keys of :data:`isthmus.auditing.pools.RULES`.
        names: Names of the models in the result; None takes what they were loaded by.
        split: Judgements of BEIR folders.
        distractors: JSONL files of passages that enlarge the pools, a path with ``{language}`` in it.
        max_distractors: Use a sample of this many in every language.
        max_queries: Use a sample of this many questions, the same in every language and pool.
        partly_parallel_share: Share of the relevant passages that ``partly-parallel`` has in one language only.
        keep_copies: Give every question copies of its own of the passages that answer it, instead of one document for
            each text; see :func:`isthmus.auditing.pools.with_copies`.
        tokenizer: Tokenizer whose subwords BM25 counts; None takes the built-in multilingual one.
        resamples: Bootstrap resamples of every interval.
    """

    pools: Sequence[str] = option(
        DEFAULT_POOLS,
        help="Of mono-same, mono-cross, multi, pairs, partly-parallel, english-distractors.",
        kind=str,
        read=listed,
        shown=",".join(DEFAULT_POOLS),
        recorded=False,
    )
    names: Sequence[str] | None = option(
        None,
        help="Name of a model in the output; once for each MODEL.",
        names=("--model-name",),
        kind=list[str],
        panel="Output",
        recorded=False,
    )
    split: str = option("test", help="Judgements of folders with several.")
    distractors: str | None = option(
        None, help="JSONL of further passages, a path with {language} in it.", recorded=False
    )
    max_distractors: int | None = option(None, help="Take at most this many per language.", at_least=0)
    max_queries: int | None = option(None, help="Ask at most this many questions.", at_least=1)
    partly_parallel_share: float = option(
        0.5,
        help="Relevant passages that partly-parallel has in one language only.",
        panel="Method",
        at_least=0,
        at_most=1,
    )
    keep_copies: bool = option(
        False, help="A copy of its passage for each question, not one document per text.", panel="Method"
    )
    tokenizer: str | None = option(
        None,
        complete=tokenizer_names,
        help="Tokenizer of BM25; default: isthmus/mini-bridge.",
        panel="Method",
        recorded=False,
    )
    resamples: int = option(RESAMPLES, help="Bootstrap resamples of every interval.", panel="Method", at_least=1)

    def to_dict(self) -> dict[str, Any]:
        """JSON values by name; the batch size too, which a reader may want to repeat the timing with."""
        return super().to_dict() | {"batch_size": self.batch_size}
