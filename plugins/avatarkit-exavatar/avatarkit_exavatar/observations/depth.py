"""Averages the detector's rough 3D over time.

Pixels show how far shoulders turn and arms reach only by foreshortening, which says little where a limb is parallel to the
image plane. The rough 3D has this depth, but jitters by centimeters from frame to frame. So the depth of a landmark is averaged
over neighboring frames in which it is at about the same place in the picture: fast movements stay, and cuts are not crossed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from avatarkit.types.keypoints import Keypoints
from avatarkit.utils.sequences import LazySequence

__all__ = ["SteadyDepth"]

_SECONDS = 0.16  # standard deviation of the frames' weights
_ACROSS = 0.08  # meters across the view within which depth is the same


class SteadyDepth(LazySequence[Keypoints | None]):
    """The frames of a video with steadier ``points_3d``.

    Args:
        frames: as detected. fps: frames per second.
    """

    def __init__(self, frames: Sequence[Keypoints | None], fps: float) -> None:
        self._frames = frames
        self._sigma = _SECONDS * fps
        self._reach = round(2.5 * self._sigma)

    def __len__(self) -> int:
        return len(self._frames)

    def at(self, index: int) -> Keypoints | None:
        """Return the landmarks of frame ``index``."""
        frame = self._frames[index]
        if frame is None or not frame.points_3d:
            return frame
        near = range(max(0, index - self._reach), min(len(self), index + self._reach + 1))
        around = [(k - index, other) for k in near if (other := self._frames[k]) is not None]
        return replace(frame, points_3d={name: self._steadied(name, frame, around) for name in frame.points_3d})

    def _steadied(self, name: str, frame: Keypoints, around: list[tuple[int, Keypoints]]) -> np.ndarray:
        """(n, 3)."""
        here = frame.points_3d[name]
        known = [(step, other) for step, other in around if name in other.points_3d]
        there = np.stack([other.points_3d[name] for _, other in known])  # (T, n, 3)
        score = np.stack([other.scores[name] for _, other in known])
        across = np.square(there[..., :2] - here[:, :2]).sum(-1)
        time = np.square(np.array([step for step, _ in known]) / self._sigma)
        weight = (score + 1e-3) * np.exp(-0.5 * (time[:, None] + across / _ACROSS**2))
        z = (weight * there[..., 2]).sum(0) / weight.sum(0)
        return np.concatenate([here[:, :2], z[:, None]], 1).astype(np.float32)
