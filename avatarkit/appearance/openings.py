"""Where a photo looks between eyelids and lips, and where hands cover it, from landmarks."""

from __future__ import annotations

import torch

from avatarkit.types.keypoints import Keypoints

__all__ = ["face_openings", "hand_areas"]

# Points of ``face478`` along the lids and the inner edge of the lips, in order around each opening.
_RINGS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
_HAND_BONES = [(0 if k % 4 == 1 else k - 1, k) for k in range(1, 21)]  # of ``hand21_left`` and ``hand21_right``


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


def hand_areas(keypoints: Keypoints | None, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(height, width) bool each: pixels that a seen hand covers, and pixels that an unseen one may cover.

    The first follows the 21 joints of each hand; the second lies around hands that only the body's landmarks tell of.

    Args:
        keypoints: of the photo, in its own pixels.
        height, width: of the result, which shows the whole photo.
    """
    sure = torch.zeros(height, width, dtype=torch.bool)
    maybe = torch.zeros_like(sure)
    if keypoints is None:
        return sure, maybe
    scale = torch.tensor([width / keypoints.width, height / keypoints.height])
    for side, (wrist, little, index, thumb) in (("left", (15, 17, 19, 21)), ("right", (16, 18, 20, 22))):
        if keypoints.has(f"hand21_{side}"):
            points = torch.as_tensor(keypoints.points[f"hand21_{side}"], dtype=torch.float32) * scale
            palm = float((points[[5, 9, 13, 17]] - points[0]).norm(dim=1).max())
            steps = torch.linspace(0, 1, 5)[:, None, None]
            bones = points[torch.tensor(_HAND_BONES)]  # (20, 2, 2)
            _discs(sure, (bones[:, 0] * (1 - steps) + bones[:, 1] * steps).reshape(-1, 2), 0.22 * palm)
        elif keypoints.has("pose33"):
            points = torch.as_tensor(keypoints.points["pose33"], dtype=torch.float32) * scale
            points = points[[wrist, little, index, thumb]]
            score = torch.as_tensor(keypoints.scores["pose33"])[wrist] if "pose33" in keypoints.scores else 1.0
            if score > 0.3:
                _discs(maybe, points.mean(0, keepdim=True), 1.8 * float((points[2] - points[0]).norm()))
    return sure, maybe


def _discs(mask: torch.Tensor, centers: torch.Tensor, radius: float) -> None:
    """Set pixels of (H, W) within ``radius`` of any of the centers (n, 2)."""
    x0, y0 = (centers.amin(0) - radius).floor().long().clamp(min=0).tolist()
    x1, y1 = (centers.amax(0) + radius).ceil().long().tolist()
    x1, y1 = min(x1, mask.shape[1]), min(y1, mask.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    grid = torch.stack(torch.meshgrid(torch.arange(x0, x1) + 0.5, torch.arange(y0, y1) + 0.5, indexing="xy"), -1)
    for center in centers:
        mask[y0:y1, x0:x1] |= (grid - center).square().sum(-1) < radius * radius
