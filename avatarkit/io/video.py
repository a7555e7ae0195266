"""Reading and writing videos."""

from __future__ import annotations

import logging
import math
import struct
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatarkit.errors import InputError
from avatarkit.io.media import MOST_PIXELS, MOST_SIDE, open_media
from avatarkit.io.video_writer import VideoWriter
from avatarkit.utils.files import require_file

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["VideoInfo", "VideoWriter", "check_length", "probe", "read_frames"]

log = logging.getLogger("avatarkit.io.video")

FALLBACK_FPS = Fraction(25)
MOST_FRAMES = 108_000
"""Frames that are read of one video: an hour at 30 per second."""

_LONGEST_GAP = 10.0  # seconds between two frames; longer ones, and steps back, are damaged times
_MOST_DECODED = 1_000_000
_SMALLEST = 16  # pixels


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself.

    Attributes:
        width, height: pixels of the upright picture.
        fps: frames per second, on average where the rate varies.
        frames: how many, where the file says so.
        duration: seconds, where the file says so.
    """

    width: int
    height: int
    fps: float
    frames: int | None
    duration: float | None


def probe(path: str | Path) -> VideoInfo:
    """Read the header and the first frame.

    Raises:
        InputError: one sentence that says what is wrong with the file and what to do.
    """
    path = Path(path)
    with _open(path) as container:
        stream = _picture_stream(container, path)
        with closing(_decoded(container, stream, path)) as frames:
            first = next(frames, None)
        if first is None:
            raise _damaged(path)
        width, height = _size(first, stream, None)
        if _display(first)[0]:
            width, height = height, width
        return VideoInfo(width, height, float(_rate(stream)), stream.frames or None, _duration(container, stream))


def read_frames(path: str | Path, fps: float | None = None, max_side: int | None = None) -> Iterator[tuple[float, np.ndarray]]:
    """Frames of a video or animated GIF, upright, at a constant rate; lazily, one is held at a time.

    Args:
        path: any container and codec that FFmpeg reads.
        fps: frames are repeated or left out to reach this rate; None = the file's own (average) rate.
        max_side: larger frames are scaled down to this many pixels on the longer side.

    Yields:
        (seconds from the first frame, (H, W, 3) uint8 sRGB). Of a file that is cut off, what is there, with a
        warning in the log.

    Raises:
        InputError: one sentence that says what is wrong with the file and what to do.
    """
    from av.video.reformatter import VideoReformatter

    path = Path(path)
    with _open(path) as container:
        stream = _picture_stream(container, path)
        converters = VideoReformatter(), VideoReformatter()  # for all frames: each new one starts threads
        rate = float(_rate(stream) if fps is None else fps)
        period = 1 / float(_rate(stream))
        duration = _duration(container, stream)
        held: av.VideoFrame | None = None
        clock, count = _Clock(period, path), 0
        seen = 0.0
        for frame in _decoded(container, stream, path):
            now = clock.at(frame)
            if held is not None and count < (end := _place(now, rate)):
                image = _to_array(held, stream, max_side, *converters)
                for n in range(count, end):
                    check_length(n, path)
                    yield n / rate, image
                count = end
            held, seen = frame, now
        if held is None:
            raise _damaged(path)
        image = _to_array(held, stream, max_side, *converters)
        last = float(held.duration * held.time_base) if held.duration and held.time_base else period
        if not 0 <= last <= _LONGEST_GAP:
            last = period
        end = max(_place(seen + last, rate), 1)
        for n in range(count, end):
            check_length(n, path)
            yield n / rate, image
        if duration is not None and duration - seen > max(0.5, 0.1 * duration):
            log.warning(
                "%s is cut off or damaged: %.1f of its %.1f seconds could be read and are used.", path.name, seen, duration
            )


class _Clock:
    """Seconds from the first frame; gaps and steps back that no camera makes are closed."""

    def __init__(self, period: float, path: Path) -> None:
        self._period, self._path = period, path
        self._last: float | None = None
        self._start, self._skipped, self._told = 0.0, 0.0, False

    def at(self, frame: av.VideoFrame) -> float:
        """Return the time of the next frame."""
        last = self._last
        now = frame.time
        if now is None or not math.isfinite(now):
            now = 0.0 if last is None else last + self._period
        if last is None:
            self._start = now
        elif not 0 <= now - last <= _LONGEST_GAP:
            self._skipped += now - last - self._period
            if not self._told:
                log.warning(
                    "%s: its time jumps by %.0f seconds after %.1f; the gap is left out.",
                    self._path.name, now - last, last - self._start,
                )  # fmt: skip
            self._told = True
        self._last = now
        return now - self._start - self._skipped


def check_length(number: int, path: Path) -> None:
    """Return whether a video of so many frames, or its frame of this number, is read.

    Raises:
        InputError: it is too long.
    """
    if number >= MOST_FRAMES:
        raise InputError(f"{path.name} has more than {MOST_FRAMES} frames, an hour at 30 per second; cut it into parts.")


def _place(seconds: float, rate: float) -> int:
    """Return the number of the first output frame at or after a time, with half a frame of tolerance."""
    return math.floor(seconds * rate + 0.5 + 1e-6)


def _open(path: Path) -> InputContainer:
    import av

    if require_file(path, "video") == 0:
        raise InputError(f"{path.name} is empty (0 bytes); copy or download the video again.")
    try:
        container = open_media(path)
    except PermissionError as error:
        raise InputError(f"{path} cannot be read; check its permissions.") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        log.debug("%s: %s", path.name, error)
        raise _damaged(path) from error
    return container


def _damaged(path: Path) -> InputError:
    return InputError(
        f"{path.name} is not a video that can be read, or it is damaged; give an MP4, MOV, WebM, MKV, AVI, MPEG or GIF file."
    )


def _picture_stream(container: InputContainer, path: Path) -> VideoStream:
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:  # covers of sound files
            _check_size(stream.codec_context.width, stream.codec_context.height, path)
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # a frame's own size may be another
            stream.thread_type = "AUTO"
            return stream
    raise InputError(f"{path.name} holds no pictures (sound only?); give a video that shows the person.")


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        raise InputError(f"{path.name} has frames of {width}x{height} pixels; scale it down, at most 8K are read.")


def _rate(stream: VideoStream) -> Fraction:
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0.5 <= rate <= 250:
            return Fraction(rate.numerator, rate.denominator)  # PyAV 19 has a type of its own
    return FALLBACK_FPS


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _decoded(container: InputContainer, stream: VideoStream, path: Path) -> Generator[av.VideoFrame, None, None]:
    """Frames in order of time; damaged packets are left out."""
    import av

    damaged = decoded = 0
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    decoded += 1
                    if decoded > _MOST_DECODED:
                        raise InputError(f"{path.name} has more than {_MOST_DECODED} frames; cut it into parts.")
                    _check_size(frame.width, frame.height, path)
                    if min(frame.width, frame.height) < _SMALLEST:
                        size = f"{frame.width}x{frame.height}"
                        raise InputError(f"{path.name} has frames of {size} pixels, too few for a person; use a larger video.")
                    yield frame
            except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
                damaged += 1
                log.debug("%s: %s", path.name, error)
    except (av.FFmpegError, ValueError, OverflowError) as error:  # the file ends in the middle of something
        log.debug("%s: %s", path.name, error)
    if damaged:
        log.warning("%s: %d damaged pieces were left out.", path.name, damaged)


def _size(frame: av.VideoFrame, stream: VideoStream, max_side: int | None) -> tuple[int, int]:
    """Width and height before rotation, with square pixels."""
    aspect = stream.codec_context.sample_aspect_ratio
    width, height = float(frame.width), float(frame.height)
    if aspect and 0.25 < aspect < 4 and max(width * aspect, height) <= MOST_SIDE and width * height * aspect <= MOST_PIXELS:
        width *= float(aspect)
    scale = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _to_array(frame: av.VideoFrame, stream: VideoStream, max_side: int | None, to_full: Any, to_rgb: Any) -> np.ndarray:
    """Return (H, W, 3) uint8, upright; the last two arguments are converters of PyAV: to full color, and to RGB."""
    width, height = _size(frame, stream, max_side)
    same = (width, height) == (frame.width, frame.height)
    if same and frame.format.name.startswith(("yuv420", "yuv422", "nv12")):
        # FFmpeg's own way to RGB repeats each color sample over two pixels; mattes and edges would show the steps
        frame = to_full.reformat(frame, format="yuv444p", interpolation="BICUBIC")
    array = to_rgb.reformat(frame, width, height, format="rgb24", interpolation=None if same else "AREA").to_ndarray()
    swapped, mirrored, upended = _display(frame)
    if swapped:
        array = array.swapaxes(0, 1)
    return np.ascontiguousarray(array[:: -1 if upended else 1, :: -1 if mirrored else 1])


def _display(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Return how players show a frame: axes swapped, then flipped left to right, then upside down."""
    from av.sidedata.sidedata import Type

    sides: Any = frame.side_data  # its type stub has texts as keys
    data = sides.get(Type.DISPLAYMATRIX)
    if data is None or data.buffer_size < 36:
        return False, False, False
    a, b, _, c, d = struct.unpack_from("<5i" if sys.byteorder == "little" else ">5i", bytes(data))
    swapped = abs(b) + abs(c) > abs(a) + abs(d)
    return swapped, (c if swapped else a) < 0, (b if swapped else d) < 0
