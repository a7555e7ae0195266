"""The part of a photo that a generator receives, and its camera."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import conv2d, pad

from avatarkit.types.camera import Camera
from avatarkit.types.subject import Subject

__all__ = ["Window", "blur", "crop", "person_window", "subject_window"]

MARGIN = 0.12  # of the person's size, free on every side so that arms and legs can move
PORTRAIT_GAIN = 0.9
FADE = 0.04  # of the short side: blur outside the photo, and width of the transition to it


@dataclass(frozen=True)
class Window:
    """The part of a resized photo that becomes the reference picture.

    Attributes:
        step_x: photo pixels per reference pixel, across.
        step_y: photo pixels per reference pixel, down.
        left: reference pixels from the photo's left side to the window's; negative if the window extends beyond the photo.
        top: the same from the top.
        width: of the reference picture, pixels.
        height: of the reference picture, pixels.
        smooth: whether to smooth before scaling down.
    """

    step_x: float
    step_y: float
    left: float
    top: float
    width: int
    height: int
    smooth: bool = True

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Convert photo pixels (..., 2) to reference pixels (..., 2)."""
        return xy / np.array([self.step_x, self.step_y]) - np.array([self.left, self.top])

    def camera(self, camera: Camera) -> Camera:
        """Return the photo's camera for the reference picture."""
        warp = [[1 / self.step_x, 0.0, -self.left], [0.0, 1 / self.step_y, -self.top], [0.0, 0.0, 1.0]]
        K = torch.tensor(warp).to(camera.K) @ camera.K
        return replace(camera, K=K, width=self.width, height=self.height)


def person_window(height: int, width: int, box: tuple[float, float, float, float], landscape: tuple[int, int]) -> Window:
    """Return a window around the whole person with room to move.

    It lies within the photo if it fits. It is landscape, which gives arms more room, unless portrait shows the person clearly
    larger, as when the legs are visible.

    Args:
        height: height of the photo, pixels.
        width: width of the photo, pixels.
        box: x0, y0, x1, y1 of the person in photo pixels.
        landscape: height and width of a landscape result; swapped for a portrait one.
    """
    x0, y0, x1, y1 = np.clip(np.array(box, float), 0, [width, height, width, height])
    margin = max(MARGIN * max(x1 - x0, y1 - y0), 1.0)
    left, right = max(x0 - margin, 0.0), min(x1 + margin, width)
    top, bottom = max(y0 - margin, 0.0), min(y1 + margin, height)
    windows = []
    for out_h, out_w in (landscape, landscape[::-1]):
        step = max((bottom - top) / out_h, (right - left) / out_w)
        x, y = _place(left, right, step * out_w, width), _place(top, bottom, step * out_h, height)
        if step * out_h >= height and bottom >= height:
            y = height - step * out_h  # a body cut off by the photo's bottom edge must not continue below it
        windows.append(Window(step, step, x / step, y / step, out_w, out_h))
    wide, upright = windows
    return upright if upright.step_x < PORTRAIT_GAIN * wide.step_x else wide


def subject_window(subject: Subject, landscape: tuple[int, int]) -> Window | None:
    """Return ``person_window`` of a subject's matte; None if the matte is empty."""
    rows, columns = (np.flatnonzero(subject.matte.alpha.amax(dim) > 0.5) for dim in (1, 0))
    if len(rows) == 0:
        return None
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return person_window(subject.photo.height, subject.photo.width, box, landscape)


def _place(low: float, high: float, size: float, limit: float) -> float:
    """Return where a window of ``size`` around (low, high) begins.

    It lies inside (0, limit); a window larger than that is centered on it.
    """
    if size >= limit:
        return (limit - size) / 2
    return min(max((low + high - size) / 2, 0.0), limit - size)


def crop(image: torch.Tensor, window: Window) -> torch.Tensor:
    """Cut a window out of a photo, bilinear, rounded.

    Outside the photo its border pixels are repeated and blurred.

    Args:
        image: (H, W, 3) uint8 or float32 0 to 1.
        window: window to cut.

    Returns:
        (height, width, 3) uint8.
    """
    values = image.float() * (1.0 if image.dtype == torch.uint8 else 255.0)
    shrink = max(window.step_x, window.step_y)
    if window.smooth and shrink > 1:
        sigma = 0.5 * math.sqrt(shrink**2 - 1)
        values = blur(values.permute(2, 0, 1)[None], sigma, sigma)[0].permute(1, 2, 0)
    # Across, then down, in float32: this order reproduces the original pixels in every version of torch.
    values = _resample(values, 1, window.step_x, window.left, window.width)
    values = _resample(values, 0, window.step_y, window.top, window.height)
    if window.smooth:
        values = _faded_outside(values, window, image.shape[0], image.shape[1])
    return values.round().clamp(0, 255).to(torch.uint8)


def _faded_outside(values: torch.Tensor, window: Window, height: int, width: int) -> torch.Tensor:
    """Blur the area outside the photo.

    The stripes of a repeated border would distract the network.
    """
    soft = FADE * min(values.shape[:2])
    outside = []
    for count, start, size in (
        (window.height, window.top, height / window.step_y),
        (window.width, window.left, width / window.step_x),
    ):
        at = torch.arange(count) + 0.5 + start
        outside.append(torch.maximum(-at, at - size).clamp(min=0))
    share = (torch.hypot(outside[0][:, None], outside[1][None, :]) / soft).clamp(max=1)[..., None]
    if not share.any():
        return values
    blurred = blur(values.permute(2, 0, 1)[None], soft, soft)[0].permute(1, 2, 0)
    return values * (1 - share) + blurred * share


def _resample(values: torch.Tensor, dim: int, step: float, start: float, count: int) -> torch.Tensor:
    """Interpolate linearly along one axis at pixel centers."""
    last = values.shape[dim] - 1
    at = ((torch.arange(count) + start + 0.5) * torch.tensor(step) - 0.5).clamp(0, last)
    low = at.floor().long()
    share = (at - low).reshape(-1, *(1,) * (values.ndim - dim - 1))
    high = (low + 1).clamp(max=last)
    return (1 - share) * values.index_select(dim, low) + share * values.index_select(dim, high)


def blur(image: torch.Tensor, sigma_x: float, sigma_y: float) -> torch.Tensor:
    """Apply a separable Gaussian with mirrored borders; (1, C, H, W).

    The kernels span about four sigma.
    """
    channels = image.shape[1]
    for axis, sigma in ((3, sigma_x), (2, sigma_y)):
        size = int(max(4 * sigma, 3)) // 2 * 2 + 1
        x = torch.arange(size, dtype=image.dtype) - size // 2
        kernel = torch.exp(-(x**2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).reshape((1, 1, 1, size) if axis == 3 else (1, 1, size, 1))
        margin = (size // 2, size // 2, 0, 0) if axis == 3 else (0, 0, size // 2, size // 2)
        padded = pad(image, margin, mode="reflect")
        image = conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)
    return image
