"""L_S (paper, eq. 10): what the source image says, pixel by pixel.

All terms weigh pixels by the confidence of the view, which is one everywhere on the photo.
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
        """Mean absolute difference of colours over trusted pixels."""
        return weighted_mean(l1(step.rendering.rgb, step.target), step.confidence)


class Ssim:
    """L_SSIM = 1 - SSIM."""

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean structural dissimilarity over trusted pixels, at every other row and column."""
        return weighted_mean(1 - ssim_map(step.rendering.rgb, step.target, stride=2), step.confidence[::2, ::2])


class AlphaL1:
    """L_alpha."""

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean absolute difference between matte and accumulated opacity."""
        return weighted_mean((step.rendering.alpha - step.alpha).abs(), step.confidence)
