"""Detected 2D landmarks of one person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from avatarkit.types.landmark_sets import LAYOUTS

__all__ = ["Keypoints"]


@dataclass(frozen=True)
class Keypoints:
    """Landmarks of one person in one picture, as named sets.

    A set that was not detected is absent. The default detector provides ``face478``, ``pose33``, ``hand21_left`` and
    ``hand21_right``; COCO-WholeBody detectors provide ``coco133``. Body models define where the points of a set are on the body.
    Begin the name of a set of your own with its part of the person: ``face``, ``hand`` or ``pose``.

    Attributes:
        width: of the picture, pixels.
        height: of the picture, pixels.
        points: set name -> (n, 2) float32 pixels, pixel centers at +0.5; may be outside the picture.
        scores: set name -> (n,) float32 confidence or visibility, 0 to 1.
        points_3d: set name -> (n, 3) float32 meters, x right, y down, z away from the camera, origin between the hips; only
            if the detector estimates it.
        box: (4,) x0, y0, x1, y1 of the person in pixels.
        person_count: number of people that the detector found in the picture.
    """

    width: int
    height: int
    points: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    points_3d: Mapping[str, np.ndarray] = field(default_factory=dict)
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    person_count: int = 1

    def has(self, name: str) -> bool:
        """Return whether the set was detected."""
        return name in self.points

    def sets(self, part: str) -> tuple[str, ...]:
        """Return the names of the detected sets of a part of the person, sorted; see the class."""
        return tuple(sorted(name for name in self.points if name.startswith(part)))

    def region(self, name: str) -> np.ndarray | None:
        """Return the points (n, 2) of a region of the person; None if no detected set has it.

        Args:
            name: of a region in ``avatarkit.types.landmark_sets``: ``left_eye``, ``bare_face``, ...
        """
        for found in sorted(self.points.keys() & LAYOUTS.keys()):
            if numbers := LAYOUTS[found].regions.get(name):
                return self.points[found][list(numbers)]
        return None
