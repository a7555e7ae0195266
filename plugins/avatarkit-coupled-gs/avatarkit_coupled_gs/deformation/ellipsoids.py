"""Gaussians that are not spheres: how they lie on the surface, and how a pose turns them."""

from __future__ import annotations

import torch

from avatarkit.geometry.rotations import matrix_to_quaternion
from avatarkit.interfaces import BodyModel
from avatarkit.types.mesh import faces_of
from avatarkit_coupled_gs.deformation.rigid import blend
from avatarkit_coupled_gs.deformation.skinning import AFFINE
from avatarkit_coupled_gs.deformation.surface import PosedBody

__all__ = ["surface_ellipsoids", "turns"]


def surface_ellipsoids(
    body: BodyModel, vertices: torch.Tensor, triangles: torch.Tensor, thickness: float, limit: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flatten Gaussians onto their triangles, and stretch them as the UV map stretches its texels there.

    A texel of the map covers J = dP/d(u, v) on the surface. The ellipsoid takes the axes of J and the ratio of their lengths, so
    that neighbors touch alike in all directions.

    Args:
        body: whose ``uv`` is sampled.
        vertices: (V, 3) at rest.
        triangles: (N, 3) that the Gaussians are bound to.
        thickness: scale along the normal, of the mean scale along the surface.
        limit: most that a scale differs from that mean, as a factor.

    Returns:
        (N, 4) quaternions w x y z and (N, 3) logarithms of the scales over their mean along the surface.
    """
    corners, uv = vertices[body.faces], body.uv[body.uv_faces].to(vertices)
    edges = (corners[:, 1:] - corners[:, :1]).mT  # (F, 3, 2)
    a, b, c, d = (uv[:, 1:] - uv[:, :1]).mT.flatten(1).unbind(-1)  # columns are the edges
    inverse = torch.stack([d, -b, -c, a], -1).unflatten(-1, (2, 2)) / (a * d - b * c)[:, None, None]
    J = (edges[..., None] * inverse[:, None]).sum(2)
    uu, uv_, vv = (J[..., 0] ** 2).sum(-1), (J[..., 0] * J[..., 1]).sum(-1), (J[..., 1] ** 2).sum(-1)
    angle = 0.5 * torch.atan2(2 * uv_, uu - vv)  # of the longer axis of J^T J
    along = J[..., 0] * angle.cos()[:, None] + J[..., 1] * angle.sin()[:, None]
    across = J[..., 1] * angle.cos()[:, None] - J[..., 0] * angle.sin()[:, None]
    ratio = (along.norm(dim=-1) / across.norm(dim=-1)).sqrt()
    normal = torch.linalg.cross(edges[..., 0], edges[..., 1])
    frame = torch.nn.functional.normalize(torch.stack([along, torch.linalg.cross(normal, along), normal], -1), dim=1)
    fine = torch.isfinite(ratio) & torch.isfinite(frame).all((1, 2)) & (frame.norm(dim=1) > 0.5).all(-1)
    frame = torch.where(fine[:, None, None], frame, torch.eye(3))
    ratio = torch.where(fine, ratio, 1.0).clamp(1.0, limit)
    face = faces_of(triangles, body.faces)
    log_aspect = torch.stack([ratio.log(), -ratio.log(), torch.full_like(ratio, max(thickness, 1 / limit)).log()], -1)
    return matrix_to_quaternion(frame)[face], log_aspect[face]


def turns(
    body: PosedBody, triangles: torch.Tensor, weights: torch.Tensor, joints: torch.Tensor, joint_weights: torch.Tensor
) -> torch.Tensor:
    """Return the rotations (N, 3, 3), rest to world, of Gaussians in a pose; constants.

    On the surface it is the rotation in the blended transform: its first two columns made orthonormal, as the web page does it.
    The last Gaussians, outside the surface, turn with their blend of joints, which is rigid.

    Args:
        body: the pose.
        triangles: (N, 3).
        weights: (N, 3).
        joints: (M, 4) of the last M.
        joint_weights: (M, 4).
    """
    n = len(triangles) - len(joints)
    rows = (body.vertices[:, AFFINE][triangles[:n]] * weights[:n, :, None]).sum(1).unflatten(-1, (3, 4))
    x = torch.nn.functional.normalize(rows[..., 0], dim=-1)
    y = rows[..., 1] - (x * rows[..., 1]).sum(-1, keepdim=True) * x
    y = torch.nn.functional.normalize(y, dim=-1)
    surface = torch.stack([x, y, torch.linalg.cross(x, y)], -1)
    if not len(joints):
        return surface
    return torch.cat([surface, blend(body.joints, joints, joint_weights).unflatten(-1, (3, 4))[..., :3]])
