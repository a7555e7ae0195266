"""Reading and writing videos."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from avatarkit.errors import InputError, StoreError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["VideoInfo", "VideoWriter", "probe", "read_frames"]

log = logging.getLogger("avatarkit.video")

FALLBACK_FPS = Fraction(25)
CODECS: dict[str, tuple[str, tuple[str, ...], str]] = {  # suffix -> container, encoders to try, encoder of sound
    ".mp4": ("mp4", ("libx264", "libopenh264", "mpeg4"), "aac"),
    ".m4v": ("mp4", ("libx264", "libopenh264", "mpeg4"), "aac"),
    ".mkv": ("matroska", ("libx264", "libopenh264", "mpeg4"), "aac"),
    ".mov": ("mov", ("libx264", "libopenh264", "mpeg4"), "aac"),
    ".webm": ("webm", ("libvpx-vp9",), "libopus"),
}
TRANSPARENT = {".mov": (("prores_ks",), "yuva444p10le"), ".webm": (("libvpx-vp9",), "yuva420p")}
OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "18"},
    "libopenh264": {"rc_mode": "quality", "b": "6M"},
    "mpeg4": {"qscale": "3", "b": "6M"},
    # alternate reference frames cannot carry alpha
    "libvpx-vp9": {"crf": "26", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1", "auto-alt-ref": "0"},
    "prores_ks": {"profile": "4444", "vendor": "apl0"},
}
BT709, LIMITED = 1, 1  # numbers of the colour matrix and range in video headers


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


def read_frames(
    path: str | Path, fps: float | None = None, max_side: int | None = None
) -> Iterator[tuple[float, np.ndarray]]:
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
        f"{path.name} is not a video that can be read, or it is damaged; "
        "give an MP4, MOV, WebM, MKV, AVI, MPEG or GIF file."
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
    array = frame.reformat(width, height, format="rgb24", interpolation=None if same else "AREA").to_ndarray()
    return np.ascontiguousarray(np.rot90(array, round(frame.rotation / 90)))


class VideoWriter:
    """Writes a video, or a folder of PNG files; nothing is left behind where writing fails.

    The suffix chooses: ``.mp4 .m4v .mkv`` H.264, ``.mov`` H.264 or, transparent, ProRes 4444, ``.webm`` VP9, no suffix
    a folder of PNG files. Use it as a context manager::

        with VideoWriter("out.mp4", 288, 512, fps=30) as video:
            video.write(image)

    Args:
        path: of the file or folder; replaced when all is written.
        width, height: of the pictures; odd sizes are padded by one pixel where the codec needs even ones.
        fps: frames per second.
        transparent: pictures have four channels and alpha is kept.
        audio: sound file to go with it, from its start.

    Raises:
        InputError: the suffix is unknown or cannot be transparent, or a picture has the wrong shape.
        StoreError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: float,
        *,
        transparent: bool = False,
        audio: str | Path | None = None,
    ) -> None:
        self.path, self.width, self.height, self.transparent = Path(path), width, height, transparent
        self.fps = Fraction(fps).limit_denominator(1001)
        self.count = 0
        self._audio = None if audio is None else Path(audio)
        suffix = self.path.suffix.lower()
        self._folder = suffix == ""
        if not self._folder and suffix not in CODECS:
            raise InputError(
                f"Videos cannot be written as {suffix} ({self.path.name}); use {', '.join(CODECS)} or a folder."
            )
        if transparent and not self._folder and suffix not in TRANSPARENT:
            raise InputError(f"{suffix} videos cannot be transparent; use {', '.join(TRANSPARENT)} or a folder.")
        self._container: Any = None
        self._stream: Any = None
        self._sound: Iterator[tuple[float, Any]] | None = None
        self._temporary: Path | None = None

    def __enter__(self) -> VideoWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._folder:
                self._check_folder()
                self._temporary = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
            else:
                handle, name = tempfile.mkstemp(prefix=f".{self.path.stem}.", suffix=".tmp", dir=self.path.parent)
                os.close(handle)
                self._temporary = Path(name)
                self._open()
        except OSError as error:
            self._discard()
            raise StoreError(f"{self.path} cannot be written ({error.strerror or error}).") from error
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, image: np.ndarray) -> None:
        """Appends a picture, (H, W, 3) uint8 sRGB, or (H, W, 4) with straight alpha where ``transparent``."""
        channels = 4 if self.transparent else 3
        if image.shape != (self.height, self.width, channels) or image.dtype != np.uint8:
            expected = (self.height, self.width, channels)
            raise InputError(f"A frame of {self.path.name} has {image.shape} {image.dtype}, expected {expected} uint8.")
        try:
            if self._folder:
                self._write_png(image)
            else:
                self._encode(image)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written ({error.strerror or error}).") from error
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                return
            if self.count == 0:
                raise InputError(f"{self.path.name} would have no frames; nothing was written.")
            self._finish()
        except OSError as failure:
            raise StoreError(f"{self.path} cannot be written ({failure.strerror or failure}).") from failure
        finally:
            self._discard()

    def _check_folder(self) -> None:
        if self.path.is_file():
            raise InputError(f"{self.path} is a file without a suffix; choose another name for the folder of frames.")
        if self.path.is_dir() and not all(re.fullmatch(r"\d{6}\.png", p.name) for p in self.path.iterdir()):
            raise InputError(f"The folder {self.path} holds other files; choose a new one for the frames.")

    def _open(self) -> None:
        import av

        suffix = self.path.suffix.lower()
        container, encoders, sound = CODECS[suffix]
        pixels = "yuv420p"
        if self.transparent:
            encoders, pixels = TRANSPARENT[suffix]
        usable = [e for e in encoders if _encoder_exists(e)]
        if not usable:
            raise StoreError(f"The installed package av cannot write {suffix} videos; reinstall it: pip install av.")
        options = {"movflags": "+faststart"} if container in ("mp4", "mov") else {}
        self._container = av.open(str(self._temporary), "w", format=container, options=options)
        stream = self._container.add_stream(usable[0], rate=self.fps, options=OPTIONS[usable[0]])
        even = pixels != "yuva444p10le"
        stream.width, stream.height = self.width + (self.width % 2) * even, self.height + (self.height % 2) * even
        stream.pix_fmt = pixels
        stream.codec_context.time_base = 1 / self.fps
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        self._stream = stream
        if self._audio is not None:
            _check_sound(self._audio)
            self._sound = self._sound_packets(self._audio, sound)

    def _encode(self, image: np.ndarray) -> None:
        import av

        pad = (self._stream.height - self.height, self._stream.width - self.width)
        if any(pad):
            image = np.pad(image, ((0, pad[0]), (0, pad[1]), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgba" if self.transparent else "rgb24")
        frame = frame.reformat(format=self._stream.pix_fmt, dst_colorspace=BT709, dst_color_range=LIMITED)
        frame.pts, frame.time_base = self.count, 1 / self.fps
        self._container.mux(self._stream.encode(frame))
        self._mux_sound(float((self.count + 1) / self.fps))

    def _mux_sound(self, until: float) -> None:
        while self._sound is not None:
            time, packet = next(self._sound, (0.0, None))
            if packet is None:
                self._sound = None
                return
            self._container.mux(packet)
            if time >= until:
                return

    def _sound_packets(self, path: Path, encoder: str) -> Iterator[tuple[float, Any]]:
        """Encoded sound with the second at which each packet begins."""
        import av

        stream = self._container.add_stream(encoder, rate=48000, layout="stereo")

        def packets() -> Iterator[tuple[float, Any]]:
            samples = 0
            with av.open(str(path)) as source:
                resampler = av.AudioResampler(stream.format, stream.layout, stream.rate, stream.frame_size or 960)
                for frame in chain(source.decode(audio=0), [None]):
                    for piece in resampler.resample(frame):
                        # sound plays on from the start, whatever times the file gives
                        piece.pts, piece.time_base = samples, Fraction(1, stream.rate)
                        samples += piece.samples
                        for packet in stream.encode(piece):
                            yield float(packet.pts * packet.time_base), packet
            for packet in stream.encode(None):
                yield float(packet.pts * packet.time_base), packet

        return packets()

    def _write_png(self, image: np.ndarray) -> None:
        from PIL import Image

        assert self._temporary is not None
        Image.fromarray(image).save(self._temporary / f"{self.count:06d}.png", compress_level=3)

    def _finish(self) -> None:
        assert self._temporary is not None
        if self._folder:
            if self.path.exists():
                shutil.rmtree(self.path)
            self._temporary.chmod(0o755)
        else:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            self._temporary.chmod(0o644)
        os.replace(self._temporary, self.path)
        self._temporary = None

    def _discard(self) -> None:
        """Closes what is open and deletes what is not finished."""
        import av

        if self._container is not None:
            try:
                self._container.close()
            except (av.FFmpegError, OSError) as error:
                log.debug("%s: %s", self.path.name, error)
            self._container = None
        if self._temporary is not None:
            if self._temporary.is_dir():
                shutil.rmtree(self._temporary, ignore_errors=True)
            else:
                self._temporary.unlink(missing_ok=True)
            self._temporary = None


def _check_sound(path: Path) -> None:
    import av

    try:
        with av.open(str(path)) as source:
            next(source.decode(audio=0))
    except (av.FFmpegError, OSError, IndexError, StopIteration) as error:
        raise InputError(
            f"{path.name} holds no sound that can be read; give a WAV, FLAC, MP3, M4A or OGG file."
        ) from error


def _encoder_exists(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except ValueError:
        return False
    return True
