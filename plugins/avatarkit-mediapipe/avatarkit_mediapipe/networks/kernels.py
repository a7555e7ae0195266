"""Compiled kernels: what torch is slow at in networks as small as these, and how MediaPipe draws what they see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit

from avatarkit.utils.machine_code import keep

__all__ = ["depthwise", "draw"]


def _depthwise(
    picture: np.ndarray, weights: np.ndarray, bias: np.ndarray, stride: int, top: int, left: int, result: np.ndarray
) -> None:
    """Filter each channel by itself.

    Args:
        picture: (H, W, C) float32; zero outside.
        weights: (k, k, C); fast where k is 3 or 5.
        bias: (C,).
        stride: pixels of the picture per pixel of the result.
        top: how far the first window reaches out of the picture.
        left: the same sideways.
        result: (h, w, C), written.
    """
    height, width, channels = picture.shape
    side = weights.shape[0]
    for i in range(result.shape[0]):
        y = i * stride - top
        for j in range(result.shape[1]):
            x = j * stride - left
            out = result[i, j]
            inside = y >= 0 and x >= 0 and y + side <= height and x + side <= width
            if inside and side == 3:
                for c in range(channels):  # one pass over the channels: all nine values stay in registers
                    out[c] = (
                        bias[c]
                        + picture[y, x, c] * weights[0, 0, c]
                        + picture[y, x + 1, c] * weights[0, 1, c]
                        + picture[y, x + 2, c] * weights[0, 2, c]
                        + picture[y + 1, x, c] * weights[1, 0, c]
                        + picture[y + 1, x + 1, c] * weights[1, 1, c]
                        + picture[y + 1, x + 2, c] * weights[1, 2, c]
                        + picture[y + 2, x, c] * weights[2, 0, c]
                        + picture[y + 2, x + 1, c] * weights[2, 1, c]
                        + picture[y + 2, x + 2, c] * weights[2, 2, c]
                    )
                continue
            out[:] = bias
            if inside and side == 5:
                for u in range(side):
                    row, tap = picture[y + u], weights[u]
                    for c in range(channels):
                        out[c] += (
                            row[x, c] * tap[0, c]
                            + row[x + 1, c] * tap[1, c]
                            + row[x + 2, c] * tap[2, c]
                            + row[x + 3, c] * tap[3, c]
                            + row[x + 4, c] * tap[4, c]
                        )
                continue
            for u in range(max(0, -y), min(side, height - y)):
                for v in range(max(0, -x), min(side, width - x)):
                    for c in range(channels):
                        out[c] += picture[y + u, x + v, c] * weights[u, v, c]


depthwise = keep(njit(nogil=True, error_model="numpy")(_depthwise), (Path(__file__),))
"""``_depthwise``, compiled on its first call on a machine."""


def _draw(image: np.ndarray, back: np.ndarray, around: bool, result: np.ndarray) -> None:
    """Draw a turned part of a picture.

    Positions are rounded to 32nds of a pixel, and the four pixels around them mixed in whole numbers, as in OpenCV 3, which
    MediaPipe uses: networks that see a photo enlarged answer differently to finer positions.

    Args:
        image: (H, W, 3) uint8.
        back: (2, 3) float64, from pixels of the result to those of the picture.
        around: whether the border continues outside; else it is black there.
        result: (h, w, 3) uint8, written.
    """
    height, width = image.shape[:2]
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            x = int(np.rint(32 * (back[0, 0] * j + back[0, 1] * i + back[0, 2])))
            y = int(np.rint(32 * (back[1, 0] * j + back[1, 1] * i + back[1, 2])))
            right, down = x & 31, y & 31
            x >>= 5
            y >>= 5
            for c in range(3):
                total = 512
                for k in range(4):
                    u, v = x + (k & 1), y + (k >> 1)
                    weight = (right if k & 1 else 32 - right) * (down if k >> 1 else 32 - down)
                    if around:
                        u, v = min(max(u, 0), width - 1), min(max(v, 0), height - 1)
                    elif u < 0 or v < 0 or u >= width or v >= height:
                        continue
                    total += weight * image[v, u, c]
                result[i, j, c] = total >> 10


draw = keep(njit(nogil=True, error_model="numpy")(_draw), (Path(__file__),))
"""``_draw``, compiled on its first call on a machine."""
