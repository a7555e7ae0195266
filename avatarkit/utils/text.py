"""Text from files, plugins and servers, made safe to show on a terminal or a page. Light to import."""

from __future__ import annotations

import re

__all__ = ["duration", "escaped", "json_safe", "one_line", "printable", "shortened"]

# Everything that a terminal obeys or a reader cannot see: C0 and C1 controls, DEL, soft hyphens, marks that turn the direction
# of text, invisible characters, separators of lines and paragraphs, tags, and halves of surrogate pairs. Joiners shape words of
# many scripts and emoji, and are hidden only beside ASCII.
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_PATTERN = re.compile(rf"[{_HIDDEN}]|[\u200c\u200d](?=[\x00-\x7f]|$)|(?<![^\x00-\x7f])[\u200c\u200d]")


def printable(text: object) -> str:
    r"""Return the text with every character visible that a terminal would obey: ``\x1b``, ``\u202e``.

    Line ends and tabs stay.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return _PATTERN.sub(_visible, shown.replace("\r\n", "\n"))


def one_line(text: object) -> str:
    """Return ``printable`` text without line ends and tabs, so that it cannot pass for lines of the program's own."""
    shown = str(text)
    return shown if shown.isprintable() else printable(re.sub(r"\r?\n|\t", " ", shown))


def escaped(text: object) -> str:
    """Return ``printable`` text for HTML, inside elements and quoted attributes."""
    import html

    return html.escape(printable(text), quote=True)


def json_safe(text: str) -> str:
    r"""Return a JSON text whose hidden characters are written as ``\u...``; it stands for the same values."""
    return text if text.isprintable() else _PATTERN.sub(_escape_of_json, text)


def shortened(text: str, most: int = 80) -> str:
    """Return the text on one line, cut off with ``...`` after ``most`` characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def duration(seconds: float) -> str:
    """Return a time in the unit that people would use: ``40 s``, ``2.5 minutes``, ``3 days``."""
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.1f} {name}" if seconds < 10 * unit else f"{seconds / unit:.0f} {name}"
    return f"{max(1, round(seconds))} s"


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_of_json(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
