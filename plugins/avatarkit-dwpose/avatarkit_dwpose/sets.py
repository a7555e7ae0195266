"""COCO-WholeBody's 133 points as the landmark sets that body models know."""

from __future__ import annotations

import numpy as np

__all__ = ["HANDS", "as_pose33"]

HANDS = {"hand21_left": slice(91, 112), "hand21_right": slice(112, 133)}
"""The hands' points are in MediaPipe's order already."""

_FACE, _LEFT, _RIGHT = 23, 91, 112
# MediaPipe's 33 points of the body, each one of the 133 or the middle of several. Eyes and mouth come from the iBUG points of the
# face, fingers from the knuckles of the hands.
_POSE33: tuple[tuple[int, ...], ...] = (
    (0,), (_FACE + 42,), (1,), (_FACE + 45,), (_FACE + 39,), (2,), (_FACE + 36,), (3,), (4,), (_FACE + 54,), (_FACE + 48,),
    (5,), (6,), (7,), (8,), (9,), (10,),
    (_LEFT + 17,), (_RIGHT + 17,), (_LEFT + 5,), (_RIGHT + 5,), (_LEFT + 2,), (_RIGHT + 2,),
    (11,), (12,), (13,), (14,), (15,), (16,), (19,), (22,), (17, 18), (20, 21),
)  # fmt: skip


def as_pose33(points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 33 points of the body.

    Args:
        points: (133, 2).
        scores: (133,).

    Returns:
        (33, 2) float32 and (33,) float32; a middle is as sure as the least sure of its points.
    """
    where = np.stack([points[list(ids)].mean(0) for ids in _POSE33])
    sure = np.array([scores[list(ids)].min() for ids in _POSE33])
    return where.astype(np.float32), sure.clip(0, 1).astype(np.float32)
