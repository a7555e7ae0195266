"""gsplat without a GPU: its own pure torch functions behind ``gsplat.rasterization``, for tests and benchmarks.

gsplat ships a torch twin of each CUDA kernel that a picture needs, save for two: which Gaussians meet which pixels
(``rasterize_to_indices_in_range``), and the product along a pixel's Gaussians, which it borrows from nerfacc. Those two are
written here, after the CUDA sources of gsplat 1.5.3.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from unittest import mock

import torch

__all__ = ["gsplat_on_cpu"]

_ALPHA_MIN, _ALPHA_MAX, _LEFT_MIN = 1 / 255, 0.999, 1e-4


@contextmanager
def gsplat_on_cpu() -> Iterator[Any]:
    """Make ``gsplat.rasterization`` accept CPU tensors inside the context; slow.

    Arguments of pinhole cameras are supported, unpacked.

    Yields:
        The module gsplat. Raises ImportError if it is not installed.
    """
    gsplat = importlib.import_module("gsplat")
    twins = importlib.import_module("gsplat.cuda._torch_impl")

    def projection(means: Any, covars: Any, quats: Any, scales: Any, *args: Any, **options: Any) -> Any:
        covariances, _ = twins._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
        known = ("eps2d", "near_plane", "far_plane", "calc_compensations", "camera_model")
        return twins._fully_fused_projection(means, covariances, *args, **{k: options[k] for k in known})

    def tiles(means2d: Any, radii: Any, depths: Any, size: int, across: int, down: int, **_: Any) -> Any:
        return twins._isect_tiles(means2d, radii, depths, size, across, down)

    def pixels(*args: Any, backgrounds: Any = None, **_: Any) -> Any:
        return twins._rasterize_to_pixels(*args, backgrounds=backgrounds, batch_per_iter=1 << 30)

    def harmonics(degree: int, directions: Any, coefficients: Any, **_: Any) -> Any:
        return twins._spherical_harmonics(degree, directions, coefficients)

    nerfacc = SimpleNamespace(accumulate_along_rays=_accumulate, render_weight_from_alpha=_weights)
    replaced = {
        "gsplat.rendering.fully_fused_projection": projection,
        "gsplat.rendering.spherical_harmonics": harmonics,
        "gsplat.rendering.isect_tiles": tiles,
        "gsplat.rendering.isect_offset_encode": twins._isect_offset_encode,
        "gsplat.rendering.rasterize_to_pixels": pixels,
        "gsplat.cuda._wrapper.rasterize_to_indices_in_range": _meetings,
    }
    before = sys.modules.get("nerfacc")
    sys.modules["nerfacc"] = cast(ModuleType, nerfacc)
    try:
        with ExitStack() as stack:
            for name, function in replaced.items():
                stack.enter_context(mock.patch(name, function))
            yield gsplat
    finally:
        del sys.modules["nerfacc"]
        if before is not None:
            sys.modules["nerfacc"] = before


@torch.no_grad()
def _meetings(
    start: int, stop: int, transmittances: torch.Tensor, means2d: torch.Tensor, conics: torch.Tensor, opacities: torch.Tensor,
    width: int, height: int, size: int, offsets: torch.Tensor, flatten_ids: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the pairs of Gaussian and pixel that blend in one image.

    They are sorted by pixel, near to far: (M,) Gaussians, (M,) pixels and (M,) images, all 0.
    """
    means2d, conics, opacities = means2d.reshape(-1, 2), conics.reshape(-1, 3), opacities.reshape(-1)
    ends = [*offsets.flatten().tolist(), len(flatten_ids)]
    across = offsets.shape[-1]
    gaussians, pixels = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, dtype=torch.int64)]
    for tile in range(len(ends) - 1):
        first = ends[tile] + start * size * size
        listed = flatten_ids[first : min(ends[tile + 1], ends[tile] + stop * size * size)].long()
        if len(listed) == 0:
            continue
        y, x = torch.meshgrid(
            torch.arange(tile // across * size, min(tile // across * size + size, height)),
            torch.arange(tile % across * size, min(tile % across * size + size, width)),
            indexing="ij",
        )
        d = torch.stack([x, y], -1).reshape(-1, 1, 2) + 0.5 - means2d[listed]  # (pixels, n, 2)
        c = conics[listed]
        sigma = 0.5 * (c[:, 0] * d[..., 0] ** 2 + c[:, 2] * d[..., 1] ** 2) + c[:, 1] * d[..., 0] * d[..., 1]
        alpha = (opacities[listed] * torch.exp(-sigma)).clamp(max=_ALPHA_MAX)
        counts = (sigma >= 0) & (alpha >= _ALPHA_MIN)
        before = transmittances.reshape(height, width)[y, x].reshape(-1, 1)
        counts &= before * torch.cumprod(1 - torch.where(counts, alpha, 0), 1) > _LEFT_MIN
        pixel, place = counts.nonzero(as_tuple=True)
        gaussians.append(listed[place])
        pixels.append((y * width + x).flatten()[pixel])
    gaussian, pixel = torch.cat(gaussians), torch.cat(pixels)
    order = torch.argsort(pixel, stable=True)
    return gaussian[order], pixel[order], torch.zeros_like(pixel)


def _weights(alphas: torch.Tensor, ray_indices: torch.Tensor, n_rays: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights and transmittances (M,) of samples that are sorted by ray."""
    counts = torch.bincount(ray_indices, minlength=n_rays)
    place = torch.arange(len(alphas)) - (counts.cumsum(0) - counts)[ray_indices]
    table = alphas.new_zeros(n_rays, int(counts.max()) + 2)
    table = table.index_put((ray_indices, place + 1), alphas)
    transmittance = torch.cumprod(1 - table, 1)[ray_indices, place]
    return transmittance * alphas, transmittance


def _accumulate(weights: torch.Tensor, values: torch.Tensor | None, ray_indices: torch.Tensor, n_rays: int) -> torch.Tensor:
    """Return sums (rays, C) of weighted values (M, C); without values, of the weights."""
    source = weights[:, None] if values is None else weights[:, None] * values
    return source.new_zeros(n_rays, source.shape[1]).index_add(0, ray_indices, source)
