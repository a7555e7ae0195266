"""Gaussians outside the surface: hair and loose cloth that the photo shows and the mesh does not cover."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from avatarkit.interfaces import Subject
from avatarkit.kernels.gaussians import DILATION
from avatarkit.mesh import MeshRendering

__all__ = ["Seeds", "seed_astray", "seed_uncovered"]

_FAINT = 0.05  # alpha from which hair is seen
_BORDER = 2.0  # pixels beside the mesh in which a matte's border is that of its sampling, not hair

_ASTRAY = 0.05  # metres that a hand's pixels may lie off the fitted hand
_NOWHERE = np.zeros((2, 0), dtype=np.int64)
_BEFORE = 0.012  # metres in front of the clothes that they hide


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

    def __add__(self, other: Seeds) -> Seeds:
        names = [f.name for f in fields(self)]
        return Seeds(**{n: torch.cat([getattr(self, n), getattr(other, n)]) for n in names})


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
    if not covered.any():
        return _seeds(subject, mesh, _NOWHERE, _NOWHERE, np.zeros((0, 1)), 1, scale_factor)
    to_mesh, nearest = distance_transform_edt(~covered, return_indices=True)
    bare = ~covered & (alpha > np.where(to_mesh > _BORDER, _FAINT, 0.5))
    # nothing hangs farther from the body than a third of its width in the picture: what does is not the person's
    bare &= to_mesh < 0.33 * np.sqrt(covered.sum())
    inside = distance_transform_edt(np.pad(alpha > 0.5, 1))[1:-1, 1:-1]
    at, stride = _picked(bare, layers, limit)
    near = nearest[:, *at]
    depth = mesh.depth.cpu().numpy()[*near]
    half = np.minimum(inside[*at], 0.5 * to_mesh[*at] + 2.0) * depth / float(subject.camera.K[0, 0])
    z = depth[:, None] + half[:, None] * (np.linspace(-1, 1, layers) if layers > 1 else np.zeros(1))
    return _seeds(subject, mesh, at, near, z, stride, scale_factor)


def seed_astray(
    subject: Subject, mesh: MeshRendering, hand: np.ndarray, astray: np.ndarray, limit: int, scale_factor: float
) -> Seeds:
    """Seeds Gaussians where the photo shows a hand and the mesh shows the clothes beside it: they belong to the hand.

    Args:
        hand: (H, W) bool, where the mesh shows a hand. astray: (H, W) bool, see ``PhotoPainter.astray``.
    """
    if not (hand.any() and astray.any()):
        return _seeds(subject, mesh, _NOWHERE, _NOWHERE, np.zeros((0, 1)), 1, scale_factor)
    distance, nearest = distance_transform_edt(~hand, return_indices=True)
    depth = mesh.depth.cpu().numpy()
    at, stride = _picked(astray & (distance * depth / float(subject.camera.K[0, 0]) < _ASTRAY), 1, limit)
    near = nearest[:, *at]
    z = np.minimum(depth[*near], depth[*at] - _BEFORE)[:, None]
    return _seeds(subject, mesh, at, near, z, stride, scale_factor)


def _picked(mask: np.ndarray, layers: int, limit: int) -> tuple[np.ndarray, int]:
    """(2, n) pixels of a mask, and the stride at which they come, so that ``layers`` of them are at most ``limit``."""
    stride = max(1, int(np.ceil(np.sqrt(mask.sum() * layers / max(limit, 1)))))
    at = np.stack(np.nonzero(mask))
    return at[:, (at % stride == 0).all(0)], stride


def _seeds(
    subject: Subject, mesh: MeshRendering, at: np.ndarray, near: np.ndarray, z: np.ndarray, stride: int, scale_factor: float
) -> Seeds:
    """At pixels (2, n), bound to what the mesh shows at others (2, n), in layers at depths (n, L)."""
    camera, layers = subject.camera.to("cpu"), z.shape[1]
    pixel = mesh.depth.cpu().numpy()[*near] / float(camera.K[0, 0])  # metres across one pixel
    # transmittances multiply: what all that touch a pixel, each as wide as it is drawn, leave of it makes the matte's alpha
    covering = 2 * np.pi * (scale_factor**2 + DILATION / stride**2) * layers
    opacity = 1 - (1 - subject.matte.alpha.cpu().numpy()[*at].clip(max=0.99)) ** (1 / covering)
    z = z.ravel().astype(np.float32)
    x, y, ny, nx, pixel, opacity = (np.repeat(a, layers) for a in (*at[::-1], *near, pixel, opacity))
    K = camera.K.numpy()
    in_camera = np.stack([(x + 0.5 - K[0, 2]) / K[0, 0] * z, (y + 0.5 - K[1, 2]) / K[1, 1] * z, z], 1)
    R, t = camera.T_camera_world[:3, :3], camera.T_camera_world[:3, 3]
    position = (torch.from_numpy(in_camera.astype(np.float32)) - t) @ R
    bound = torch.from_numpy(ny), torch.from_numpy(nx)
    return Seeds(
        face=mesh.face_index.cpu()[bound],
        barycentric=mesh.barycentric.cpu()[bound].float(),
        position=position,
        color=subject.matte.foreground.cpu()[torch.from_numpy(y), torch.from_numpy(x)],
        scale=torch.from_numpy((pixel * stride * scale_factor).astype(np.float32)),
        opacity=torch.from_numpy(opacity.astype(np.float32)),
    )
