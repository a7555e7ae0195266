"""L_S (paper, eq. 10): what the source image says, pixel by pixel.

All terms weigh pixels by the confidence of the view. Colours are compared inside the matte only: outside, L_alpha alone says
that nothing is there, and the random background must not paint the Gaussians that still are.
"""

from __future__ import annotations

import torch

from avatarkit.interfaces import Context, TrainStep
from avatarkit.losses import l1, ssim_map, weighted_mean

__all__ = ["AlphaL1", "RgbL1", "Ssim"]


class RgbL1:
    """L_RGB."""

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean absolute difference of colours over trusted pixels of the person."""
        return weighted_mean(l1(step.rendering.rgb, step.target), step.confidence * step.alpha)


class Ssim:
    """L_SSIM = 1 - SSIM."""

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean structural dissimilarity over trusted pixels of the person, at every other row and column."""
        weight = (step.confidence * step.alpha)[::2, ::2]
        return weighted_mean(1 - ssim_map(step.rendering.rgb, step.target, stride=2), weight)


class AlphaL1:
    """L_alpha."""

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean absolute difference between matte and accumulated opacity."""
        return weighted_mean((step.rendering.alpha - step.alpha).abs(), step.confidence)
