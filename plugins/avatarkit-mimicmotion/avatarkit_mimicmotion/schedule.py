"""Noise levels, Euler steps and tiles of frames: the arithmetic of sampling, without any network."""

from __future__ import annotations

import torch

from avatarkit.errors import ConfigError

__all__ = ["euler_step", "guidance_scales", "noise_levels", "scale_input", "tile_weights", "tiles"]

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 700.0, 7.0


def noise_levels(steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise levels of Karras et al.

    (2022, eq. 5) in the range of Stable Video Diffusion.

    Returns:
        (steps + 1,) sigmas from 700 down to 0.002, then 0; and (steps,) what the network is told, 0.25 ln sigma.
    """
    if steps < 2:
        raise ConfigError("mimicmotion: steps must be at least 2.")
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    sigmas = ((high + ramp * (low - high)) ** RHO).float()
    return torch.cat([sigmas, sigmas.new_zeros(1)]), 0.25 * sigmas.log()


def scale_input(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Bring noisy latents to unit variance for the network."""
    return latents / (sigma**2 + 1).sqrt()


def euler_step(latents: torch.Tensor, v: torch.Tensor, sigma: torch.Tensor, sigma_next: torch.Tensor) -> torch.Tensor:
    """Return one Euler step of the probability flow with v-prediction (Karras et al. 2022, algorithm 1 without churn)."""
    clean = v * (-sigma / (sigma**2 + 1).sqrt()) + latents / (sigma**2 + 1)
    return latents + (latents - clean) / sigma * (sigma_next - sigma)


def tiles(frames: int, size: int, overlap: int) -> list[list[int]]:
    """Return windows of frames for progressive latent fusion.

    Frame 0, the reference, is the first of each.

    Args:
        frames: of the video, reference included.
        size: frames of a window; cut to ``frames``.
        overlap: that the windows advance by ``size - overlap``.

    Returns:
        Frame numbers per window; together they cover every frame.
    """
    if size < 2 or not 1 <= overlap < size:
        raise ConfigError("mimicmotion: tile_size must be at least 2, and tile_overlap at least 1 and below it.")
    if frames < 2:
        raise ConfigError("mimicmotion: a video has at least the reference and one more frame.")
    stride = size - overlap
    size = min(size, frames)
    starts = list(range(0, frames - size + 1, stride))
    if starts[-1] + size < frames:
        starts.append(frames - size)
    return [[0, *range(start + 1, start + size)] for start in starts]


def tile_weights(size: int) -> torch.Tensor:
    """Return (size,) triangle by which windows are blended: small at the ends, never zero."""
    u = (torch.arange(size, dtype=torch.float32) + 0.5) * 2 / size
    return torch.minimum(u, 2 - u)


def guidance_scales(frames: int, first: float, last: float) -> torch.Tensor:
    """Return (frames,) guidance, linear over the video."""
    return torch.linspace(first, last, frames)
