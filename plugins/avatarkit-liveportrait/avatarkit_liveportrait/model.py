"""LivePortrait's networks for inference (Guo et al. 2024).

Own implementation. Keys and shapes of every ``state_dict()`` are those of the released files.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from avatarkit.errors import ConfigError
from avatarkit_liveportrait.blocks import ConvNorm, GlobalResponseNorm, LayerNorm2d, Residual3d, SpadeBlock

__all__ = [
    "RELEASED",
    "AppearanceExtractor",
    "MotionExtractor",
    "SpadeGenerator",
    "VectorNetwork",
    "WarpingModule",
    "build_networks",
]

# The sizes of the released weights.
RELEASED: dict[str, dict[str, Any]] = {
    "appearance_feature_extractor": {
        "image_channel": 3,
        "block_expansion": 64,
        "num_down_blocks": 2,
        "max_features": 512,
        "reshape_channel": 32,
        "reshape_depth": 16,
        "num_resblocks": 6,
    },
    "motion_extractor": {"depths": [3, 3, 9, 3], "dims": [96, 192, 384, 768], "num_kp": 21, "num_bins": 66},
    "warping_module": {
        "num_kp": 21,
        "block_expansion": 64,
        "max_features": 512,
        "num_down_blocks": 2,
        "reshape_channel": 32,
        "estimate_occlusion_map": True,
        "dense_motion_params": {
            "block_expansion": 32,
            "max_features": 1024,
            "num_blocks": 5,
            "reshape_depth": 16,
            "compress": 4,
        },
    },
    "spade_generator": {"upscale": 2, "block_expansion": 64, "max_features": 512, "num_down_blocks": 2, "out_channels": 64},
    "stitching": {"input_size": 126, "hidden_sizes": [128, 128, 64], "output_size": 65},
    "lip": {"input_size": 65, "hidden_sizes": [128, 128, 64], "output_size": 63},
    "eye": {"input_size": 66, "hidden_sizes": [256, 256, 128, 128, 64], "output_size": 63},
}


class AppearanceExtractor(nn.Module):
    """Sees a face as a volume of features."""

    def __init__(
        self,
        image_channel: int,
        block_expansion: int,
        num_down_blocks: int,
        max_features: int,
        reshape_channel: int,
        reshape_depth: int,
        num_resblocks: int,
    ) -> None:
        super().__init__()
        widths = [min(max_features, block_expansion * 2**i) for i in range(num_down_blocks + 1)]
        self.volume = (reshape_channel, reshape_depth)
        self.first = ConvNorm(image_channel, block_expansion, 2)
        self.down_blocks = nn.ModuleList(ConvNorm(a, b, 2) for a, b in pairwise(widths))
        self.second = nn.Conv2d(widths[-1], reshape_channel * reshape_depth, 1)
        self.resblocks_3d = nn.ModuleDict({f"3dr{i}": Residual3d(reshape_channel) for i in range(num_resblocks)})

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, 3, H, W) in 0 to 1 to (B, C, D, H/4, W/4)."""
        x = F.relu(self.first(image))
        for block in self.down_blocks:
            x = F.avg_pool2d(F.relu(block(x)), 2)
        x = self.second(x).unflatten(1, self.volume)
        for block in self.resblocks_3d.values():
            x = block(x)
        return x


class _ConvNextBlock(nn.Module):
    """Block of ConvNeXt V2 (Woo et al. 2023, figure 5)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.grn = GlobalResponseNorm(4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, C, H, W) to the same shape."""
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.pwconv2(self.grn(F.gelu(self.pwconv1(y))))
        return x + y.permute(0, 3, 1, 2)


