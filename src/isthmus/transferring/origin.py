"""Where the parts of a transfer come from, and the model card that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Where the parts come from, for the model card; None and empty where unknown."""

    license: str | None = None
    base_model: str | None = None
    tokenizer_name: str | None = None
    encoder_name: str | None = None
    bridge_name: str | None = None
    languages: tuple[str, ...] = ()
    keeps_source: bool = False
    writes_source: bool = False

    def to_dict(self) -> dict[str, str]:
        """Names of the parts that have one."""
        named = {"encoder": self.encoder_name, "tokenizer": self.tokenizer_name, "bridge": self.bridge_name}
        return {part: name for part, name in named.items() if name}


def languages_of(language: str | Sequence[str] | None) -> tuple[str, ...]:
    """One language, several or none, as a tuple."""
    return () if language is None else (language,) if isinstance(language, str) else tuple(language)


def build_card(encoder: Any, origin: Origin, license: str | None) -> Any:
    """Model card data for the result; saving it asks the hub nothing.

    Args:
        encoder: The source encoder.
        origin: Names to give; without a base model, what the encoder's own card says.
        license: Licence of the source, carried over.
    """
    base = origin.base_model or encoder.model_card_data.base_model or _name(encoder.transformers_model)
    names = [base or type(encoder).__name__]
    if origin.tokenizer_name:
        how = "and" if origin.keeps_source else "reading" if origin.writes_source else "with"
        names.append(f"{how} the vocabulary of {origin.tokenizer_name}")
    card = encoder.model_card_data_class(
        language=list(origin.languages),
        license=license,
        model_name=" ".join(names),
        local_files_only=True,
        generate_widget_examples=False,
    )
    card.base_model = base
    card.add_tags(["isthmus", "vocabulary-transfer"])
    return card


def _name(model: Any) -> str | None:
    """Last part of where a model was loaded from, if anywhere; a local path is nobody else's business."""
    path = str(getattr(model.config, "_name_or_path", "") or "")
    return Path(path).name or None
