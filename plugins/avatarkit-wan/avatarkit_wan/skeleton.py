"""Draws the stick figures that Wan-Animate was trained on.

The rules (order, colors, widths, thresholds) are those of the preprocessing that its authors publish. They differ from other
drawings of OpenPose's kind: drawn at the final size, no fading with confidence, feet, no face.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["draw", "face_box"]

THRESHOLD = 0.5  # points below it are not drawn
LIMB_DIMMING = 0.6
FACE_AREA = 1.3  # area of the shown face box over that of the landmarks' box

# Of COCO-WholeBody's 133 points; two numbers mean the middle of both. Nose, neck, right arm, left arm, right leg, left leg, eyes
# and ears (right first), toes (left first).
BODY = (
    *((0, 0), (6, 5), (6, 6), (8, 8), (10, 10), (5, 5), (7, 7), (9, 9), (12, 12), (14, 14), (16, 16)),
    *((11, 11), (13, 13), (15, 15), (2, 2), (1, 1), (4, 4), (3, 3), (17, 18), (20, 21)),
)
HANDS = (slice(91, 112), slice(112, 133))
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19)),
)
FINGERS = tuple((0 if j == 0 else 4 * f + j, 4 * f + j + 1) for f in range(5) for j in range(4))
COLORS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85)),
    *((0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255)),
    *((255, 0, 255), (255, 0, 170), (255, 0, 85), (200, 200, 0), (100, 100, 0)),
)


def draw(points: np.ndarray, scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw one person.

    Args:
        points: (133, 2) pixels of the picture; NaN = not known.
        scores: (133,) 0 to 1.
        height, width: of the picture.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    canvas = np.zeros((height, width, 3), np.uint8)
    thickness = max(min(height, width) // 200 - 1, 1)
    known = np.isfinite(points).all(-1)
    far = 10 * max(height, width)  # beyond it drawing would overflow
    xy = np.clip(np.where(known[:, None], points, 0.0), -far, far)
    score = np.where(known, scores, 0.0)
    first, second = (list(side) for side in zip(*BODY, strict=True))
    body, body_score = (xy[first] + xy[second]) / 2, (score[first] + score[second]) / 2
    body_score = np.where(known[first] & known[second], body_score, 0.0)
    for color, (a, b) in zip(COLORS, LIMBS, strict=False):
        if min(body_score[a], body_score[b]) >= THRESHOLD:
            _limb(canvas, body[a], body[b], thickness, [int(c * LIMB_DIMMING) for c in color])
    for color, (x, y), sure in zip(COLORS, body, body_score, strict=True):
        if sure >= THRESHOLD:
            cv2.circle(canvas, (int(x), int(y)), thickness, color, thickness=-1)
    for hand in HANDS:
        _hand(canvas, xy[hand], score[hand], max(thickness // 2, 1))
    return canvas


def _limb(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, thickness: int, color: Sequence[int]) -> None:
    """Draw a filled ellipse between two points."""
    center, (dx, dy) = (a + b) / 2, a - b
    axes = (int(math.hypot(dx, dy) / 2), thickness)
    angle = int(math.degrees(math.atan2(dy, dx)))
    outline = cv2.ellipse2Poly((int(center[0]), int(center[1])), axes, angle, 0, 360, 1)
    cv2.fillConvexPoly(canvas, np.asarray(outline), color)


def _hand(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray, thickness: int) -> None:
    drawn = (scores >= THRESHOLD) & (points.astype(int) > 0).all(-1)
    for number, (a, b) in enumerate(FINGERS):
        if drawn[a] and drawn[b]:
            color = [c * 255 for c in colorsys.hsv_to_rgb(number / len(FINGERS), 1.0, 1.0)]
            start, end = ((int(x), int(y)) for x, y in (points[a], points[b]))
            cv2.line(canvas, start, end, color, thickness)
    for (x, y), shown in zip(points, drawn, strict=True):
        if shown:
            cv2.circle(canvas, (int(x), int(y)), thickness, (0, 0, 255), thickness=-1)


def face_box(face: np.ndarray, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Return the part of a frame that is shown to the face network: the landmarks' box with a rim, most of it above.

    Args:
        face: (68, 2) pixels.
        height, width: of the frame.

    Returns:
        x0, y0, x1, y1, whole pixels inside the frame; None where no face is in the frame.
    """
    face = face[np.isfinite(face).all(-1)]
    if len(face) < 2:
        return None
    (x0, y0), (x1, y1) = face.min(0), face.max(0)
    grow = math.sqrt(FACE_AREA) - 1
    side, part = (x1 - x0) * grow / 2, (y1 - y0) * grow / 4
    left, right = int(max(x0 - side, 0)), int(min(x1 + side, width))
    top, bottom = int(max(y0 - 3 * part, 0)), int(min(y1 + part, height))
    return (left, top, right, bottom) if right - left > 1 and bottom - top > 1 else None
