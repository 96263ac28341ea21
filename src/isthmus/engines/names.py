"""Names that a URL may have: of one index or collection, so that no request is ever about several or about another one.

Servers take wildcards, lists, exclusions, date math and ``_all`` wherever they take a name, also in requests that
delete. So only names that can mean nothing else are let through; both servers allow a few more.
"""

from __future__ import annotations

import re
import unicodedata

from isthmus.errors import InputError

_BYTES = 255
_COLLECTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_POINTS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# PostgreSQL cuts longer names off without a word.
_TABLE_BYTES = 63
_SHOWN = 60


def check_name(scheme: str, name: str) -> None:
    """Refuse a name that is none, or may mean something else than one index.

    Args:
        scheme: Kind of server; those that are not known here take anything.
        name: As it stands in the URL.

    Raises:
        InputError: Says what is allowed and what to write.
    """
    if scheme == "milvus" and (not _COLLECTION.fullmatch(name) or len(name) > _BYTES):
        what, allowed = "collection", f"letters, digits and '_', no digit first, at most {_BYTES} of them"
    elif scheme in ("opensearch", "elasticsearch") and not _is_index(name):
        what = "index"
        allowed = f"lower-case letters, digits, '.', '_' and '-', a letter or digit first, at most {_BYTES} bytes"
    elif scheme == "qdrant" and (not _POINTS.fullmatch(name) or len(name) > _BYTES):
        what, allowed = "collection", f"letters, digits, '.', '_' and '-', a letter or digit first, at most {_BYTES}"
    elif scheme == "postgresql" and (not _COLLECTION.fullmatch(name) or len(name) > _TABLE_BYTES):
        what, allowed = "table", f"letters, digits and '_', no digit first, at most {_TABLE_BYTES} of them"
    else:
        return
    most = _TABLE_BYTES if scheme == "postgresql" else _BYTES
    shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
    raise InputError(f"the {what} in a URL of {scheme} must be {allowed}, got {shown!r}; {_remedy(name, most)}")


def _is_index(name: str) -> bool:
    """Letters and digits of any script. Names with a dot first are hidden, and those of the server's own indexes."""
    return (
        name[:1].isalnum()
        and all(one in "._-" or unicodedata.category(one)[0] in "LMN" for one in name)
        and name == name.lower()
        and len(name.encode()) <= _BYTES
    )


def _remedy(name: str, most: int) -> str:
    if "%" in name:
        return "a percent sign is no part of a name: write the name as the server shows it"
    if name == "_all" or re.search(r"[*?,<>]", name):
        return "wildcards, lists and date math can mean several: write the name of one"
    if len(name) > most:
        return "shorten it"
    if _is_index(name.lower()) and name != name.lower():
        return f"write {name.lower()!r}"
    return "choose another name"
