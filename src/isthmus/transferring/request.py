"""What a transfer is made of, by name: given one by one, by a preset, or by text to train a tokenizer on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from isthmus.assets import model_names, tokenizer_names
from isthmus.errors import InputError, NotFoundError
from isthmus.options import Options, option
from isthmus.reading.texts import check_texts
from isthmus.transferring.options import TransferOptions, check_options
from isthmus.transferring.origin import languages_of
from isthmus.transferring.preset import PRESETS, find_preset
from isthmus.vocabulary.options import TokenizerOptions


@dataclass(frozen=True)
class PartOptions(Options):
    """The models and tokenizers of a transfer, beside the encoder.

    Attributes:
        preset: Name of models that go together; what is given beside it comes first.
        target_tokenizer: Tokenizers of the target languages, several with ``keep_source``.
        target_text: Files to train a tokenizer on instead.
        vocabulary_size: Entries of that tokenizer; None takes the default of :class:`TokenizerOptions`.
        bridge: Multilingual dense model.
        vectors: File of token vectors computed elsewhere, instead.
    """

    preset: str | None = option(
        None,
        help="Models that go together, see `isthmus presets`; what is given beside it comes first.",
        complete=lambda: PRESETS,
    )
    target_tokenizer: Sequence[str] | None = option(
        None,
        help="Tokenizer of the target language: name, folder or hub id; with --keep-source any number.",
        kind=list[str],
        complete=tokenizer_names,
    )
    target_text: Sequence[Path] | None = option(
        None,
        help="Train the tokenizer on this text instead, as `isthmus tokenizer` does; any number of files.",
        kind=list[Path],
    )
    vocabulary_size: int | None = option(
        None, help="Entries of that tokenizer.", at_least=1, shown="24000 with --target-text"
    )
    bridge: str | None = option(None, help="Multilingual dense model: name, folder or hub id.", complete=model_names)
    vectors: Path | None = option(
        None, help="Bridge vectors computed elsewhere: safetensors with `source` and `target`."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        names, texts = self.target_tokenizer, self.target_text
        if names and texts:
            raise InputError(
                f"--target-tokenizer and --target-text must not come together, got {names[0]} and {texts[0]}; leave "
                "one out"
            )
        if self.vocabulary_size is not None and not texts:
            raise InputError(
                f"--vocabulary-size must come with --target-text, got {self.vocabulary_size} alone; name the text"
            )

    def check_files(self) -> None:
        """Look for the files.

        Raises:
            IsthmusError: If one is not there, or of another kind.
        """
        check_texts(self.target_text or ())
        if self.vectors is not None and not self.vectors.is_file():
            raise NotFoundError(f"{self.vectors} does not exist; give a .safetensors or .npz file")

    def tokenizer_options(self, options: TransferOptions) -> TokenizerOptions:
        """How the tokenizer of a transfer is trained."""
        size = {} if self.vocabulary_size is None else {"vocabulary_size": self.vocabulary_size}
        language = new_language(languages_of(options.language))
        return TokenizerOptions.of(None, language=language, show_progress_bar=options.show_progress_bar, **size)


@dataclass(frozen=True)
class TransferRequest:
    """A transfer all of whose parts have a name.

    Attributes:
        encoder: The source encoder.
        target_tokenizers: Tokenizers of the target languages.
        bridge: Multilingual dense model; None for none.
        vectors: File of token vectors, instead; None for none.
        given: Options of the transfer and its method, by name.
        notes: What the licences of a preset's parts ask or leave open.
    """

    encoder: str
    target_tokenizers: tuple[str, ...]
    bridge: str | None
    vectors: Path | None
    given: dict[str, Any]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, encoder: str | None, parts: PartOptions, trained: Path | None = None, /, **given: Any
    ) -> TransferRequest:
        """Complete what was given by the preset, if there is one.

        Args:
            encoder: Name of the encoder; None takes the preset's.
            parts: The other parts.
            trained: Folder of the tokenizer that will be trained; None if none will.
            **given: Options of the transfer and its method.

        Raises:
            UnknownNameError: If there is no such preset.
            InputError: If there is none, and no encoder or tokenizer either.
        """
        named: dict[str, Any] = {
            "encoder": encoder,
            "target_tokenizer": str(trained) if trained else parts.target_tokenizer or None,
            "bridge": parts.bridge,
        }
        notes: list[str] = []
        if parts.preset is not None:
            preset = find_preset(parts.preset)
            notes = preset.notes(**named)
            given = preset.arguments(**named, **given)
            named = {name: given.pop(name) for name in named}
        for name, shown, remedy in (
            ("encoder", "ENCODER", "name one"),
            ("target_tokenizer", "--target-tokenizer", "name one, train one on --target-text"),
        ):
            if named[name] is None:
                raise InputError(f"{shown} must be given, got none; {remedy}, or take a --preset")
        tokenizers = named["target_tokenizer"]
        return cls(
            encoder=named["encoder"],
            target_tokenizers=(tokenizers,) if isinstance(tokenizers, str) else tuple(tokenizers),
            bridge=named["bridge"],
            vectors=parts.vectors,
            given=given,
            notes=tuple(notes),
        )

    def check_method(self) -> None:
        """Look at the method and its own options, before texts are read for the others.

        Raises:
            UnknownNameError: If there is no such method.
            InputError: If one of its options does not fit.
        """
        others = {entry.name for entry in fields(TransferOptions)} - {"method"}
        _ = TransferOptions.of(
            None, **{name: value for name, value in self.given.items() if name not in others}
        ).initializer

    def others(self) -> dict[str, Any]:
        """What :func:`isthmus.transfer` takes beside the encoder and the options."""
        return {"target_tokenizer": self.target_tokenizers, "bridge": self.bridge, "vectors": self.vectors}

    def options(self) -> TransferOptions:
        """How to transfer, checked as :func:`isthmus.transferring.options.check_options` does."""
        return check_options(bridge=self.bridge, vectors=self.vectors, **self.given)


@contextmanager
def place_for_tokenizer(languages: Sequence[str] | None) -> Iterator[Path]:
    """A temporary folder for the tokenizer of a transfer, with the name that the encoder's card gives it."""
    with tempfile.TemporaryDirectory(prefix="isthmus-") as temporary:
        language = new_language(languages) or ""
        folder = Path(temporary) / f"tokenizer-{language if language.replace('-', '').isalnum() else 'from-text'}"
        folder.mkdir()
        yield folder


def new_language(languages: Sequence[str] | None) -> str | None:
    """The one language besides English; None where there are several or none."""
    others = [language for language in languages or () if language != "en"]
    return others[0] if len(others) == 1 else None
