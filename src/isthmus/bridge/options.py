"""What can be said of a bridge: which texts it embeds, how, and what is learned from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from isthmus.errors import InputError
from isthmus.options import OpenOptions, RunOptions, option
from isthmus.reading.texts import check_texts, read_samples
from isthmus.vocabulary.options import ReleasedOptions

# Embedding these takes e5-small a minute on two cores; longer ones say less of each token.
MOST_SENTENCES = 12_000
MOST_CHARACTERS = 160
LEAST_SENTENCES = 1000


def read_all(paths: Iterable[Path]) -> list[str]:
    """The texts of several files, see :func:`isthmus.reading.texts.read_samples`."""
    return [text for path in paths for text in read_samples(path)]


@dataclass(frozen=True)
class BridgeOptions(ReleasedOptions, OpenOptions, RunOptions):
    """How a bridge embeds the tokens of two vocabularies; beside these, how it is opened and what is drawn.

    Attributes:
        strip_marker: The bridge reads "ing" for "##ing".
        refine: Take off what all vectors of the bridge share (:func:`isthmus.bridge.refine_vectors`).
        bridge_texts: Unlabelled texts of the target languages, 1,000 or more, from which token vectors are learned that
            explain what the bridge makes of sentences (:mod:`isthmus.bridge.sentences`); None for none.
        bridge_source_texts: The same in the source's language.
        batch_size: Tokens per forward pass.
        cache: False neither reads nor writes the disk.
        cache_folder: None is ``$ISTHMUS_CACHE/bridge``, or ``~/.cache/isthmus/bridge``.
        show_progress_bar: None shows bars when stderr is a terminal.
    """

    strip_marker: bool = option(True, help="Show continuation pieces to the bridge without marker.", panel="Ablation")
    refine: bool = option(True, help="Take off what all vectors of the bridge share.", panel="Method", recorded=False)
    bridge_texts: Sequence[str] | None = option(
        None,
        help="Unlabelled target text, 1,000 sentences or more, from which the bridge teaches token vectors; a file "
        "like --sample-texts, any number.",
        panel="Method",
        kind=list[Path],
        read=read_all,
        check=check_texts,
        recorded=False,
    )
    bridge_source_texts: Sequence[str] | None = option(
        None,
        help="The same in the encoder's language.",
        panel="Method",
        kind=list[Path],
        read=read_all,
        check=check_texts,
        recorded=False,
    )
    batch_size: int = 256
    cache: bool = True
    cache_folder: Path | None = None
    show_progress_bar: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.has_texts and not self.refine_in_effect:
            raise InputError(
                "bridge_texts must come with refine and without as_released, which learn nothing from texts, got "
                f"refine={self.refine} and as_released={self.as_released}; leave them out"
            )

    @property
    def has_texts(self) -> bool:
        """Whether there are texts to learn from."""
        return (self.bridge_texts, self.bridge_source_texts) != (None, None)

    @property
    def refine_in_effect(self) -> bool:
        """Whether the bridge's vectors are refined, which the released code does not."""
        return self.refine and not self.as_released

    @cached_property
    def sentences(self) -> tuple[list[str] | None, list[str] | None]:
        """What is learned from, source first, drawn once of all the texts.

        Raises:
            InputError: If there are too few texts.
        """
        source, target = self.bridge_source_texts, self.bridge_texts
        return (
            None if source is None else choose_sentences(source, self.seed),
            None if target is None else choose_sentences(target, self.seed),
        )


def choose_sentences(texts: Sequence[str], seed: int) -> list[str]:
    """At most 12,000 distinct texts, each cut to 160 characters at a space, drawn with ``seed``.

    Raises:
        InputError: If fewer than 1,000 are left, which teach nothing.
    """
    cut = dict.fromkeys(short for text in texts if (short := _shortened(text.strip())))
    if len(cut) < LEAST_SENTENCES:
        raise InputError(
            f"bridge texts must be at least {LEAST_SENTENCES:,} distinct ones a language, got {len(cut):,}; give more, "
            "or leave them out"
        )
    found = list(cut)
    chosen = np.random.default_rng(seed).permutation(len(found))[:MOST_SENTENCES]
    return [found[place] for place in sorted(chosen.tolist())]


def _shortened(text: str) -> str:
    """The beginning of a text, cut at a space where there is one."""
    if len(text) <= MOST_CHARACTERS:
        return text
    head = text[:MOST_CHARACTERS]
    return head.rpartition(" ")[0] or head
