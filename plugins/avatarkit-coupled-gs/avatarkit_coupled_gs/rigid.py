"""Rigid skinning by blended dual quaternions.

Linear blends shrink what bends and cannot always be undone. A blend of unit dual quaternions is a rotation and a translation
again (Kavan et al., Skinning with Dual Quaternions, 2007), so that what is carried from the photo to rest comes back exactly.
"""

from __future__ import annotations

import torch
from scipy.spatial.transform import Rotation

from avatarkit.geometry.rotations import multiply_quaternions
from avatarkit_coupled_gs.skinning import transform

__all__ = ["INFLUENCES", "blend", "dual_quaternions", "strongest", "undo"]

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
        joints: (J, 8) from ``dual_quaternions``. indices: (M, 4) int64, the strongest first. weights: (M, 4), rows sum to one.
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
