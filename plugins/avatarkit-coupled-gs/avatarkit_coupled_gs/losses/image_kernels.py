"""Kernels of the losses that compare pictures: value and derivative in one pass; formulas: ``image_losses``.

All compare a rendering with the person's colors over the background, at the opacity of the rendering, under weights of pixels.
"""

# mypy: ignore-errors
# Numba finds the types of kernels, per call; Python's cannot express them.

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from avatarkit_coupled_gs.compiled import array, kernel, run
from avatarkit_coupled_gs.losses.image_losses import C1, C2, SIGMA, SIZE

__all__ = ["color_difference", "dissimilarity"]

_REACH = SIZE // 2
_PAD = (_REACH + 1) // 2  # columns of one parity that a window reaches beyond its middle


def color_difference(
    rgb: torch.Tensor, foreground: torch.Tensor, alpha: torch.Tensor, background: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Weighted mean absolute difference () from the person over the background; only ``rgb`` has a gradient.

    Args:
        rgb: (H, W, 3) rendering.
        foreground: (H, W, 3).
        alpha: (H, W) opacity of the rendering.
        background: (3,).
        weights: (H, W).
    """
    return _ColorDifference.apply(rgb, foreground, alpha, background, weights)


def dissimilarity(
    rgb: torch.Tensor, foreground: torch.Tensor, alpha: torch.Tensor, background: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Weighted mean of 1 - SSIM () at every other row and column; arguments as in ``color_difference``."""
    return _Dissimilarity.apply(rgb, foreground, alpha, background, weights)


class _FromGradient(torch.autograd.Function):
    """A loss whose forward pass leaves the gradient of its first argument in ``ctx.gradient``."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        return ctx.gradient * upstream, None, None, None, None


class _ColorDifference(_FromGradient):
    @staticmethod
    def forward(ctx: Any, rgb: torch.Tensor, *constants: torch.Tensor) -> torch.Tensor:
        weights = constants[-1]
        gradient, sums = torch.empty_like(rgb), rgb.new_empty(len(rgb), dtype=torch.float64)
        total = max(float(weights.sum()), 1e-6)
        scale = array(rgb.new_tensor(1 / (3 * total)))[()]
        run(_color_rows, len(rgb), array(rgb), *map(array, constants), scale, gradient.numpy(), sums.numpy())
        ctx.gradient = gradient
        return (sums.sum() / (3 * total)).to(rgb.dtype)


@kernel
def _color_rows(start, stop, rgb, foreground, alpha, background, weights, scale, gradient, sums):
    """Fill sums (H,) of weighted differences and the gradient (H, W, 3)."""
    real = rgb.dtype.type
    zero, one = real(0), real(1)
    for y in range(start, stop):
        total = 0.0
        for x in range(rgb.shape[1]):
            weight, a = weights[y, x], alpha[y, x]
            if weight == zero:
                gradient[y, x, 0] = gradient[y, x, 1] = gradient[y, x, 2] = zero
                continue
            for c in range(3):
                difference = rgb[y, x, c] - (a * foreground[y, x, c] + (one - a) * background[c])
                total += weight * abs(difference)
                gradient[y, x, c] = (real(difference > zero) - real(difference < zero)) * (weight * scale)
        sums[y] = total


class _Dissimilarity(_FromGradient):
    """SSIM by separable windows on planes: even and odd columns of each channel lie apart, so that every loop is contiguous."""

    @staticmethod
    def forward(ctx: Any, rgb: torch.Tensor, *constants: torch.Tensor) -> torch.Tensor:
        (height, width, _), weights = rgb.shape, constants[-1][::2, ::2].contiguous()
        gradient = torch.zeros_like(rgb)
        ctx.gradient = gradient
        total = max(float(weights.sum()), 1e-6)
        rows, columns = (array(weights.amax(axis) > 0).nonzero()[0] for axis in (1, 0))
        if len(rows) == 0:
            return rgb.new_zeros(())
        # Windows with a weight lie between these rows and columns, and reach a little beyond.
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        x, y = (np.zeros((height, 3, 2, (width + 1) // 2 + 2 * _PAD), array(rgb).dtype) for _ in range(2))
        lines = max(0, 2 * top - _REACH), min(height, 2 * bottom + _REACH)
        run(_planes, lines[1] - lines[0], lines[0], array(rgb), *map(array, constants[:-1]), x, y)
        window, down, across = _windows(height, width, x.dtype)
        moved, sums = np.empty((bottom - top, 3, 3, 2, right - left + 2 * _PAD), x.dtype), np.empty(bottom - top)
        scale = x.dtype.type(1 / (3 * total))
        run(_similarity_rows, bottom - top, top, left, right, x, y, window, down, across, array(weights), scale, moved, sums)
        run(_gather_rows, lines[1] - lines[0], lines[0], top, left, x, y, moved, down, gradient.numpy())
        return rgb.new_tensor(sums.sum() / (3 * total))


def _windows(height: int, width: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the plain window (SIZE,), that of each row, cut at the borders, (ceil(H / 2), SIZE), and 1 / its sum by column."""
    window = np.exp(-((np.arange(SIZE) - _REACH) ** 2) / (2 * SIGMA**2))

    def cut(length: int) -> np.ndarray:
        at = np.arange(0, length, 2)[:, None] + np.arange(SIZE) - _REACH
        return window * ((at >= 0) & (at < length))

    down, across = cut(height), cut(width)
    return window.astype(dtype), (down / down.sum(1, keepdims=True)).astype(dtype), (1 / across.sum(1)).astype(dtype)


@kernel
def _planes(start, stop, first, rgb, foreground, alpha, background, x, y):
    """Sort a rendering and what it should be into planes (H, 3, 2, _PAD + ceil(W / 2) + _PAD): channels, even and odd columns."""
    one = rgb.dtype.type(1)
    for row in range(first + start, first + stop):
        for column in range(rgb.shape[1]):
            a, parity, at = alpha[row, column], column % 2, column // 2 + _PAD
            for c in range(3):
                x[row, c, parity, at] = rgb[row, column, c]
                y[row, c, parity, at] = a * foreground[row, column, c] + (one - a) * background[c]


@kernel
def _blur_columns(even, odd, window, across, blurred):
    """Blur one row with the window around every even column."""
    for j in range(len(blurred)):
        blurred[j] = window[0] * odd[j]
    for k in range(_REACH):
        w0, w1 = window[2 * k + 1], window[2 * k + 2]
        a, b = even[k + 1 :], odd[k + 1 :]
        for j in range(len(blurred)):
            blurred[j] += w0 * a[j] + w1 * b[j]
    for j in range(len(blurred)):
        blurred[j] *= across[j]


@kernel
def _spread_columns(pulled, window, even, odd):
    """Take the derivative of ``_blur_columns`` back to the columns."""
    for j in range(len(even)):
        odd[j] = window[0] * pulled[j + _REACH + 1]
        even[j] = pulled.dtype.type(0)
    for k in range(_REACH):
        w0, w1 = window[2 * k + 1], window[2 * k + 2]
        source = pulled[_REACH - k :]
        for j in range(len(even)):
            even[j] += w0 * source[j]
            odd[j] += w1 * source[j]


@kernel
def _similarity_rows(start, stop, top, left, right, x, y, window, down, across, weights, scale, moved, sums):
    """Compare the windows of the rows top + start to top + stop.

    Args:
        left, right: windows with a weight.
        x, y: planes, see ``_planes``.
        weights: (ceil(H / 2), ceil(W / 2)).
        moved: out (rows, 3, 3, 2, right - left + 2 _PAD), gradient of the row's sums of x, x^2 and x y, by channel and plane.
        sums: (rows,) out.
    """
    real = x.dtype.type
    one, two, c1, c2 = real(1), real(2), real(C1), real(C2)
    size = right - left + 2 * _PAD
    summed = np.empty((5, 2, size), x.dtype)
    blurred = np.zeros((5, right - left), x.dtype)
    pulled = np.zeros((3, size + 2 * _PAD), x.dtype)
    factor = across[left:right]
    for row in range(top + start, top + stop):
        total = 0.0
        for c in range(3):
            summed[:] = real(0)
            for k in range(SIZE):
                line = 2 * row + k - _REACH
                if line < 0 or line >= len(x):
                    continue
                w = down[row, k]
                for parity in range(2):
                    a, b = x[line, c, parity, left:], y[line, c, parity, left:]
                    s0, s1, s2 = summed[0, parity], summed[1, parity], summed[2, parity]
                    s3, s4 = summed[3, parity], summed[4, parity]
                    for j in range(size):
                        p, q = w * a[j], w * b[j]
                        s0[j] += p
                        s1[j] += q
                        s2[j] += p * a[j]
                        s3[j] += q * b[j]
                        s4[j] += p * b[j]
            for quantity in range(5):
                _blur_columns(summed[quantity, 0], summed[quantity, 1], window, factor, blurred[quantity])
            for j in range(right - left):
                mx, my = blurred[0, j], blurred[1, j]
                a1, b1 = two * mx * my + c1, mx * mx + my * my + c1
                a2 = two * (blurred[4, j] - mx * my) + c2
                b2 = (blurred[2, j] - mx * mx) + (blurred[3, j] - my * my) + c2
                below = one / (b1 * b2)
                ssim = a1 * a2 * below
                weight = weights[row, left + j]
                total += weight * (one - ssim)
                g = -weight * scale * factor[j]
                at = 2 * _PAD + j
                pulled[0, at] = g * two * ((my * (a2 - a1)) * below - ssim * mx * (b2 - b1) * below)
                pulled[1, at] = -g * ssim * b1 * below
                pulled[2, at] = g * two * a1 * below
            for quantity in range(3):
                target = moved[row - top, quantity, c]
                _spread_columns(pulled[quantity], window, target[0], target[1])
        sums[row - top] = total


@kernel
def _gather_rows(start, stop, first, top, left, x, y, moved, down, gradient):
    """Add what all windows say about the rows first + start to first + stop of a picture."""
    real = x.dtype.type
    size, width = moved.shape[4], gradient.shape[1]
    sums = np.empty((3, size), x.dtype)
    for line in range(first + start, first + stop):
        for c in range(3):
            for parity in range(2):
                sums[:] = real(0)
                s0, s1, s2 = sums[0], sums[1], sums[2]
                for row in range(max(top, (line - _REACH + 1) // 2), min(top + len(moved), (line + _REACH) // 2 + 1)):
                    w, said = down[row, line - 2 * row + _REACH], moved[row - top, :, c, parity]
                    m0, m1, m2 = said[0], said[1], said[2]
                    for j in range(size):
                        s0[j] += w * m0[j]
                        s1[j] += w * m1[j]
                        s2[j] += w * m2[j]
                a, b = x[line, c, parity, left:], y[line, c, parity, left:]
                for j in range(size):
                    column = 2 * (left + j - _PAD) + parity
                    if 0 <= column < width:
                        gradient[line, column, c] = s0[j] + real(2) * a[j] * s1[j] + b[j] * s2[j]
