"""Teaching an encoder on the corpus by its own echo, for as long as there is time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from isthmus.adapting.options import AdaptOptions
from isthmus.encoders.encoding import encode_texts
from isthmus.training import TrainOptions, train_self_supervised

# Of a run: as many as measured well on ten thousand documents, fewer where there is no time. Round numbers, so that the
# same minutes on the same machine give the same run.
STEPS = (200, 100, 50, 25)
BATCH = 32
MAX_LENGTH = 96
# Query, positive and two negatives; forwards and backwards cost about three times what encoding costs.
PASSES = 4 * 3


def steps_that_fit(minutes: float, encoder: Any, texts: list[str]) -> int:
    """Steps of training that fit into a time, by the time that encoding takes here; 0 where not even the fewest do."""
    encode_texts(encoder, texts[:4], role="document", show_progress_bar=False)
    started = time.perf_counter()
    encode_texts(encoder, texts, role="document", show_progress_bar=False)
    one = (time.perf_counter() - started) / max(len(texts), 1)
    return next((steps for steps in STEPS if steps * BATCH * PASSES * one <= 60 * minutes), 0)


def teach(source: Path, corpus: Any, folder: Path, *, steps: int, options: AdaptOptions) -> None:
    """Train the encoder in ``source`` on the corpus and write the result into ``folder``; it goes on where it was."""
    settings = TrainOptions(
        steps=steps,
        batch_size=BATCH,
        max_length=MAX_LENGTH,
        learning_rate=1e-4,
        seed=options.seed,
        save_steps=25,
        max_active_share=1.0,
    )
    train_self_supervised(
        source,
        corpus,
        folder,
        settings,
        teacher="echo",
        trust_remote_code=options.trust_remote_code,
        show_progress_bar=options.show_progress_bar,
    )
