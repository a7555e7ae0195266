"""Retargets motions of other skeletons to a body model.

Directions of bones, hinges and palms in the world are transferred (``avatarkit.motion.pose_solver``), so proportions and rest
pose do not matter. For trunk, collars and feet, whose bones differ too much between skeletons, the rotation from rest is
transferred instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import torch

from avatarkit.motion.pose_solver import FINGERS, SIDES, PoseSolver, frame, rotation_between
from avatarkit.motion.source_skeleton import TRUNK, Orientation, SourceSkeleton, bone_at_rest, cosine, rest_axes, scale_to_meters
from avatarkit.types.body import BodyParams, Motion
from avatarkit.utils.moved import former_names

__all__ = ["SourceSkeleton", "moved_parts", "retarget"]

_CLEAR_BEND = 0.4  # sine of the angle of a limb that is bent for sure


def retarget(source: SourceSkeleton, solver: PoseSolver, name: str, orientation: Orientation) -> Motion:
    """Retarget a motion to a body model and turn it to face the front.

    Args:
        source: the other skeleton.
        solver: pose solver of the body model.
        name: name of the motion.
        orientation: see ``orient``.
    """
    axes, _ = rest_axes(source)
    world = orientation.world
    turns = {n: world @ R for n, R in source.rotations.items()}
    frames = {n: turns[n] @ axes[n] for n in TRUNK if n in turns}
    for side in SIDES:
        frames |= _arm(side, source, turns, axes, solver)
        frames |= _leg(side, source, turns, axes, solver)
        eye = f"{side}_eye_smplhf"
        if eye in turns:
            frames[eye] = turns[eye] @ axes.get("head", axes["pelvis"])
    if "jaw" in turns and "head" in turns:
        frames["jaw"] = turns["jaw"] @ axes["head"]
    root, joints = solver.solve(frames)
    body = solver.body
    count = len(root)
    actions = {**_jaw(frames), **source.expression}
    expression = torch.zeros(count, len(body.expression_names))
    for k, action in enumerate(body.expression_names):
        if action in actions:
            expression[:, k] = actions[action].float().clamp(0, 1)
    translation = _translation(source, solver, world).float()
    params = BodyParams(body.name, body.neutral().shape.cpu(), expression, root, translation, joints)
    return Motion(name, source.fps, params, moves=moved_parts(frames))


def moved_parts(names: Collection[str]) -> frozenset[str]:
    """Return the parts of the body (``Motion.moves``) to which joints of these SMPL-X names belong."""
    parts = {"trunk": ("spine1", "spine2", "spine3"), "head": ("head",), "legs": ("left_hip", "right_hip")}
    return frozenset(part for part, joints in parts.items() if any(n in names for n in joints))


def _limb(
    source: SourceSkeleton,
    turns: Mapping[str, torch.Tensor],
    joints: tuple[str, str, str],
    body: torch.Tensor,
    outward: torch.Tensor,
    bends_to: torch.Tensor,
    sideways: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return upper and lower bone and hinge of an arm or leg in the world, (T, 3) each.

    The hinge is measured from the bend; where the limb is nearly straight, it is the usual one. Bones of a rest pose may form an
    angle to the side, which is no bend: SMPL's legs are knock-kneed.

    Args:
        source: the skeleton.
        turns: joint -> (T, 3, 3) from zero to the world.
        joints: shoulder, elbow and wrist, or hip, knee and ankle.
        body: (3, 3) left, up, forward at zero.
        outward: (3,) direction of the limb at zero, if the file does not tell.
        bends_to: (3,) direction to which the lower bone bends.
        sideways: (3,) hinge of a limb that points along ``bends_to`` at zero.
    """
    top, middle, end = joints
    left = body[:, 0]
    u0 = bone_at_rest(source, top, middle, left)
    u0 = outward if u0 is None else u0
    f0 = bone_at_rest(source, middle, end, left)
    f0 = bone_at_rest(source, middle, middle + "_tip", left) if f0 is None else f0
    f0 = u0 if f0 is None else f0
    whole = u0 + f0
    axis = sideways if abs(float(cosine(whole, bends_to))) > 0.8 else torch.linalg.cross(whole, bends_to)
    axis = torch.nn.functional.normalize(axis, dim=0)
    u, f = turns[top] @ (u0 - (u0 @ axis) * axis), turns[middle] @ (f0 - (f0 @ axis) * axis)
    if not source.anatomical:
        axis = _measured_axis(u0, turns[top], f, axis)
    return turns[top] @ u0, turns[middle] @ f0, _hinge(u, f, turns[top] @ axis)


