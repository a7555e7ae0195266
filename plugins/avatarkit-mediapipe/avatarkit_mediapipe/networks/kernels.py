"""Compiled kernels: what torch is slow at in networks as small as these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit

from avatarkit.utils.machine_code import keep

__all__ = ["depthwise"]


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
