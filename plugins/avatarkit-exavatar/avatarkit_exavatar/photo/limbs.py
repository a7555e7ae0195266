"""Initializes arms and legs from the detector's 3D, so that the search starts near the right minimum.

From the rest pose an optimizer may turn an elbow the wrong way and stop at a joint limit. The directions of the upper and the
lower limb determine the whole rotation of shoulder or hip, because elbow and knee are hinges.
"""

from __future__ import annotations

import torch

from avatarkit.geometry.rotations import matrix_to_axis_angle
from avatarkit.types.body import JointLandmarks
from avatarkit.types.camera import Camera
from avatarkit_exavatar.body.kinematics import Kinematics
from avatarkit_exavatar.observations.observation import Observation, body_points

__all__ = ["lay_limbs"]

_LIMBS = (  # groups from the trunk outward, named like the landmarks; the group that takes excess twist
    (("left_shoulder", "left_elbow", "left_wrist"), "left_upper_arm_twist"),
    (("right_shoulder", "right_elbow", "right_wrist"), "right_upper_arm_twist"),
    (("left_hip", "left_knee", "left_ankle"), ""),
    (("right_hip", "right_knee", "right_ankle"), ""),
)
_TRUST = 0.3  # score of a landmark, to be used
_BENT = 0.3  # sine of the bend below which the hinge's axis cannot be told


def _unit(v: torch.Tensor) -> torch.Tensor:
    return v / v.norm().clamp_min(1e-9)


def _basis(along: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    """(3, 3) right-handed columns: the limb, the hinge's axis made square to it, and the third."""
    axis = _unit(axis - along * (axis @ along))
    return torch.stack([along, axis, torch.linalg.cross(along, axis)], 1)


def lay_limbs(
    kinematics: Kinematics,
    x: torch.Tensor,
    observation: Observation,
    camera: Camera,
    only: tuple[str, ...] | None = None,
) -> torch.Tensor:
    """Lays shoulders, elbows, hips and knees as the rough 3D of ``pose33`` says, where it is trusted.

    Args:
        kinematics: poses points of the body.
        x: (P,) the fit so far.
        observation: what the picture shows.
        camera: of the picture.
        only: the limbs to lay, by their first group (``left_shoulder``, ...); None = all four.

    Returns:
        (P,) the changed vector.
    """
    seen = observation.sets.get("pose33")
    if seen is None or seen.depth is None or not isinstance(seen.table, JointLandmarks):
        return x
    x = x.clone()
    parameters, body = kinematics.parameters, kinematics.body
    anatomy, rest = parameters.anatomy, kinematics.identity.skeleton.positions
    row = {int(k): i for i, k in enumerate(seen.table.index)}
    first = {g.name: g.joints[0] for g in body.pose_groups}
    posed = kinematics.pose(x)
    for names, twist in _LIMBS:
        numbers = body_points(*names)
        if any(n not in first for n in names) or any(k not in row for k in numbers):
            continue
        rows = [row[k] for k in numbers]
        if min(seen.score[rows[:2]]) < _TRUST or (only is not None and names[0] not in only):
            continue
        parent = posed.transforms[body.parents[first[names[0]]], :3, :3]
        turn = camera.T_camera_world[:3, :3] @ parent  # detector's axes to the rest axes of the trunk
        upper = _unit((seen.depth[rows[1]] - seen.depth[rows[0]]) @ turn)
        lower = _unit((seen.depth[rows[2]] - seen.depth[rows[1]]) @ turn) if seen.score[rows[2]] > _TRUST else upper
        a, b, c = (rest[first[n]] for n in names)
        upper_rest, lower_rest = _unit(b - a), _unit(c - b)
        hinge = anatomy.frames[anatomy.number[names[1]], :, 0]
        axis = torch.linalg.cross(upper, lower)
        if axis.norm() > _BENT:
            R = _basis(upper, axis) @ _basis(upper_rest, hinge).T
            bend = torch.acos((upper @ lower).clamp(-1, 1)) - torch.asin(
                (torch.linalg.cross(upper_rest, lower_rest) @ hinge).clamp(-1, 1)
            )
        else:
            swing = torch.linalg.cross(upper_rest, upper)
            R = _basis(upper, swing) @ _basis(upper_rest, swing).T if swing.norm() > 1e-3 else torch.eye(3)
            bend = torch.zeros(())
        number = anatomy.number[names[0]]
        angles = anatomy.frames[number].T @ matrix_to_axis_angle(R)
        x[_angles(number)] = torch.minimum(torch.maximum(angles, anatomy.low[number]), anatomy.high[number])
        if twist in anatomy.number:
            x[_angles(anatomy.number[twist])][2] = angles[2] - x[_angles(number)][2]
        elbow = _angles(anatomy.number[names[1]])
        x[elbow] = torch.stack([bend, torch.zeros(()), torch.zeros(())])
    low, high = anatomy.low.flatten(), anatomy.high.flatten()
    at = parameters.layout.pose
    x[at] = torch.minimum(torch.maximum(x[at], low), high)
    return x


def _angles(number: int) -> slice:
    """Where a group's three angles lie in the vector."""
    return slice(6 + 3 * number, 9 + 3 * number)
