"""Gaussians outside the surface: hair and loose cloth that the photo shows and the mesh does not cover."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter

from avatarkit.interfaces import Subject
from avatarkit.reference.gaussians import DILATION
from avatarkit.types.mesh import MeshRendering

__all__ = ["Seeds", "seed_misaligned", "seed_uncovered"]

_FAINT = 0.05  # alpha from which hair is seen
_BORDER = 2.0  # pixels beside the mesh in which a matte's border is that of its sampling, not hair

_FARTHEST = 0.10  # meters from the mesh; hair and cloth stand off less, furniture in the matte more
_MISALIGNED = 0.05  # meters that a hand's pixels may lie off the fitted hand, across the picture and in depth
_EVEN = 0.006  # meters over which their depth is evened, or they would stand in steps when seen from the side
_BEFORE = 0.012  # meters in front of the clothes that they hide


@dataclass(frozen=True)
class Seeds:
    """M points beside the surface.

    Attributes:
        face: (M,) int64 face that each is bound to. barycentric: (M, 3) where on it.
        position: (M, 3) world, meters, in the photo's pose.
        color: (M, 3) sRGB. scale: (M,) meters. opacity: (M,) with which all of them together cover as much as the matte says.
    """

    face: torch.Tensor
    barycentric: torch.Tensor
    position: torch.Tensor
    color: torch.Tensor
    scale: torch.Tensor
    opacity: torch.Tensor

    @classmethod
    def none(cls) -> Seeds:
        empty = torch.zeros(0, 3)
        return cls(torch.zeros(0, dtype=torch.int64), empty, empty, empty, torch.zeros(0), torch.zeros(0))

    def __add__(self, other: Seeds) -> Seeds:
        names = [f.name for f in fields(self)]
        return Seeds(**{n: torch.cat([getattr(self, n), getattr(other, n)]) for n in names})


def seed_uncovered(subject: Subject, mesh: MeshRendering, layers: int, limit: int, scale_factor: float) -> Seeds:
    """Seeds Gaussians at matte pixels that the mesh leaves bare.

    Each is put at the depth of the nearest silhouette point of the mesh and bound to the triangle there. Around that depth lie
    ``layers`` layers within a thickness that grows with the distance to the matte's border, as a rounded body would have; those
    behind the first, which the photo does not show, are half as dense.

    Args:
        subject: the tracked photo.
        mesh: the deformed mesh seen by the photo's camera, at the photo's size.
        layers, limit, scale_factor: see ``CoupledConfig``.
    """
    alpha = subject.matte.alpha.cpu().numpy()
    covered = mesh.face_index.cpu().numpy() >= 0
    if not covered.any():
        return Seeds.none()
    to_mesh, nearest = distance_transform_edt(~covered, return_indices=True)
    bare = ~covered & (alpha > np.where(to_mesh > _BORDER, _FAINT, 0.5))
    depth = mesh.depth.cpu().numpy()[*nearest]
    pixel = depth / float(subject.camera.K[0, 0])  # meters across one
    bare &= to_mesh * pixel < _FARTHEST
    inside = distance_transform_edt(np.pad(alpha > 0.5, 1))[1:-1, 1:-1]
    stride = _stride(bare, 1 + (layers - 1) / 4, limit)
    covering = _covering(scale_factor, stride) + (layers - 1) * _covering(scale_factor, 2 * stride)
    half = np.minimum(inside, 0.5 * to_mesh + 2.0) * pixel
    seeds = Seeds.none()
    for layer, place in enumerate(np.linspace(-1, 1, layers) if layers > 1 else (0.0,)):
        step = stride if layer == 0 else 2 * stride
        at = _picked(bare, step)
        z = (depth + place * half)[*at]
        seeds += _seeds(subject, mesh, at, nearest[:, *at], z, step, scale_factor, covering)
    return seeds


def seed_misaligned(
    subject: Subject, mesh: MeshRendering, hand: np.ndarray, misaligned: np.ndarray, limit: int, scale_factor: float
) -> Seeds:
    """Seeds Gaussians where the photo shows a hand and the mesh shows the clothes beside it: they belong to the hand.

    Args:
        hand: (H, W) bool, where the mesh shows a hand.
        misaligned: (H, W) bool, see ``PhotoPainter.misaligned``.
    """
    if not (hand.any() and misaligned.any()):
        return Seeds.none()
    distance, nearest = distance_transform_edt(~hand, return_indices=True)
    depth = mesh.depth.cpu().numpy()
    meter = depth / float(subject.camera.K[0, 0])  # across one pixel
    misaligned = misaligned & (distance * meter < _MISALIGNED) & (np.abs(depth[*nearest] - depth) < _MISALIGNED)
    misaligned &= subject.matte.alpha.cpu().numpy() > _FAINT
    if not misaligned.any():
        return Seeds.none()
    z = np.minimum(depth[*nearest], depth - _BEFORE)
    blur = partial(gaussian_filter, sigma=_EVEN / float(np.median(meter[misaligned])))
    z = blur(np.where(misaligned, z, 0.0)) / blur(misaligned.astype(np.float64)).clip(min=1e-6)
    stride = _stride(misaligned, 1, limit)
    at = _picked(misaligned, stride)
    return _seeds(subject, mesh, at, nearest[:, *at], z[*at], stride, scale_factor, _covering(scale_factor, stride))


def _stride(mask: np.ndarray, times: float, limit: int) -> int:
    """In pixels, of seeds that are at most ``limit`` where each pixel of a mask has ``times`` of them."""
    return max(1, int(np.ceil(np.sqrt(mask.sum() * times / max(limit, 1)))))


def _picked(mask: np.ndarray, stride: int) -> np.ndarray:
    """(2, n) pixels of a mask."""
    at = np.stack(np.nonzero(mask))
    return at[:, (at % stride == 0).all(0)]


def _covering(scale_factor: float, stride: int) -> float:
    """How many Gaussians of a layer a pixel's light passes, each as wide as it is drawn."""
    return 2 * np.pi * (scale_factor**2 + DILATION / stride**2)


def _seeds(
    subject: Subject,
    mesh: MeshRendering,
    at: np.ndarray,
    near: np.ndarray,
    z: np.ndarray,
    stride: int,
    scale_factor: float,
    covering: float,
) -> Seeds:
    """At pixels (2, n) and depths (n,), bound to what the mesh shows at others (2, n); ``covering``: of all layers."""
    camera = subject.camera.to("cpu")
    (y, x), (ny, nx) = at, near
    pixel = mesh.depth.cpu().numpy()[ny, nx] / float(camera.K[0, 0])  # meters across one pixel
    # transmittances multiply: what all that touch a pixel leave of its light makes the matte's alpha
    opacity = 1 - (1 - subject.matte.alpha.cpu().numpy()[y, x].clip(max=0.99)) ** (1 / covering)
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
