"""Reading and writing videos."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatarkit.errors import InputError
from avatarkit.io.video_writer import VideoWriter

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["VideoInfo", "VideoWriter", "probe", "read_frames"]

log = logging.getLogger("avatarkit.io.video")

FALLBACK_FPS = Fraction(25)


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
    """Reads the header and the first frame.

    Raises:
        InputError: one sentence that says what is wrong with the file and what to do.
    """
    path = Path(path)
    with _open(path) as container:
        stream = _picture_stream(container, path)
        first = next(_decoded(container, stream, path), None)
        if first is None:
            raise _damaged(path)
        width, height = _size(first, stream, None)
        if first.rotation % 180 == 90:
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
    path = Path(path)
    with _open(path) as container:
        stream = _picture_stream(container, path)
        rate = float(_rate(stream) if fps is None else fps)
        period = 1 / float(_rate(stream))
        duration = _duration(container, stream)
        held: av.VideoFrame | None = None
        start, time, count = 0.0, 0.0, 0
        for frame in _decoded(container, stream, path):
            now = frame.time if frame.time is not None else time + period
            if held is None:
                start = now
            elif count < (end := _place(now - start, rate)):
                image = _to_array(held, stream, max_side)
                yield from ((n / rate, image) for n in range(count, end))
                count = end
            held, time = frame, now
        if held is None:
            raise _damaged(path)
        image = _to_array(held, stream, max_side)
        last = float(held.duration * held.time_base) if held.duration and held.time_base else period
        end = max(_place(time - start + last, rate), 1)
        yield from ((n / rate, image) for n in range(count, end))
        seen = time - start
        if duration is not None and duration - seen > max(0.5, 0.1 * duration):
            log.warning(
                "%s is cut off or damaged: %.1f of its %.1f seconds could be read and are used.",
                path.name,
                seen,
                duration,
            )


def _place(seconds: float, rate: float) -> int:
    """Number of the first output frame at or after a time, with half a frame of tolerance."""
    return math.floor(seconds * rate + 0.5 + 1e-6)


def _open(path: Path) -> InputContainer:
    import av

    if path.is_dir():
        raise InputError(f"{path} is a folder; give the path of one video.")
    if not path.exists():
        raise InputError(f"There is no file {path}; check its name and folder.")
    if path.stat().st_size == 0:
        raise InputError(f"{path.name} is empty (0 bytes); copy or download the video again.")
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except PermissionError as error:
        raise InputError(f"{path} cannot be read; check its permissions.") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        log.debug("%s: %s", path.name, error)
        raise _damaged(path) from error
    if container.format.name == "tty":  # FFmpeg draws text files
        container.close()
        raise _damaged(path)
    return container


def _damaged(path: Path) -> InputError:
    return InputError(
        f"{path.name} is not a video that can be read, or it is damaged; give an MP4, MOV, WebM, MKV, AVI, MPEG or GIF file."
    )


def _picture_stream(container: InputContainer, path: Path) -> VideoStream:
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:  # covers of sound files
            stream.thread_type = "AUTO"
            return stream
    raise InputError(f"{path.name} holds no pictures (sound only?); give a video that shows the person.")


def _rate(stream: VideoStream) -> Fraction:
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate is not None and 0.5 <= rate <= 250:
            return rate
    return FALLBACK_FPS


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _decoded(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[av.VideoFrame]:
    """Frames in order of time; damaged packets are left out."""
    import av

    damaged = 0
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                damaged += 1
                log.debug("%s: %s", path.name, error)
    except av.FFmpegError as error:  # the file ends in the middle of something
        log.debug("%s: %s", path.name, error)
    if damaged:
        log.warning("%s: %d damaged pieces were left out.", path.name, damaged)


def _size(frame: av.VideoFrame, stream: VideoStream, max_side: int | None) -> tuple[int, int]:
    """Width and height before rotation, with square pixels."""
    aspect = stream.codec_context.sample_aspect_ratio
    width, height = float(frame.width), float(frame.height)
    if aspect and 0.25 < aspect < 4:
        width *= float(aspect)
    scale = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _to_array(frame: av.VideoFrame, stream: VideoStream, max_side: int | None) -> np.ndarray:
    """(H, W, 3) uint8, upright."""
    width, height = _size(frame, stream, max_side)
    same = (width, height) == (frame.width, frame.height)
    if same and frame.format.name.startswith(("yuv420", "yuv422", "nv12")):
        # FFmpeg's own way to RGB repeats each colour sample over two pixels; mattes and edges would show the steps
        frame = frame.reformat(format="yuv444p", interpolation="BICUBIC")
    array = frame.reformat(width, height, format="rgb24", interpolation=None if same else "AREA").to_ndarray()
    return np.ascontiguousarray(np.rot90(array, round(frame.rotation / 90)))
