"""Draws people as the colored stick figures that pose-conditioned networks are trained on.

A network knows only the drawing that it was trained with, so that styles follow their originals to the pixel. This needs OpenCV:
scikit-image has no thick lines, and fills one outline of a limb in eight differently.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from avatarkit.labelling.wholebody import FACE, HANDS

__all__ = ["COLORS", "DWPOSE", "PoseStyle", "body_points", "draw_poses"]

LIMB_DIMMING = 0.6
FAR = 10  # picture sizes outside the picture, where coordinates are cut: beyond it drawing would overflow

# The drawn body points as pairs of COCO-WholeBody's 133, whose middle is taken: nose, neck, right arm, left arm, right leg, left
# leg, eyes and ears (right first), toes (left first).
BODY = (
    *((0, 0), (6, 5), (6, 6), (8, 8), (10, 10), (5, 5), (7, 7), (9, 9), (12, 12), (14, 14), (16, 16)),
    *((11, 11), (13, 13), (15, 15), (2, 2), (1, 1), (4, 4), (3, 3), (17, 18), (20, 21)),
)
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19)),
)
WITHOUT_FEET = 18  # points of the body
FINGERS = tuple((0 if j == 0 else 4 * f + j, 4 * f + j + 1) for f in range(5) for j in range(4))
COLORS = (  # OpenPose's rainbow, then the toes
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85)),
    *((0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255)),
    *((255, 0, 255), (255, 0, 170), (255, 0, 85), (200, 200, 0), (100, 100, 0)),
)


@dataclass(frozen=True)
class PoseStyle:
    """How stick figures look. The default is DWPose's drawing, as most ControlNets for poses were trained with.

    Attributes:
        threshold: points with a confidence above it are drawn.
        between: score of a point between two others (neck, toes): seen if ``both`` are above the threshold, or their ``mean``.
        fade: colors fade with confidence; hands and faces are then drawn at any confidence.
        face: draw the 68 points of the face.
        feet: draw lines to the toes.
        canvas: short side in pixels of a drawing that is scaled to its size at the end; None draws at the final size.
        scaled: thickness follows the size of the picture, one pixel per 200; otherwise it is fixed.
    """

    threshold: float = 0.3
    between: Literal["both", "mean"] = "both"
    fade: bool = False
    face: bool = True
    feet: bool = False
    canvas: int | None = None
    scaled: bool = False


DWPOSE = PoseStyle()


def body_points(points: np.ndarray, scores: np.ndarray, style: PoseStyle = DWPOSE) -> tuple[np.ndarray, np.ndarray]:
    """Return the drawn points of the body: OpenPose's 18, and with feet two toes.

    Args:
        points: (..., 133, 2).
        scores: (..., 133).
        style: which points and colors to draw.

    Returns:
        (..., 18 or 20, 2) and (..., 18 or 20).
    """
    a, b = (list(side) for side in zip(*(BODY if style.feet else BODY[:WITHOUT_FEET]), strict=True))
    middle = (points[..., a, :] + points[..., b, :]) / 2
    one, other = scores[..., a], scores[..., b]
    if style.between == "mean":
        score = (one + other) / 2
    else:
        score = np.where(np.equal(a, b), one, (one > style.threshold) & (other > style.threshold))
    known = np.isfinite(middle).all(-1)
    return np.where(known[..., None], middle, -1.0), np.where(known, score, 0.0)


def draw_poses(points: np.ndarray, scores: np.ndarray, height: int, width: int, style: PoseStyle = DWPOSE) -> np.ndarray:
    """Draw the people of one picture.

    Args:
        points: (n, 133, 2) pixels of the picture, in COCO-WholeBody's order; NaN for unknown points.
        scores: (n, 133) confidence, 0 to 1.
        height: of the picture.
        width: of the picture.
        style: which points and colors to draw.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    enlarge = style.canvas / min(height, width) if style.canvas else 1.0
    canvas = np.zeros((int(height * enlarge), int(width * enlarge), 3), np.uint8)
    far = FAR * max(height, width)
    xy = np.clip(points, -far, far)
    if style.canvas:
        xy = xy / [width, height] * [canvas.shape[1], canvas.shape[0]]
    thick = max(min(height, width) // 200 - 1, 1)
    limb, fine, bone = (thick, max(thick // 2, 1), max(thick // 2, 1)) if style.scaled else (4, 4, 2)
    body, body_score = body_points(xy, scores, style)
    known = np.isfinite(xy).all(-1)
    xy, score = np.where(known[..., None], xy, -1.0), np.where(known, scores, 0.0)  # points beyond the corner are not drawn

    for color, (a, b) in zip(COLORS, LIMBS, strict=False):
        for at, sure in zip(body, body_score, strict=True):
            if max(a, b) < len(at) and min(sure[a], sure[b]) > style.threshold:
                _limb(canvas, at[a], at[b], limb, _shade(color, sure[a] * sure[b], style))
    canvas = (canvas * LIMB_DIMMING).astype(np.uint8)
    for at, sure in zip(body, body_score, strict=True):
        for color, spot, s in zip(COLORS, at, sure, strict=False):
            if s > style.threshold:
                _dot(canvas, spot, limb, _shade(color, s, style))
    for part in HANDS.values():
        for hand, sure in zip(xy[:, part], score[:, part], strict=True):
            _hand(canvas, hand, sure, fine, bone, style)
    if style.face:
        for face, sure in zip(xy[:, FACE], score[:, FACE], strict=True):
            for spot, s in zip(face, sure, strict=True):
                if _drawn(spot, s, style):
                    _dot(canvas, spot, 3, _shade((255, 255, 255), s, style))
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_LINEAR) if style.canvas else canvas


def _limb(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, thickness: int, color: tuple[int, ...]) -> None:
    """Draw a filled ellipse between two points."""
    (x, y), (dx, dy) = (a + b) / 2, a - b
    axes = (int(math.hypot(dx, dy) / 2), thickness)
    outline = cv2.ellipse2Poly((int(x), int(y)), axes, int(math.degrees(math.atan2(dy, dx))), 0, 360, 1)
    cv2.fillConvexPoly(canvas, np.asarray(outline), color)


def _hand(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray, radius: int, bone: int, style: PoseStyle) -> None:
    """Draw bones in the colors of the rainbow, then joints in blue."""
    drawn = [_drawn(spot, score, style) for spot, score in zip(points, scores, strict=True)]
    for number, (a, b) in enumerate(FINGERS):
        if drawn[a] and drawn[b]:
            strength = int(scores[a] * scores[b] * 255) if style.fade else 255
            color = tuple(c * strength for c in colorsys.hsv_to_rgb(number / len(FINGERS), 1.0, 1.0))
            start, end = ((int(x), int(y)) for x, y in (points[a], points[b]))
            cv2.line(canvas, start, end, color, bone)
    for spot, score, shown in zip(points, scores, drawn, strict=True):
        if shown:
            _dot(canvas, spot, radius, _shade((0, 0, 255), score, style))


def _drawn(spot: np.ndarray, score: float, style: PoseStyle) -> bool:
    """Return whether a point of a hand or face is drawn."""
    return int(spot[0]) > 0 and int(spot[1]) > 0 and (style.fade or score > style.threshold)


def _dot(canvas: np.ndarray, spot: np.ndarray, radius: int, color: tuple[int, ...]) -> None:
    cv2.circle(canvas, (int(spot[0]), int(spot[1])), radius, color, thickness=-1)


def _shade(color: tuple[int, ...], score: float, style: PoseStyle) -> tuple[int, ...]:
    return tuple(int(channel * score) for channel in color) if style.fade else color
