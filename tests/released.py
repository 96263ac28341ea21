"""The overlap of SemBridge's released code, retold: plain dictionaries over (id, canonical form, text).

arXiv 2605.26002, whose rule was found by running that code. Nothing here looks at Isthmus.
"""

from __future__ import annotations

import json
import re
from typing import Any

START = "▁"


def forms(tokenizer: Any) -> list[tuple[int, str, str]]:
    """(id, canonical form, text) of every token, ids ascending, from one decoded token at a time.

    The canonical form has the word-start marker of all families, "▁", and no white space before its text, so the byte
    of a tab is "". The text is the canonical form without marker, in lower case.
    """
    decoder = (json.loads(tokenizer.backend_tokenizer.to_str())["decoder"] or {}).get("type")
    found = []
    for raw, id in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]):
        decoded = tokenizer.decode([id])
        if decoder == "WordPiece":
            canonical = decoded[2:] if decoded.startswith("##") else START + decoded
        elif decoder == "ByteLevel":
            canonical = (START if raw.startswith("Ġ") else "") + decoded.lstrip()
        elif re.fullmatch("<0x[0-9A-F]{2}>", raw):
            canonical = raw
        else:
            canonical = (START if raw.startswith(START) else "") + decoded.lstrip()
        found.append((id, canonical, canonical.replace(START, "").lower()))
    return found


def overlap(target: Any, source: Any, *, exact: bool = True, fuzzy: bool = True) -> dict[int, int]:
    """The source id that each target id copies, where it copies one; symbols as words."""
    last: dict[str, int] = {}
    view: dict[str, int] = {}
    for id, canonical, text in forms(source):
        last[canonical] = id
        if canonical == text:
            view[text] = id
        else:
            view.setdefault(text, id)
    copies = {}
    for id, canonical, text in forms(target):
        if exact and canonical in last:
            copies[id] = last[canonical]
        elif fuzzy and text in view:
            copies[id] = view[text]
    return copies
