"""``isthmus recipes``: how the papers trained, as far as is known, for ``isthmus align`` and ``train --recipe``."""

from __future__ import annotations

from isthmus.cli._options import Json
from isthmus.cli._printing import console, escape, print_json, print_wrapped


def command(json: Json = False) -> None:
    """List the papers' recipes: every value and where it is known from.

    They are for `isthmus align --recipe` and `isthmus train --recipe`.

    Example: isthmus recipes --json
    """
    from isthmus.training.paper_recipes import KNOWN, RECIPES, show

    if json:
        print_json(recipe.to_dict() for recipe in RECIPES.values())
        return
    for tag, meaning in KNOWN.items():
        if tag != "ours":
            print_wrapped(f"  {escape(f'[{tag}]'):<8} ", meaning)
    print_wrapped(
        f"  {KNOWN['ours']}  ", "the paper does not say, or could not be read; the default of Isthmus stands in"
    )
    for recipe in RECIPES.values():
        console.print(
            f"\n[bold]{recipe.name}[/]  {recipe.title}, arXiv {recipe.arxiv}: isthmus {recipe.command} --recipe",
            soft_wrap=True,
        )
        for name, value in recipe.values.items():
            print_wrapped(f"  {name:<28} {show(value.value):<12} ", escape(value.source))
        for note in recipe.notes:
            print_wrapped("  - ", escape(note))