def _hinge(u: torch.Tensor, f: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """Return the axis (T, 3) of an elbow or knee in the world.

    It is measured from the bend; where the limb is nearly straight, ``usual`` is used.
    """
    u, f = torch.nn.functional.normalize(u, dim=-1), torch.nn.functional.normalize(f, dim=-1)
    bent = torch.linalg.cross(u, f)
    usual = torch.nn.functional.normalize(usual - (usual * u).sum(-1, keepdim=True) * u, dim=-1)
    sine = bent.norm(dim=-1, keepdim=True)
    trust = ((sine - 0.1) / 0.3).clamp(0, 1)
    trust = trust * trust * (3 - 2 * trust)
    forward = (bent * usual).sum(-1, keepdim=True) / sine.clamp(min=1e-9)
    trust = trust * ((forward + 0.6) / 0.8).clamp(0, 1)  # limbs that bend backward are noise
    return trust * bent / sine.clamp(min=1e-9) + (1 - trust) * usual


def _measured_axis(u0: torch.Tensor, R_u: torch.Tensor, f: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """Return the axis (3,) of a hinge in the upper bone's axes: ``usual``, unless clear bends say otherwise."""
    inside = torch.nn.functional.normalize((R_u.mT @ f[..., None])[..., 0], dim=-1)
    turned = torch.linalg.cross(torch.nn.functional.normalize(u0, dim=0).expand_as(inside), inside)
    turned = turned[turned.norm(dim=-1) > _CLEAR_BEND]
    if len(turned) < 0.1 * len(inside):
        return usual
    directions = torch.nn.functional.normalize(turned, dim=-1)
    mean = directions.mean(0)
    if float(mean.norm()) < 0.9 or float(mean @ usual) > 0.5 * float(mean.norm()):
        return usual
    return mean / mean.norm()


def _arm(
    side: str, source: SourceSkeleton, turns: Mapping[str, torch.Tensor], axes: Mapping[str, torch.Tensor], solver: PoseSolver
) -> dict[str, torch.Tensor]:
    s, rest = side + "_", source.rest
    chest = next(n for n in ("spine3", "spine2", "spine1", "pelvis") if n in turns)
    body = axes[chest]
    left, up, forward = body.T
    outward = left if side == "left" else -left
    out = {}
    if s + "collar" in turns and s + "collar" in solver.frames:
        out[s + "collar"] = _collar(s, source, turns, chest, body) @ solver.frames[s + "collar"]
    end = s + "wrist" if s + "wrist" in rest else s + "elbow_tip"
    u, f, hinge = _limb(
        source, turns, (s + "shoulder", s + "elbow", end), body, outward, forward, -up if side == "left" else up
    )  # fmt: skip
    out |= {s + "shoulder": frame(u, hinge), s + "elbow": frame(f, hinge)}
    if s + "wrist" not in turns:
        return out
    fore = bone_at_rest(source, s + "elbow", s + "wrist", left)
    hand, radial = _hand(s, source, outward if fore is None else fore, body)
    R = turns[s + "wrist"]
    out[s + "wrist"] = frame(R @ hand, R @ radial)
    palm = torch.linalg.cross(hand, radial) * (1 if side == "left" else -1)
    for finger in FINGERS:
        out |= _finger(s + finger, source, turns, palm if finger == "thumb" else radial, left)
    return out


def _collar(s: str, source: SourceSkeleton, turns: Mapping[str, torch.Tensor], chest: str, body: torch.Tensor) -> torch.Tensor:
    """Return the rotation (T, 3, 3) of a collar from rest, in the body's axes."""
    bone = bone_at_rest(source, s + "collar", s + "shoulder", body[:, 0])
    outward = body[:, 0] if s == "left_" else -body[:, 0]
    trunk = turns[chest] @ body
    if bone is None or float(cosine(bone, outward)) > 0.6:
        return turns[s + "collar"] @ body
    seen = (trunk.mT @ (turns[s + "collar"] @ bone)[..., None])[..., 0]
    usual = seen.median(0).values
    return trunk @ rotation_between(usual.expand_as(seen), seen)


def _hand(s: str, source: SourceSkeleton, fore: torch.Tensor, body: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the directions (3,) along a hand and toward its thumb, in its axes at zero."""
    left = body[:, 0]
    ends = [s + f + "1" for f in ("middle", "index", "ring")] + [s + "wrist_tip"]
    found = (bone_at_rest(source, s + "wrist", end, left) for end in ends)
    hand = next((bone for bone in found if bone is not None), fore)
    across = bone_at_rest(source, s + "pinky1", s + "index1", left)
    if across is not None:
        return hand, across
    thumb = bone_at_rest(source, s + "wrist", s + "thumb1", left)
    if thumb is not None:
        aside = thumb - (thumb @ hand) / (hand @ hand) * hand
        if float(aside.norm()) > 0.15 * float(hand.norm()):
            return hand, aside
    forward = body[:, 2]
    return hand, forward if abs(float(cosine(hand, forward))) < 0.9 else -body[:, 1]


def _finger(
    name: str, source: SourceSkeleton, turns: Mapping[str, torch.Tensor], across: torch.Tensor, left: torch.Tensor
) -> dict[str, torch.Tensor]:
    chain = [f"{name}{k}" for k in (1, 2, 3) if f"{name}{k}" in turns]
    if len(chain) < 2:
        return {}
    out: dict[str, torch.Tensor] = {}
    bones = [bone_at_rest(source, a, b, left) for a, b in zip(chain, [*chain[1:], chain[-1] + "_tip"], strict=True)]
    bone = next((b for b in bones if b is not None), None)
    if bone is None:
        return {}
    for k, joint in enumerate(chain):
        along = bones[k]
        bone = bone if along is None else along
        wanted = frame(turns[joint] @ bone, turns[joint] @ across)
        if k:  # limit of a finger's bend; some files have reversed tips
            broken = (wanted[..., 1] * out[chain[k - 1]][..., 1]).sum(-1) < -0.4
            wanted = torch.where(broken[:, None, None], out[chain[k - 1]], wanted)
        out[joint] = wanted
    return out


def _leg(
    side: str, source: SourceSkeleton, turns: Mapping[str, torch.Tensor], axes: Mapping[str, torch.Tensor], solver: PoseSolver
) -> dict[str, torch.Tensor]:
    s, rest, body = side + "_", source.rest, axes["pelvis"]
    if s + "hip" not in turns or s + "knee" not in turns:
        return {}
    left, up, forward = body.T
    end = s + "ankle" if s + "ankle" in rest else s + "knee_tip"
    u, f, hinge = _limb(source, turns, (s + "hip", s + "knee", end), body, -up, -forward, left)
    out = {s + "hip": frame(u, hinge), s + "knee": frame(f, hinge)}
    thigh = bone_at_rest(source, s + "hip", s + "knee", left)
    stands = thigh is None or float(cosine(thigh, -up)) > 0.6
    for part in ("ankle", "foot"):
        if stands and s + part in turns and s + part in solver.frames:
            out[s + part] = turns[s + part] @ body @ solver.frames[s + part]
    if not stands and s + "ankle" in turns:
        foot = bone_at_rest(source, s + "ankle", s + "foot", left)
        if foot is not None:
            out[s + "ankle"] = frame(turns[s + "ankle"] @ foot, hinge)
    return out


def _jaw(frames: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return how far the mouth is open, from the jaw's pitch.

    About 0.43 radians open a jaw fully.
    """
    if "jaw" not in frames:
        return {}
    turn = frames["head"].mT @ frames["jaw"]
    return {"jawOpen": torch.atan2(turn[:, 2, 1], turn[:, 2, 2]) / 0.43}


def _translation(source: SourceSkeleton, solver: PoseSolver, world: torch.Tensor) -> torch.Tensor:
    """Return displacements (T, 3) in meters from where the first frame stands, scaled to the body's legs."""
    if source.positions is None:
        return torch.zeros(len(source.rotations["pelvis"]), 3, dtype=torch.float64)
    moved = (world @ source.positions[..., None])[..., 0] * scale_to_meters(source, solver)
    return moved if source.relative else moved - moved[0]


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"Performer": "SourceSkeleton"})
