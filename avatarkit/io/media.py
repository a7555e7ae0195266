"""Opens sound and video files by FFmpeg as data: no playlists that lead elsewhere, no drawing of text, no network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = ["MOST_PIXELS", "MOST_SIDE", "open_media"]

_FORMATS = (
    "mov", "mp4", "3gp", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "gif", "apng", "flv", "asf", "ogg", "ivf",
    "mxf", "nut", "h264", "hevc", "obu", "av1", "m4v", "mjpeg", "yuv4mpegpipe", "dv", "rm", "wav", "w64", "flac", "mp3", "aac",
    "aiff", "au", "caf", "wv", "amr", "ac3", "eac3", "ape", "tta", "dts",
)  # fmt: skip
"""FFmpeg's demuxers that read one file; those of playlists, devices, texts and pictures are not among them."""

MOST_SIDE = 8192
"""Pixels of the longer side of a frame."""
MOST_PIXELS = 36_000_000
"""Pixels of a frame: 8K."""


def open_media(path: Path) -> InputContainer:
    """Open an ordinary file; the caller has checked that it is one.

    Raises:
        av.FFmpegError, OSError, ValueError: it is of another kind, or damaged.
    """
    import av

    options = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file"}
    # PyAV 19 has no such argument: it keeps bytes that are not UTF-8 as surrogates
    lenient: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
    # "file:", so that a name with a colon is not read as a protocol
    return av.open("file:" + os.path.abspath(path), container_options=options, **lenient)
