"""Reading subtitles: SubRip (.srt) and WebVTT (.vtt)."""

from __future__ import annotations

import re
from pathlib import Path

from avatarkit.errors import InputError
from avatarkit.types.speech import Cue
from avatarkit.utils.files import require_file

__all__ = ["read_subtitles"]

_MOST_BYTES = 1 << 24
_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_LINE = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_ENCODINGS = ("utf-8-sig", "utf-16", "latin-1")  # in this order: the last one reads everything


def read_subtitles(path: str | Path) -> list[Cue]:
    """Read a file of subtitles.

    Args:
        path: ``.srt`` or ``.vtt``; its content decides.

    Returns:
        Lines with a text in the order of their times; of lines that overlap, the later ones start where the earlier ones end.

    Raises:
        InputError: it cannot be read, or holds no line with times.
    """
    path = Path(path)
    require_file(path, "file of subtitles", _MOST_BYTES)
    try:
        cues = sorted(_cues(_decoded(path.read_bytes())), key=lambda cue: (cue.start, cue.end))
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    out: list[Cue] = []
    for cue in cues:
        start = max(cue.start, out[-1].end if out else 0.0)
        if cue.end > start and cue.text:
            out.append(Cue(start, cue.end, cue.text))
    if not out:
        raise InputError(f"{path.name} holds no subtitles; give a SubRip (.srt) or WebVTT (.vtt) file.")
    return out


def _decoded(data: bytes) -> str:
    for encoding in _ENCODINGS:
        if encoding == "utf-16" and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            continue
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return ""


def _cues(text: str) -> list[Cue]:
    out: list[Cue] = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.split("\n")
        for number, line in enumerate(lines):
            if (match := _LINE.match(line)) is not None:
                said = re.sub(r"<[^<>]*>|\{\\[^{}]*\}", "", " ".join(lines[number + 1 :]))
                out.append(Cue(_seconds(match.groups()[:4]), _seconds(match.groups()[4:]), " ".join(said.split())))
                break
    return out


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds or 0) + float(f"0.{fraction}")
