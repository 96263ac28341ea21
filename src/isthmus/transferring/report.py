"""What a transfer did, counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.bridge import BridgeVectors, Refinement
from isthmus.reading.storage import atomic_write
from isthmus.token_map import COPIES, Fate, TokenMap
from isthmus.transferring.advice import best_similarities, indistinguishable
from isthmus.vocabulary import Coverage, Vocabulary
from isthmus.vocabulary.token import TEXT_KINDS

FORMAT_VERSION = 1
NEW_COPIES = tuple(fate for fate in Fate if fate in COPIES - {Fate.KEPT})


@dataclass(frozen=True)
class TransferReport:
    """Every target token's fate, counted; prints as six lines.

    Attributes:
        token_map: The map that was applied.
        method: Name of the initialisation method.
        counts: Target ids by fate.
        support_mean: Mean number of source tokens of a bridged row; 0 where there is none.
        support_p95: 95th percentile of it.
        support_max: Largest of it.
        best_similarity: Mean cosine, in the bridge as it was used, of a bridged token with its best source token; None
            without one.
        indistinguishable: Pairs of target tokens that stand for text whose rows have a cosine above .99, background
            rows aside; None where the rows are too dense to count.
        indistinguishable_examples: Some of them: token, token, cosine.
        source_coverage: How the source tokenizer splits the sample texts, or None without any.
        target_coverage: How the target tokenizer splits them.
        license: Licence of the source, or None where it states none.
        origin: Names of ``encoder``, ``tokenizer`` and ``bridge``, as far as they are known; paths by their last part.
        refinement: What was done to the vectors of the bridge; None where nothing was, or there is no bridge.
        warnings: What the result may suffer from.
        settings: How vocabularies were matched and what was done to rows and bias; the method's options are in
            ``token_map.info``.
        english_unchanged: With the source kept, the share of texts in its language that get the ids they had, 0..1.
        english_checked: How many texts that was found on: those given, or the built-in English passages and words.
        read: Tokens that the result reads beside the source's, which it writes; None where it reads what it writes.
        seconds: Wall time, without loading models.
    """

    token_map: TokenMap
    method: str
    counts: dict[str, int]
    support_mean: float
    support_p95: float
    support_max: int
    best_similarity: float | None
    indistinguishable: int | None
    indistinguishable_examples: tuple[tuple[str, str, float], ...]
    source_coverage: Coverage | None = None
    target_coverage: Coverage | None = None
    license: str | None = None
    origin: dict[str, str] = field(default_factory=dict)
    refinement: Refinement | None = None
    warnings: tuple[str, ...] = field(default=())
    settings: dict[str, Any] = field(default_factory=dict)
    english_unchanged: float | None = None
    english_checked: int | None = None
    read: int | None = None
    seconds: float = 0.0

    def of_all(self, token_map: TokenMap) -> TransferReport:
        """The same with the map that is applied in the end.

        Args:
            token_map: The map that was counted, or one whose first rows are the source's own, which is written beside
                what was counted, and read.
        """
        if len(token_map.fates) == len(self.token_map.fates):
            return replace(self, token_map=token_map)
        counts = self.counts | {Fate.KEPT.value: token_map.shape[1]}
        return replace(self, token_map=token_map, counts=counts, read=sum(self.counts.values()))

    @property
    def target_tokens(self) -> int:
        """Rows of the new vocabulary, ids without a token included."""
        return self.token_map.shape[0]

    @property
    def kept(self) -> int:
        """Ids of the source's own tokens, which stay."""
        return self.counts[Fate.KEPT.value]

    @property
    def copied(self) -> int:
        """New ids that copy one source row."""
        return sum(self.counts[fate.value] for fate in NEW_COPIES)

    def __str__(self) -> str:
        copies = ", ".join(f"{fate.value} {self.counts[fate.value]}" for fate in NEW_COPIES)
        bridged, background, sampled = (self.counts[fate] for fate in ("bridged", "background", "sampled"))
        lines = [
            f"Transferred to {self._tokens()} by {self.method} in {self.seconds:.1f} s",
            f"  copied      {self._share(self.copied)}: {copies}",
            f"  bridged     {self._share(bridged)}" + self._bridged() * bool(bridged),
            f"  other       {background} share the background row, {sampled} sampled{self._pairs()}",
            f"  texts       {self._coverage()}{self._unchanged()}",
            f"  warnings    {'; '.join(self.warnings) or 'none'}",
        ]
        return "\n".join(lines)

    def _tokens(self) -> str:
        if self.read is not None:
            return f"{self.read} target tokens read and {self.kept} source tokens written"
        if not self.kept:
            return f"{self.target_tokens} target tokens"
        source = self.token_map.shape[1]
        again = f", {source - self.kept} made anew" if source > self.kept else ""
        output = self.settings.get("output")
        written = f" ({output} written)" if output else ""
        return f"{self.kept} source tokens kept{again} and {self.target_tokens - source} added{written}"

    def _share(self, count: int) -> str:
        return f"{count} ({count / max(sum(self.counts.values()) - self.kept, 1):.1%})"

    def _bridged(self) -> str:
        best = f"; best similarity {self.best_similarity:.2f}" if self.best_similarity is not None else ""
        if self.refinement is not None and self.refinement.describe():
            best += f", {self.refinement.describe()}"
        sizes = f"95 % at most {self.support_p95:.0f}, most {self.support_max}"
        return f": {self.support_mean:.1f} source tokens each, {sizes}{best}"

    def _pairs(self) -> str:
        if self.indistinguishable is None:
            return "; rows too dense to look for indistinguishable pairs"
        examples = ", ".join(f"{first} = {second}" for first, second, _ in self.indistinguishable_examples[:3])
        return f"; {self.indistinguishable} indistinguishable pairs" + (f" ({examples})" if examples else "")

    def _coverage(self) -> str:
        if self.source_coverage is None or self.target_coverage is None:
            return "no sample texts given: fertility and unknown tokens not measured"
        unit = "character" if self.target_coverage.per_character else "word"
        return (
            f"{self.target_coverage.fertility:.2f} tokens per {unit} (source {self.source_coverage.fertility:.2f}), "
            f"unknown {self.target_coverage.unk_rate:.1%} (source {self.source_coverage.unk_rate:.1%})"
        )

    def _unchanged(self) -> str:
        if self.english_unchanged is None:
            return ""
        return f"; {self.english_unchanged:.2%} of {self.english_checked} English texts read as before"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; the keys are stable."""
        coverages = {"source": self.source_coverage, "target": self.target_coverage}
        return {
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "origin": dict(self.origin),
            "options": {key: value for key, value in self.token_map.info.items() if key != "written_as"},
            "folded": len(self.token_map.info.get("written_as", {})),
            "settings": dict(self.settings),
            "source_tokens": self.token_map.shape[1],
            "target_tokens": self.target_tokens,
            "output": self.settings.get("output"),
            "read": self.read if self.read is not None else self.target_tokens,
            "kept": self.kept,
            "english_unchanged": self.english_unchanged,
            "english_checked": self.english_checked,
            "copied": self.copied,
            "bridged": self.counts["bridged"],
            "sampled": self.counts["sampled"],
            "background": self.counts["background"],
            "fates": dict(self.counts),
            "support_mean": self.support_mean,
            "support_p95": self.support_p95,
            "support_max": self.support_max,
            "best_similarity": self.best_similarity,
            "indistinguishable_pairs": self.indistinguishable,
            "indistinguishable_examples": [list(example) for example in self.indistinguishable_examples],
            **{f"{side}_fertility": found and found.fertility for side, found in coverages.items()},
            **{f"{side}_unk_rate": found and found.unk_rate for side, found in coverages.items()},
            "bridge_refinement": None if self.refinement is None else self.refinement.to_dict(),
            "license": self.license,
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }

    def save(self, folder: str | Path) -> None:
        """Write ``transfer_report.json`` and the token map's files into ``folder``.

        Raises:
            OutputError: If a file cannot be written.
        """
        folder = Path(folder)
        self.token_map.save(folder)
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2)
        atomic_write(folder / "transfer_report.json", text.encode())


def summarise(
    token_map: TokenMap,
    method: str,
    target: Vocabulary,
    settings: Mapping[str, Any] | None = None,
    *,
    vectors: BridgeVectors | None = None,
    refinement: Refinement | None = None,
) -> TransferReport:
    """Count what a token map does.

    Args:
        token_map: The map.
        method: Name of the method.
        target: The target vocabulary.
        settings: Settings to carry.
        vectors: Bridge vectors the map was made from, if any.
        refinement: What was done to them before.
    """
    support = np.diff(token_map.weights.indptr)[token_map.rows(Fate.BRIDGED)]
    best = best_similarities(token_map, vectors)[1] if vectors is not None else np.empty(0)
    count, examples = _count_pairs(token_map, target)
    return TransferReport(
        token_map=token_map,
        method=method,
        counts=token_map.counts(),
        support_mean=float(support.mean()) if len(support) else 0.0,
        support_p95=float(np.percentile(support, 95)) if len(support) else 0.0,
        support_max=int(support.max(initial=0)),
        best_similarity=float(best.mean()) if len(best) else None,
        indistinguishable=count,
        indistinguishable_examples=examples,
        refinement=refinement,
        settings=dict(settings or {}),
    )


def _count_pairs(token_map: TokenMap, target: Vocabulary) -> tuple[int | None, tuple[tuple[str, str, float], ...]]:
    """Pairs among the tokens that stand for text; the background rows, all equal, are told by their number."""
    text = np.array([token.id for token in target.tokens if token.kind in TEXT_KINDS], dtype=np.int64)
    text = text[~token_map.parted[text]]
    found = indistinguishable(token_map.weights[text])
    names = tuple(
        (token_map.target_tokens[text[first]], token_map.target_tokens[text[second]], round(cosine, 4))
        for first, second, cosine in found.examples
    )
    return found.count, names
