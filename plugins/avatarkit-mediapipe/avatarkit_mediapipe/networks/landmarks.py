"""Landmarks in a region: body, face and hand; and the mask of people in a small picture.

The networks are those of BlazePose GHUM (Grishchenko et al., 2022), Attention Mesh (Grishchenko et al., 2020), MediaPipe Hands
(Zhang et al., 2020) and MediaPipe's selfie segmentation. What follows each of them is as in MediaPipe's public graphs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import expit

from avatarkit_mediapipe.networks.crops import Roi, crop
from avatarkit_mediapipe.networks.network import network

__all__ = ["Body", "body_landmarks", "face_landmarks", "hand_landmarks", "hand_region", "person_mask"]

_PRESENT = 0.5  # least score of what is there at all
_BODY, _REGION = 33, 2  # points of the body, and those that say where to look next
_REFINED_WITHIN = 4  # cells of a heatmap around a point
_REFINED_FROM = 0.5  # least peak of a heatmap that refines a point
_LID = 16  # first points of an eye: its border, whose depth its iris has


@dataclass(frozen=True)
class Body:
    """One body.

    Attributes:
        pose: (33, 3) pixels, depth on the same scale.
        visibility: (33,) 0 to 1.
        world: (33, 3) meters around the hips.
        region: (2, 2) pixels: middle of the hips, and a point of a circle around the body.
    """

    pose: np.ndarray
    visibility: np.ndarray
    world: np.ndarray
    region: np.ndarray


def body_landmarks(image: np.ndarray, roi: Roi) -> Body | None:
    """Return the body in a region of (H, W, 3) uint8, None where there is none."""
    run = network("pose_landmark_full", (0, 1, 3, 4))
    raw, presence, heatmaps, world = run(crop(image, roi, run.side))
    if presence.item() < _PRESENT:
        return None
    points = raw.reshape(-1, 5)[: _BODY + _REGION]
    places = _refined(points[:, :2] / run.side, heatmaps)
    pixels = roi.to_picture(places)
    depth = points[:_BODY, 2:3] * np.float32(roi.size / run.side)
    c, s = math.cos(roi.rotation), math.sin(roi.rotation)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
    return Body(
        np.hstack([pixels[:_BODY], depth]),
        expit(points[:_BODY, 3]),
        world.reshape(-1, 3)[:_BODY] @ turn.T,
        pixels[_BODY:],
    )


def _refined(places: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """Move points (n, 2) to the centers of mass of their heatmaps (h, w, more than n), near where they are."""
    height, width = heatmaps.shape[:2]
    result = places.copy()
    for k, place in enumerate(places):
        column, row = int(place[0] * width), int(place[1] * height)
        if not (0 <= column < width and 0 <= row < height):
            continue
        top, left = max(0, row - _REFINED_WITHIN), max(0, column - _REFINED_WITHIN)
        chances = expit(heatmaps[top : row + _REFINED_WITHIN + 1, left : column + _REFINED_WITHIN + 1, k])
        if chances.max() >= _REFINED_FROM:
            total = chances.sum()
            across = chances.sum(0) @ np.arange(left, left + chances.shape[1])
            down = chances.sum(1) @ np.arange(top, top + chances.shape[0])
            result[k] = across / width / total, down / height / total
    return result


def face_landmarks(image: np.ndarray, roi: Roi) -> np.ndarray | None:
    """Return (478, 3) pixels, depth on the same scale, of the face in a region of (H, W, 3) uint8; None where there is none.

    Eyes and lips come from networks of their own, which see them enlarged; irises have the depth of their eye's border.
    """
    run = network("face_landmark_with_attention")
    *parts, presence = run(crop(image, roi, run.side))
    if expit(presence.item()) < _PRESENT:
        return None
    mesh, lips, left_eye, right_eye, left_iris, right_iris = (part.reshape(-1) for part in parts)
    points = np.zeros((478, 3), np.float32)
    points[:468] = mesh.reshape(-1, 3)
    subsets = _face_subsets()
    for subset, part in zip(subsets, (lips, left_eye, right_eye), strict=True):
        points[subset, :2] = part.reshape(-1, 2)
    for start, eye, part in ((468, subsets[1], left_iris), (473, subsets[2], right_iris)):
        points[start : start + 5, :2] = part.reshape(-1, 2)
        points[start : start + 5, 2] = points[eye[:_LID], 2].mean()
    points /= run.side
    return np.hstack([roi.to_picture(points[:, :2]), points[:, 2:] * np.float32(roi.size)])


@cache
def _face_subsets() -> list[list[int]]:
    """Return the numbers of the points of lips and eyes, which the file of the network holds."""
    return [o["subset_idxs"] for o in network("face_landmark_with_attention").options if "subset_idxs" in o]


def hand_landmarks(image: np.ndarray, roi: Roi) -> np.ndarray | None:
    """Return (21, 2) pixels of the hand in a region of (H, W, 3) uint8, None where there is none."""
    run = network("hand_landmark_full", (0, 1))
    points, presence = run(crop(image, roi, run.side))
    if presence.item() < _PRESENT:
        return None
    return roi.to_picture(points.reshape(-1, 3)[:, :2] / run.side)


def hand_region(image: np.ndarray, roi: Roi) -> Roi:
    """Return the region of the hand landmarks for a hand that lies roughly in another one."""
    run = network("hand_recrop")
    (points,) = run(crop(image, roi, run.side))
    center, rim = roi.to_picture(points.reshape(-1, 2) / run.side)
    x, y = (rim - center).tolist()
    size, turn = 2 * math.hypot(x, y), math.remainder(-math.pi / 2 - math.atan2(-y, x), 2 * math.pi)
    up = 0.1 * size
    return Roi(float(center[0]) + up * math.sin(turn), float(center[1]) - up * math.cos(turn), size, turn)


def person_mask(picture: np.ndarray) -> np.ndarray:
    """Return the probability (256, 256) of each pixel of (256, 256, 3) uint8 to show a person."""
    (mask,) = network("selfie_segmentation")(picture.astype(np.float32) * np.float32(1 / 255))
    return mask[..., 0]
