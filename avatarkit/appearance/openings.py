"""Where a photo looks between eyelids and lips, from landmarks."""

from __future__ import annotations

import numpy as np
import torch
from skimage.draw import polygon

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
    scale = np.array([width / keypoints.width, height / keypoints.height])
    mask = np.zeros((height, width), bool)
    for ring in rings:
        x, y = (ring * scale - 0.5).T  # pixel centers at whole numbers
        mask[polygon(y, x, mask.shape)] = True
    return torch.from_numpy(mask)
