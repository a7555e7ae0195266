"""L_S (paper, eq. 10): what the source image says, pixel by pixel; and colors that only labels show.

All terms weigh pixels by the confidence of the view. Colors are compared inside the matte only, and at the opacity that the
rendering has: L_alpha alone says how much of a pixel the person covers, or the random background would turn the border gray.
"""

from __future__ import annotations

import torch

from avatarkit.interfaces import Context, TrainStep
from avatarkit_coupled_gs.losses.image_kernels import color_difference, dissimilarity
from avatarkit_coupled_gs.losses.image_losses import l1, ssim_map, weighted_mean
from avatarkit_coupled_gs.losses.regularizers import OfCoupled

__all__ = ["AlphaL1", "LabelColors", "RgbL1", "Ssim"]


def _target(step: TrainStep) -> torch.Tensor:
    """(H, W, 3) the person's colors over the background, covering as much of each pixel as the rendering does."""
    alpha = step.rendering.alpha.detach()[..., None]
    return alpha * step.foreground + (1 - alpha) * step.background


class RgbL1:
    """L_RGB."""

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean absolute difference of colors over trusted pixels of the person."""
        weight = step.confidence * step.alpha
        if step.rendering.rgb.device.type == "cpu":
            return color_difference(step.rendering.rgb, step.foreground, step.rendering.alpha, step.background, weight)
        return weighted_mean(l1(step.rendering.rgb, _target(step)), weight)


class Ssim:
    """L_SSIM = 1 - SSIM."""

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean structural dissimilarity over trusted pixels of the person, at every other row and column."""
        weight = step.confidence * step.alpha
        if step.rendering.rgb.device.type == "cpu":
            return dissimilarity(step.rendering.rgb, step.foreground, step.rendering.alpha, step.background, weight)
        return weighted_mean(1 - ssim_map(step.rendering.rgb, _target(step), stride=2), weight[::2, ::2])


class AlphaL1:
    """L_alpha."""

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean absolute difference between matte and accumulated opacity."""
        return weighted_mean((step.rendering.alpha - step.alpha).abs(), step.confidence)


class LabelColors(OfCoupled):
    """L1 on labels that teaches nothing but colors which the photo does not show.

    Not the paper's: its perceptual term (eq. 9) does not say what color a hand has, and in few steps it speckles what it may
    paint. Labels are imperfect, so that neither the geometry nor what the photo shows follows their pixels.
    """

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean absolute difference of colors over trusted pixels of the person; 0 where labels know no more than the photo."""
        avatar = self.avatar(step)
        if avatar.hidden is None:
            return step.background.new_zeros(())
        picture = step.rendering.rgb.detach().requires_grad_()
        value = weighted_mean(l1(picture, _target(step)), step.confidence * step.alpha)
        (d_picture,) = torch.autograd.grad(value, picture)
        # A picture is linear in the colors, so the derivative of this one says all, whatever else learns from it.
        (slope,) = torch.autograd.grad(step.rendering.rgb, step.posed.gaussians.colors, d_picture, retain_graph=True)
        colors = avatar.colors(avatar.hidden)
        return value.detach() + ((colors - colors.detach()) * slope).sum()
