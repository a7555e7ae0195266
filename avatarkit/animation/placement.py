"""Places a motion in the world: what a person does of it, starting from their pose in the photo."""

from __future__ import annotations

from dataclasses import replace

import torch

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.interfaces import BodyModel
from avatarkit.types.body import BodyParams, Motion
from avatarkit.utils.threads import single_threaded

__all__ = ["PARTS", "place"]

PARTS = {
    **dict.fromkeys(("hip", "knee", "ankle", "foot"), "legs"),
    **dict.fromkeys(("spine1", "spine2", "spine3"), "trunk"),
    **dict.fromkeys(("neck", "head"), "head"),
}
"""Pose group without its side -> part of the body, see ``Motion.moves``."""
_HELD = {None: (), "none": (), "legs": ("legs",), "trunk": ("legs", "trunk")}
_MIEN = ("mouthSmile", "brow", "cheek", "eyeSquint")


@single_threaded()  # hundreds of small operations
def place(motion: Motion, person: BodyParams, body: BodyModel, keep: str | None = None) -> BodyParams:
    """Return the world poses of a relative motion, played by a person where they stand.

    Motion files and videos say where bones point, so trunk, head and legs are posed as they say (``Motion.moves``). Built-in
    motions do not: there these parts turn from their pose in the photo, so that a person who looks into the camera keeps doing
    so and the visible parts stay in view. Half of a smile and of raised brows and cheeks is kept, because the likeness depends
    on it.

    Args:
        motion: relative, see ``Motion``.
        person: one frame, as in the photo.
        body: body model of both.
        keep: part that stays as in the photo, ``legs`` (with pelvis and place) or ``trunk`` (and legs); ``none`` = the motion
            poses everything outright; None = as above.

    Raises:
        InputError: ``keep`` is something else.
    """
    if keep not in _HELD:
        raise InputError(f"The pose of {keep!r} cannot be kept: use legs, trunk or none.")
    p, at, held = motion.params, person, _HELD[keep]
    moves = frozenset(PARTS.values()) if keep == "none" else motion.moves
    joints = p.joints.clone()
    for group in body.pose_groups:
        part = PARTS.get(group.name.removeprefix("left_").removeprefix("right_"))
        if part is None or (part in moves and part not in held):
            continue
        for j in group.joints:
            joints[..., j, :] = at.joints[j] if part in held else _turned(p.joints[..., j, :], at.joints[j])
    mien = torch.tensor([0.5 if name.startswith(_MIEN) else 0.0 for name in body.expression_names])
    root = p.root if "trunk" in moves else _turned(p.root, at.root)
    return replace(
        p,
        shape=at.shape,
        expression=torch.maximum(p.expression, (p.expression + mien * at.expression).clamp(max=1.0)),
        root=at.root.expand_as(p.root) if held else root,
        translation=at.translation.expand_as(p.translation) if held else p.translation + at.translation,
        joints=joints,
    )


def _turned(by: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Return the rotation ``start`` (3,) followed by ``by`` (T, 3), axis-angle (T, 3)."""
    return matrix_to_axis_angle(axis_angle_to_matrix(by) @ axis_angle_to_matrix(start))
