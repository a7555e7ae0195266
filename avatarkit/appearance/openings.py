"""Where a photo looks between eyelids and lips, from landmarks."""

from __future__ import annotations

import torch

from avatarkit.types.keypoints import Keypoints

__all__ = ["face_openings"]

# Points of ``face478`` along the lids and the inner edge of the lips, in order around each opening.
_RINGS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)


def face_openings(keypoints: Keypoints | None, height: int, width: int) -> torch.Tensor | None:
    """(height, width) bool, pixels between the lids and between the lips; None where no face was found.

    Args:
        keypoints: of the photo, in its own pixels.
        height, width: of the result, which shows the whole photo.
    """
    if keypoints is None or not keypoints.has("face478"):
        return None
    scale = torch.tensor([width / keypoints.width, height / keypoints.height])
    points = torch.as_tensor(keypoints.points["face478"], dtype=torch.float32) * scale
    mask = torch.zeros(height, width, dtype=torch.bool)
    for ring in _RINGS:
        corners = points[list(ring)]
        x0, y0 = corners.amin(0).floor().long().clamp(min=0).tolist()
        x1, y1 = corners.amax(0).ceil().long().tolist()
        x1, y1 = min(x1, width), min(y1, height)
        if x1 > x0 and y1 > y0:
            mask[y0:y1, x0:x1] |= _inside(corners, torch.arange(x0, x1) + 0.5, torch.arange(y0, y1) + 0.5)
    return mask


def _inside(corners: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(len(y), len(x)) bool, points of a grid inside a polygon (n, 2) by the even-odd rule."""
    a, b = corners, corners.roll(-1, 0)
    crosses = (a[:, 1] > y[:, None]) != (b[:, 1] > y[:, None])  # (h, n)
    rise = torch.where(b[:, 1] == a[:, 1], torch.ones_like(a[:, 1]), b[:, 1] - a[:, 1])
    at = a[:, 0] + (y[:, None] - a[:, 1]) / rise * (b[:, 0] - a[:, 0])
    return (crosses[:, None] & (x[None, :, None] < at[:, None])).sum(-1) % 2 == 1
