"""Rigid skinning by blended dual quaternions.

Linear blends shrink what bends and cannot always be undone. A blend of unit dual quaternions is a rotation and a translation
again (Kavan et al., Skinning with Dual Quaternions, 2007), so that what is carried from the photo to rest comes back exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatarkit.geometry.rotations import multiply_quaternions
from avatarkit_coupled_gs.compiled import array, kernel, run
from avatarkit_coupled_gs.deformation.skinning import transform

__all__ = ["INFLUENCES", "blend", "dual_quaternions", "move", "strongest", "undo"]

INFLUENCES = 4
"""Joints per Gaussian: what web renderers take."""


def dual_quaternions(transforms: torch.Tensor) -> torch.Tensor:
    """(J, 8) unit dual quaternions, real part first, each w x y z, of rigid transforms (J, 12), rows of 3x4 matrices."""
    A = transforms.double().reshape(-1, 3, 4)
    real = torch.from_numpy(Rotation.from_matrix(A[..., :3].numpy()).as_quat(scalar_first=True))
    return torch.cat([real, 0.5 * multiply_quaternions(torch.cat([torch.zeros(len(A), 1), A[..., 3]], 1), real)], 1).float()


def blend(joints: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(M, 12) rows of rigid 3x4 transforms, blended from those of four joints each.

    Args:
        joints: (J, 8) from ``dual_quaternions``.
        indices: (M, 4) int64, the strongest first.
        weights: (M, 4), rows sum to one.
    """
    q = joints[indices]
    same = (q[..., :4] * q[:, :1, :4]).sum(-1) >= 0  # q and -q are one rotation: take the way round that is shorter
    mean = (q * torch.where(same, weights, -weights)[..., None]).sum(1)
    mean = mean / mean[:, :4].norm(dim=1, keepdim=True)
    real, dual = mean.split(4, 1)
    w, v = real[:, :1], real[:, 1:]
    unit = torch.eye(3, dtype=q.dtype, device=q.device)
    rotation = [e + 2 * (w * torch.linalg.cross(v, e) + torch.linalg.cross(v, torch.linalg.cross(v, e))) for e in
                (row.expand_as(v) for row in unit)]  # fmt: skip
    conjugate = real * real.new_tensor([1, -1, -1, -1])
    return torch.stack([*rotation, 2 * multiply_quaternions(dual, conjugate)[:, 1:]], 2).reshape(-1, 12)


def move(
    joints: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor, points: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """``transform(blend(joints, indices, weights), points + shift)``, of which only ``shift`` (M, 3) has a gradient."""
    if shift.device.type == "cpu":
        return _Move.apply(shift, joints, indices, weights, points)
    return transform(blend(joints, indices, weights), points + shift)


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shift: torch.Tensor, *constants: torch.Tensor) -> torch.Tensor:
        out, ctx.arrays = torch.empty_like(shift), [array(t) for t in constants[:3]]
        run(_move, len(shift), *ctx.arrays, array(constants[3]), array(shift), out.numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        out = torch.empty_like(grad, memory_format=torch.contiguous_format)
        run(_move_back, len(grad), *ctx.arrays, array(grad), out.numpy())
        return out, None, None, None, None


@kernel
def _blended(joints, indices, weights):  # type: ignore[no-untyped-def]
    """Return the blend of one point's joints: real part w x y z, dual part w x y z."""
    first, real = joints[indices[0]], joints.dtype.type
    a = b = c = d = e = f = g = h = real(0)
    for k in range(INFLUENCES):
        q, weight = joints[indices[k]], weights[k]
        if q[0] * first[0] + q[1] * first[1] + q[2] * first[2] + q[3] * first[3] < real(0):
            weight = -weight
        a, b, c, d = a + weight * q[0], b + weight * q[1], c + weight * q[2], d + weight * q[3]
        e, f, g, h = e + weight * q[4], f + weight * q[5], g + weight * q[6], h + weight * q[7]
    one = real(1) / np.sqrt(a * a + b * b + c * c + d * d)
    return one * a, one * b, one * c, one * d, one * e, one * f, one * g, one * h


@kernel
def _turned(w, x, y, z, px, py, pz):  # type: ignore[no-untyped-def]
    """Return a point turned by a unit quaternion: p + 2 v x (v x p + w p)."""
    cx, cy, cz = y * pz - z * py + w * px, z * px - x * pz + w * py, x * py - y * px + w * pz
    cx, cy, cz = cx + cx, cy + cy, cz + cz
    return px + y * cz - z * cy, py + z * cx - x * cz, pz + x * cy - y * cx


@kernel
def _move(start, stop, joints, indices, weights, points, shift, out):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        w, x, y, z, dw, dx, dy, dz = _blended(joints, indices[i], weights[i])
        p = points[i, 0] + shift[i, 0], points[i, 1] + shift[i, 1], points[i, 2] + shift[i, 2]
        px, py, pz = _turned(w, x, y, z, p[0], p[1], p[2])
        # the translation is twice dual times conjugate real
        tx, ty, tz = w * dx - dw * x + y * dz - z * dy, w * dy - dw * y + z * dx - x * dz, w * dz - dw * z + x * dy - y * dx
        out[i, 0], out[i, 1], out[i, 2] = px + tx + tx, py + ty + ty, pz + tz + tz


@kernel
def _move_back(start, stop, joints, indices, weights, grad, out):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        w, x, y, z, _, _, _, _ = _blended(joints, indices[i], weights[i])
        out[i, 0], out[i, 1], out[i, 2] = _turned(w, -x, -y, -z, grad[i, 0], grad[i, 1], grad[i, 2])


def undo(rows: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(M, 3) points that ``transform(rows, .)`` takes to ``points``; rows (M, 12) are rigid."""
    A = rows.reshape(-1, 3, 4)
    back = A[..., :3].transpose(1, 2)
    turned = -(back * A[:, None, :, 3]).sum(-1)
    return transform(torch.cat([back, turned[..., None]], 2).reshape(-1, 12), points)


def strongest(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, 4) joints and (M, 4) weights, largest first, that keep most of weights (M, J) over all joints; rows sum to one."""
    kept, indices = weights.topk(min(INFLUENCES, weights.shape[1]), dim=1)
    missing = INFLUENCES - kept.shape[1]
    kept, indices = (torch.nn.functional.pad(t, (0, missing)) for t in (kept, indices))
    return indices, kept / kept.sum(1, keepdim=True)
