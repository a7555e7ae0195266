"""Reading sound."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np

from avatarkit.errors import InputError
from avatarkit.io.media import open_media
from avatarkit.utils.files import require_file

__all__ = ["LONGEST", "has_sound", "read_sound", "resample"]

log = logging.getLogger("avatarkit.io.audio")

LONGEST = 3600.0
"""Seconds of a sound, whose motion takes about 250 MB."""

_MOST_BYTES = 1 << 30
_RATES = (1_000, 768_000)  # samples per second: others are no sound, and resampling them takes gigabytes
_MOST_CHANNELS = 64
_CANCELED = 0.4  # of the louder channel's level; the mean of two channels is quieter only where they cancel


def read_sound(path: str | Path, rate: int = 16_000) -> np.ndarray:
    """Read a sound file, or the sound of a video, as one channel.

    It is the mean of the channels; of two that cancel each other, the louder one.

    Args:
        path: WAV, FLAC, MP3, M4A, OGG and whatever else FFmpeg reads.
        rate: samples per second to return.

    Returns:
        (n,) float32, -1 to 1. A file that breaks off gives what is there.

    Raises:
        InputError: it cannot be read, holds no sound, or more than an hour of it.
    """
    import av

    path = Path(path)
    require_file(path, "sound file", _MOST_BYTES)
    pieces: list[np.ndarray] = []
    total, seconds = 0, 0.0
    try:
        with open_media(path) as source:
            if not source.streams.audio:
                raise InputError(f"{path.name} holds no sound.")
            two = source.streams.audio[0].codec_context.channels == 2
            resampler = av.AudioResampler("fltp", "stereo" if two else "mono", rate)
            try:
                for frame in source.decode(audio=0):
                    if not _RATES[0] <= frame.sample_rate <= _RATES[1] or not 1 <= frame.layout.nb_channels <= _MOST_CHANNELS:
                        raise InputError(
                            f"{path.name} has {frame.layout.nb_channels} channels of {frame.sample_rate} samples per second; "
                            f"up to {_MOST_CHANNELS} of {_RATES[0]} to {_RATES[1]} are read."
                        )
                    seconds += frame.samples / frame.sample_rate
                    if seconds > LONGEST:
                        raise InputError(f"{path.name} is longer than {LONGEST / 60:.0f} minutes; cut it into parts.")
                    for piece in resampler.resample(frame):
                        pieces.append(_clean(piece.to_ndarray()))
                        total += piece.samples
            except av.FFmpegError as error:
                if not total:
                    raise
                log.warning("%s breaks off after %.1f seconds (%s).", path.name, total / rate, error)
            pieces += [_clean(piece.to_ndarray()) for piece in resampler.resample(None)]
    except (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path.name} is no sound file that can be read; give a WAV, FLAC, MP3, M4A or OGG file.") from error
    if sum(piece.shape[1] for piece in pieces) < rate // 100:
        raise InputError(f"{path.name} holds no sound.")
    return _one_channel(pieces)


def _one_channel(pieces: list[np.ndarray]) -> np.ndarray:
    """Return (n,) the mean of the channels of pieces (c, n), or the louder channel where they cancel; the list is emptied."""
    power = sum(np.square(piece, dtype=np.float64).sum(1) for piece in pieces)
    mean = sum(float(np.square(piece.mean(0), dtype=np.float64).sum()) for piece in pieces)
    loudest = int(np.argmax(power)) if mean < _CANCELED**2 * np.max(power) else None
    out = np.empty(sum(piece.shape[1] for piece in pieces), np.float32)
    end = len(out)
    while pieces:  # from the end, so that each piece is released once it is copied
        piece = pieces.pop()
        out[end - piece.shape[1] : end] = piece.mean(0) if loudest is None else piece[loudest]
        end -= piece.shape[1]
    return out


def _clean(samples: np.ndarray) -> np.ndarray:
    """Return (c, n) samples as finite numbers of -1 to 1, in memory of their own."""
    return np.nan_to_num(samples.astype(np.float32)).clip(-1, 1)


def has_sound(path: str | Path) -> bool:
    """Return whether a video has sound that can be read."""
    import av

    try:
        with open_media(Path(path)) as source:
            return next(source.decode(audio=0), None) is not None
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return False


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return a sound (n,) float32 at another number of samples per second."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return resample_poly(samples.astype(np.float32), wanted // common, rate // common).astype(np.float32)
