"""Writing videos, or folders of pictures; ``avatarkit.io.video`` names the class too."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from avatarkit.errors import InputError, StoreError
from avatarkit.io.audio import has_sound
from avatarkit.io.media import open_media
from avatarkit.utils.files import disk_errors, disk_sentence, writing
from avatarkit.utils.folders import OutputFolder

__all__ = ["VideoWriter"]

log = logging.getLogger("avatarkit.io.video")

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
_WAITING = 4  # pictures that may wait for the encoder
_LOUDEST = 8.0  # of a sample; full scale is 1, and what is a little louder is the encoder's to limit
BT709, LIMITED = 1, 1  # numbers of the color matrix and range in video headers


class VideoWriter:
    """Writes a video, or a folder of PNG files; nothing is left behind where writing fails.

    The suffix chooses: ``.mp4 .m4v .mkv`` H.264, ``.mov`` H.264 or, transparent, ProRes 4444, ``.webm`` VP9, no suffix
    a folder of PNG files. A thread of its own encodes, so the next picture can be drawn meanwhile; what goes wrong there is
    raised by a later ``write`` or at the end. Use it as a context manager::

        with VideoWriter("out.mp4", 288, 512, fps=30) as video:
            video.write(image)

    Args:
        path: of the file or folder, replaced when all is written; of a folder, only frames that avatarkit wrote are.
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
            raise InputError(f"Videos cannot be written as {suffix} ({self.path.name}); use {', '.join(CODECS)} or a folder.")
        if transparent and not self._folder and suffix not in TRANSPARENT:
            raise InputError(f"{suffix} videos cannot be transparent; use {', '.join(TRANSPARENT)} or a folder.")
        self._container: Any = None
        self._stream: Any = None
        self._sound: Iterator[tuple[float, Any]] | None = None
        self._temporary: Path | None = None  # what is written to
        self._place: AbstractContextManager[Path] | None = None  # what becomes of it
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="avatarkit-video")
        self._waiting: deque[Future[None]] = deque()
        self._broken = False

    def __enter__(self) -> VideoWriter:
        try:
            place = self._frames().replace() if self._folder else writing(self.path)
            self._temporary, self._place = place.__enter__(), place
            if not self._folder:
                with disk_errors(self.path):
                    self._open()
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, image: np.ndarray) -> None:
        """Append a picture, (H, W, 3) uint8 sRGB, or (H, W, 4) with straight alpha if ``transparent``."""
        channels = 4 if self.transparent else 3
        if image.shape != (self.height, self.width, channels) or image.dtype != np.uint8:
            expected = (self.height, self.width, channels)
            raise InputError(f"A frame of {self.path.name} has {image.shape} {image.dtype}, expected {expected} uint8.")
        while len(self._waiting) >= _WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._encoder.submit(self._put, image.copy(), self.count))
        self.count += 1

    def _put(self, image: np.ndarray, number: int) -> None:
        if self._broken:  # what follows a header that could not be written crashes the library
            return
        try:
            if self._folder:
                self._write_png(image, number)
            else:
                self._encode(image, number)
        except BaseException as error:
            self._broken = True
            if isinstance(error, OSError):
                raise StoreError(disk_sentence(self.path, error.errno, error)) from error
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if kind is not None:
                return
            if self.count == 0:
                raise InputError(f"{self.path.name} would have no frames; nothing was written.")
            while self._waiting:
                self._waiting.popleft().result()
            self._finish()
        finally:
            self._discard()

    def _frames(self) -> OutputFolder:
        """Return the folder of frames; no file of the user's looks like one."""
        if self.path.is_file():
            raise InputError(f"{self.path} is a file without a suffix; choose another name for the folder of frames.")
        folder = OutputFolder(self.path, "frames")
        with disk_errors(self.path):
            there = [p.name for p in self.path.iterdir()] if self.path.is_dir() else []
            folder.check(name for name in there if re.fullmatch(r"\d{6}\.png", name))
        return folder

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
        self._converter = av.video.reformatter.VideoReformatter()  # for all frames: each new one starts threads
        if self._audio is not None:
            if not has_sound(self._audio):
                raise InputError(
                    f"{self._audio.name} holds no sound that can be read; give a WAV, FLAC, MP3, M4A or OGG file."
                )
            self._sound = self._sound_packets(self._audio, sound)

    def _encode(self, image: np.ndarray, number: int) -> None:
        import av

        pad = (self._stream.height - self.height, self._stream.width - self.width)
        if any(pad):
            image = np.pad(image, ((0, pad[0]), (0, pad[1]), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgba" if self.transparent else "rgb24")
        frame = self._converter.reformat(frame, format=self._stream.pix_fmt, dst_colorspace=BT709, dst_color_range=LIMITED)
        frame.pts, frame.time_base = number, 1 / self.fps
        self._container.mux(self._stream.encode(frame))
        self._mux_sound(float((number + 1) / self.fps))

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
        """Return encoded sound with the second at which each packet begins."""
        import av

        stream = self._container.add_stream(encoder, rate=48000, layout="stereo")

        def packets() -> Iterator[tuple[float, Any]]:
            samples = 0
            with open_media(path) as source:
                resampler = av.AudioResampler(stream.format, stream.layout, stream.rate, stream.frame_size or 960)
                for frame in chain(_decoded(source), [None]):
                    for piece in map(_audible, resampler.resample(frame)):
                        # sound plays on from the start, whatever times the file gives
                        piece.pts, piece.time_base = samples, Fraction(1, stream.rate)
                        samples += piece.samples
                        for packet in stream.encode(piece):
                            yield float(packet.pts * packet.time_base), packet
            for packet in stream.encode(None):
                yield float(packet.pts * packet.time_base), packet

        return packets()

    def _write_png(self, image: np.ndarray, number: int) -> None:
        from PIL import Image

        assert self._temporary is not None
        Image.fromarray(image).save(self._temporary / f"{number:06d}.png", compress_level=3)

    def _finish(self) -> None:
        assert self._place is not None
        if not self._folder:
            with disk_errors(self.path):
                self._container.mux(self._stream.encode(None))
                container, self._container = self._container, None
                container.close()
        place, self._place = self._place, None
        place.__exit__(None, None, None)

    def _discard(self) -> None:
        """Close what is open and delete what is not finished."""
        import av

        self._encoder.shutdown(cancel_futures=True)
        if self._container is not None:
            try:
                self._container.close()
            except (av.FFmpegError, OSError) as error:
                log.debug("%s: %s", self.path.name, error)
            self._container = None
        if self._place is not None:
            place, self._place = self._place, None
            place.__exit__(_Unfinished, _Unfinished(), None)


class _Unfinished(Exception):
    """Tells the place of a video that it is not to be kept."""


def _decoded(source: Any) -> Iterator[Any]:
    """Frames of sound up to the place where the file breaks off."""
    import av

    try:
        yield from source.decode(audio=0)
    except av.FFmpegError as error:
        log.warning("The sound breaks off (%s).", error)


def _audible(piece: Any) -> Any:
    """Return the piece without samples that are NaN or absurdly loud; encoders stop at them."""
    import av

    if piece.format.name not in ("flt", "fltp"):
        return piece
    samples = piece.to_ndarray()
    if (np.abs(samples) <= _LOUDEST).all():
        return piece
    clean = av.AudioFrame.from_ndarray(np.nan_to_num(samples).clip(-1, 1), piece.format.name, piece.layout.name)
    clean.sample_rate = piece.sample_rate
    return clean


def _encoder_exists(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except ValueError:
        return False
    return True
