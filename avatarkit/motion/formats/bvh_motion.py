"""Motions from BVH files: on the body model's own skeleton directly, otherwise retargeted."""

from __future__ import annotations

import torch

from avatarkit.geometry.rotations import matrix_to_axis_angle
from avatarkit.motion.formats.bvh import Bvh, read_bvh
from avatarkit.motion.reading import MotionInfo, Reading
from avatarkit.motion.retargeting import moved_parts
from avatarkit.motion.skeleton import recognize_rig
from avatarkit.motion.source_skeleton import SourceSkeleton
from avatarkit.motion.up_axis import Up
from avatarkit.types.body import BodyParams, Motion

__all__ = ["bvh_motion"]


def bvh_motion(reading: Reading) -> tuple[Motion, MotionInfo]:
    """Read a BVH file.

    Raises:
        InputError: it is damaged, or its skeleton is not recognized.
    """
    file = read_bvh(reading.path)
    if set(reading.body.joint_names) <= set(file.names) and reading.up is None and not reading.joint_map:
        native = _native(file, reading)
        if native is not None:
            names = {n: n for n in reading.body.joint_names}
            return native, MotionInfo("BVH", reading.body.name, Up("y", "as its rest pose stands"), "cm", names)
    recognized = recognize_rig(file.names, file.parents, reading.joint_map)
    found = recognized.joints
    places = file.rest_positions()
    rest = {n: places[j] for n, j in found.items()}
    for name, j in found.items():
        tip = file.tips.get(j)
        child = next((c for c, parent in enumerate(file.parents) if parent == j), None)
        if tip is not None:
            rest[name + "_tip"] = places[j] + tip
        elif child is not None:
            rest[name + "_tip"] = places[child]
    world = file.world_rotations()
    turns = {n: world[:, j] for n, j in found.items()}
    source = SourceSkeleton(reading.path.name, rest, turns, file.path(found["pelvis"], world), file.fps)
    return reading.retargeted(source, "BVH", recognized.rig, {n: file.names[j] for n, j in found.items()})


def _native(file: Bvh, reading: Reading) -> Motion | None:
    """Return the motion of a file with the body model's own skeleton, without retargeting."""
    body = reading.body
    index = [file.names.index(n) for n in body.joint_names]
    neutral = body.neutral()
    with torch.no_grad():
        ours = body.skeleton(neutral.shape).positions.double().cpu()
    theirs = file.rest_positions()[index]
    parents = torch.tensor([p if p >= 0 else 0 for p in body.parents])
    a, b = ours - ours[parents], theirs - theirs[parents]
    long = (a.norm(dim=-1) > 0.03) & (b.norm(dim=-1) > 0)
    for to_ours in (torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])):  # y up, z up
        turn = to_ours.double()
        if torch.nn.functional.cosine_similarity(a[long], (b @ turn.T)[long], dim=-1).median() > 0.97:
            break
    else:
        return None
    direct = [file.names[p] if p >= 0 else "" for p in (file.parents[j] for j in index)]
    if any(name != (body.joint_names[p] if p >= 0 else name) for name, p in zip(direct, body.parents, strict=True)):
        return None  # the file has further joints in between; their rotations would be lost
    joints = matrix_to_axis_angle(turn @ file.rotations[:, index] @ turn.T)
    scale = float(a[long].norm(dim=-1).sum() / b[long].norm(dim=-1).sum())
    moved = (file.positions[0] - file.offsets[0]) @ turn.T * scale if 0 in file.positions else torch.zeros(len(joints), 3)
    root = joints[:, 0].clone()
    joints[:, 0] = 0
    expression = torch.zeros(len(joints), len(body.expression_names))
    params = BodyParams(body.name, neutral.shape.cpu(), expression, root.float(), moved.float(), joints.float())
    return Motion(reading.path.stem, file.fps, params, moves=moved_parts([g.name for g in body.pose_groups]))
