"""Rotations: axis-angle in files and parameters, matrices inside.

By hand: roma would save 15 lines, be one more package to install, and move the last bits of every stage.
"""

from __future__ import annotations

import torch

__all__ = ["axis_angle_to_matrix", "matrix_to_axis_angle", "matrix_to_quaternion", "multiply_quaternions"]

_TOGETHER = 200_000  # matrices converted at once, to limit memory: hours of motion would take gigabytes


def axis_angle_to_matrix(axis_angle: torch.Tensor) -> torch.Tensor:
    """Convert axis-angle (..., 3) in radians to matrices (..., 3, 3).

    Rodrigues' formula, smooth at zero.
    """
    squared = (axis_angle * axis_angle).sum(-1)[..., None, None]
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    a = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    b = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    x, y, z = axis_angle.unbind(-1)
    o = torch.zeros_like(x)
    K = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
    return torch.eye(3, dtype=K.dtype, device=K.device) + a * K + b * (K @ K)


def matrix_to_axis_angle(matrix: torch.Tensor) -> torch.Tensor:
    """Convert matrices (..., 3, 3) to axis-angle (..., 3) in radians, angle at most pi.

    The result is a constant without derivatives.
    """
    from scipy.spatial.transform import Rotation

    turns = matrix.detach().reshape(-1, 3, 3)
    vectors = torch.empty(turns.shape[:2]).to(matrix)
    for part, target in zip(turns.split(_TOGETHER), vectors.split(_TOGETHER), strict=True):
        target.copy_(torch.from_numpy(Rotation.from_matrix(part.double().cpu().numpy()).as_rotvec()))
    return vectors.reshape(matrix.shape[:-1])


def matrix_to_quaternion(matrix: torch.Tensor) -> torch.Tensor:
    """Convert rotation matrices (..., 3, 3) to unit quaternions (..., 4), w x y z; differentiable."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in matrix.unbind(-2))
    candidates = [
        1 + a + e + i, h - f, c - g, d - b,
        h - f, 1 + a - e - i, d + b, c + g,
        c - g, d + b, 1 - a + e - i, h + f,
        d - b, c + g, h + f, 1 - a - e + i,
    ]  # fmt: skip
    table = torch.stack(candidates, -1).unflatten(-1, (4, 4))  # four times the quaternion times w, x, y, z
    largest = table.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*matrix.shape[:-2], 1, 4)
    return torch.nn.functional.normalize(table.gather(-2, largest)[..., 0, :], dim=-1)


def multiply_quaternions(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the Hamilton products (..., 4) of quaternions w x y z: the rotation ``b`` followed by ``a``."""
    (aw, av), (bw, bv) = (t.split((1, 3), -1) for t in (a, b))
    return torch.cat([aw * bw - (av * bv).sum(-1, keepdim=True), aw * bv + bw * av + torch.linalg.cross(av, bv)], -1)
