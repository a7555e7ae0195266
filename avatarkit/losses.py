"""Image losses as pure functions; maps are not reduced, so that the caller may weight pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["l1", "ssim_map", "weighted_mean"]

_C1, _C2 = 0.01**2, 0.03**2


def l1(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Absolute difference, mean over channels: (H, W, C), (H, W, C) -> (H, W)."""
    return (prediction - target).abs().mean(-1)


def _gaussian_window(size: int, sigma: float, like: torch.Tensor) -> torch.Tensor:
    x = torch.arange(size, dtype=like.dtype, device=like.device) - size // 2
    g = torch.exp(-(x**2) / (2 * sigma**2))
    return g / g.sum()


def ssim_map(
    prediction: torch.Tensor, target: torch.Tensor, size: int = 11, sigma: float = 1.5
) -> torch.Tensor:
    """Structural similarity per pixel (Wang et al. 2004), for signals between 0 and 1.

    Args:
        prediction, target: (H, W, C).
        size: side of the Gaussian window, odd. sigma: its standard deviation.

    Returns:
        (H, W) mean over channels, at most 1.
    """
    if prediction.shape != target.shape or prediction.ndim != 3:
        raise ValueError(f"expected two (H, W, C) images, got {tuple(prediction.shape)} and {tuple(target.shape)}")
    C = prediction.shape[-1]
    x, y = (t.permute(2, 0, 1) for t in (prediction, target))
    stack = torch.cat([x, y, x * x, y * y, x * y])[:, None]  # (5C, 1, H, W)
    g = _gaussian_window(size, sigma, prediction)
    pad = size // 2
    stack = F.conv2d(F.pad(stack, (pad, pad, pad, pad), mode="replicate"), g.view(1, 1, 1, -1))
    mx, my, xx, yy, xy = F.conv2d(stack, g.view(1, 1, -1, 1))[:, 0].split(C)
    numerator = (2 * mx * my + _C1) * (2 * (xy - mx * my) + _C2)
    denominator = (mx * mx + my * my + _C1) * ((xx - mx * mx) + (yy - my * my) + _C2)
    return (numerator / denominator).mean(0)


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean of ``values`` under ``weights`` of the same shape; zero where all weights are zero."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)
