"""Arms are made one from another, measured, and the best of them is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus.adapting.adaptation_folder import Run, check_place, settings_of
from isthmus.adapting.options import AdaptOptions
from isthmus.adapting.outcome import YARDSTICK, Adaptation, ArmResult, choose, worth_a_look
from isthmus.adapting.questions import asked_by_a_person, collection_of, made_of_text, read_questions
from isthmus.adapting.sample import Sample, draw_sample
from isthmus.adapting.summary_page import write_page
from isthmus.adapting.teaching import steps_that_fit, teach
from isthmus.collections import Collection
from isthmus.diagnostics.model_card import write_card
from isthmus.encoders.load import carry_transfer, kept_tokens, load_encoder, load_tokenizer
from isthmus.errors import EncoderError, InputError
from isthmus.evaluation import BM25, evaluate_model
from isthmus.index import SparseIndex, build_index
from isthmus.lexical import add_lexical
from isthmus.reading.disk import locked
from isthmus.reading.storage import atomic_folder, read_json
from isthmus.transferring import transfer_encoder
from isthmus.vocabulary import train_tokenizer

# Texts that statistics of words are made from, and that the tokenizer of a transfer is measured on.
FITTED, SAMPLED = 20_000, 500
# Share of documents that may be longer than what is read.
CUT = 0.05


def adapt(
    corpus: Any,
    folder: str | Path,
    options: AdaptOptions | None = None,
    *,
    encoder: str | Path,
    bridge: str | Path,
    overwrite: bool = False,
    **changes: Any,
) -> Adaptation:
    """Make the best encoder for a corpus that can be had without labels, and an index of the corpus with it.

    Arms: the encoder as it is; transferred to the language of the corpus; with the words of the texts given back
    (``echo``, ``hybrid``); taught on the corpus by its own echo; taught as a hybrid. Every arm is measured on
    questions that are made of the text, or on a person's own. The hybrid is kept unless another is certainly better.
    A run that was broken off goes on.

    Args:
        corpus: As for :func:`isthmus.training.pairs_from_text`; it is read several times.
        folder: Where ``encoder``, ``index``, ``report.html`` and ``adapt.json`` go.
        options: How; None takes the defaults.
        encoder: English sparse encoder: built-in name, folder or hub id.
        bridge: Multilingual dense model that embeds the tokens of both languages, likewise.
        overwrite: Replace what is in the folder.
        **changes: Fields of ``options`` to replace.

    Returns:
        What was tried, what it was worth and what is kept.

    Raises:
        NotFoundError: If a model, tokenizer or file is not there.
        CollectionError: If the corpus is malformed; names the line.
        InputError: If an option does not fit, there is too little text.
        EncoderError: If the encoder is not sparse.
        OutputError: If the folder cannot be written, holds something else, or another run is at work in it.

    Example:
        >>> isthmus.adapt("corpus.jsonl", "ko", encoder="isthmus/mini-splade-en", bridge="isthmus/mini-bridge",
        ...               language="ko")  # doctest: +SKIP
    """
    options = AdaptOptions.of(options, **changes)
    folder = Path(folder)
    asked = settings_of(options, encoder, bridge)
    # Before the lock, which would make the folder.
    check_place(folder, asked, overwrite=overwrite)
    with locked(folder):
        return _adapt(corpus, folder, options, asked, str(encoder), str(bridge), overwrite=overwrite)


def _adapt(
    corpus: Any,
    folder: Path,
    options: AdaptOptions,
    asked: dict[str, str],
    encoder: str,
    bridge: str,
    *,
    overwrite: bool,
) -> Adaptation:
    run = Run(folder, asked, overwrite=overwrite)
    finished = run.finished()
    if finished is not None:
        return finished
    rows = [] if options.questions is None or options.questions.is_dir() else read_questions(options.questions)
    sample = draw_sample(
        corpus, language=options.language, seed=options.seed, wanted=list(dict.fromkeys(i for _, i in rows)),
        show=options.show_progress_bar,
    )  # fmt: skip
    questions = _questions(sample, rows, options)
    maker = _Maker(run, sample, questions, options, encoder, bridge)
    arms = maker.all_arms(corpus)
    chosen = options.arm or choose(arms)
    if chosen not in {arm.name for arm in arms}:
        raise InputError(f"arm must be one that was made, got {chosen!r}; there are {', '.join(a.name for a in arms)}")
    run.keep(chosen)
    maker.warnings += worth_a_look(arms, chosen)
    index = None
    if options.index:
        index = str(folder / "index")
        build_index(
            str(folder / "encoder"),
            corpus,
            index,
            batch_size=options.batch_size,
            overwrite=(folder / "index").exists(),
            trust_remote_code=options.trust_remote_code,
            show_progress_bar=options.show_progress_bar,
        )
    found = Adaptation(
        arms=tuple(arms),
        chosen=chosen,
        language=sample.language,
        script=sample.script,
        documents=sample.counted,
        measured_on=f"{len(questions.queries)} {questions.name}, {len(questions.corpus)} passages",
        encoder=str(folder / "encoder"),
        index=index,
        seconds=run.seconds(),
        warnings=tuple(maker.warnings),
        settings=asked,
    )
    describe(folder, found)
    run.finish(found)
    write_page(found, folder, questions, None if index is None else SparseIndex.open(index))
    return found


def _questions(sample: Sample, rows: list[tuple[str, str]], options: AdaptOptions) -> Collection:
    if rows:
        return asked_by_a_person(sample, rows, pool=options.pool, seed=options.seed)
    given = None if options.questions is None else collection_of(options.questions, sample.language)
    return given or made_of_text(sample, pool=options.pool, seed=options.seed)


class _Maker:
    """Makes and measures arms, each from the folder of the one before."""

    def __init__(
        self, run: Run, sample: Sample, questions: Collection, options: AdaptOptions, encoder: str, bridge: str
    ) -> None:
        self._run, self._sample, self._questions, self._options = run, sample, questions, options
        self._encoder, self._bridge = encoder, bridge
        self.warnings: list[str] = []
        self._keep = sample.script != "LATIN" if options.keep_source is None else options.keep_source
        if options.keep_source is None and not self._keep:
            self.warnings.append(
                "the English vocabulary was replaced; --keep-source adds the words of a Latin language to it instead"
            )
        if sample.guessed:
            self.warnings.append(
                f"the language was told by the script alone: {sample.language}; pass --language if it is another"
            )
        if sample.empty:
            self.warnings.append(f"{sample.empty:,} documents have no text: no query finds them")

    def all_arms(self, corpus: Any) -> list[ArmResult]:
        """Every arm that is wanted, in the order of its cost."""
        texts = self._sample.texts()[:FITTED]
        arms = [self._arm("as it is", lambda: self._loaded(self._encoder))]
        arms.append(self._arm("transferred", self._transferred))
        self.warnings += read_json(self._run.place("transferred") / "transfer_report.json")["warnings"]
        self._look_at_lengths()
        arms.append(self._words())
        transferred = self._run.place("transferred")
        for mode in ("echo", "hybrid"):
            arms.append(self._arm(mode, lambda mode=mode: self._with_words(transferred, texts, mode)))  # type: ignore[misc]
        if self._options.minutes > 0:
            steps = self._options.steps or steps_that_fit(
                self._options.minutes, self._loaded(transferred), self._sample.texts()[:32]
            )
            if steps:
                taught = self._run.place("taught")
                made_by = f"{steps} steps"
                arms.append(self._arm("taught", lambda: self._taught(corpus, transferred, steps), note=made_by))
                arms.append(self._arm("taught, hybrid", lambda: self._with_words(taught, texts, "hybrid")))
            else:
                self.warnings.append(f"{self._options.minutes:g} minutes are too few to teach; --minutes gives more")
        return arms

    def _arm(self, name: str, make: Callable[[], Any], *, note: str = "") -> ArmResult:
        done, place = self._run.done(name), self._run.place(name)
        if done is not None and (place / "modules.json").is_file():
            return done
        started = time.perf_counter()
        made = make()
        if made is not None:
            with atomic_folder(place, overwrite=True) as written:
                made.save_pretrained(str(written))
                carry_transfer(self._run.place("transferred") if name != "transferred" else None, written)
                if name == "transferred":
                    self._report.save(written)
        encoder = self._loaded(place)
        scores = evaluate_model(encoder, self._questions, self._options).per_query["ndcg@10"]
        return self._run.record(ArmResult.of(name, scores, time.perf_counter() - started, note))

    def _look_at_lengths(self) -> None:
        encoder, texts = self._loaded(self._run.place("transferred")), self._sample.texts()[:SAMPLED]
        limit = encoder.max_seq_length
        lengths = [len(ids) for ids in encoder.tokenizer(texts, verbose=False)["input_ids"]]
        cut = sum(length > limit for length in lengths) / len(lengths)
        if cut > CUT:
            self.warnings.append(
                f"{cut:.0%} of the documents are longer than the {limit} tokens that are read, and are not found by "
                "their end: cut them into passages"
            )

    def _words(self) -> ArmResult:
        done = self._run.done(YARDSTICK)
        if done is not None:
            return done
        started = time.perf_counter()
        bm25 = BM25(str(self._tokenizer_place()))
        scores = evaluate_model(bm25, self._questions).per_query["ndcg@10"]
        note = "words of the tokenizer"
        return self._run.record(ArmResult.of(YARDSTICK, scores, time.perf_counter() - started, note))

    def _loaded(self, place: str | Path) -> Any:
        encoder = load_encoder(place, trust_remote_code=self._options.trust_remote_code)
        if type(encoder).__name__ != "SparseEncoder":
            raise EncoderError(
                f"encoder must be sparse to be adapted, got {place}, which is dense; take a SPLADE encoder"
            )
        return encoder

    def _tokenizer_place(self) -> str | Path:
        if self._options.target_tokenizer is not None:
            return self._options.target_tokenizer
        place = self._run.folder / "tokenizer"
        if not (place / "tokenizer.json").is_file():
            tokenizer, report = train_tokenizer(
                self._sample.texts(), vocabulary_size=self._options.vocabulary_size, language=self._sample.language,
                show_progress_bar=self._options.show_progress_bar,
            )  # fmt: skip
            with atomic_folder(place, overwrite=True) as written:
                tokenizer.save_pretrained(str(written))
                report.save(written)
        return place

    def _transferred(self) -> Any:
        from isthmus.bridge import open_bridge

        keep = self._keep
        trusted = self._options.trust_remote_code
        result, self._report = transfer_encoder(
            self._loaded(self._encoder),
            load_tokenizer(self._tokenizer_place(), trust_remote_code=trusted),
            bridge=open_bridge(self._bridge, trust_remote_code=trusted),
            keep_source=keep,
            sample_texts=self._sample.texts()[:SAMPLED],
            language=["en", self._sample.language] if keep else self._sample.language,
            seed=self._options.seed,
            show_progress_bar=self._options.show_progress_bar,
        )
        return result

    def _with_words(self, place: Path, texts: list[str], mode: Any) -> Any:
        return add_lexical(
            self._loaded(place), texts, mode, known=kept_tokens(place), seed=self._options.seed,
            pairs=mode == "hybrid", show_progress_bar=self._options.show_progress_bar,
        )  # fmt: skip

    def _taught(self, corpus: Any, place: Path, steps: int) -> None:
        # The trainer writes the folder itself, and goes on from its own checkpoints.
        teach(place, corpus, self._run.place("taught"), steps=steps, options=self._options)


def describe(folder: Path, found: Adaptation) -> None:
    """Write the model card of the encoder that was kept, with what was measured."""
    encoder = load_encoder(folder / "encoder")
    write_card(folder / "encoder", encoder, section=f"## How it was chosen\n\n{found.verdict()}.")
