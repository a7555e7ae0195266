"""A body to retarget to, and how far two motions of it are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatarkit.motion.pose_solver import PARENTS
from avatarkit.testing.motion_conventions.clip import JOINTS, OFFSETS
from avatarkit.testing.motion_conventions.convention import rests
from avatarkit.types.body import BodyParams, Motion, PoseGroup

__all__ = ["Figure", "apart", "world_rotations"]


class Figure:
    """What retargeting needs of a body model: a skeleton with SMPL-X's joints under other names, resting in an A-pose."""

    name = "figure"
    expression_names = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft")

    def __init__(self) -> None:
        self.joint_names = tuple(f"joint of {n}" for n in JOINTS)
        self.parents = tuple(JOINTS.index(p) if (p := PARENTS[n]) else -1 for n in JOINTS)
        self.pose_groups = tuple(PoseGroup(n, (j,), (1.0,), 0.3) for j, n in enumerate(JOINTS))
        rest = rests("A")
        at: list[np.ndarray] = []
        for n in JOINTS:
            parent = PARENTS[n]
            at.append(OFFSETS[n] * 0 if parent is None else at[JOINTS.index(parent)] + rest[parent] @ OFFSETS[n] * 1.05)
        self.positions = torch.tensor(np.array(at) / 100, dtype=torch.float32)

    def neutral(self) -> BodyParams:
        """Return the rest pose at the origin."""
        zero = torch.zeros(3)
        joints = torch.zeros(len(JOINTS), 3)
        return BodyParams(self.name, torch.zeros(1), torch.zeros(len(self.expression_names)), zero, zero.clone(), joints)

    def skeleton(self, shape: torch.Tensor) -> Any:
        """Return the figure, which has one shape and knows its positions."""
        return self


def world_rotations(motion: Motion, body: Any) -> np.ndarray:
    """Return (T, J, 3, 3) world rotations of a motion's joints."""
    vectors = motion.params.joints.double().clone()
    vectors[:, 0] = motion.params.root.double()
    local = Rotation.from_rotvec(vectors.reshape(-1, 3).numpy()).as_matrix().reshape(*vectors.shape[:2], 3, 3)
    world = [local[:, 0]]
    for j, parent in enumerate(body.parents[1:], start=1):
        world.append(world[parent] @ local[:, j])
    return np.stack(world, 1)


def apart(a: Motion, b: Motion, body: Any) -> tuple[float, float]:
    """Return the largest differences of two motions: degrees of a joint in the world, centimeters of the path."""
    assert len(a) == len(b)
    R = np.swapaxes(world_rotations(a, body), -1, -2) @ world_rotations(b, body)
    degrees = np.degrees(Rotation.from_matrix(R.reshape(-1, 3, 3)).magnitude().max())
    path = (a.params.translation - b.params.translation).norm(dim=-1).max()
    return float(degrees), 100 * float(path)
