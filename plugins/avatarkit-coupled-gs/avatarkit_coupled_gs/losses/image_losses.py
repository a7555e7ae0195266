"""Image losses as pure functions; maps are not reduced, so that the caller may weight pixels."""

from __future__ import annotations

from functools import lru_cache

import torch

__all__ = ["C1", "C2", "SIGMA", "SIZE", "l1", "ssim_map", "weighted_mean"]

C1, C2 = 0.01**2, 0.03**2
SIZE, SIGMA = 11, 1.5  # of the Gaussian window: side and standard deviation, pixels


def l1(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Absolute difference, mean over channels: (H, W, C), (H, W, C) -> (H, W)."""
    return (prediction - target).abs().mean(-1)


@lru_cache(maxsize=32)
def _blur_matrix(length: int, size: int, stride: int, dtype: torch.dtype, device: str) -> torch.Tensor:
    """(ceil(length / stride), length): each row a Gaussian window around every ``stride``-th sample, cut at the borders."""
    center = torch.arange(0, length, stride, dtype=dtype, device=device)[:, None]
    distance = torch.arange(length, dtype=dtype, device=device) - center
    window = torch.exp(-(distance**2) / (2 * SIGMA**2)) * (distance.abs() <= size // 2)
    return window / window.sum(1, keepdim=True)


def ssim_map(prediction: torch.Tensor, target: torch.Tensor, size: int = SIZE, stride: int = 1) -> torch.Tensor:
    """Structural similarity (Wang et al. 2004) for signals between 0 and 1.

    Blurring is two products with banded matrices: on a CPU many times quicker than a convolution of one channel.

    Args:
        prediction: (H, W, C).
        target: (H, W, C).
        size: side of the Gaussian window, odd.
        stride: windows are centered on every so many pixels.

    Returns:
        (ceil(H / stride), ceil(W / stride)) mean over channels, at most 1.
    """
    if prediction.shape != target.shape or prediction.ndim != 3:
        raise ValueError(f"expected two (H, W, C) images, got {tuple(prediction.shape)} and {tuple(target.shape)}")
    H, W, C = prediction.shape
    x, y = (t.permute(2, 0, 1) for t in (prediction, target))
    rows, columns = (_blur_matrix(n, size, stride, x.dtype, str(x.device)) for n in (H, W))
    stack = torch.cat([x, y, x * x, y * y, x * y]) @ columns.T
    mx, my, xx, yy, xy = (rows @ stack).split(C)
    numerator = (2 * mx * my + C1) * (2 * (xy - mx * my) + C2)
    denominator = (mx * mx + my * my + C1) * ((xx - mx * mx) + (yy - my * my) + C2)
    return (numerator / denominator).mean(0)


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean of ``values`` under ``weights`` of the same shape; zero where all weights are zero."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)
