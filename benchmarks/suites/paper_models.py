"""Making the models of the papers' tables: initialised, trained and aligned by the papers' recipes."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import isthmus
from benchmarks.harness import fingerprint
from benchmarks.suites.alignment import file_hash
from benchmarks.suites.paper_data import Source, given_rows, mlqa_rows, webfaq_pairs, write_rows
from benchmarks.suites.paper_tables import BRIDGED, TRANSFERS, Table
from isthmus.errors import NotFoundError
from isthmus.evaluation.models import load_model
from isthmus.reading.storage import atomic_folder
from isthmus.training import AlignOptions, TrainOptions, align, paper_settings, train
from isthmus.training.data import read_training_data
from isthmus.transferring.preset import BRIDGE, TOKENIZERS

# About as many as the proximity paper has, evenly over the languages; the texts that teach FOCUS its space.
PROXIMITY_ROWS, FOCUS_PAIRS = 2800, 100_000


@dataclass(frozen=True)
class Makes:
    """How a run makes its models.

    Attributes:
        table: What is wanted.
        source: Where data and models are.
        work: Folder for what is made on the way.
        bridge: Bridge of transfers.
        tokenizer: Target tokenizers, a name with ``{language}`` in it; None takes those of the paper.
        rows: Rows to align on, a path perhaps with ``{language}`` in it; None takes MLQA's.
        changes: Training settings in the place of the recipe's.
        seed: Seed of everything drawn.
        trust_remote_code: Run code that comes with models.
    """

    table: Table
    source: Source
    work: Path
    bridge: str | None
    tokenizer: str | None
    rows: str | None
    changes: Mapping[str, Any]
    seed: int
    trust_remote_code: bool

    def settings(self, encoder: str, method: str, languages: tuple[str, ...]) -> dict[str, Any]:
        """Everything that a model depends on, as JSON values.

        Args:
            encoder: Key of the table's encoders, or a name.
            method: One of the table's.
            languages: Language of the transfer, or those that it is aligned in.
        """
        name = self.source.model(self.table.encoders.get(encoder, encoder))
        found: dict[str, Any] = {"encoder": fingerprint(name), "method": method, "seed": self.seed}
        trained = self.training(method)
        if self.table.kind in ("transfer", "fine-tune"):
            found["transfer"] = TRANSFERS[method]
            if TRANSFERS[method] is not None:
                found |= {"tokenizer": fingerprint(self.tokenizer_of(languages[0])), "language": languages[0]}
            if method in BRIDGED:
                found["bridge"] = fingerprint(self.bridge_name)
        if trained is not None:
            found |= {"training": trained.to_dict(), "languages": list(languages)}
            found["rows"] = self.rows_named(languages) if self.aligns else "WebFAQ, train"
        return found

    def rows_named(self, languages: tuple[str, ...]) -> str | list[str]:
        """What the rows to align on are called: files by their names and hashes."""
        if self.rows is None:
            return "MLQA, test"
        paths = dict.fromkeys(Path(self.rows.replace("{language}", language)) for language in languages)
        there = [path for path in paths if path.is_file()]
        return [f"{path.name} {file_hash(path)}" for path in there]

    @property
    def aligns(self) -> bool:
        """Whether models are aligned, not transferred."""
        return self.table.kind in ("proximity", "clear")

    @property
    def bridge_name(self) -> str:
        """What to load the bridge by."""
        return self.source.model(self.bridge or BRIDGE.name)

    def tokenizer_of(self, language: str) -> str:
        """What to load the tokenizer of a language by."""
        if self.tokenizer is not None:
            return self.source.model(self.tokenizer.replace("{language}", language))
        if language not in TOKENIZERS:
            raise NotFoundError(f"--tokenizer must name one for {language!r}, the paper has {', '.join(TOKENIZERS)}")
        return self.source.model(TOKENIZERS[language].name)

    def training(self, method: str) -> AlignOptions | TrainOptions | None:
        """How the models of a method are trained; None where they are not."""
        changes = {"seed": self.seed, **self.changes}
        if self.table.kind == "fine-tune":
            return paper_settings("sembridge-paper", **changes)
        if not self.aligns or method == "base":
            return None
        if method != "infonce":
            return paper_settings(f"{method}-paper", **changes)
        # CLEAR's recipe with another loss, to compare with; not the paper's own baseline, of which nothing is known.
        clear = paper_settings("clear-paper", **changes)
        return AlignOptions.of(clear, loss="infonce", recipe=None)

    def make(self, encoder: str, method: str, languages: tuple[str, ...], key: str) -> Any:
        """Make a model, on the GPU where there is one; training goes on where it was interrupted.

        Arguments as for :meth:`settings`, and ``key``, the name of the model's folder.
        """
        name = self.source.model(self.table.encoders.get(encoder, encoder))
        folder, settings = self.work / key, self.training(method)
        if self.aligns:
            if settings is not None:
                rows = self.align_rows(languages)
                if not (folder / "modules.json").exists():
                    align(name, rows, folder, settings, trust_remote_code=self.trust_remote_code)
                name = str(folder)
            return _placed(load_model(name, trust_remote_code=self.trust_remote_code))
        if settings is None:
            return _placed(self.transferred(name, method, languages[0]))
        start = self.work / f"{key}.start"
        if not (folder / "modules.json").exists():
            if TRANSFERS[method] is not None and not start.exists():
                with atomic_folder(start) as written:
                    self.transferred(name, method, languages[0]).save_pretrained(str(written))
            pairs = self.pairs(languages[0])
            begins = name if TRANSFERS[method] is None else start
            train(begins, pairs, folder, settings, trust_remote_code=self.trust_remote_code)
        return _placed(load_model(str(folder)))

    def transferred(self, name: str, method: str, language: str) -> Any:
        """An encoder with the target vocabulary, or as it is for ``base``."""
        options = TRANSFERS[method]
        if options is None:
            return load_model(name, trust_remote_code=self.trust_remote_code)
        if method == "focus":
            texts = read_training_data(self.pairs(language), limit=FOCUS_PAIRS).texts
            options = options | {"texts": [*texts["positive"], *texts["query"]]}
        bridge, trust = self.bridge_name if method in BRIDGED else None, self.trust_remote_code
        options = options | {"bridge": bridge, "seed": self.seed, "language": language, "trust_remote_code": trust}
        return isthmus.transfer(name, target_tokenizer=self.tokenizer_of(language), **options)[0]

    def pairs(self, language: str) -> Path:
        """WebFAQ's training pairs, as a file."""
        return webfaq_pairs(self.source, language, self.work / f"webfaq-{language}.jsonl")

    def align_rows(self, languages: tuple[str, ...]) -> Path:
        """Rows to align on, as a file; languages that have none are left out where others have some.

        Raises:
            NotFoundError: If none has.
        """
        found: list[dict[str, str]] = []
        reasons = []
        for language in languages:
            try:
                rows = given_rows(self.rows, language) if self.rows else mlqa_rows(self.source, language)
            except NotFoundError as error:
                reasons.append(str(error))
                continue
            share = PROXIMITY_ROWS // len(languages) if self.table.kind == "proximity" else None
            found += rows[:share]
        if not found:
            raise NotFoundError("; ".join(dict.fromkeys(reasons)) or f"rows must hold some in {', '.join(languages)}")
        return write_rows(self.work / f"rows-{'-'.join(languages)}.jsonl", found)

    def forget(self, key: str) -> None:
        """Remove the folders of a model that has been measured."""
        for folder in (self.work / key, self.work / f"{key}.start"):
            shutil.rmtree(folder, ignore_errors=True)
        gc.collect()


def _placed(model: Any) -> Any:
    return model.to("cuda" if torch.cuda.is_available() else "cpu")
