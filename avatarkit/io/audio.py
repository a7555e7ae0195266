"""Reading sound."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from avatarkit.errors import InputError

__all__ = ["read_sound"]

log = logging.getLogger("avatarkit.io.audio")

_LONGEST = 3600.0  # seconds


def read_sound(path: str | Path, rate: int = 16_000) -> np.ndarray:
    """Reads a sound file, or the sound of a video, as one channel.

    Args:
        path: WAV, FLAC, MP3, M4A, OGG and whatever else FFmpeg reads. rate: samples per second to give.

    Returns:
        (n,) float32, -1 to 1. A file that breaks off gives what is there.

    Raises:
        InputError: it cannot be read, holds no sound, or more than an hour of it.
    """
    import av

    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no sound file {path}.")
    pieces: list[np.ndarray] = []
    total = 0
    try:
        with av.open(str(path)) as source:
            if not source.streams.audio:
                raise InputError(f"{path.name} holds no sound.")
            resampler = av.AudioResampler("flt", "mono", rate)
            try:
                for frame in source.decode(audio=0):
                    for piece in resampler.resample(frame):
                        pieces.append(piece.to_ndarray()[0])
                        total += pieces[-1].size
                    if total > _LONGEST * rate:
                        raise InputError(f"{path.name} is longer than {_LONGEST / 3600:.0f} hour; cut it into parts.")
            except av.FFmpegError as error:
                if not total:
                    raise
                log.warning("%s breaks off after %.1f seconds (%s).", path.name, total / rate, error)
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path.name} is no sound file that can be read; give a WAV, FLAC, MP3, M4A or OGG file.") from error
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if samples.size < rate // 100:
        raise InputError(f"{path.name} holds no sound.")
    return np.nan_to_num(samples.astype(np.float32)).clip(-1, 1)
