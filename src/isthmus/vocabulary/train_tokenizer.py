"""A tokenizer for a language that has none, trained on raw text: WordPiece, or BPE where words have no spaces."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from isthmus._progress import wanted
from isthmus.errors import InputError
from isthmus.reading.storage import atomic_write
from isthmus.vocabulary.coverage import coverage
from isthmus.vocabulary.options import TokenizerOptions
from isthmus.vocabulary.script import WITHOUT_SPACES, alphabet, main_script, normalizer_of

SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_HELD_OUT_MOST = 2_000
# The alphabet is that of this much text from the start: it must be known before training, which reads a stream.
_HEAD_CHARACTERS = 5_000_000
_UNKNOWN_SHARE = 0.01
_MAX_LENGTH = 512
# Phrases that are written often are no words.
_LONGEST_WORD = 12


@dataclass(frozen=True)
class TokenizerReport:
    """What a tokenizer was trained on, and how it splits text that it has not seen.

    Attributes:
        lines: Texts read that are not blank, held-out ones included.
        characters: Characters of them.
        script: The script it is made for, as Unicode names it ("Latin"); "" where the text has no letters.
        vocabulary_size: Entries.
        vocabulary_size_wanted: Entries asked for.
        lowercase: Whether it reads in lower case.
        language: As given.
        held_out_lines: Lines kept out of training, on which the next two are measured.
        fertility: Tokens per word on them; None where there are none.
        per_character: Whether words are characters there, because the language writes no spaces.
        unknown_characters: Share of their characters in words that are unknown, 0..1; None where there are none.
        seconds: Wall time.
        warnings: What is not as hoped.
        model: "WordPiece", or "BPE" for a language that writes no spaces.
    """

    lines: int
    characters: int
    script: str
    vocabulary_size: int
    vocabulary_size_wanted: int
    lowercase: bool
    language: str | None
    held_out_lines: int
    fertility: float | None
    per_character: bool
    unknown_characters: float | None
    seconds: float
    warnings: tuple[str, ...]
    model: str

    def __str__(self) -> str:
        found = "nothing measured: too few lines to keep some out"
        if self.fertility is not None and self.unknown_characters is not None:
            found = (
                f"{self.held_out_lines} lines: {self.fertility:.2f} tokens per "
                f"{'character' if self.per_character else 'word'}, {self.unknown_characters:.2%} of "
                "the characters unknown"
            )
        case = "lower case" if self.lowercase else "the case it has"
        text = f"{self.lines} lines, {self.characters} characters; script {self.script or 'none'}, read in {case}"
        return "\n".join(
            [
                f"Trained a tokenizer of {self.vocabulary_size} tokens in {self.seconds:.1f} s",
                f"  text        {text}",
                f"  unseen      {found}",
                f"  warnings    {'; '.join(self.warnings) or 'none'}",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; the keys are stable."""
        return asdict(self) | {"warnings": list(self.warnings)}

    def save(self, folder: str | Path) -> None:
        """Write a card with the language, and ``tokenizer_report.json``, into ``folder``.

        Raises:
            OutputError: If a file cannot be written.
        """
        folder = Path(folder)
        front = f"---\nlanguage: {json.dumps(self.language)}\n---\n" if self.language else ""
        text = (
            f"A {self.model} tokenizer of {self.vocabulary_size} entries (script {self.script or 'none'}), trained by "
            f"`isthmus tokenizer` on {self.lines} lines of text.\n"
        )
        atomic_write(folder / "README.md", (front + text).encode())
        # The same text gives the same folder, however long it took.
        stated = {key: value for key, value in self.to_dict().items() if key != "seconds"}
        content = json.dumps(stated, ensure_ascii=False, indent=1) + "\n"
        atomic_write(folder / "tokenizer_report.json", content.encode())


