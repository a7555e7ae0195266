"""Building blocks of the networks. Names of sub-modules are those of the released state dicts."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["ConvNorm", "GlobalResponseNorm", "LayerNorm2d", "Residual3d", "SpadeBlock", "SpectralConv"]


class ConvNorm(nn.Module):
    """Convolution of size 3 and batch norm, in two or three dimensions."""

    def __init__(self, n_in: int, n_out: int, dims: int) -> None:
        super().__init__()
        self.conv = _conv(dims)(n_in, n_out, 3, padding=1)
        self.norm = _norm(dims)(n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, n_in, ...) to (B, n_out, ...) of the same size."""
        normed: torch.Tensor = self.norm(self.conv(x))
        return normed


class Residual3d(nn.Module):
    """Two pre-activated convolutions of a volume, added to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv3d(channels, channels, 3, padding=1) for _ in range(2))
        self.norm1, self.norm2 = (nn.BatchNorm3d(channels) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, C, D, H, W) to the same shape."""
        y = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(y)))


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Lets channels compete (ConvNeXt V2, section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(torch.zeros(1, 1, 1, channels)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, H, W, C) to the same shape."""
        strength = x.norm(dim=(1, 2), keepdim=True)
        return self.gamma * (x * (strength / (strength.mean(-1, keepdim=True) + 1e-6))) + self.beta + x


class SpectralConv(nn.Module):
    """Convolution whose weight is divided by its largest singular value, as training left it."""

    weight_u: torch.Tensor
    weight_v: torch.Tensor

    def __init__(self, n_in: int, n_out: int, size: int, bias: bool = True) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        self.weight_orig = nn.Parameter(torch.empty(n_out, n_in, size, size))
        self.register_buffer("weight_u", torch.empty(n_out))
        self.register_buffer("weight_v", torch.empty(n_in * size * size))
        nn.init.kaiming_uniform_(self.weight_orig)
        for vector in (self.weight_u, self.weight_v):
            nn.init.constant_(vector, vector.numel() ** -0.5)
        self.padding = size // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, n_in, H, W) to (B, n_out, H, W)."""
        sigma = self.weight_u @ (self.weight_orig.flatten(1) @ self.weight_v)
        return F.conv2d(x, self.weight_orig / sigma, self.bias, padding=self.padding)


class _Spade(nn.Module):
    """Normalizes features and gives them mean and spread that follow a map (Park et al. 2019)."""

    HIDDEN = 128

    def __init__(self, channels: int, map_channels: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(map_channels, self.HIDDEN, 3, padding=1), nn.ReLU())
        self.mlp_gamma, self.mlp_beta = (nn.Conv2d(self.HIDDEN, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        """Return (B, C, H, W) features and (B, M, h, w) map to (B, C, H, W)."""
        shared = self.mlp_shared(F.interpolate(guide, x.shape[-2:]))
        return F.instance_norm(x) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)


class SpadeBlock(nn.Module):
    """Residual block of two convolutions behind SPADE normalization."""

    def __init__(self, n_in: int, n_out: int, map_channels: int) -> None:
        super().__init__()
        middle = min(n_in, n_out)
        self.conv_0 = SpectralConv(n_in, middle, 3)
        self.conv_1 = SpectralConv(middle, n_out, 3)
        self.widens = n_in != n_out
        if self.widens:
            self.conv_s = SpectralConv(n_in, n_out, 1, bias=False)
        self.norm_0, self.norm_1 = _Spade(n_in, map_channels), _Spade(middle, map_channels)
        if self.widens:
            self.norm_s = _Spade(n_in, map_channels)

    def forward(self, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        """Return (B, n_in, H, W) features and (B, M, h, w) map to (B, n_out, H, W)."""
        shortcut = self.conv_s(self.norm_s(x, guide)) if self.widens else x
        x = self.conv_0(F.leaky_relu(self.norm_0(x, guide), 0.2))
        x = self.conv_1(F.leaky_relu(self.norm_1(x, guide), 0.2))
        summed: torch.Tensor = shortcut + x
        return summed


def _conv(dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return nn.Conv2d if dims == 2 else nn.Conv3d


def _norm(dims: int) -> type[nn.BatchNorm2d] | type[nn.BatchNorm3d]:
    return nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
