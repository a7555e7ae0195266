"""The weave and folds of clothes where the photo does not show them, after a piece of the same garment that it shows.

Pieces of the example are laid out at random and blended without losing contrast (Heitz and Neyret, High-Performance By-Example
Noise using a Histogram-Preserving Blending Operator, 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

__all__ = ["Fabric"]

_PIXEL = 0.002  # meters of a pixel of the example, or as the photo has them
_SIDES = 0.14, 0.11, 0.08, 0.06  # meters of the example: the largest that fits
_CELL = 1 / 3  # part of it that one piece covers
_FOLDS = 0.005  # meters: wider changes are light and folds, which look like clouds where they are repeated
_MARGIN = 0.01  # meters from the border of what shows the garment
_FRONTAL = 0.75  # cosine between normal and view from which the example is not foreshortened
_TYPICAL = 0.3  # quantile of contrast of the piece that is chosen: no badge or seam, and not the plainest place
_STRONGEST = 0.06  # standard deviation of its colors at most, as a part of their brightness: what has more is a print


@dataclass(frozen=True)
class Fabric:
    """An example of a fabric's pattern.

    Attributes:
        example: (3, n, n) what its colors differ from their mean around, sRGB. side: meters along it.
    """

    example: torch.Tensor
    side: float

    @classmethod
    def find(cls, image: torch.Tensor, shows: torch.Tensor, facing: torch.Tensor, meter: float) -> Fabric | None:
        """Choose the example; None where no piece is large enough.

        Args:
            image: (H, W, 3) sRGB. shows: (H, W) bool, pixels of the garment. facing: (H, W) cosine between normal and view.
            meter: size of a pixel on the body.
        """
        scale = min(1.0, meter / _PIXEL)
        if scale < 1.0:
            stack = torch.cat([image, shows[..., None], facing[..., None]], -1).permute(2, 0, 1)[None]
            stack = functional.interpolate(stack, scale_factor=scale, mode="area")[0]
            image, shows, facing, meter = stack[:3].permute(1, 2, 0), stack[3] > 0.99, stack[4], meter / scale
        own = shows.numpy()
        weight = own.astype(np.float32)
        blurred = [
            ndimage.gaussian_filter(x, _FOLDS / meter) for x in (weight, *(image.numpy() * weight[..., None]).transpose(2, 0, 1))
        ]
        detail = image.numpy() - np.stack(blurred[1:], -1) / np.maximum(blurred[0], 1e-3)[..., None]
        inside = ndimage.distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1] * meter > _MARGIN
        inside &= facing.numpy() > _FRONTAL
        contrast = np.square(detail).sum(-1)
        for side in _SIDES:
            n = round(side / meter)
            if n < 8 or n > min(own.shape):
                continue
            corner = n // 2
            whole = ndimage.uniform_filter(inside.astype(np.float32), n, mode="constant") > 1 - 0.5 / n**2
            if not whole.any():
                continue
            energy = ndimage.uniform_filter(contrast, n)
            typical = np.quantile(energy[inside], _TYPICAL)
            y, x = np.unravel_index(np.where(whole, np.abs(energy - typical), np.inf).argmin(), own.shape)
            piece = detail[y - corner : y - corner + n, x - corner : x - corner + n]
            piece = piece - piece.mean((0, 1))
            bright = image[y - corner : y - corner + n, x - corner : x - corner + n].mean()
            piece *= min(1.0, _STRONGEST * float(bright) / max(float(piece.std()), 1e-6))
            return cls(torch.from_numpy(np.ascontiguousarray(piece.transpose(2, 0, 1))).float(), side)
        return None

    def __call__(self, at: torch.Tensor) -> torch.Tensor:
        """(n, 3) what to add to the colors at places (n, 2) on the garment, in meters."""
        cell = _CELL * self.side
        skewed = torch.stack([at[:, 0] - at[:, 1] / 3**0.5, at[:, 1] * 2 / 3**0.5], 1) / cell
        corner = skewed.floor()
        part = skewed - corner
        upper = part.sum(1) > 1.0
        weights = torch.where(
            upper[:, None],
            torch.stack([part.sum(1) - 1.0, 1.0 - part[:, 1], 1.0 - part[:, 0]], 1),
            torch.stack([1.0 - part.sum(1), part[:, 0], part[:, 1]], 1),
        )
        # of the triangle (0, 0), (1, 0), (0, 1), or of (1, 1), (1, 0), (0, 1), in the order of the weights
        first = torch.where(upper[:, None], 1.0, 0.0).expand(-1, 2)
        reach = cell / self.side  # of a piece around its node, as a part of the example
        total = torch.zeros(len(at), 3)
        for k, step in enumerate((first, first.new_tensor([1.0, 0.0]), first.new_tensor([0.0, 1.0]))):
            node = corner + step
            center = torch.stack([node[:, 0] + 0.5 * node[:, 1], node[:, 1] * 3**0.5 / 2], 1) * cell
            place = reach + (1.0 - 2.0 * reach) * _hash(node.long()) + (at - center) / self.side
            picked = functional.grid_sample(
                self.example[None], (2.0 * place - 1.0)[None, None], padding_mode="reflection", align_corners=False
            )
            total += weights[:, k, None] * picked[0, :, 0].T
        return total / weights.square().sum(1, keepdim=True).sqrt()


def _hash(node: torch.Tensor) -> torch.Tensor:
    """(n, 2) numbers from 0 to 1 that look random, for pairs of whole numbers (n, 2)."""
    mixed = node[:, :1] * 73856093 ^ node[:, 1:] * 19349663
    mixed = torch.cat([mixed * 2654435761, mixed * 2246822519 + 374761393], 1)
    return ((mixed ^ (mixed >> 15)) & 0xFFFF).float() / 0xFFFF
