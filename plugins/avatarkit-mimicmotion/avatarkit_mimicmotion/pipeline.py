"""The generator: a reference picture and pose maps in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from avatarkit.errors import ConfigError
from avatarkit.labelling.scratch import Scratch
from avatarkit_mimicmotion.preprocess import clip_pixels, signed
from avatarkit_mimicmotion.sampling import Sampling, denoise, initial_latents
from avatarkit_mimicmotion.weights import Networks

__all__ = ["VideoPipeline"]

FPS_ID = 7 - 1  # conditioning of the network: always 7 frames per second, minus one, at any frame rate
DOWNSCALE = 8  # pixels per latent


def _silent(message: str, fraction: float) -> None:
    """Ignore a progress report."""


class VideoPipeline:
    """Runs the networks one after the other.

    Args:
        networks: on the CPU, all of one number format.
        sampling: steps, guidance, tiles.
        device: to compute on.
        noise_aug_strength: noise on the reference picture.
        motion_bucket: amount of motion that the network is told.
        decode_chunk: frames decoded at once.
        offload: keep only the network at work on ``device``.
    """

    def __init__(
        self,
        networks: Networks,
        sampling: Sampling,
        device: torch.device | str = "cpu",
        *,
        noise_aug_strength: float = 0.0,
        motion_bucket: int = 127,
        decode_chunk: int = 8,
        offload: bool = True,
    ) -> None:
        self.networks, self.sampling, self.device = networks, sampling, torch.device(device)
        self.noise_aug_strength, self.motion_bucket = noise_aug_strength, motion_bucket
        self.decode_chunk, self.offload = decode_chunk, offload
        self.dtype: torch.dtype = next(networks.unet.parameters()).dtype

    @torch.no_grad()
    def generate(
        self,
        reference: torch.Tensor,
        pose_maps: torch.Tensor,
        seed: int,
        *,
        scratch: Scratch | None = None,
        report: Callable[[str, float], None] = _silent,
    ) -> torch.Tensor:
        """Make a video.

        Args:
            reference: (H, W, 3) uint8, both multiples of 64.
            pose_maps: (N, 3, H, W) uint8; the first one is the reference picture's own.
            seed: of the noise; the same on every device.
            scratch: where half-done work is kept.
            report: told what is being done, and the fraction that is done.

        Returns:
            (N - 1, H, W, 3) uint8: one frame for each map but the first.
        """
        generator = torch.Generator().manual_seed(seed)
        report("encoding the photo", 0.0)
        embedding, image_latents = self.encode(reference, generator)
        noise = self.draw_noise(pose_maps, generator)
        latents = initial_latents(noise, len(pose_maps), self.sampling.steps)
        latents = self.sample(
            latents, embedding, image_latents, pose_maps, scratch=scratch, report=lambda f: report("denoising", 0.9 * f)
        )
        frames = []
        for first, chunk in self.decode(latents, scratch):
            frames.append(chunk)
            report("decoding", 0.9 + 0.1 * min(1.0, (first + len(chunk)) / len(pose_maps)))
        return torch.cat(frames)[1:]

    def encode(self, reference: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embedding (1, 1, D) and latents (1, 4, h, w) of the reference picture.

        Draws its noise from ``generator``.
        """
        image = signed(reference)[None]
        noise = torch.randn(image.shape, generator=generator)  # drawn even where it has no strength: the order is fixed
        with self._at_work(self.networks.image_encoder) as encoder:
            embedding = encoder(self._ready(clip_pixels(image))).image_embeds.unsqueeze(1)
        with self._at_work(self.networks.vae) as vae:
            # The mode of the posterior; unlike other latents these are not multiplied by the scaling factor.
            latents = vae.encode(self._ready(image + self.noise_aug_strength * noise)).latent_dist.mode()
        return embedding, latents

    def draw_noise(self, pose_maps: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return (1, T, 4, h, w) unit noise of one tile."""
        count, _, height, width = pose_maps.shape
        period = min(self.sampling.tile_size, count)
        shape = (1, period, 4, height // DOWNSCALE, width // DOWNSCALE)
        return torch.randn(shape, generator=generator).to(self.device)

    def sample(
        self,
        latents: torch.Tensor,
        embedding: torch.Tensor,
        image_latents: torch.Tensor,
        pose_maps: torch.Tensor,
        **options: Any,
    ) -> torch.Tensor:
        """Denoise (1, N, 4, h, w) latents; ``options`` are those of ``denoise``."""
        ids = torch.tensor([[FPS_ID, self.motion_bucket, self.noise_aug_strength]], dtype=self.dtype, device=self.device)
        with self._at_work(self.networks.unet) as unet, self._at_work(self.networks.pose_net) as pose_net:

            def predict(scaled: torch.Tensor, level: torch.Tensor, window: Sequence[int], conditional: bool) -> torch.Tensor:
                picture = image_latents[:, None].expand(-1, len(window), -1, -1, -1)
                if not conditional:
                    picture, context, pose = torch.zeros_like(picture), torch.zeros_like(embedding), None
                else:
                    maps = pose_maps[list(window)].float() / 127.5 - 1
                    context, pose = embedding, pose_net(self._ready(maps))
                sample = torch.cat([scaled.to(self.dtype), picture], dim=2)
                return torch.as_tensor(unet(sample, level, context, ids, pose))

            return denoise(predict, latents, self.sampling, **options)

    def decode(self, latents: torch.Tensor, scratch: Scratch | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """Decode (1, N, 4, h, w) chunk by chunk: number of the first frame, and (n, H, W, 3) uint8.

        Chunks are decoded for themselves (the decoder looks across their frames), so their borders matter.
        """
        with self._at_work(self.networks.vae) as vae:
            for first in range(0, latents.shape[1], self.decode_chunk):
                name = f"frames_{first:06d}"
                kept = scratch.load(name, "frames") if scratch else None
                chunk = latents[0, first : first + self.decode_chunk]
                frames = kept["frames"] if kept else self._decode_chunk(vae, chunk)
                if scratch and not kept:
                    scratch.save(name, frames=frames)
                yield first, frames

    def decode_values(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        """Return (n, 4, h, w) -> (n, 3, H, W) float32, 0 to 1, on the CPU."""
        scaled = (latents / vae.config.scaling_factor).to(self.dtype)
        pixels = vae.decode(scaled, num_frames=len(latents)).sample
        return (pixels.float().cpu() / 2 + 0.5).clamp(0, 1)

    def _decode_chunk(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        values = self.decode_values(vae, latents)
        if not values.isfinite().all():
            raise ConfigError(f"mimicmotion: {self.dtype} is too narrow here, frames are not finite; set dtype = 'bfloat16'.")
        return (values * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _ready(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self.device, self.dtype)

    @contextmanager
    def _at_work(self, network: nn.Module) -> Iterator[Any]:
        """Return a network on the device.

        It goes back to the CPU afterwards where others need the room.
        """
        network.to(self.device)
        try:
            yield network
        finally:
            if self.offload and self.device.type != "cpu":
                network.to("cpu")
                torch.cuda.empty_cache()
