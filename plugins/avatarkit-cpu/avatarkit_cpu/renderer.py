"""Both rasterizers of the CPU."""

from __future__ import annotations

import os

from avatarkit.interfaces import Context
from avatarkit_cpu.config import Config
from avatarkit_cpu.gaussians import CpuGaussianRasterizer
from avatarkit_cpu.meshes import CpuMeshRasterizer
from avatarkit_cpu.workers import Workers

__all__ = ["CpuRenderer"]

_MOST_THREADS = 8  # a picture of an avatar gives no work for more


class CpuRenderer:
    """Rasterizes on the CPU; implements ``Renderer``.

    Attributes:
        gaussians: splatter.
        meshes: mesh rasterizer. They share threads.
    """

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        workers = Workers((config or Config()).threads or min(_cores(), _MOST_THREADS))
        self.gaussians = CpuGaussianRasterizer(workers)
        self.meshes = CpuMeshRasterizer(workers)


def _cores() -> int:
    """Return the number of cores that this process may use.

    Containers and batch systems often grant fewer than the machine has.
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
