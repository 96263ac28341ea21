"""What a doctor concludes: the best that can be had for an encoder and texts by words alone, and the command for it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from isthmus.adapting.outcome import YARDSTICK, ArmResult
from isthmus.adapting.questions import ERROR, made_of_text
from isthmus.adapting.sample import Sample
from isthmus.diagnostics import Finding
from isthmus.diagnostics.diagnosis import sample as draw_texts
from isthmus.encoders.load import kept_tokens, load_encoder
from isthmus.errors import InputError, IsthmusError
from isthmus.evaluation import BM25, evaluate_model
from isthmus.evaluation.bootstrap import paired_bootstrap
from isthmus.lexical import add_lexical
from isthmus.modules.lexical import LexicalMode
from isthmus.reading.corpus import Document

CHECK, OWN = "best-arm", "as it is"
WORDS: LexicalMode = "hybrid"
MAX_TEXTS = 300


def conclude(
    model: str | Path, texts: Sequence[str], *, seed: int = 0, batch_size: int = 32, trust_remote_code: bool = False,
    show_progress_bar: bool | None = None,
) -> Finding:  # fmt: skip
    """Measure an encoder as it is, with the words of its texts given back, and BM25; say which is best.

    Args:
        model: Built-in name, folder or hub id of an encoder that can be opened.
        texts: Texts of its language.
        seed: Seed of the questions, which are made of the texts.
        batch_size: Texts per encoding step.
        trust_remote_code: Run code that comes with the model.
        show_progress_bar: None shows it on a terminal.

    Returns:
        ``ok`` where the encoder as it is is best, else a note with the command for what is; a note where there are too
        few texts.
    """
    options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    encoder = load_encoder(model, trust_remote_code=trust_remote_code)
    drawn = draw_texts(texts, MAX_TEXTS, seed)
    documents = tuple(Document(str(number), text) for number, text in enumerate(drawn))
    sample = Sample(documents, len(documents), 0, "", "", False)
    try:
        questions = made_of_text(sample, pool=MAX_TEXTS, seed=seed)
    except InputError as error:
        return Finding(CHECK, "note", f"nothing is concluded: {error}", "pass more texts, or longer ones")
    arms = [ArmResult.of(OWN, _scores(encoder, questions, options), 0.0)]
    # A dense encoder, or one that has words already, is measured as it is.
    with suppress(IsthmusError):
        known = kept_tokens(model)
        hybrid = add_lexical(encoder, sample.texts(), WORDS, pairs=True, known=known, seed=seed, **options)
        arms.append(ArmResult.of(WORDS, _scores(hybrid, questions, options), 0.0))
    arms.append(ArmResult.of(YARDSTICK, _scores(BM25(encoder.tokenizer), questions, {}), 0.0))
    return _told(model, arms, f"{len(questions.queries)} {questions.name}")


def _scores(model: Any, questions: Any, options: dict[str, Any]) -> Any:
    return evaluate_model(model, questions, **options).per_query["ndcg@10"]


def _told(model: str | Path, arms: list[ArmResult], measured_on: str) -> Finding:
    best = max(arms, key=lambda arm: arm.score)
    others = []
    for arm in arms:
        if arm is not best:
            test = paired_bootstrap(best.per_query, arm.per_query)
            others.append(f"{test.difference:+.3f} over {arm.name} ({test.low:+.3f} to {test.high:+.3f})")
    message = (
        f"{best.name} is best: nDCG@10 {best.score:.3f} (± {best.error:.3f}), {', '.join(others)}, by {measured_on}; "
        f"judged questions may differ by about {ERROR:.2f}"
    )
    if best.name == OWN:
        return Finding(CHECK, "ok", message, value=best.score)
    index = f"isthmus index {model} CORPUS --lexical hybrid --lexical-pairs -o INDEX"
    adapted = f"isthmus adapt CORPUS --encoder {model} --bridge BRIDGE -o FOLDER"
    return Finding(CHECK, "note", message, index if best.name == WORDS else adapted, best.score)
