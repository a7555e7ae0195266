"""Reading ``.pose`` files: landmarks of people over time, as the library pose-format writes them.

All numbers are little-endian; a text is its length (uint16) and its bytes in UTF-8. A file is a version (float32: 0.1 or
0.2), width, height, depth (uint16), the number of components (uint16) and, for each of them, its name, its format ("XYC"),
the counts of points, limbs and colours (uint16), the points' names, limbs as pairs and colours as triples (uint16). Then
version 0.1 has frames per second, frames and people (uint16; the frames are to be counted from the file's length), version
0.2 frames per second (float32), frames (uint32) and people (uint16). Then float32 values (frames, people, points, dimensions)
and confidences (frames, people, points).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatarkit.errors import InputError

__all__ = ["LandmarkTrack", "is_pose_file", "read_pose_file"]

_VERSIONS = (0.1, 0.2)
_MOST_COMPONENTS, _MOST_POINTS = 64, 20_000


@dataclass(frozen=True)
class LandmarkTrack:
    """Landmarks of one person over time.

    Attributes:
        names: ``COMPONENT:POINT`` of each of the n points.
        points: (T, n, 2) float32 pixels, x right, y down.
        scores: (T, n) float32 confidence, 0 = not seen.
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

    def floats(self, *shape: int) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        values = np.frombuffer(self.data, "<f4", count, self.at)
        self.at += 4 * count
        return values.reshape(shape)


def is_pose_file(head: bytes) -> bool:
    """Whether a file that begins with ``head`` may be a ``.pose`` file."""
    return len(head) >= 4 and round(struct.unpack("<f", head[:4])[0], 3) in _VERSIONS


def read_pose_file(path: Path) -> LandmarkTrack:
    """Reads the first person of a file.

    Raises:
        InputError: it is damaged or empty.
    """
    try:
        return _read(_Reader(path.read_bytes()))
    except (struct.error, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path.name} is a damaged .pose file; make it again.") from error


def _read(file: _Reader) -> LandmarkTrack:
    version = round(file.take("f")[0], 3)
    if version not in _VERSIONS:
        raise ValueError(f"version {version}")
    *_, components = file.take("HHHH")
    if not 0 < components <= _MOST_COMPONENTS:
        raise ValueError(f"{components} components")
    names: list[str] = []
    dimensions = 0
    for _ in range(components):
        name, axes = file.text(), file.text()
        points, limbs, colors = file.take("HHH")
        names += [f"{name}:{file.text()}" for _ in range(points)]
        file.take(f"{2 * limbs + 3 * colors}H")
        dimensions = max(dimensions, len(axes) - 1)
    if not 0 < len(names) <= _MOST_POINTS or dimensions < 2:
        raise ValueError("no points")
    if version == 0.1:
        fps, _, people = (float(v) for v in file.take("HHH"))
        frames = (len(file.data) - file.at) // max(1, int(people) * len(names) * (dimensions + 1) * 4)
    else:
        fps, frames, people = file.take("fIH")
    if not frames or not people or not 0.1 <= fps <= 10_000:
        raise ValueError("nobody in it")
    values = file.floats(frames, int(people), len(names), dimensions)
    scores = file.floats(frames, int(people), len(names))
    return LandmarkTrack(tuple(names), values[:, 0, :, :2], scores[:, 0], float(fps))
