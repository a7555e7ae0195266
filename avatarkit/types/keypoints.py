"""Detected 2D landmarks of one person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Keypoints"]


@dataclass(frozen=True)
class Keypoints:
    """Landmarks of one person in one picture, as named sets.

    A set that was not seen is absent. Sets of the default detector: ``face478``, ``pose33``, ``hand21_left``,
    ``hand21_right``; of COCO-WholeBody detectors: ``coco133``. Body models say where the points of a set lie on them.

    Attributes:
        width, height: of the picture in pixels.
        points: set name -> (n, 2) float32 pixels, pixel centres at +0.5; may lie outside the picture.
        scores: set name -> (n,) float32 confidence or visibility, 0 to 1.
        points_3d: set name -> (n, 3) float32 metres, x right, y down, z away from the camera, origin between the hips; where
            the detector estimates it.
        box: (4,) x0, y0, x1, y1 of the person in pixels.
        person_count: how many people the detector saw in the picture.
    """

    width: int
    height: int
    points: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    points_3d: Mapping[str, np.ndarray] = field(default_factory=dict)
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    person_count: int = 1

    def has(self, name: str) -> bool:
        """Whether the set was seen."""
        return name in self.points
