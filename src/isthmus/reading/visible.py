"""Text of others as it is shown on a terminal or in a log: what would steer either is spelled out."""

from __future__ import annotations

# Control characters of ASCII and Latin-1, which move the cursor and forge lines; line and paragraph separators; and the
# marks that reorder what stands around them. Those that single letters need (U+200C to U+200F) stay.
_STEERING = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SPELLED = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _STEERING}
_SPELLED |= {ord(letter): repr(letter)[1:-1] for letter in "\n\r\t"}
_LINES = {code: text for code, text in _SPELLED.items() if code != ord("\n")}
_JSON = {code: f"\\u{code:04x}" for code in _STEERING if code >= 0x20}


def visible(text: str, *, lines: bool = False) -> str:
    r"""The same text with ``\x1b`` for an escape, and so on.

    Args:
        text: Any.
        lines: Leave line ends as they are.
    """
    return text.translate(_LINES if lines else _SPELLED)


def visible_json(text: str) -> str:
    """The same JSON, with escapes for what JSON itself does not escape."""
    return text.translate(_JSON)
