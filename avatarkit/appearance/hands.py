"""Where a photo shows hands, by the landmarks of a hand detector."""

from __future__ import annotations

import torch

from avatarkit.types.keypoints import Keypoints

__all__ = ["seen_hands"]

_BONES = [(0 if k % 4 == 1 else k - 1, k) for k in range(1, 21)]  # of the points of a hand
_PALM = (5, 9, 13, 17)  # knuckles
_THICK = 0.22  # radius of a finger with its surroundings, as a part of the palm's length


def seen_hands(keypoints: Keypoints | None, height: int, width: int) -> dict[str, torch.Tensor]:
    """Side -> (height, width) bool, pixels that a hand covers whose joints a detector found.

    Args:
        keypoints: of the photo, in its own pixels.
        height: of the result, which shows the whole photo.
        width: of the result, which shows the whole photo.
    """
    found: dict[str, torch.Tensor] = {}
    for side in ("left", "right"):
        hand = None if keypoints is None else keypoints.region(f"{side}_hand")
        if keypoints is None or hand is None:
            continue
        scale = torch.tensor([width / keypoints.width, height / keypoints.height])
        points = torch.as_tensor(hand, dtype=torch.float32) * scale
        radius = _THICK * float((points[list(_PALM)] - points[0]).norm(dim=1).max())
        a, b = points[torch.tensor(_BONES)].unbind(1)
        grid = torch.stack(torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy"), -1)
        mask = torch.zeros(height, width, dtype=torch.bool)
        for start, along in zip(a, b - a, strict=True):
            share = ((grid - start) @ along / along.square().sum().clamp(min=1e-6)).clamp(0.0, 1.0)
            mask |= (grid - start - share[..., None] * along).norm(dim=-1) < radius
        if mask.any():
            found[side] = mask
    return found
