"""Templates of pages and cards, which stand in the folder ``templates`` of the room that fills them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def templates_of(package: str, *, html: bool = True) -> Environment:
    """The templates of a package; a name that is not given is an error, not an empty text.

    Args:
        package: Its dotted name.
        html: Escape what is filled in; Markdown is not.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
