"""Gaussians outside the surface: hair and loose cloth that the photo shows and the mesh does not cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from avatarkit.interfaces import Subject
from avatarkit.kernels.gaussians import DILATION
from avatarkit.mesh import MeshRendering

__all__ = ["Seeds", "seed_uncovered"]

_FAINT = 0.05  # alpha from which hair is seen
_BORDER = 2.0  # pixels beside the mesh in which a matte's border is that of its sampling, not hair


@dataclass(frozen=True)
class Seeds:
    """M points beside the surface.

    Attributes:
        face: (M,) int64 face that each is bound to. barycentric: (M, 3) where on it.
        position: (M, 3) world, metres, in the photo's pose.
        color: (M, 3) sRGB. scale: (M,) metres. opacity: (M,) with which all of them together cover as much as the matte says.
    """

    face: torch.Tensor
    barycentric: torch.Tensor
    position: torch.Tensor
    color: torch.Tensor
    scale: torch.Tensor
    opacity: torch.Tensor


def seed_uncovered(subject: Subject, mesh: MeshRendering, layers: int, limit: int, scale_factor: float) -> Seeds:
    """Seeds Gaussians at matte pixels that the mesh leaves bare.

    Each is put at the depth of the nearest silhouette point of the mesh and bound to the triangle there. Around that depth lie
    ``layers`` copies within a thickness that grows with the distance to the matte's border, as a rounded body would have.

    Args:
        subject: the tracked photo.
        mesh: the deformed mesh seen by the photo's camera, at the photo's size.
        layers, limit, scale_factor: see ``CoupledConfig``.
    """
    alpha = subject.matte.alpha.cpu().numpy()
    covered = mesh.face_index.cpu().numpy() >= 0
    to_mesh, nearest = distance_transform_edt(~covered, return_indices=True)
    bare = ~covered & (alpha > np.where(to_mesh > _BORDER, _FAINT, 0.5))
    if not bare.any() or not covered.any():
        empty = torch.zeros(0, 3)
        return Seeds(torch.zeros(0, dtype=torch.int64), empty, empty, empty, torch.zeros(0), torch.zeros(0))
    # nothing hangs farther from the body than a third of its width in the picture: what does is not the person's
    reach = 0.33 * np.sqrt(covered.sum())
    bare &= to_mesh < reach
    inside = distance_transform_edt(np.pad(alpha > 0.5, 1))[1:-1, 1:-1]
    stride = max(1, int(np.ceil(np.sqrt(bare.sum() * layers / max(limit, 1)))))
    y, x = np.nonzero(bare)
    keep = (y % stride == 0) & (x % stride == 0)
    y, x = y[keep], x[keep]
    ny, nx = nearest[0][y, x], nearest[1][y, x]
    depth = mesh.depth.cpu().numpy()[ny, nx]
    camera = subject.camera.to("cpu")
    pixel = depth / float(camera.K[0, 0])  # metres across one pixel
    half = np.minimum(inside[y, x], 0.5 * to_mesh[y, x] + 2.0) * pixel
    offsets = np.linspace(-1, 1, layers) if layers > 1 else np.zeros(1)
    z = (depth[:, None] + half[:, None] * offsets).ravel().astype(np.float32)
    repeat = len(offsets)
    # transmittances multiply: what all that touch a pixel, each as wide as it is drawn, leave of it makes the matte's alpha
    covering = 2 * np.pi * (scale_factor**2 + DILATION / stride**2) * repeat
    opacity = 1 - (1 - alpha[y, x].clip(max=0.99)) ** (1 / covering)
    x, y, ny, nx, pixel, opacity = (np.repeat(a, repeat) for a in (x, y, ny, nx, pixel, opacity))
    K = camera.K.numpy()
    in_camera = np.stack([(x + 0.5 - K[0, 2]) / K[0, 0] * z, (y + 0.5 - K[1, 2]) / K[1, 1] * z, z], 1)
    R, t = camera.T_camera_world[:3, :3], camera.T_camera_world[:3, 3]
    position = (torch.from_numpy(in_camera.astype(np.float32)) - t) @ R
    at = torch.from_numpy(ny), torch.from_numpy(nx)
    return Seeds(
        face=mesh.face_index.cpu()[at],
        barycentric=mesh.barycentric.cpu()[at].float(),
        position=position,
        color=subject.matte.foreground.cpu()[torch.from_numpy(y), torch.from_numpy(x)],
        scale=torch.from_numpy((pixel * stride * scale_factor).astype(np.float32)),
        opacity=torch.from_numpy(opacity.astype(np.float32)),
    )
