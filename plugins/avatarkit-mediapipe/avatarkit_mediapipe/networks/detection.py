"""Detectors of faces, palms and bodies: boxes and a few points for each of many anchors, joined where they overlap.

The networks are BlazeFace (Bazarevsky et al., 2019), BlazePose's (2020) and MediaPipe Hands' (Zhang et al., 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from avatarkit_mediapipe.networks.crops import crop, whole
from avatarkit_mediapipe.networks.network import network

__all__ = ["Detection", "Detector", "body_detector", "far_face_detector", "near_face_detector", "palm_detector"]

_OVERLAP = 0.3  # intersection over union of boxes that are one detection


@dataclass(frozen=True)
class Detection:
    """One detected thing.

    Attributes:
        box: x0, y0, x1, y1 in pixels.
        points: (n, 2) pixels.
        score: 0 to 1.
    """

    box: np.ndarray
    points: np.ndarray
    score: float

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the box."""
        return float(self.box[0] + self.box[2]) / 2, float(self.box[1] + self.box[3]) / 2


class Detector:
    """Runs one detector on whole pictures.

    Args:
        name: of the network.
        strides: pixels between anchors of each layer, in the picture that the network sees.
        threshold: least score.
        low: what black is for the network.
        per_layer: anchors of each layer at one place.
    """

    def __init__(self, name: str, strides: tuple[int, ...], threshold: float, low: float, per_layer: int = 2) -> None:
        self._name = name
        self._strides = strides
        self._threshold = threshold
        self._low = low
        self._per_layer = per_layer

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """Return what is found in (H, W, 3) uint8, the surest first."""
        run, square = network(self._name), whole(image)
        boxes, scores = run(crop(image, square, run.side, self._low, around=False))
        chances = expit(scores[:, 0])
        seen = chances >= np.float32(self._threshold)
        places, chances = boxes[seen].reshape(-1, boxes.shape[1] // 2, 2) / run.side, chances[seen]
        size = places[:, 1]
        fine = (size >= 0).all(1)
        places, size, chances = places[fine], size[fine], chances[fine]
        anchors = _anchors(run.side, self._strides, self._per_layer)[seen][fine]
        center = places[:, 0] + anchors
        rows = np.concatenate([(center - size / 2)[:, None], (center + size / 2)[:, None], places[:, 2:] + anchors[:, None]], 1)
        found = []
        for values, score in _joined(rows, chances):
            pixels = square.to_picture(values)
            found.append(Detection(pixels[:2].reshape(4), pixels[2:], score))
        return found


def _anchors(side: int, strides: tuple[int, ...], per_layer: int) -> np.ndarray:
    """Return the middles (n, 2) of cells; layers of one stride share them."""
    parts = []
    for stride in dict.fromkeys(strides):
        count = math.ceil(side / stride)
        at = (np.arange(count, dtype=np.float32) + np.float32(0.5)) / count
        grid = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)
        parts.append(np.repeat(grid, per_layer * strides.count(stride), 0))
    return np.concatenate(parts)


def _joined(rows: np.ndarray, scores: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Join detections that overlap the surest one, each weighted by its score; the surest first.

    Args:
        rows: (n, 2 + points, 2): corners of boxes and points.
        scores: (n,).
    """
    order = np.argsort(-scores, kind="stable")
    rows, scores = rows[order], scores[order]
    result = []
    while len(rows):
        low, high = np.maximum(rows[:, 0], rows[0, 0]), np.minimum(rows[:, 1], rows[0, 1])
        common = np.clip(high - low, 0, None).prod(1)
        areas = (rows[:, 1] - rows[:, 0]).prod(1)
        same = common > np.float32(_OVERLAP) * (areas + areas[0] - common)
        same[0] = True
        weights = scores[same, None, None]
        result.append(((rows[same] * weights).sum(0) / weights.sum(), float(scores[0])))
        rows, scores = rows[~same], scores[~same]
    return result


def body_detector() -> Detector:
    """Return the detector of bodies: a box at the face; points are the hips' middle and a point of a circle around the body."""
    return Detector("pose_detection", (8, 16, 32, 32, 32), 0.5, -1.0)


def near_face_detector() -> Detector:
    """Return the detector of faces within 2 meters: box from brows to chin, eyes, nose, mouth and ears."""
    return Detector("face_detection_short_range", (8, 16, 16, 16), 0.5, -1.0)


def far_face_detector() -> Detector:
    """Return the detector of faces within 5 meters; boxes and points as of the near one."""
    return Detector("face_detection_full_range_sparse", (4,), 0.6, -1.0, per_layer=1)


def palm_detector() -> Detector:
    """Return the detector of palms: a box; points are the wrist, knuckles and the thumb."""
    return Detector("palm_detection_full", (8, 16, 16, 16), 0.5, 0.0)
