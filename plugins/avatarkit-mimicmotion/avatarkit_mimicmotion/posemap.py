"""Draws people as the color-coded stick figures that the pose network was trained on, pixel for pixel.

The rules (order, colors, thresholds, absence of antialiasing) are DWPose's as MimicMotion changed them: colors fade
with confidence. They look odd in places; the network knows them so.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from avatarkit.errors import InputError

__all__ = ["People", "align", "draw", "fit_alignment"]

THRESHOLD = 0.3  # body points below it count as not seen
CANVAS_SHORT_SIDE = 2160
LIMB_HALF_WIDTH, BODY_RADIUS, HAND_RADIUS, FACE_RADIUS, BONE_WIDTH = 4, 4, 4, 3, 2
LIMB_DIMMING = 0.6

# The 18 drawn body points among the 133 of COCO-WholeBody: nose, neck, right arm, left arm, right leg, left leg, eyes
# and ears (right first). The neck (-1) is the middle of the shoulders 5 and 6.
BODY = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
SHOULDERS = (5, 6)
FACE = slice(23, 91)
HANDS = (slice(91, 112), slice(112, 133))  # left, right

LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10)),
    *((1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
FINGERS = tuple((0 if j == 0 else 4 * f + j, 4 * f + j + 1) for f in range(5) for j in range(4))
# OpenPose's rainbow.
COLORS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85)),
    *((0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255)),
    *((255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
# Points by which a sequence is aligned with the reference: head, shoulders, trunk and legs, never elbows and wrists.
ALIGNED = (0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)


@dataclass(frozen=True)
class People:
    """Everybody in a picture, in coordinates that run from 0 to 1 across and down it.

    Attributes:
        body: (n, 18, 2).
        body_score: (n, 18).
        face: (n, 68, 2).
        face_score: (n, 68).
        hands: (2n, 21, 2), all left hands, then all right ones.
        hands_score: (2n, 21).
    """

    body: np.ndarray
    body_score: np.ndarray
    face: np.ndarray
    face_score: np.ndarray
    hands: np.ndarray
    hands_score: np.ndarray

    @staticmethod
    def from_coco(points: np.ndarray, scores: np.ndarray, width: int, height: int) -> People:
        """Return the people from COCO-WholeBody keypoints."""
        xy = np.asarray(points, np.float64) / [width, height]
        score = np.asarray(scores, np.float64)
        ids = [max(i, 0) for i in BODY]
        neck = BODY.index(-1)
        body, body_score = xy[:, ids], score[:, ids]
        body[:, neck] = xy[:, SHOULDERS].mean(1)
        body_score[:, neck] = (score[:, SHOULDERS] > THRESHOLD).all(1)
        hands, hands_score = ([a[:, part] for part in HANDS] for a in (xy, score))
        return People(body, body_score, xy[:, FACE], score[:, FACE], np.concatenate(hands), np.concatenate(hands_score))

    def __len__(self) -> int:
        return len(self.body)


def fit_alignment(reference: People, frames: list[People], aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and shift from a sequence of poses to the reference person."""
    seen = [i for i in ALIGNED if reference.body_score[0, i] > THRESHOLD]
    single = [frame.body[0, seen] for frame in frames if len(frame) == 1]
    if len(seen) < 2 or not single:
        raise InputError("The poses cannot be aligned with the photo: too little of one person is seen in both.")
    source = np.concatenate(single)
    target = np.concatenate([reference.body[0, seen]] * len(single))
    scale_y, shift_y = np.polyfit(source[:, 1], target[:, 1], 1)
    scale_x = scale_y / aspect
    shift_x = float(np.mean(target[:, 0] - source[:, 0] * scale_x))
    return np.array([scale_x, scale_y]), np.array([shift_x, shift_y])


def align(people: People, scale: np.ndarray, shift: np.ndarray) -> People:
    """Apply ``fit_alignment``'s result."""
    moved = {name: getattr(people, name) * scale + shift for name in ("body", "face", "hands")}
    return replace(people, **moved)


def draw(people: People, height: int, width: int) -> np.ndarray:
    """Draw a pose map.

    Returns:
        (3, height, width) uint8 as the pose network takes it.
    """
    canvas = draw_canvas(people, height, width)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_LINEAR)
    # Drawn with the palette as RGB, shown to the network with red and blue exchanged: so it was trained.
    return np.ascontiguousarray(small[..., ::-1].transpose(2, 0, 1))


def draw_canvas(people: People, height: int, width: int) -> np.ndarray:
    """Return the large drawing (h, w, 3) before it is scaled down, in the palette's order of channels."""
    enlarge = CANVAS_SHORT_SIDE / min(height, width)
    canvas = np.zeros((int(height * enlarge), int(width * enlarge), 3), np.uint8)
    size = np.array([canvas.shape[1], canvas.shape[0]])
    _draw_limbs(canvas, people.body * size, people.body_score)
    canvas = (canvas * LIMB_DIMMING).astype(np.uint8)
    for points, scores in zip(people.body * size, people.body_score, strict=True):
        for color, (x, y), score in zip(COLORS, points, scores, strict=True):
            if score > THRESHOLD:
                _dot(canvas, x, y, BODY_RADIUS, _faded(color, score))
    for points, scores in zip(people.hands * size, people.hands_score, strict=True):
        _draw_hand(canvas, points, scores)
    for points, scores in zip(people.face * size, people.face_score, strict=True):
        for (x, y), score in zip(points, scores, strict=True):
            if _inside(x, y):
                _dot(canvas, x, y, FACE_RADIUS, _faded((255, 255, 255), score))
    return canvas


def _draw_limbs(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray) -> None:
    """Draw filled ellipses, limb by limb, and within a limb person by person."""
    for color, (a, b) in zip(COLORS, LIMBS, strict=False):
        for body, score in zip(points, scores, strict=True):
            if min(score[a], score[b]) <= THRESHOLD:
                continue
            center = (body[a] + body[b]) / 2
            dx, dy = body[a] - body[b]
            axes = (int(math.hypot(dx, dy) / 2), LIMB_HALF_WIDTH)
            angle = int(math.degrees(math.atan2(dy, dx)))
            outline = cv2.ellipse2Poly((int(center[0]), int(center[1])), axes, angle, 0, 360, 1)
            cv2.fillConvexPoly(canvas, np.asarray(outline), _faded(color, score[a] * score[b]))


def _draw_hand(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray) -> None:
    """Bones in the colors of the rainbow, then joints.

    Faint points are drawn dark, not left out.
    """
    for k, (a, b) in enumerate(FINGERS):
        if _inside(*points[a]) and _inside(*points[b]):
            strength = int(scores[a] * scores[b] * 255)
            color = tuple(c * strength for c in colorsys.hsv_to_rgb(k / len(FINGERS), 1.0, 1.0))
            start, end = ((int(x), int(y)) for x, y in (points[a], points[b]))
            cv2.line(canvas, start, end, color, BONE_WIDTH)
    for (x, y), score in zip(points, scores, strict=True):
        if _inside(x, y):
            _dot(canvas, x, y, HAND_RADIUS, _faded((0, 0, 255), score))


def _inside(x: float, y: float) -> bool:
    """Return whether a point counts: lost ones lie at or beyond the upper left corner."""
    return int(x) > 0.01 and int(y) > 0.01


def _dot(canvas: np.ndarray, x: float, y: float, radius: int, color: tuple[int, ...]) -> None:
    cv2.circle(canvas, (int(x), int(y)), radius, color, thickness=-1)


def _faded(color: tuple[int, ...], score: float) -> tuple[int, ...]:
    return tuple(int(channel * score) for channel in color)
