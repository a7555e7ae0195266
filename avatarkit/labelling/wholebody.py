"""The 133 COCO-WholeBody points, assembled from other landmark sets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["COUNT", "EARS", "FACE", "FACE68", "HANDS", "HEAD", "from_sets"]

COUNT = 133
HEAD, EARS = slice(0, 5), slice(3, 5)  # nose, left and right eye; left and right ear
FACE = slice(23, 91)
HANDS = {"hand21_left": slice(91, 112), "hand21_right": slice(112, 133)}

# MediaPipe's pose points for COCO's body: shoulders, elbows, wrists, hips, knees, ankles (left before right).
_LIMBS = dict(zip(range(5, 17), (11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28), strict=True))
# COCO's feet: big toe, small toe, heel. MediaPipe has one point for the toes.
_FEET = {17: 31, 18: 31, 19: 29, 20: 32, 21: 32, 22: 30}
_POSE_HEAD = {0: 0, 1: 2, 2: 5, 3: 7, 4: 8}
# MediaPipe's face points for the 68 of COCO, which are those of the iBUG annotation: jaw from the person's right ear
# to the left one, brows (right first), bridge and base of the nose, eyes, outer and inner border of the lips.
_FACE68 = (
    *((162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389), (71, 63, 105, 66, 107)),
    *((336, 296, 334, 293, 301), (168, 197, 5, 4), (75, 97, 2, 326, 305), (33, 160, 158, 133, 153, 144)),
    *((362, 385, 387, 263, 373, 380), (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)),
    (78, 82, 13, 312, 308, 317, 14, 87),
)
FACE68 = tuple(i for group in _FACE68 for i in group)
# The nose tip lies between the two points at the tip. Eyes are the middle of the eye corners, which blinks and gaze
# do not move.
_FACE_HEAD = {0: ((4, 0.4), (1, 0.6)), 1: ((362, 0.5), (263, 0.5)), 2: ((33, 0.5), (133, 0.5))}


def from_sets(points: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray], dims: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Assemble the 133 points.

    Args:
        points: points of the sets ``coco133``, or ``pose33``, ``face478``, ``hand21_left``, ``hand21_right`` as far as known;
            (n, dims) with any number of leading axes, the same for all; NaN for unknown points.
        scores: (n,) each, with the same leading axes, 0 to 1.
        dims: dimensions of a point.

    Returns:
        (..., 133, dims) points and (..., 133) scores; NaN and 0 for unknown points.
    """
    if "coco133" in points:
        return _known(np.asarray(points["coco133"], np.float64), np.asarray(scores["coco133"], np.float64))
    some = next(iter(points.values()), np.zeros((0, dims)))
    out = np.full((*some.shape[:-2], COUNT, dims), np.nan)
    confidence = np.zeros(out.shape[:-1])

    def take(name: str, target: list[int] | slice, ids: list[int] | slice) -> None:
        out[..., target, :] = points[name][..., ids, :]
        confidence[..., target] = scores[name][..., ids]

    if "pose33" in points:
        for table in (_POSE_HEAD, _LIMBS, _FEET):
            take("pose33", list(table), list(table.values()))
    if "face478" in points:
        take("face478", FACE, list(FACE68))
        for target, parts in _FACE_HEAD.items():
            out[..., target, :] = sum(points["face478"][..., i, :] * share for i, share in parts)
            confidence[..., target] = np.minimum.reduce([scores["face478"][..., i] for i, _ in parts])
    for name, hand in HANDS.items():
        if name in points:
            take(name, hand, slice(0, 21))
    return _known(out, confidence)


def _known(points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lost = ~np.isfinite(points).all(-1)
    return np.where(lost[..., None], np.nan, points), np.where(lost, 0.0, scores)
