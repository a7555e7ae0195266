"""A tracker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from avatarkit import BodyParams, Camera, Context, Keypoints, Matte, Motion, Photo, Subject
from avatarkit.config.options import Range


@dataclass(frozen=True)
class Config:
    """Options of the tracker."""

    base: str = "exavatar"
    """Name of the tracker whose motions are smoothed."""
    strength: Annotated[float, Range(0, 1)] = 0.5
    """Weight of the neighboring frames in each frame, 0 to 1."""


class Example:
    """Wraps another tracker: photos are passed on, tracked clips are smoothed over three frames."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        self.base = context.get("tracker", config.base)

    def fit(self, photo: Photo, matte: Matte, keypoints: Keypoints) -> Subject:
        subject: Subject = self.base.fit(photo, matte, keypoints)
        return subject

    def track(
        self,
        frames: Sequence[Keypoints | None],
        subject: Subject | None,
        fps: float,
        initial: BodyParams | None = None,
        cameras: Sequence[Camera] | None = None,
        images: Iterable[NDArray[np.uint8]] | None = None,
    ) -> Motion:
        motion: Motion = self.base.track(frames, subject, fps, initial, cameras, images)
        p = motion.params
        root, translation, joints = self._smooth(p.root), self._smooth(p.translation), self._smooth(p.joints)
        return replace(motion, params=replace(p, root=root, translation=translation, joints=joints))

    def _smooth(self, values: torch.Tensor) -> torch.Tensor:
        """Smooth (T, ...) over neighboring frames.

        Axis-angles of neighboring frames are close, so their mean is a rotation between them.
        """
        around = torch.cat([values[:1], values, values[-1:]])
        return torch.lerp(values, (around[:-2] + around[2:]) / 2, self.config.strength)
