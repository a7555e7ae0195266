"""Denoising a video of any length with a network that sees a window of it: progressive latent fusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from avatarkit.labelling.scratch import Scratch
from avatarkit_mimicmotion.schedule import euler_step, guidance_scales, noise_levels, scale_input, tile_weights, tiles

__all__ = ["Sampling", "denoise", "initial_latents"]

# (scaled latents (1, T, 4, h, w), noise level (), frame numbers, conditional) -> v (1, T, 4, h, w)
Predict = Callable[[torch.Tensor, torch.Tensor, Sequence[int], bool], torch.Tensor]


@dataclass(frozen=True)
class Sampling:
    """How to sample; see ``MimicMotionConfig`` for the fields."""

    steps: int = 25
    guidance_min: float = 2.0
    guidance_max: float = 2.0
    tile_size: int = 72
    tile_overlap: int = 6

    @property
    def guided(self) -> bool:
        """Whether the network is also asked without picture and pose."""
        return self.guidance_max > 1.0


@dataclass(frozen=True)
class Progress:
    """Sampling between two windows.

    Attributes:
        latents: (1, N, 4, h, w) at the beginning of ``step``.
        sums: (branches, 1, N, 4, h, w) weighted predictions of the windows before ``window``.
        step: being worked on.
        window: next one.
    """

    latents: torch.Tensor
    sums: torch.Tensor
    step: int
    window: int

    def save(self, scratch: Scratch) -> None:
        """Keep it on disk."""
        scratch.save("latents", latents=self.latents, sums=self.sums, position=torch.tensor([self.step, self.window]))

    @staticmethod
    def load(scratch: Scratch | None, latents: torch.Tensor, branches: int) -> Progress:
        """Return the progress of an earlier run on the device of ``latents``, or that of a new clip."""
        found = scratch.load("latents", "latents", "sums", "position") if scratch else None
        if found is None or found["latents"].shape != latents.shape:
            return Progress(latents, latents.new_zeros(branches, *latents.shape), 0, 0)
        step, window = (int(x) for x in found["position"])
        return Progress(found["latents"].to(latents.device), found["sums"].to(latents.device), step, window)


def initial_latents(noise: torch.Tensor, frames: int, steps: int) -> torch.Tensor:
    """Return the start of sampling: unit noise of one tile (1, T, 4, h, w), repeated.

    The period over the video is T.
    """
    period = noise.shape[1]
    sigma = noise_levels(steps)[0][0].to(noise)
    return (noise * (sigma**2 + 1).sqrt())[:, torch.arange(frames) % period]


def denoise(
    predict: Predict,
    latents: torch.Tensor,
    sampling: Sampling,
    *,
    scratch: Scratch | None = None,
    report: Callable[[float], None] = lambda fraction: None,
    observe: Callable[[int, torch.Tensor, torch.Tensor], None] = lambda step, latents, v: None,
) -> torch.Tensor:
    """Sample a video.

    At each step the windows' predictions are averaged with triangular weights, with and without condition; guidance
    and the Euler step are then done for all frames at once. Sums are float32 whatever the network computes in.

    Args:
        predict: the network.
        latents: (1, N, 4, h, w) float32, ``initial_latents``.
        sampling: settings.
        scratch: where work is saved after each window, so that a killed run goes on; the result is the same.
        report: told the fraction that is done.
        observe: told step, latents after it and the fused, guided v; for tests and previews.

    Returns:
        (1, N, 4, h, w) clean latents, scaled as the VAE's ``scaling_factor`` says.
    """
    frames = latents.shape[1]
    sigmas, levels = (x.to(latents.device) for x in noise_levels(sampling.steps))
    windows = tiles(frames, sampling.tile_size, sampling.tile_overlap)
    weights = tile_weights(len(windows[0])).to(latents)
    total = latents.new_zeros(frames)
    for window in windows:
        total[window] += weights
    guidance = guidance_scales(frames, sampling.guidance_min, sampling.guidance_max).to(latents)
    weights, total, guidance = (x[None, :, None, None, None] for x in (weights, total, guidance))
    branches = (False, True) if sampling.guided else (True,)

    done = Progress.load(scratch, latents, len(branches))
    latents, sums = done.latents, done.sums
    first_window = done.window
    for step in range(done.step, sampling.steps):
        network_input = scale_input(latents, sigmas[step])
        for number in range(first_window, len(windows)):
            window = windows[number]
            for branch, conditional in enumerate(branches):
                v = predict(network_input[:, window], levels[step], window, conditional)
                sums[branch][:, window] += v.to(sums.dtype) * weights
            report((step * len(windows) + number + 1) / (sampling.steps * len(windows)))
            if scratch and number + 1 < len(windows) and scratch.due():
                Progress(latents, sums, step, number + 1).save(scratch)
        fused = sums / total
        v = fused[0] + guidance * (fused[1] - fused[0]) if sampling.guided else fused[0]
        latents = euler_step(latents, v, sigmas[step], sigmas[step + 1])
        observe(step, latents, v)
        sums, first_window = torch.zeros_like(sums), 0
        if scratch and (scratch.due() or step + 1 == sampling.steps):
            Progress(latents, sums, step + 1, 0).save(scratch)
    return latents
