"""Motions stored as SMPL-X, SMPL-H or SMPL rotations, without the body model.

These are the archives of AMASS, AIST++, BEAT2 and similar data sets, and the outputs of trackers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from avatarkit.geometry.rotations import matrix_to_axis_angle
from avatarkit.motion.formats.smplx_fields import read_positions, read_rate, read_rotations, usual_up
from avatarkit.motion.pose_solver import PARENTS
from avatarkit.motion.reading import MotionInfo, Reading
from avatarkit.motion.source_skeleton import SourceSkeleton, orient
from avatarkit.types.body import SMPLX_JOINTS, BodyParams, Motion

__all__ = ["smplx_motion"]

# Joints of the rest pose of SMPL-X's mean body, meters, y up, facing +z, left side; to a centimeter, for directions
# of bones.
_MIDDLE = {
    "pelvis": (0.0, -0.351, 0.012), "spine1": (0.0, -0.242, -0.016), "spine2": (0.0, -0.110, -0.022),
    "spine3": (0.0, -0.057, 0.007), "neck": (0.0, 0.107, -0.025), "head": (0.0, 0.268, -0.004),
}  # fmt: skip
_LEFT = {
    "hip": (0.061, -0.450, -0.012), "knee": (0.110, -0.820, -0.025), "ankle": (0.081, -1.227, -0.050),
    "foot": (0.124, -1.285, 0.068), "collar": (0.047, 0.027, -0.003), "shoulder": (0.158, 0.083, -0.017),
    "elbow": (0.420, 0.028, -0.052), "wrist": (0.671, 0.038, -0.061),
}  # fmt: skip
# From the wrist to the knuckles and along the phalanges, palm down.
_LEFT_HAND = {
    "index": ((0.100, 0.003, 0.026), (0.032, -0.001, 0.003), (0.022, -0.002, 0.003)),
    "middle": ((0.106, 0.005, 0.003), (0.031, -0.001, 0.000), (0.024, -0.003, -0.001)),
    "ring": ((0.098, 0.003, -0.016), (0.029, -0.001, -0.003), (0.024, -0.002, -0.003)),
    "pinky": ((0.083, -0.004, -0.034), (0.020, -0.002, -0.006), (0.016, -0.001, -0.005)),
    "thumb": ((0.029, -0.016, 0.026), (0.026, -0.010, 0.022), (0.025, -0.003, 0.018)),
}


def _rest() -> dict[str, torch.Tensor]:
    out = {n: torch.tensor(v, dtype=torch.float64) for n, v in _MIDDLE.items()}
    flip = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    for part, v in _LEFT.items():
        out["left_" + part] = torch.tensor(v, dtype=torch.float64)
    for finger, steps in _LEFT_HAND.items():
        at = out["left_wrist"]
        for k, step in enumerate(steps, start=1):
            at = at + torch.tensor(step, dtype=torch.float64)
            out[f"left_{finger}{k}"] = at
        out[f"left_{finger}3_tip"] = at + 0.8 * torch.tensor(steps[-1], dtype=torch.float64)
    return out | {"right_" + n.removeprefix("left_"): v * flip for n, v in out.items() if n.startswith("left_")}


_ORIGINS = ((0.0, 0.0, 0.0), _MIDDLE["pelvis"])  # translations are without the pelvis's own place in the model


def smplx_motion(arrays: Mapping[str, np.ndarray], reading: Reading) -> tuple[Motion, MotionInfo]:
    """Read a motion.

    Directions of bones are retargeted (``avatarkit.motion.retargeting``); a body model with SMPL-X's own joints uses the
    rotations directly. The jaw opens the mouth. FLAME's expression components do not apply to other models and are left out.

    Raises:
        InputError: the arrays are not poses.
    """
    source_name = reading.path.name
    local, notes = read_rotations(arrays, source_name)
    fps, note = read_rate(arrays, source_name)
    count = len(local["pelvis"])
    positions = read_positions(arrays, count, source_name)
    world: dict[str, torch.Tensor] = {}
    for name, parent in PARENTS.items():
        if name in local:
            above = parent
            while above is not None and above not in world:
                above = PARENTS[above]
            world[name] = local[name] if above is None else world[above] @ local[name]
    source = SourceSkeleton(
        source_name, _rest(), world, positions, fps, anatomical=True, rest_is_upright=False, data_set=usual_up(arrays),
        origins=_ORIGINS,
    )  # fmt: skip
    rig = "SMPL-X" if "jaw" in local else "SMPL-H" if "left_index1" in local else "SMPL"
    motion, info = reading.retargeted(source, "SMPL npz", rig, {n: n for n in local}, notes=[note, *notes] if note else notes)
    if set(SMPLX_JOINTS) <= set(reading.body.joint_names):
        motion = replace(motion, params=_native(source, local, reading))
    return motion, info


def _native(source: SourceSkeleton, local: Mapping[str, torch.Tensor], reading: Reading) -> BodyParams:
    """Return the parameters of SMPL-X itself: rotations are used directly, in a world that is y up."""
    body = reading.body
    world = orient(source, reading.solver, reading.up).upright
    neutral = body.neutral()
    count = len(local["pelvis"])
    joints = torch.zeros(count, len(body.joint_names), 3)
    for name, R in local.items():
        if name != "pelvis":
            joints[:, body.joint_names.index(name)] = matrix_to_axis_angle(R).float()
    at = torch.zeros(count, 3, dtype=torch.float64) if source.positions is None else source.positions
    moved = ((world @ (at - at[0])[..., None])[..., 0]).float()
    expression = torch.zeros(count, len(body.expression_names))
    root = matrix_to_axis_angle(world @ local["pelvis"]).float()
    return BodyParams(body.name, neutral.shape, expression, root, moved, joints)
