"""Where a photo looks between eyelids and lips, from landmarks."""

from __future__ import annotations

import torch

from avatarkit.types.keypoints import Keypoints

__all__ = ["face_openings"]

_OPENINGS = ("right_eye", "left_eye", "inner_lips")


def face_openings(keypoints: Keypoints | None, height: int, width: int) -> torch.Tensor | None:
    """(height, width) bool, pixels between the lids and between the lips; None where no face was found.

    Args:
        keypoints: of the photo, in its own pixels.
        height: of the result, which shows the whole photo.
        width: of the result, which shows the whole photo.
    """
    rings = [] if keypoints is None else [ring for name in _OPENINGS if (ring := keypoints.region(name)) is not None]
    if keypoints is None or not rings:
        return None
    scale = torch.tensor([width / keypoints.width, height / keypoints.height])
    mask = torch.zeros(height, width, dtype=torch.bool)
    for ring in rings:
        corners = torch.as_tensor(ring, dtype=torch.float32) * scale
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