class _ConvNext(nn.Module):
    """ConvNeXt V2 with one head for each part of the motion."""

    def __init__(self, depths: list[int], dims: list[int], num_kp: int, num_bins: int) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, stride=4), LayerNorm2d(dims[0], eps=1e-6))
        shrink = [nn.Sequential(LayerNorm2d(a, eps=1e-6), nn.Conv2d(a, b, 2, stride=2)) for a, b in pairwise(dims)]
        self.downsample_layers = nn.ModuleList([stem, *shrink])
        self.stages = nn.ModuleList(
            nn.Sequential(*(_ConvNextBlock(dim) for _ in range(depth))) for depth, dim in zip(depths, dims, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        heads = {"kp": 3 * num_kp, "scale": 1, "pitch": num_bins, "yaw": num_bins, "roll": num_bins, "t": 3}
        self.heads = (*heads, "exp")
        for name, size in {**heads, "exp": 3 * num_kp}.items():
            self.add_module(f"fc_{name}", nn.Linear(dims[-1], size))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        for shrink, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(shrink(x))
        x = self.norm(x.mean((-2, -1)))
        return {name: self.get_submodule(f"fc_{name}")(x) for name in self.heads}


class MotionExtractor(nn.Module):
    """Reads key points, head pose and expression from a face."""

    def __init__(self, depths: list[int], dims: list[int], num_kp: int, num_bins: int) -> None:
        super().__init__()
        self.detector = _ConvNext(depths, dims, num_kp, num_bins)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Look at (B, 3, 256, 256) in 0 to 1.

        Returns:
            ``kp`` and ``exp`` (B, 3 K), ``scale`` (B, 1), ``t`` (B, 3); ``pitch``, ``yaw``, ``roll`` (B, bins) logits.
        """
        motion: dict[str, torch.Tensor] = self.detector(image)
        return motion


class _Hourglass(nn.Module):
    """U-Net that shrinks height and width only; its output also holds its input."""

    def __init__(self, block_expansion: int, n_in: int, num_blocks: int, max_features: int) -> None:
        super().__init__()
        widths = [n_in, *(min(max_features, block_expansion * 2**i) for i in range(1, num_blocks + 1))]
        ups = [
            ConvNorm(widths[i] * (1 if i == num_blocks else 2), min(max_features, block_expansion * 2 ** (i - 1)), 3)
            for i in range(num_blocks, 0, -1)
        ]
        self.out_channels = block_expansion + n_in
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.down_blocks = nn.ModuleList(ConvNorm(a, b, 3) for a, b in pairwise(widths))
        self.decoder.up_blocks = nn.ModuleList(ups)
        self.decoder.conv = nn.Conv3d(self.out_channels, self.out_channels, 3, padding=1)
        self.decoder.norm = nn.BatchNorm3d(self.out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, n_in, D, H, W) to (B, out_channels, D, H, W)."""
        skips = [x]
        for block in self.encoder.get_submodule("down_blocks").children():
            skips.append(F.avg_pool3d(F.relu(block(skips[-1])), (1, 2, 2)))
        x = skips.pop()
        for block in self.decoder.get_submodule("up_blocks").children():
            x = F.relu(block(F.interpolate(x, scale_factor=(1.0, 2.0, 2.0))))
            x = torch.cat([x, skips.pop()], 1)
        return F.relu(self.decoder.get_submodule("norm")(self.decoder.get_submodule("conv")(x)))


class _DenseMotion(nn.Module):
    """Where each place of the driven volume comes from, out of sparse key points."""

    VARIANCE = 0.01  # of the heat maps

    def __init__(
        self,
        num_kp: int,
        feature_channel: int,
        block_expansion: int,
        max_features: int,
        num_blocks: int,
        reshape_depth: int,
        compress: int,
    ) -> None:
        super().__init__()
        motions = num_kp + 1
        self.hourglass = _Hourglass(block_expansion, motions * (compress + 1), num_blocks, max_features)
        width = self.hourglass.out_channels
        self.mask = nn.Conv3d(width, motions, 7, padding=3)
        self.compress = nn.Conv3d(feature_channel, compress, 1)
        self.norm = nn.BatchNorm3d(compress)
        self.occlusion = nn.Conv2d(width * reshape_depth, 1, 7, padding=3)

    def forward(
        self, feature: torch.Tensor, kp_driving: torch.Tensor, kp_source: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return flow (B, D, H, W, 3), its mask (B, K + 1, D, H, W), and occlusion (B, 1, H, W)."""
        small = F.relu(self.norm(self.compress(feature)))
        size = small.shape[2:]
        grid = _grid(size, small)
        shift = (kp_source - kp_driving)[:, :, None, None, None]
        still = grid.expand(len(small), 1, *size, 3)
        motions = torch.cat([still, grid + shift], 1)  # (B, K+1, D, H, W, 3)
        count = motions.shape[1]
        sampled = F.grid_sample(small.repeat_interleave(count, 0), motions.flatten(0, 1), align_corners=False).unflatten(
            0, (-1, count)
        )
        heat = self._heat(grid, kp_driving) - self._heat(grid, kp_source)
        heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], 1)
        x = self.hourglass(torch.cat([heat[:, :, None], sampled], 2).flatten(1, 2))
        mask = self.mask(x).softmax(1)
        flow = torch.einsum("bkdhw,bkdhwc->bdhwc", mask, motions)
        return flow, mask, self.occlusion(x.flatten(1, 2)).sigmoid()

    def _heat(self, grid: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        distance = (grid - points[:, :, None, None, None]).square().sum(-1)
        return torch.exp(-0.5 * distance / self.VARIANCE)


class WarpingModule(nn.Module):
    """Warps the feature volume to the driven key points and flattens it."""

    def __init__(
        self,
        num_kp: int,
        block_expansion: int,
        max_features: int,
        num_down_blocks: int,
        reshape_channel: int,
        estimate_occlusion_map: bool,
        dense_motion_params: dict[str, int],
    ) -> None:
        super().__init__()
        if not estimate_occlusion_map:
            raise ConfigError("The warping network of LivePortrait always estimates occlusion.")
        width = min(max_features, block_expansion * 2**num_down_blocks)
        depth = dense_motion_params["reshape_depth"]
        self.dense_motion_network = _DenseMotion(num_kp, reshape_channel, **dense_motion_params)
        self.third = ConvNorm(reshape_channel * depth, width, 2)
        self.fourth = nn.Conv2d(width, width, 1)

    def forward(self, feature_3d: torch.Tensor, kp_driving: torch.Tensor, kp_source: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return warps.

        Args:
            feature_3d: (B, C, D, H, W); H and W are multiples of 32 at full size.
            kp_driving: (B, K, 3) in -1 to 1, x right, y down.
            kp_source: (B, K, 3) in -1 to 1, x right, y down.

        Returns:
            ``out`` (B, F, H, W), ``deformation`` (B, D, H, W, 3), ``mask`` (B, K + 1, D, H, W), ``occlusion_map``
            (B, 1, H, W).
        """
        flow, mask, occlusion = self.dense_motion_network(feature_3d, kp_driving, kp_source)
        x = F.grid_sample(feature_3d, flow, align_corners=False).flatten(1, 2)
        x = self.fourth(F.leaky_relu(self.third(x), 0.01)) * occlusion
        return {"out": x, "deformation": flow, "mask": mask, "occlusion_map": occlusion}


class SpadeGenerator(nn.Module):
    """Paints a face from flat features."""

    MIDDLE = 6

    def __init__(
        self, upscale: int, block_expansion: int, max_features: int, num_down_blocks: int, out_channels: int
    ) -> None:
        super().__init__()
        width = min(max_features, block_expansion * 2**num_down_blocks)
        self.fc = nn.Conv2d(width, 2 * width, 3, padding=1)
        for i in range(self.MIDDLE):
            self.add_module(f"G_middle_{i}", SpadeBlock(2 * width, 2 * width, width))
        self.up_0 = SpadeBlock(2 * width, width, width)
        self.up_1 = SpadeBlock(width, out_channels, width)
        paint = nn.Conv2d(out_channels, 3 * upscale * upscale, 3, padding=1)
        self.conv_img = nn.Sequential(paint, nn.PixelShuffle(upscale)) if upscale > 1 else paint

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """Return (B, F, H, W) to (B, 3, 8 H, 8 W) in 0 to 1 (with ``upscale`` 2)."""
        x = self.fc(feature)
        for i in range(self.MIDDLE):
            x = self.get_submodule(f"G_middle_{i}")(x, feature)
        x = self.up_0(F.interpolate(x, scale_factor=2.0), feature)
        x = self.up_1(F.interpolate(x, scale_factor=2.0), feature)
        return torch.sigmoid(self.conv_img(F.leaky_relu(x, 0.2)))


class VectorNetwork(nn.Module):
    """Corrects key points: linear layers with ReLU between."""

    def __init__(self, input_size: int, hidden_sizes: list[int], output_size: int) -> None:
        super().__init__()
        sizes = [input_size, *hidden_sizes, output_size]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, input_size) to (B, output_size)."""
        corrected: torch.Tensor = self.mlp(x)
        return corrected


_CLASSES: dict[str, type[nn.Module]] = {
    "appearance_feature_extractor": AppearanceExtractor,
    "motion_extractor": MotionExtractor,
    "warping_module": WarpingModule,
    "spade_generator": SpadeGenerator,
    "stitching": VectorNetwork,
    "lip": VectorNetwork,
    "eye": VectorNetwork,
}


def build_networks(config: Mapping[str, Mapping[str, Any]]) -> dict[str, nn.Module]:
    """Return all seven networks, in evaluation mode, without trained weights.

    Args:
        config: name of a network -> its settings; what is left out is as in the released weights.

    Raises:
        ConfigError: an unknown network or setting, or settings that do not fit together.
    """
    if unknown := sorted(config.keys() - _CLASSES.keys()):
        raise ConfigError(f"LivePortrait has no network '{unknown[0]}'; there are {', '.join(_CLASSES)}.")
    networks = {}
    for name, network in _CLASSES.items():
        try:
            networks[name] = network(**{**RELEASED[name], **config.get(name, {})}).eval().requires_grad_(False)
        except (TypeError, ValueError, KeyError, RuntimeError, IndexError) as error:
            raise ConfigError(f"The settings of LivePortrait's network '{name}' do not fit together: {error}.") from error
    return networks


def _grid(size: torch.Size, like: torch.Tensor) -> torch.Tensor:
    """Return a grid (D, H, W, 3) of x, y, z from -1 to 1, both ends included."""
    axes = [torch.arange(n, device=like.device, dtype=like.dtype) * (2 / (n - 1)) - 1 for n in size]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], -1)
