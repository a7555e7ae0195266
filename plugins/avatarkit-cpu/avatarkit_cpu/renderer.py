"""Both rasterizers of the CPU."""

from __future__ import annotations

from avatarkit.interfaces import Context
from avatarkit.utils.threads import Workers, shared_workers
from avatarkit_cpu.config import Config
from avatarkit_cpu.gaussians import CpuGaussianRasterizer
from avatarkit_cpu.meshes import CpuMeshRasterizer

__all__ = ["CpuRenderer"]


class CpuRenderer:
    """Rasterizes on the CPU; implements ``Renderer``.

    Attributes:
        gaussians: splatter.
        meshes: mesh rasterizer. They share threads.
    """

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        threads = (config or Config()).threads
        workers = Workers(threads) if threads else shared_workers()
        self.gaussians = CpuGaussianRasterizer(workers)
        self.meshes = CpuMeshRasterizer(workers)
