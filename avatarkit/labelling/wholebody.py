"""The 133 COCO-WholeBody points, assembled from other landmark sets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from avatarkit.types.landmark_sets import LAYOUTS

__all__ = ["COUNT", "EARS", "FACE", "FACE68", "HANDS", "HEAD", "from_sets"]

COUNT = 133
HEAD, EARS = slice(0, 5), slice(3, 5)  # nose, left and right eye; left and right ear
FACE = slice(23, 91)
HANDS = {"hand21_left": slice(91, 112), "hand21_right": slice(112, 133)}
FACE68 = tuple(LAYOUTS["face478"].coco133[target][0][0] for target in range(FACE.start, FACE.stop))
"""Points of ``face478`` that are COCO's 68 points of the face."""


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

    for name in ("pose33", "face478", *HANDS):  # a face knows eyes and nose better than a body does
        for target, parts in LAYOUTS[name].coco133.items() if name in points else ():
            out[..., target, :] = sum(points[name][..., i, :] * share for i, share in parts)
            confidence[..., target] = np.minimum.reduce([scores[name][..., i] for i, _ in parts])
    return _known(out, confidence)


def _known(points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lost = ~np.isfinite(points).all(-1)
    return np.where(lost[..., None], np.nan, points), np.where(lost, 0.0, scores)
