"""Prepares a photo for the networks: size, framing, and the image encoder's view."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import interpolate

from avatarkit.errors import ConfigError
from avatarkit.labelling.framing import Window, blur

__all__ = ["clip_pixels", "cover_window", "signed", "target_size"]

CLIP_SIZE = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
ASPECT = 9 / 16


def target_size(resolution: int, portrait: bool) -> tuple[int, int]:
    """Return height and width: ``resolution`` and the multiple of 64 below 16/9 of it."""
    if resolution <= 0 or resolution % 64:
        raise ConfigError(f"mimicmotion: resolution {resolution} is no positive multiple of 64.")
    long = int(resolution / ASPECT // 64) * 64
    return (long, resolution) if portrait else (resolution, long)


def cover_window(height: int, width: int, resolution: int) -> Window:
    """Return the authors' framing: as large a part as fits, from the middle.

    Portrait only where height exceeds width.
    """
    out_h, out_w = target_size(resolution, portrait=height > width)
    aspect = height / width
    if aspect < out_h / out_w:
        h, w = out_h, math.ceil(out_h / aspect)
    else:
        h, w = math.ceil(out_w * aspect), out_w
    return Window(width / w, height / h, round((w - out_w) / 2), round((h - out_h) / 2), out_w, out_h, smooth=False)


def signed(image: torch.Tensor) -> torch.Tensor:
    """Return (..., H, W, 3) uint8 -> (..., 3, H, W) float32, -1 to 1."""
    return image.movedim(-1, -3).float() / 255 * 2 - 1


def clip_pixels(image: torch.Tensor) -> torch.Tensor:
    """Return the image encoder's view of a picture.

    Args:
        image: (1, 3, H, W) float32, -1 to 1.

    Returns:
        (1, 3, 224, 224) normalized. The aspect ratio is not kept; the picture is smoothed before it is scaled down.
    """
    sigma_y, sigma_x = (max((size / CLIP_SIZE - 1) / 2, 0.001) for size in image.shape[-2:])
    small = interpolate(blur(image, sigma_x, sigma_y), (CLIP_SIZE, CLIP_SIZE), mode="bicubic", align_corners=True)
    mean, std = (torch.tensor(x)[None, :, None, None] for x in (CLIP_MEAN, CLIP_STD))
    return ((small + 1) / 2 - mean) / std