def train_tokenizer(
    texts: Iterable[str], options: TokenizerOptions | None = None, **changes: Any
) -> tuple[Any, TokenizerReport]:
    """Train a tokenizer on raw text, as a target of a transfer.

    It is WordPiece, which splits words between spaces; where a language writes none (Thai, Lao, Khmer,
    Burmese), it is byte pair encoding of whole phrases (arXiv 1508.07909), whose tokens are words without
    marker.

    The texts are read once, as a stream; kept in memory are the first five million characters, which set the alphabet,
    and the counts of the distinct words. The same texts and options give the same tokenizer.

    Args:
        texts: One document or line each; blank ones are left out.
        options: How; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Returns:
        A transformers tokenizer with pad, unk, cls, sep and mask, and the report.

    Raises:
        InputError: If ``texts`` is a single string, holds something else than strings or half of a surrogate pair, or
            no text; if a number is out of range; or if ``vocabulary_size`` has no room for the letters of the text.

    Example:
        >>> tokenizer, report = train_tokenizer(lines, language="de", vocabulary_size=8000)  # doctest: +SKIP
    """
    options = TokenizerOptions.of(options, **changes)
    if isinstance(texts, str):
        raise InputError(f"texts must be an iterable of strings, got one string {texts[:40]!r}; put it into a list")
    started = time.perf_counter()
    reading = _Reading(texts, options)
    stream = iter(reading)
    head = list(_head(stream))
    if not head:
        raise InputError("texts must hold at least one line that is not blank, got none; pass text of the language")
    script = main_script(head)
    spaceless = script in WITHOUT_SPACES
    unknown = SPECIALS["unk_token"]
    backend = Tokenizer(
        models.BPE(unk_token=unknown, fuse_unk=True) if spaceless else models.WordPiece(unk_token=unknown)
    )
    backend.normalizer = normalizer_of(script, lowercase=options.lowercase, language=options.language)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    single, continuing = alphabet(head, backend)
    fixed = list(SPECIALS.values()) + ([] if spaceless else [f"##{character}" for character in continuing])
    if len(fixed) + len(single) > options.vocabulary_size:
        raise InputError(
            f"vocabulary_size must be at least {len(fixed) + len(single)} for the letters of these texts alone, got "
            f"{options.vocabulary_size}; raise it"
        )
    given: dict[str, Any] = {
        "vocab_size": options.vocabulary_size,
        # Given ids, because those that the trainer finds come in another order every time, and decide between ties.
        "special_tokens": fixed,
        "initial_alphabet": single,
        "limit_alphabet": len(single),
        "min_frequency": options.min_frequency,
        "show_progress": wanted(options.show_progress_bar),
    }
    trainer = (
        trainers.BpeTrainer(max_token_length=_LONGEST_WORD, **given)
        if spaceless
        else trainers.WordPieceTrainer(**given)
    )
    backend.train_from_iterator(itertools.chain(head, stream), trainer)
    tokenizer = assemble(backend.model if spaceless else backend.get_vocab(), backend.normalizer)
    return tokenizer, _report(tokenizer, reading, script, options, started)


def assemble(vocabulary: Any, normalizer: Any) -> Any:
    """A BERT-like transformers tokenizer.

    Args:
        vocabulary: Entries of a WordPiece model and their ids, those of ``SPECIALS`` among them; or another model.
        normalizer: Of ``tokenizers``, as :func:`isthmus.vocabulary.script.normalizer_of` makes it.
    """
    from transformers import PreTrainedTokenizerFast

    words = isinstance(vocabulary, dict)
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIALS["unk_token"]) if words else vocabulary)
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if words:
        backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=_MAX_LENGTH, **SPECIALS)


class _Reading:
    """The lines to train on, and what was seen of all."""

    def __init__(self, texts: Iterable[str], options: TokenizerOptions) -> None:
        self.texts, self.options = texts, options
        self.lines = self.characters = 0
        self.held_out: list[str] = []
        self.stopped = False

    def __iter__(self) -> Iterator[str]:
        for place, text in enumerate(self.texts, start=1):
            if not isinstance(text, str):
                raise InputError(f"texts must be strings, got {type(text).__name__} in place {place}")
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"texts must be Unicode, got half of a surrogate pair in place {place}; remove it"
                ) from error
            text = text.strip()
            if not text:
                continue
            if self.characters >= self.options.max_characters:
                self.stopped = True
                return
            self.lines += 1
            self.characters += len(text)
            every = self.options.held_out_every
            if every and self.lines % every == 0 and len(self.held_out) < _HELD_OUT_MOST:
                self.held_out.append(text)
            else:
                yield text


def _head(stream: Iterator[str]) -> Iterator[str]:
    left = _HEAD_CHARACTERS
    while left > 0 and (text := next(stream, None)) is not None:
        left -= len(text)
        yield text


def _report(
    tokenizer: Any, reading: _Reading, script: str, options: TokenizerOptions, started: float
) -> TokenizerReport:
    found = unknown = None
    if reading.held_out:
        found = coverage(tokenizer, reading.held_out)
        unknown = unknown_characters(tokenizer, reading.held_out)
    size = len(tokenizer)
    warnings = []
    if size < options.vocabulary_size:
        warnings.append(
            f"the text supports {size} of the {options.vocabulary_size} entries asked for; give more text, or lower "
            "min_frequency"
        )
    if unknown is not None and unknown > _UNKNOWN_SHARE:
        warnings.append(f"{unknown:.1%} of the held-out characters are unknown; give more text of this kind")
    if reading.stopped:
        warnings.append(
            f"only the first {reading.characters} characters were read; raise max_characters, or mix the text before"
        )
    return TokenizerReport(
        lines=reading.lines,
        characters=reading.characters,
        script=script if script == "CJK" else script.title(),
        vocabulary_size=size,
        vocabulary_size_wanted=options.vocabulary_size,
        lowercase=options.lowercase,
        language=options.language,
        held_out_lines=len(reading.held_out),
        fertility=None if found is None else found.fertility,
        per_character=found is not None and found.per_character,
        unknown_characters=unknown,
        seconds=time.perf_counter() - started,
        warnings=tuple(warnings),
        model="BPE" if script in WITHOUT_SPACES else "WordPiece",
    )


def unknown_characters(tokenizer: Any, texts: Iterable[str]) -> float:
    """Share of the characters of ``texts``, white space aside, that are in words the tokenizer does not know."""
    unknown = tokenizer.unk_token_id
    lost = total = 0
    for text in texts:
        encoded = tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        total += sum(not character.isspace() for character in text)
        spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        # Characters that become several words, as ½ does, are in the span of each.
        places = {place for id, (start, end) in spans if id == unknown for place in range(start, end)}
        lost += sum(not text[place].isspace() for place in places)
    return lost / total if total else 0.0
