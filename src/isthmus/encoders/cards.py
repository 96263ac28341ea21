"""Model cards: what one states and demands, and one carried on to what is made of its model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_OWN_TERMS = frozenset({"other", "unknown"})


def read_license(encoder: Any, folder: Path | None = None) -> str | None:
    """Licence of an encoder, in lower case: from its card data, the card it was loaded with, or ``folder/README.md``.

    Args:
        encoder: A SparseEncoder or SentenceTransformer.
        folder: The local folder it came from, if any.
    """
    texts = [getattr(encoder, "_model_card_text", None)]
    if folder is not None and (folder / "README.md").is_file():
        texts.append((folder / "README.md").read_text(encoding="utf-8", errors="replace"))
    found = [encoder.model_card_data.license, *(read_front_matter(text).get("license") for text in texts if text)]
    return next((_one(value).lower() for value in found if value), None)


def read_front_matter(text: str) -> dict[str, Any]:
    """The YAML block at the start of a model card; empty where there is none or it is malformed."""
    import yaml  # type: ignore[import-untyped]

    matched = re.match(r"\s*---\r?\n(.*?)\r?\n---", text, flags=re.DOTALL)
    if matched is None:
        return {}
    try:
        values = yaml.safe_load(matched[1])
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}


def read_language(folder: Path) -> list[str]:
    """Languages that the card of a local tokenizer or model states."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    value = read_front_matter(text).get("language") or []
    return [str(language) for language in (value if isinstance(value, list) else [value])]


def license_warning(license: str | None) -> str | None:
    """What a source licence asks of whoever shares the result; None where it only wants credit, or is not known."""
    if license is None:
        return None
    words = set(re.split(r"[-_ .]+", license))
    if "nc" in words or "noncommercial" in words or "non-commercial" in license:
        return f"the source licence {license} forbids commercial use of the result too"
    if "sa" in words or any(word.rstrip("0123456789") in ("gpl", "agpl") for word in words):
        return f"the source licence {license} asks that the result be shared under the same licence"
    if license in _OWN_TERMS:
        return f"the source licence is {license!r}: read its terms before sharing the result"
    return None


def carry_card(source: Any, result: Any, note: str) -> None:
    """Give an encoder the card of the one that it was made from, and a line on what was done.

    Args:
        source: The encoder that it was made from.
        result: The new one, with card data of its own.
        note: What was done, to stand behind the name of the model.
    """
    card = result.model_card_data
    card.add_tags(["isthmus"])
    text = getattr(source, "_model_card_text", None)
    if text and "generated_from_trainer" not in card.tags:
        # A card that a model was loaded with is saved again as it is.
        result._model_card_text = f"{text.rstrip()}\n\nThis copy comes {note}.\n"
    else:
        card.model_name = f"{card.model_name or card.get_default_model_name()}, {note}"


def _one(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)
