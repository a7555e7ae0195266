"""Reads ``.pose`` files: landmarks of people over time, the format of the library pose-format.

All numbers are little-endian; a text is its length (uint16) and its bytes in UTF-8. A file is a version (float32: 0.1 or
0.2), width, height, depth (uint16), the number of components (uint16) and, for each of them, its name, its format ("XYC"),
the counts of points, limbs and colors (uint16), the points' names, limbs as pairs and colors as triples (uint16). Then
version 0.1 has frames per second, frames and people (uint16; count the frames from the file's length instead), version 0.2
frames per second (float32), frames (uint32) and people (uint16). Then float32 values (frames, people, points, dimensions) and
confidences (frames, people, points).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from avatarkit.errors import InputError
from avatarkit.motion.formats.bvh import MOST_FRAMES
from avatarkit.utils.files import require_file

__all__ = ["LandmarkTrack", "is_pose_file", "read_pose_file"]

_VERSIONS = (0.1, 0.2)
_MOST_COMPONENTS, _MOST_POINTS, _MOST_DIMENSIONS = 64, 20_000, 8
_MOST_FILE_BYTES = 2 << 30
_MOST_HEAD_BYTES = 8 << 20
_MOST_VALUES = 36_000_000  # limit of frames times points of one person, at 12 bytes each
_PIECE = 1 << 24  # bytes read at once


@dataclass(frozen=True)
class LandmarkTrack:
    """Landmarks of one person over time.

    Attributes:
        names: ``COMPONENT:POINT`` of each of the n points.
        points: (T, n, 2) float32 pixels, x right, y down.
        scores: (T, n) float32 confidence, 0 = not detected.
        fps: frames per second.
    """

    names: tuple[str, ...]
    points: np.ndarray
    scores: np.ndarray
    fps: float


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple:
        values = struct.unpack_from(f"<{layout}", self.data, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return values

    def text(self) -> str:
        (length,) = self.take("H")
        raw = self.data[self.at : self.at + length]
        if len(raw) < length:
            raise ValueError("cut short")
        self.at += length
        return raw.decode("utf-8", "replace")


def is_pose_file(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` may be a ``.pose`` file."""
    return len(head) >= 4 and round(struct.unpack("<f", head[:4])[0], 3) in _VERSIONS


def read_pose_file(path: Path) -> LandmarkTrack:
    """Read the first person of a file.

    Raises:
        InputError: it is damaged or empty.
    """
    size = require_file(path, "motion file", _MOST_FILE_BYTES)
    try:
        with path.open("rb") as file:
            return _read(file, size, path.name)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (struct.error, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path.name} is a damaged .pose file; make it again.") from error


def _read(file: BinaryIO, size: int, source: str) -> LandmarkTrack:
    head = _Reader(file.read(_MOST_HEAD_BYTES))
    version = round(head.take("f")[0], 3)
    if version not in _VERSIONS:
        raise ValueError(f"version {version}")
    *_, components = head.take("HHHH")
    if not 0 < components <= _MOST_COMPONENTS:
        raise ValueError(f"{components} components")
    names: list[str] = []
    dimensions = 0
    for _ in range(components):
        name, axes = head.text(), head.text()
        points, limbs, colors = head.take("HHH")
        if len(names) + points > _MOST_POINTS or len(axes) > _MOST_DIMENSIONS + 1:
            raise ValueError("too many points or dimensions")
        names += [f"{name}:{head.text()}" for _ in range(points)]
        head.at += 2 * (2 * limbs + 3 * colors)
        dimensions = max(dimensions, len(axes) - 1)
    if not names or dimensions < 2:
        raise ValueError("no points")
    if version == 0.1:
        rate, _, people = head.take("HHH")
        fps, frames = float(rate), (size - head.at) // max(1, people * len(names) * (dimensions + 1) * 4)
    else:
        fps, frames, people = head.take("fIH")
    if not frames or not people or not 0.1 <= fps <= 10_000:
        raise ValueError("no person in it")
    if frames * people * len(names) * (dimensions + 1) * 4 > size - head.at:
        raise ValueError("cut short")
    if frames > MOST_FRAMES or frames * len(names) > _MOST_VALUES:
        most = min(MOST_FRAMES, _MOST_VALUES // len(names))
        raise InputError(f"{source} has {frames} frames of {len(names)} points; the limit is {most}. Cut it into parts.")
    file.seek(head.at)
    values = _first_person(file, frames, people, len(names), dimensions, min(2, dimensions))
    scores = _first_person(file, frames, people, len(names), 1, 1)
    return LandmarkTrack(tuple(names), values, scores[..., 0], float(fps))


def _first_person(file: BinaryIO, frames: int, people: int, points: int, width: int, kept: int) -> np.ndarray:
    """Return the first person's values, (frames, points, kept) float32, read in pieces."""
    out = np.empty((frames, points, kept), np.float32)
    row = people * points * width
    at = 0
    if 4 * row > _PIECE:  # many people: read only the first person of each frame
        start = file.tell()
        for t in range(frames):
            file.seek(start + 4 * row * t)
            out[t] = _floats(file, points * width).reshape(points, width)[:, :kept]
        file.seek(start + 4 * row * frames)
        return out
    while at < frames:
        count = min(frames - at, max(1, _PIECE // (4 * row)))
        out[at : at + count] = _floats(file, count * row).reshape(count, people, points, width)[:, 0, :, :kept]
        at += count
    return out


def _floats(file: BinaryIO, count: int) -> np.ndarray:
    data = file.read(4 * count)
    if len(data) < 4 * count:
        raise ValueError("cut short")
    return np.frombuffer(data, "<f4")
