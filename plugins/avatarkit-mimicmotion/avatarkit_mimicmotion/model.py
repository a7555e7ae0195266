"""The two networks that MimicMotion trains, on top of diffusers' blocks.

Key names and shapes of ``state_dict()`` are those of the released checkpoint (without its ``unet.`` and ``pose_net.``).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from torch import nn

from avatarkit.errors import ConfigError

__all__ = ["RELEASED_POSE_NET", "RELEASED_UNET", "PoseNet", "PoseUNet", "build_pose_net", "build_unet"]

# unet/config.json of Stable Video Diffusion XT 1.1. The head counts matter: diffusers' defaults differ, and give the
# same keys and shapes but other results.
RELEASED_UNET: dict[str, Any] = {
    "sample_size": 96,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [5, 10, 20, 20],
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "num_frames": 25,
}
RELEASED_POSE_NET: dict[str, Any] = {"noise_latent_channels": 320}

# in, out, kernel, stride; padding 1; a SiLU follows each.
_POSE_LAYERS = (
    (3, 3, 3, 1),
    (3, 16, 4, 2),
    (16, 16, 3, 1),
    (16, 32, 4, 2),
    (32, 32, 3, 1),
    (32, 64, 4, 2),
    (64, 64, 3, 1),
    (64, 128, 3, 1),
)


class PoseNet(nn.Module):
    """Encodes drawn poses as an offset to the video network's first feature map."""

    def __init__(self, noise_latent_channels: int = 320) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out, kernel, stride in _POSE_LAYERS:
            layers += [nn.Conv2d(n_in, n_out, kernel, stride, padding=1), nn.SiLU()]
        self.conv_layers = nn.Sequential(*layers)
        self.final_proj = nn.Conv2d(_POSE_LAYERS[-1][1], noise_latent_channels, 1)
        self.scale = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, pose_pixels: torch.Tensor) -> torch.Tensor:
        """Map (F, 3, H, W), or (B, F, 3, H, W), in -1 to 1 to (frames, C, H/8, W/8)."""
        if pose_pixels.ndim == 5:
            pose_pixels = pose_pixels.flatten(0, 1)
        features: torch.Tensor = self.final_proj(self.conv_layers(pose_pixels))
        return features * self.scale


class PoseUNet(UNetSpatioTemporalConditionModel):
    """Stable Video Diffusion's network with one more input, the pose."""

    def forward(  # type: ignore[override]
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        added_time_ids: torch.Tensor,
        pose_latents: torch.Tensor | None = None,
        image_only_indicator: bool = False,
    ) -> torch.Tensor:
        """Predict v for a tile of frames.

        Args:
            sample: (B, F, 8, h, w) scaled noisy latents (4), then latents of the reference picture (4).
            timestep: () noise level, 0.25 ln sigma.
            encoder_hidden_states: (B, 1, D) embedding of the reference picture.
            added_time_ids: (B, 3) fps - 1, amount of motion, strength of the noise on the reference.
            pose_latents: (B F, C, h, w) from ``PoseNet``, or None for no pose.
            image_only_indicator: leave the temporal layers out.

        Returns:
            (B, F, 4, h, w).

        Raises:
            ValueError: h or w cannot be halved as often as the network does.
        """
        batch, frames = sample.shape[:2]
        if any(size % 2**self.num_upsamplers for size in sample.shape[-2:]):
            raise ValueError(f"latents of {tuple(sample.shape[-2:])} are no multiple of {2**self.num_upsamplers}")
        embedding = self._condition(sample, timestep, added_time_ids).repeat_interleave(frames, dim=0)
        context = encoder_hidden_states.repeat_interleave(frames, dim=0)
        spatial_only = sample.new_full((batch, frames), float(image_only_indicator))
        common = {"temb": embedding, "image_only_indicator": spatial_only}

        x = self.conv_in(sample.flatten(0, 1))
        if pose_latents is not None:
            x = x + pose_latents  # the only place where the pose enters; the first skip connection carries it too
        skips = [x]
        for block in self.down_blocks:
            x, outputs = block(x, **common, **self._attended(block, context))
            skips.extend(outputs)
        x = self.mid_block(x, encoder_hidden_states=context, **common)
        for block in self.up_blocks:
            count = len(list(block.get_submodule("resnets").children()))
            skips, used = skips[:-count], tuple(skips[-count:])
            x = block(x, res_hidden_states_tuple=used, **common, **self._attended(block, context))
        x = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return x.unflatten(0, (batch, frames))

    def _condition(self, sample: torch.Tensor, timestep: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return (B, 4 C) embedding of noise level and ids.

        Sinusoids are float32 and then cast, as in training.
        """
        batch = sample.shape[0]
        level = timestep.reshape(-1).to(sample.device).expand(batch)
        embedding = self.time_embedding(self.time_proj(level).to(sample.dtype))
        ids_embedding = self.add_time_proj(ids.flatten()).reshape(batch, -1)
        embedding = embedding + self.add_embedding(ids_embedding.to(embedding.dtype))
        return torch.as_tensor(embedding)

    @staticmethod
    def _attended(block: nn.Module, context: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the picture embedding, for blocks that attend to it."""
        return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}


def build_unet(config: dict[str, Any]) -> nn.Module:
    """Return the video network.

    Args:
        config: as in ``unet/config.json`` of the base model; what is missing is taken from ``RELEASED_UNET``.

    Raises:
        ConfigError: an entry is unknown or does not fit.
    """
    own = {key: value for key, value in config.items() if not key.startswith("_")}
    unknown = sorted(set(own) - set(RELEASED_UNET))
    if unknown:
        raise ConfigError(f"The video network's configuration has entries that are not known: {', '.join(unknown)}.")
    try:
        return PoseUNet(**{**RELEASED_UNET, **own})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"The video network's configuration does not fit together: {error}") from error


def build_pose_net(config: dict[str, Any]) -> nn.Module:
    """Return the pose network.

    ``config`` holds ``noise_latent_channels``, the width of the video network's first map.
    """
    unknown = sorted(set(config) - set(RELEASED_POSE_NET))
    if unknown:
        raise ConfigError(f"The pose network's configuration has entries that are not known: {', '.join(unknown)}.")
    return PoseNet(**{**RELEASED_POSE_NET, **config})
