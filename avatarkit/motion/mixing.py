"""Mixes motions: a body from one, a mouth from another; arms that rest as in a photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.interfaces import BodyModel
from avatarkit.types.body import BodyParams, Motion

__all__ = ["with_mouth", "with_resting_arms"]

_ARM = (
    "collar", "shoulder", "upper_arm_twist", "elbow", "forearm_twist", "wrist", "metacarpal", "index", "middle", "ring", "pinky",
    "thumb",
)  # fmt: skip
_RESTING, _GESTURING = 4.0, 60.0  # degrees that a shoulder or an elbow is turned from its rest
_MOUTH = ("jaw", "mouth", "tongue", "cheekPuff")


def with_mouth(motion: Motion, speech: Motion, body: BodyModel) -> Motion:
    """Return a motion whose mouth moves as in another one, at the same times; after its end the mouth is shut.

    Args:
        motion: moves everything else.
        speech: moves the mouth.
        body: body model of both.
    """
    times = np.arange(len(motion)) / motion.fps
    known = np.arange(len(speech)) / speech.fps
    expression = motion.params.expression.clone()
    for k, name in enumerate(body.expression_names):
        if name.startswith(_MOUTH):
            curve = speech.params.expression[:, k].double().numpy()
            expression[:, k] = torch.from_numpy(np.interp(times, known, curve, right=0.0)).to(expression)
    return replace(motion, params=replace(motion.params, expression=expression))


def with_resting_arms(motion: Motion, person: BodyParams, body: BodyModel) -> Motion:
    """Return a motion whose arms rest as in a person's pose, and leave it for gestures.

    The first frame is the rest of the motion. The farther an arm is turned from it, the more it does what the motion says.

    Args:
        motion: starts and rests with still arms.
        person: one frame, as in the photo.
        body: body model of both.
    """
    joints = motion.params.joints.clone()
    for side in ("left_", "right_"):
        groups = [g for g in body.pose_groups if g.name.startswith(side)]
        arm = sorted({j for g in groups if g.name.removeprefix(side).rstrip("1234") in _ARM for j in g.joints})
        hinges = [j for g in groups if g.name.removeprefix(side) in ("shoulder", "elbow") for j in g.joints]
        if not hinges:
            continue
        turned = torch.stack([_turn(joints[0, j], joints[:, j]).norm(dim=-1) for j in hinges]).amax(0)
        x = ((torch.rad2deg(turned) - _RESTING) / (_GESTURING - _RESTING)).clamp(0, 1)[:, None]
        share = x * x * (3 - 2 * x)
        for j in arm:
            moved = axis_angle_to_matrix(_turn(joints[0, j], joints[:, j]))
            resting = axis_angle_to_matrix(person.joints[j]) @ moved
            step = matrix_to_axis_angle(resting.mT @ axis_angle_to_matrix(joints[:, j]))
            joints[:, j] = matrix_to_axis_angle(resting @ axis_angle_to_matrix(share * step))
    return replace(motion, params=replace(motion.params, joints=joints))


def _turn(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Return axis-angles (T, 3) from one rotation (3,) to others (T, 3)."""
    return matrix_to_axis_angle(axis_angle_to_matrix(start).mT @ axis_angle_to_matrix(end))
