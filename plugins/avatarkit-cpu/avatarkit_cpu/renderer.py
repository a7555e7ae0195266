"""Both rasterizers of the CPU."""

from __future__ import annotations

import torch

from avatarkit.interfaces import Context
from avatarkit.types.camera import front_camera
from avatarkit.types.gaussians import Gaussians
from avatarkit.types.mesh import Mesh
from avatarkit.utils.threads import Workers, shared_workers
from avatarkit_cpu.blending import blend_backward
from avatarkit_cpu.compiled import must_compile
from avatarkit_cpu.config import Config
from avatarkit_cpu.gaussians import CpuGaussianRasterizer
from avatarkit_cpu.meshes import CpuMeshRasterizer
from avatarkit_cpu.projection import project
from avatarkit_cpu.triangles import cover, vertex_gradients

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
        if context is not None and any(map(must_compile, (project, blend_backward, cover, vertex_gradients))):
            context.progress("compiling the rasterizers for this machine, once", None)
            self._compile()

    def _compile(self) -> None:
        """Draw a triangle and a Gaussian, and take the derivatives: all kernels of training compile."""
        camera = front_camera(8, 8)
        with torch.inference_mode(False), torch.enable_grad():
            vertices = torch.tensor([[-0.1, -0.1, -1.0], [0.1, -0.1, -1.0], [0.0, 0.1, -1.0]]).requires_grad_()
            scale, color, opacity = (torch.full(size, 0.5, requires_grad=True) for size in ((3,), (3, 3), (3,)))
            splats = self.gaussians.render(Gaussians(vertices, scale, color, opacity), camera, torch.zeros(3))
            mesh = self.meshes.render(Mesh(vertices, torch.tensor([[0, 1, 2]])), camera)
            torch.autograd.grad(splats.rgb.sum() + splats.alpha.sum() + mesh.mask.sum(), vertices)
