"""Where MediaPipe's landmarks lie on the body.

The tables were measured on renderings of the model, by ``tools/derive_face_table.py`` and ``tools/derive_body_table.py``.
"""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import torch

from avatarkit.types.body import JointLandmarks, SurfaceLandmarks

__all__ = ["JOINT_SETS", "face_landmarks", "joint_landmarks"]

JOINT_SETS = ("pose33", "hand21_left", "hand21_right")
_DATA = resources.files("avatarkit_anny") / "data"


def face_landmarks(device: torch.device) -> SurfaceLandmarks:
    """Return the 478 points of MediaPipe's face mesh, in its order (468 to 472 right iris, 473 to 477 left)."""
    with _DATA.joinpath("face478.npz").open("rb") as file, np.load(file) as table:
        return SurfaceLandmarks(
            triangles=torch.from_numpy(table["triangles"].astype(np.int64)).to(device),
            barycentric=torch.from_numpy(table["barycentric"]).to(device),
            sigma=torch.from_numpy(table["sigma"]).to(device),
        )


def joint_landmarks(name: str, joint_names: tuple[str, ...], parents: tuple[int, ...], positions: torch.Tensor) -> JointLandmarks:
    """Return points of a set of ``JOINT_SETS`` in the frames of joints.

    Args:
        name: of the set.
        joint_names: of the body model.
        parents: of its joints.
        positions: (J, 3) joints of the default shape.
    """
    rows = json.loads(_DATA.joinpath("joints.json").read_text())[name]
    joint = [joint_names.index(row["joint"]) for row in rows]
    # An offset grows with the bone toward "toward"; the last phalanx, which has no child, with the one before it.
    bone = [
        (j, joint_names.index(row["towards"])) if row["towards"] else (parents[j], j) for j, row in zip(joint, rows, strict=True)
    ]
    ends = positions.detach()[torch.tensor(bone)]
    device = positions.device
    return JointLandmarks(
        index=torch.tensor([row["point"] for row in rows], device=device),
        joint=torch.tensor(joint, device=device),
        offset=torch.tensor([row["offset"] for row in rows], device=device),
        bone=torch.tensor(bone, device=device),
        bone_length=(ends[:, 0] - ends[:, 1]).norm(dim=-1),
        sigma=torch.tensor([row["sigma"] for row in rows], device=device),
    )
