"""Turned squares of a picture, as the networks see them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from avatarkit_mediapipe.networks.kernels import draw

__all__ = ["Roi", "brightened", "crop", "whole"]

DARK = 0.35  # 99th percentile below which a picture is brightened before anything is looked for


@dataclass(frozen=True)
class Roi:
    """A turned square of a picture, in pixels.

    Attributes:
        x, y: center.
        size: side.
        rotation: radians, clockwise as seen.
    """

    x: float
    y: float
    size: float
    rotation: float = 0.0

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Return pixels (n, 2) float32 of points of the square, whose sides are 1 long."""
        x, y = points[:, 0] - 0.5, points[:, 1] - 0.5
        c, s = math.cos(self.rotation), math.sin(self.rotation)
        return np.stack([(c * x - s * y) * self.size + self.x, (s * x + c * y) * self.size + self.y], 1).astype(np.float32)


def whole(image: np.ndarray) -> Roi:
    """Return the square around a picture (H, W, 3)."""
    height, width = image.shape[:2]
    return Roi(width / 2, height / 2, max(width, height))


def crop(image: np.ndarray, roi: Roi, side: int, low: float = 0.0, around: bool = True) -> np.ndarray:
    """Draw a square upright.

    Args:
        image: (H, W, 3) uint8.
        roi: the square.
        side: pixels of the result.
        low: what 0 becomes; 255 becomes 1.
        around: whether the border continues outside the picture; else it is black there.

    Returns:
        (side, side, 3) float32. As in MediaPipe its pixels are samples at their upper left corners, without a filter.
    """
    c, s = math.cos(roi.rotation) * roi.size / side, math.sin(roi.rotation) * roi.size / side
    half = side / 2
    # from pixels of the result to those of the picture
    back = np.array([[c, -s, roi.x - c * half + s * half], [s, c, roi.y - s * half - c * half]])
    drawn = np.empty((side, side, 3), np.uint8)
    draw(np.ascontiguousarray(image), back, around, drawn)
    result: np.ndarray = drawn.astype(np.float32) * np.float32((1 - low) / 255) + np.float32(low)
    return result


def brightened(image: np.ndarray) -> np.ndarray:
    """Stretch dark pictures, (H, W, 3) uint8: the networks were trained on usual ones."""
    bright = np.percentile(image[::4, ::4], 99).item() / 255
    if not 0.02 < bright < DARK:
        return image
    table = (255 * np.clip(np.arange(256) / 255 / bright, 0, 1) ** 0.8).astype(np.uint8)
    return table[image]
