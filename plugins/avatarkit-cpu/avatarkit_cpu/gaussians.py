"""The splatter: the kernels in order, threads and the derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import GaussianRendering, Gaussians, sh_degree_of
from avatarkit.utils.threads import Workers, spans
from avatarkit_cpu.binning import count_tiles, depth_order, fill_tiles, slot_offsets
from avatarkit_cpu.blending import PIXELS, blend, blend_backward
from avatarkit_cpu.buffers import Buffers
from avatarkit_cpu.projection import RECORD, TILE, camera_numbers, project, project_backward
from avatarkit_cpu.simd import LANES

__all__ = ["CpuGaussianRasterizer"]

_SPANS_PER_THREAD = 8  # small enough to even out the load, large enough to start few


class CpuGaussianRasterizer:
    """Splats Gaussians on the CPU; the same bits on any number of threads.

    Implements ``GaussianRasterizer``. Works in the floating type of the means: float32, or float64 for checks of
    gradients.
    """

    def __init__(self, workers: Workers) -> None:
        self._machine = _Machine(workers, Buffers())

    def render(self, gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> GaussianRendering:
        """Splat Gaussians, see ``avatarkit.reference.gaussians``.

        Args:
            gaussians: N of them on the CPU; N may be 0.
            camera: whose picture to take.
            background: (3,); gets no gradient.
        """
        _check(gaussians, background)
        shapes = gaussians.scales if gaussians.isotropic else gaussians.covariances()
        colors = gaussians.colors_from(camera.position)
        rgb, alpha, depth = _Splat.apply(gaussians.means, shapes, colors, gaussians.opacities, background, camera, self._machine)
        return GaussianRendering(rgb, alpha, depth)


def _check(gaussians: Gaussians, background: torch.Tensor) -> None:
    n = len(gaussians)
    shapes: dict[str, tuple[int, ...]] = {"means": (n, 3), "colors": (n, 3), "opacities": (n,)}
    shapes["scales"] = (n,) if gaussians.isotropic else (n, 3)
    if gaussians.rotations is not None:
        shapes["rotations"] = (n, 4)
    if gaussians.sh is not None:
        shapes["sh"] = (n, (sh_degree_of(gaussians.sh) + 1) ** 2 - 1, 3)
    for name, shape in shapes.items():
        tensor = getattr(gaussians, name)
        if tensor.shape != shape or tensor.dtype != gaussians.means.dtype or tensor.device.type != "cpu":
            raise ValueError(
                f"{name} should be {shape} {gaussians.means.dtype} on the CPU, "
                f"not {tuple(tensor.shape)} {tensor.dtype} on {tensor.device}"
            )
    if background.shape != (3,):
        raise ValueError(f"background should be (3,), not {tuple(background.shape)}")


@dataclass(frozen=True)
class _Machine:
    """Threads and memory."""

    workers: Workers
    buffers: Buffers


@dataclass(frozen=True)
class _Picture:
    """Values that the derivative needs again."""

    across: int  # tiles in a row
    view: np.ndarray  # camera_numbers
    records: np.ndarray  # (N * RECORD,)
    tiles: np.ndarray  # (N * 4,)
    lists: np.ndarray  # Gaussians of all tiles
    offsets: np.ndarray  # (tiles + 1,) into lists
    background: np.ndarray  # (3,)
    transmittance: np.ndarray  # (tiles * PIXELS,)
    stops: np.ndarray  # (tiles * PIXELS,)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _tile_spans(offsets: np.ndarray, parts: int) -> list[tuple[int, int]]:
    """Cut the tiles into spans of about equal work: Gaussians listed, and a share for the pixels."""
    work = offsets + np.arange(len(offsets)) * 64
    cuts = np.searchsorted(work, np.linspace(0, work[-1], parts + 1)[1:-1])
    edges = np.unique(np.concatenate([[0], cuts, [len(offsets) - 1]]))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: torch.Tensor,
        shapes: torch.Tensor,
        colors: torch.Tensor,
        opacities: torch.Tensor,
        background: torch.Tensor,
        camera: Camera,
        machine: _Machine,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        workers, lend = machine.workers, machine.buffers.lend
        n, parts = len(means), workers.threads * _SPANS_PER_THREAD
        arrays = [_array(t) for t in (means, shapes, colors, opacities)]
        dtype = arrays[0].dtype
        view = camera_numbers(camera, dtype)
        across, down = -(-camera.width // TILE), -(-camera.height // TILE)

        records, depths, tiles = lend(n * RECORD, dtype), lend(n, dtype), lend(n * 4, np.int16)
        workers.run(project, spans(n, parts), *arrays, view, camera.width, camera.height, records, tiles, depths)

        order = depth_order(tiles, depths, machine.buffers)
        counts = np.zeros((workers.threads, across * down), np.int64)
        shares = spans(len(counts), len(counts))
        workers.run(count_tiles, shares, order, tiles, across, counts)
        ends = np.cumsum(counts.T).reshape(-1, len(counts)).T  # by tile, then by share
        offsets = np.concatenate([[0], ends[-1]])
        lists = lend(offsets[-1], np.int32)
        workers.run(fill_tiles, shares, order, tiles, across, np.ascontiguousarray(ends - counts), lists)

        picture = _Picture(
            across, view, records, tiles, lists, offsets, _array(background.to(means.dtype)),
            lend(across * down * PIXELS, dtype), lend(across * down * PIXELS, dtype),
        )  # fmt: skip
        rgb = means.new_empty(camera.height, camera.width, 3)
        alpha, depth = means.new_empty(2, camera.height, camera.width)
        workers.run(
            blend, _tile_spans(offsets, parts), across, records, lists, offsets, picture.background,
            picture.transmittance, picture.stops, rgb.numpy(), alpha.numpy(), depth.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(means, shapes)
        ctx.picture, ctx.machine = picture, machine
        ctx.mark_non_differentiable(depth)
        return rgb, alpha, depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_rgb: torch.Tensor, d_alpha: torch.Tensor, _: torch.Tensor) -> tuple[Any, ...]:
        picture, workers, lend = ctx.picture, ctx.machine.workers, ctx.machine.buffers.lend
        means, shapes = ctx.saved_tensors
        n, parts = len(means), workers.threads * _SPANS_PER_THREAD
        slots = slot_offsets(picture.tiles)
        places = lend(slots[-1], np.int32)
        places.fill(-1)
        moments = lend(len(picture.lists) * LANES, picture.records.dtype)
        workers.run(
            blend_backward, _tile_spans(picture.offsets, parts), picture.across, picture.records, picture.lists,
            picture.offsets, picture.background, picture.transmittance, picture.stops, _array(d_rgb), _array(d_alpha),
            picture.tiles, slots, places, moments,
        )  # fmt: skip
        gradients = means.new_empty(n, 3), torch.empty_like(shapes), means.new_empty(n, 3), means.new_empty(n)
        workers.run(
            project_backward, spans(n, parts), _array(means), _array(shapes), picture.view, picture.records, slots,
            places, moments, *(g.numpy() for g in gradients),
        )  # fmt: skip
        return *gradients, None, None, None
