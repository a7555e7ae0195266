"""Where the person is, coarsely: selfie segmentation on several windows, and what landmarks are sure of."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from avatarkit.types.keypoints import Keypoints
from avatarkit_mediapipe.networks.landmarks import person_mask

__all__ = ["Anatomy", "Segmenter", "anatomy"]

MODEL_SIDE = 256
LIMBS = ((11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28))
TORSO = (11, 12, 24, 23)
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20))


@dataclass(frozen=True)
class Anatomy:
    """What landmarks say about where a person is.

    Attributes:
        x, y: center of the head in pixels.
        head: its height.
        box: x0, y0, x1, y1 of the person.
        sure: (H, W) bool, surely on the person.
    """

    x: float
    y: float
    head: float
    box: tuple[float, float, float, float]
    sure: np.ndarray


def anatomy(keypoints: Keypoints) -> Anatomy:
    """Draw what is surely inside the person: the face, the torso, the bones of seen limbs and fingers."""
    pose, seen = keypoints.points["pose33"], keypoints.scores["pose33"]
    face = keypoints.points.get("face478")
    if face is not None:
        head = 1.3 * float(np.linalg.norm(face[10] - face[152]))
        center = face[list(OVAL)].mean(0) + 0.12 * (face[10] - face[152])
    else:
        ears, mouth = pose[[7, 8]].mean(0), pose[[9, 10]].mean(0)
        head = 3.2 * float(np.linalg.norm(mouth - pose[[2, 5]].mean(0))) + float(np.linalg.norm(pose[7] - pose[8]))
        center = ears + 0.1 * (ears - mouth)
    sure = np.zeros((keypoints.height, keypoints.width), np.uint8)
    if face is not None:
        middle = face[list(OVAL)].mean(0)
        cv2.fillPoly(sure, [_integers(middle + 0.85 * (face[list(OVAL)] - middle))], (1,))
    if seen[[11, 12]].min() > 0.7:
        torso = pose[list(TORSO)]
        cv2.fillPoly(sure, [_integers(torso.mean(0) + 0.75 * (torso - torso.mean(0)))], (1,))
    for a, b in LIMBS:
        if min(seen[a], seen[b]) > 0.8:
            cv2.polylines(sure, [_integers(pose[[a, b]])], False, (1,), max(1, round(0.06 * head)))
    for side in ("left", "right"):
        hand = keypoints.points.get(f"hand21_{side}")
        if hand is not None and keypoints.scores[f"hand21_{side}"].min() > 0.5:
            thickness = max(1, round(0.03 * float(np.ptp(hand, axis=0).max())))
            for finger in FINGERS:
                cv2.polylines(sure, [_integers(hand[list(finger)])], False, (1,), thickness)
    return Anatomy(float(center[0]), float(center[1]), head, keypoints.box, sure.astype(bool))


def _integers(points: np.ndarray) -> np.ndarray:
    return np.floor(points).astype(np.int32)


class Segmenter:
    """Probability of person, at a higher resolution than the model's 256 pixels where needed."""

    def probability(self, image: np.ndarray, person: Anatomy | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of each pixel to show the person."""
        height, width = image.shape[:2]
        if person is None:
            return self._window(image, (0, 0, width, height)), np.full(
                (height, width), max(height, width) / MODEL_SIDE, np.float32
            )
        whole = _grown(person.box, 0.12, width, height)
        result = np.zeros((height, width), np.float32)
        x0, y0, x1, y1 = whole
        result[y0:y1, x0:x1] = self._window(image, whole)
        grain = np.full((height, width), max(x1 - x0, y1 - y0) / MODEL_SIDE, np.float32)
        for window in _close_windows(person, width, height):
            x0, y0, x1, y1 = window
            finer = max(x1 - x0, y1 - y0) / MODEL_SIDE
            if finer > 0.8 * grain[y0:y1, x0:x1].max():
                continue
            weight = _feathered(window, width, height)
            part = result[y0:y1, x0:x1]
            # far from the border the coarse answer stands: close up, the model takes things near the body for it
            reach = int(0.25 * person.head) + 1
            border = _near_border(part, reach) * weight
            result[y0:y1, x0:x1] = part + border * (self._window(image, window) - part)
            grain[y0:y1, x0:x1] += border * (finer - grain[y0:y1, x0:x1])
        return result, grain

    def _window(self, image: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
        x0, y0, x1, y1 = window
        part = image[y0:y1, x0:x1]
        small = cv2.resize(part, (MODEL_SIDE, MODEL_SIDE), interpolation=cv2.INTER_AREA)
        return np.clip(cv2.resize(person_mask(small), (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC), 0, 1)


def _close_windows(person: Anatomy, width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Return windows from coarse to fine: upper body, head."""
    x, y, h = person.x, person.y, person.head
    upper = (x - 2.2 * h, y - 1.0 * h, x + 2.2 * h, y + 3.4 * h)
    head = (x - 1.2 * h, y - 1.0 * h, x + 1.2 * h, y + 1.4 * h)
    return [_grown(window, 0.0, width, height) for window in (upper, head)]


def _grown(box: tuple[float, float, float, float], share: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Return a box with a margin, in whole pixels inside the picture."""
    x0, y0, x1, y1 = box
    margin = share * max(x1 - x0, y1 - y0)
    left, right = _snapped(x0 - margin, x1 + margin, width)
    top, bottom = _snapped(y0 - margin, y1 + margin, height)
    return left, top, right, bottom


def _snapped(low: float, high: float, end: int) -> tuple[int, int]:
    """Return whole pixels from 0 to ``end``.

    A gap to the picture's border that is narrow is closed.
    """
    near = 0.06 * end
    start = 0 if low < near else int(low)
    stop = end if high > end - near else int(high) + 1
    return min(start, end - 2), max(stop, min(start, end - 2) + 2)


def _feathered(window: tuple[int, int, int, int], width: int, height: int) -> np.ndarray:
    """Return weights of a window: 1 inside, falling to 0 over its outer eighth, except at the picture's own border."""
    x0, y0, x1, y1 = window
    ramp = max(1, max(x1 - x0, y1 - y0) // 8)

    def axis(start: int, stop: int, end: int) -> np.ndarray:
        n = np.arange(stop - start, dtype=np.float32)
        low = np.ones_like(n) if start == 0 else np.clip(n / ramp, 0, 1)
        high = np.ones_like(n) if stop == end else np.clip((stop - start - 1 - n) / ramp, 0, 1)
        return np.minimum(low, high)

    return axis(y0, y1, height)[:, None] * axis(x0, x1, width)[None]


def _near_border(probability: np.ndarray, reach: int) -> np.ndarray:
    """Return 1 at the border of a mask, falling to 0 over ``reach`` pixels."""
    mask = (probability > 0.5).astype(np.uint8)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3) + cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)
    return np.clip(2 - 2 * distance / reach, 0, 1)
