"""``isthmus presets``: models that go together, for ``isthmus transfer --preset``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from isthmus.cli._options import Json
from isthmus.cli._printing import console, escape, print_json, print_wrapped

if TYPE_CHECKING:
    from isthmus.transferring.preset import PresetPart


def command(json: Json = False) -> None:
    """List models that go together, for `isthmus transfer --preset`.

    With their licences and what is known of them.

    Example: isthmus presets
    """
    from isthmus.transferring import preset as presets

    if json:
        print_json(preset.to_dict() for preset in presets.PRESETS.values())
        return
    languages = ", ".join(presets.TOKENIZERS)
    console.print(f"A preset is an encoder and a language ({languages}): splade-v3-ko, mini-ru.", soft_wrap=True)
    _print_parts("encoders", presets.ENCODERS | {"mini": presets.MINI_ENCODER})
    _print_parts("tokenizers by language", presets.TOKENIZERS)
    _print_parts("tokenizers of mini", presets.MINI_TOKENIZERS)
    _print_parts("bridges", {"all": presets.BRIDGE, "mini": presets.MINI_BRIDGE})


def _print_parts(title: str, parts: Mapping[str, PresetPart]) -> None:
    console.print(f"\n[bold]{title}[/]")
    for name, part in parts.items():
        license = part.license or "licence unknown, see its page"
        print_wrapped(f"  [bold]{name:<16}[/] ", f"{escape(part.name)}  [cyan]{license}[/]")
        print_wrapped(f"  {'':<16} ", escape(part.facts))
