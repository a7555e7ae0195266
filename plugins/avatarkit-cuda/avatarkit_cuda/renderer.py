"""Gaussians through gsplat, meshes through nvdiffrast, behind avatarkit's interfaces.

Both libraries are imported when the renderer is made; gsplat compiles its kernels at the first call.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

from avatarkit.errors import MissingDependency, MissingDevice
from avatarkit.interfaces import Camera, Context
from avatarkit.types.gaussians import SH0, GaussianRendering, Gaussians, sh_degree_of
from avatarkit.types.mesh import Mesh, MeshRendering

__all__ = ["CudaRenderer", "clip_positions", "gsplat_arguments"]

_NEAR, _FAR = 0.01, 100.0


class CudaRenderer:
    """Both rasterizers on one device."""

    def __init__(self, config: None, context: Context) -> None:
        if not torch.cuda.is_available():
            raise MissingDevice("The renderer 'cuda' needs an NVIDIA GPU; --renderer cpu draws the same without one.")
        self.gaussians = _Gsplat(_library("gsplat", "pip install gsplat"))
        self.meshes = _Nvdiffrast(_library("nvdiffrast.torch", "see docs: it installs from its own sources"))


def _library(module: str, remedy: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(f"The renderer 'cuda' needs {module.partition('.')[0]}: {remedy}.") from error


def gsplat_arguments(gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> dict[str, Any]:
    """Return the arguments for ``gsplat.rasterization``, in its shapes and conventions.

    Returns:
        means (N, 3), quats (N, 4) wxyz, scales (N, 3), opacities (N,), colors (N, 3) or coefficients (N, K + 1, 3) with their
        sh_degree, viewmats (1, 4, 4) world to camera, Ks (1, 3, 3), backgrounds (1, 3) for RGB, sizes, and thresholds equal to
        the CPU rasterizer's.
    """
    means, sh = gaussians.means, gaussians.sh
    quats, scales = gaussians.axes()
    colors = gaussians.colors if sh is None else torch.cat([((gaussians.colors - 0.5) / SH0)[:, None], sh], 1)
    return {
        "means": means,
        "quats": quats.contiguous(),
        "scales": scales.contiguous(),
        "opacities": gaussians.opacities,
        "colors": colors,
        "sh_degree": None if sh is None else sh_degree_of(sh),
        "viewmats": camera.T_camera_world.to(means)[None],
        "Ks": camera.K.to(means)[None],
        "width": camera.width,
        "height": camera.height,
        "near_plane": _NEAR,
        "eps2d": 0.3,
        "packed": False,
        "backgrounds": background.to(means)[None],
    }


class _Gsplat:
    def __init__(self, gsplat: Any) -> None:
        self._rasterization = gsplat.rasterization

    def render(self, gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> GaussianRendering:
        """See ``GaussianRasterizer``."""
        drawn, alpha, _ = self._rasterization(**gsplat_arguments(gaussians, camera, background), render_mode="RGB+ED")
        return GaussianRendering(drawn[0, ..., :3], alpha[0, ..., 0], drawn[0, ..., 3].detach())


def clip_positions(vertices: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Convert world vertices (V, 3) to nvdiffrast's clip space (V, 4).

    Row 0 of nvdiffrast's pictures is the top row here.

    x and y are the pixel coordinates scaled from -1 to 1 times w, w is the depth, z runs from -w at the near plane to w.
    """
    c = camera.to_camera(vertices)
    K, w = camera.K.to(c), c[:, 2]
    x = 2 * (K[0, 0] * c[:, 0] + K[0, 2] * w) / camera.width - w
    y = 2 * (K[1, 1] * c[:, 1] + K[1, 2] * w) / camera.height - w
    z = ((_FAR + _NEAR) * w - 2 * _FAR * _NEAR) / (_FAR - _NEAR)
    return torch.stack([x, y, z, w], -1)


class _Nvdiffrast:
    def __init__(self, library: Any) -> None:
        self._library = library
        self._context = library.RasterizeCudaContext()

    def render(self, mesh: Mesh, camera: Camera) -> MeshRendering:
        """See ``MeshRasterizer``."""
        dr = self._library
        position = clip_positions(mesh.vertices, camera).contiguous()[None]
        faces = mesh.faces.int().contiguous()
        drawn, _ = dr.rasterize(self._context, position, faces, (camera.height, camera.width))
        face_index = drawn[0, ..., 3].long() - 1
        hit = (face_index >= 0).float()
        mask = dr.antialias(hit[None, ..., None].contiguous(), drawn, position, faces)[0, ..., 0]
        with torch.no_grad():
            u, v = drawn[0, ..., 0], drawn[0, ..., 1]
            weights = torch.stack([u, v, 1 - u - v], -1) * hit[..., None]
            z = camera.to_camera(mesh.vertices)[:, 2][mesh.faces[face_index.clamp(min=0)]]
            depth = (z * weights).sum(-1)
        return MeshRendering(mask, face_index, weights, depth)
