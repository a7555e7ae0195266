"""Feature networks of LPIPS (Zhang et al. 2018) and of its shift-tolerant variant (Ghildyal and Liu 2022).

A network is a table of slices; each slice ends where LPIPS compares features. The shift-tolerant tables replace striding by
blur-pooling after a dense convolution or maximum, padded by reflection with two pixels on each side.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from avatarkit.utils.threads import shared_workers

__all__ = ["ALEX_SHIFT_TOLERANT", "VGG16", "VGG16_SHIFT_TOLERANT", "LpipsNetwork"]

# Layers: ("conv", index, stride, padding) · ("relu",) · ("max", kernel, stride) · ("blur",)
Slice = tuple[tuple, ...]

_relu = ("relu",)


def _conv(index: int, padding: int = 1) -> tuple:
    return ("conv", index, 1, padding)


VGG16: tuple[Slice, ...] = (
    (_conv(0), _relu, _conv(2), _relu),
    (("max", 2, 2), _conv(5), _relu, _conv(7), _relu),
    (("max", 2, 2), _conv(10), _relu, _conv(12), _relu, _conv(14), _relu),
    (("max", 2, 2), _conv(17), _relu, _conv(19), _relu, _conv(21), _relu),
    (("max", 2, 2), _conv(24), _relu, _conv(26), _relu, _conv(28), _relu),
)
VGG16_SHIFT_TOLERANT: tuple[Slice, ...] = (
    (_conv(0), _relu, _conv(2), _relu),
    (("max", 2, 1), ("blur",), _conv(6), _relu, _conv(8), _relu),
    (("max", 2, 1), ("blur",), _conv(12), _relu, _conv(14), _relu, _conv(16), _relu),
    (("max", 2, 1), ("blur",), _conv(20), _relu, _conv(22), _relu, _conv(24), _relu),
    (("max", 2, 1), ("blur",), _conv(28), _relu, _conv(30), _relu, _conv(32), _relu),
)
ALEX_SHIFT_TOLERANT: tuple[Slice, ...] = (
    (_conv(0, padding=2), ("blur",), _relu),
    (("max", 3, 1), ("blur",), _conv(5, padding=2), _relu),
    (("max", 3, 1), ("blur",), _conv(9), _relu),
    (_conv(11), _relu),
    (_conv(13), _relu),
)


def _blur_pool(x: torch.Tensor) -> torch.Tensor:
    """Apply a binomial 3x3 filter with stride 2, padded by reflection with two pixels."""
    g = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
    kernel = (g[:, None] * g[None, :]).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])


class LpipsNetwork(nn.Module):
    """Compares pictures by deep features.

    Args:
        slices: one of the tables of this module.
        convolutions: index -> (weight, bias).
        linear: one (1, C, 1, 1) non-negative weight per slice.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        slices: tuple[Slice, ...],
        convolutions: Mapping[int, tuple[torch.Tensor, torch.Tensor]],
        linear: tuple[torch.Tensor, ...],
    ) -> None:
        super().__init__()
        self.slices = slices
        for index, (weight, bias) in convolutions.items():
            self.register_buffer(f"weight_{index}", weight, persistent=False)
            self.register_buffer(f"bias_{index}", bias, persistent=False)
        for k, w in enumerate(linear):
            self.register_buffer(f"linear_{k}", w, persistent=False)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return (B, 3, H, W) sRGB 0 to 1 -> per slice (B, C, h, w), unit length over channels."""
        x = (2 * images - 1 - self.shift) / self.scale
        out = []
        for layers in self.slices:
            for kind, *spec in layers:
                if kind == "conv":
                    index, stride, padding = spec
                    x = F.conv2d(x, getattr(self, f"weight_{index}"), getattr(self, f"bias_{index}"), stride, padding)
                elif kind == "relu":
                    x = F.relu(x)
                elif kind == "max":
                    x = F.max_pool2d(x, spec[0], spec[1])
                else:
                    x = _blur_pool(x)
            # sqrt has no gradient at zero: features of flat background are all zero
            out.append(x * torch.rsqrt((x * x).sum(1, keepdim=True) + 1e-10))
        return out

    def forward(self, prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Perceptual distance of pictures.

        Args:
            prediction: (B, 3, H, W) sRGB, 0 to 1.
            target: (B, 3, H, W) sRGB, 0 to 1.
            weights: (B, H, W) importance of pixels; None = all equal.

        Returns:
            (B,) distances, 0 = the same.
        """
        features: list[list[torch.Tensor]] = [[], []]
        learning, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

        def extract(start: int, stop: int) -> None:
            for k in range(start, stop):  # modes belong to threads
                with torch.inference_mode(inference), torch.set_grad_enabled(learning and k == 0):
                    features[k] = self.features((prediction, target)[k])

        shared_workers().run(extract, [(0, 1), (1, 2)])
        total = prediction.new_zeros(prediction.shape[0])
        for k, (a, b) in enumerate(zip(*features, strict=True)):
            d = F.conv2d((a - b) ** 2, getattr(self, f"linear_{k}"))[:, 0]
            if weights is None:
                total = total + d.mean((1, 2))
            else:
                w = F.interpolate(weights[:, None], size=d.shape[-2:], mode="area")[:, 0]
                total = total + (d * w).sum((1, 2)) / w.sum((1, 2)).clamp(min=1e-6)
        return total
