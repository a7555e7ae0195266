"""Retargets motions of other skeletons to a body model.

Directions of bones, hinges and palms in the world are transferred (``avatarkit.motion.pose_solver``), so proportions and rest
pose do not matter. For trunk, collars and feet, whose bones differ too much between skeletons, the rotation from rest is
transferred instead.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from avatarkit.errors import InputError
from avatarkit.motion.pose_solver import FINGERS, SIDES, PoseSolver, frame, rotation_between
from avatarkit.types.body import BodyParams, Motion
from avatarkit.utils.moved import former_names

__all__ = ["SourceSkeleton", "retarget"]

_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")


@dataclass(frozen=True)
class SourceSkeleton:
    """An animated skeleton whose joints have SMPL-X names, as far as it has them.

    Attributes:
        name: name for messages.
        rest: joint -> (3,) position with all rotations zero. ``<joint>_tip``: end of a bone without children.
        rotations: joint -> (T, 3, 3) from zero to the world.
        positions: (T, 3) of the pelvis in the world, in the units of ``rest``; None = unknown.
        fps: frames per second.
        expression: facial action -> (T,), if the file has any.
    """

    name: str
    rest: Mapping[str, torch.Tensor]
    rotations: Mapping[str, torch.Tensor]
    positions: torch.Tensor | None
    fps: float
    expression: Mapping[str, torch.Tensor] = field(default_factory=dict)


def retarget(performer: SourceSkeleton, poser: PoseSolver, name: str) -> Motion:
    """Retarget a performer's motion to a body model and turn it to face the front.

    Args:
        performer: the other skeleton.
        poser: poser of the body model.
        name: name of the motion.

    Raises:
        InputError: the skeleton lacks a required joint.
    """
    needed = ("pelvis", "left_shoulder", "left_elbow", "right_shoulder", "right_elbow")
    missing = [n for n in needed if n not in performer.rotations]
    if missing:
        raise InputError(
            f"The skeleton of {performer.name} has no joint that is recognized as the {missing[0].replace('_', ' ')}; "
            "name its joints like Mixamo, CMU, MakeHuman or SMPL-X."
        )
    axes = _axes(performer)
    world = _to_front(performer, axes["pelvis"])
    turns = {n: world @ R for n, R in performer.rotations.items()}
    frames = {n: turns[n] @ axes[n] for n in _TRUNK if n in turns}
    for side in SIDES:
        frames |= _arm(side, performer, turns, axes, poser)
        frames |= _leg(side, performer, turns, axes, poser)
        eye = f"{side}_eye_smplhf"
        if eye in turns:
            frames[eye] = turns[eye] @ axes.get("head", axes["pelvis"])
    if "jaw" in turns and "head" in turns:
        frames["jaw"] = turns["jaw"] @ axes["head"]
    root, joints = poser.solve(frames)
    body = poser.body
    count = len(root)
    actions = {**_jaw(frames), **performer.expression}
    expression = torch.zeros(count, len(body.expression_names))
    for k, action in enumerate(body.expression_names):
        if action in actions:
            expression[:, k] = actions[action].float().clamp(0, 1)
    translation = _translation(performer, poser, world).float()
    params = BodyParams(body.name, body.neutral().shape.cpu(), expression, root, translation, joints)
    return Motion(name, performer.fps, params)


def _axes(performer: SourceSkeleton) -> dict[str, torch.Tensor]:
    """Return trunk joint -> (3, 3) the body's left, up, forward in its axes at zero.

    Most files have a standing person at zero. Some have every bone along one axis instead; then the axes follow from the
    motion. Directions are snapped to the coordinate axes, because all rigs are built along them.
    """
    rest = performer.rest

    def way(a: str, b: str) -> torch.Tensor | None:
        return rest[b] - rest[a] if a in rest and b in rest else None

    across = way("right_shoulder", "left_shoulder")
    assert across is not None  # the shoulders were checked before
    hips = way("right_hip", "left_hip")
    top = next((n for n in ("neck", "head", "head_tip") if n in rest), None)
    shoulders = (rest["left_shoulder"] + rest["right_shoulder"]) / 2
    above = shoulders - rest["pelvis"] if top is None else rest[top] - rest["pelvis"]
    whole = _basis(across if hips is None else hips, above)
    thigh = way("left_hip", "left_knee")
    standing = thigh is None or float(_cosine(thigh, -whole[:, 1])) > 0.6
    upper = way("left_shoulder", "left_elbow")
    standing &= upper is not None and float(_cosine(upper, whole[:, 0] - whole[:, 1])) > 0.6
    if standing:
        return dict.fromkeys(_TRUNK, whole)
    following = next(n for n in ("spine1", "spine2", "spine3", "neck", "head") if n in rest)
    axes = {"pelvis": _basis(across if hips is None else hips, rest[following] - rest["pelvis"])}
    before = "pelvis"
    for name in (n for n in _TRUNK[1:] if n in performer.rotations):  # a trunk is straight on average
        between = performer.rotations[name].mT @ performer.rotations[before] @ axes[before]
        axes[name] = _nearest_axes(between.mean(0))
        before = name
    return axes


def _nearest_axes(R: torch.Tensor) -> torch.Tensor:
    """Return the nearest rotation (3, 3) by right angles."""
    best, found = -math.inf, R
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            candidate = torch.zeros_like(R)
            candidate[list(order), range(3)] = torch.tensor(signs, dtype=R.dtype)
            score = float((candidate * R).sum())
            if score > best and torch.det(candidate) > 0:
                best, found = score, candidate
    return found


def _basis(left: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return left, up, forward along coordinate axes, (3, 3)."""
    y = _snapped(up)
    x = _snapped(left * (1 - y.abs()))
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def _snapped(v: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(v)
    k = int(v.abs().argmax())
    out[k] = 1.0 if v[k] >= 0 else -1.0
    return out


def _cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


def _to_front(performer: SourceSkeleton, axes: torch.Tensor) -> torch.Tensor:
    """Return the rotation (3, 3) from the file's world to y up, facing +z on average."""
    pelvis = performer.rotations["pelvis"] @ axes
    upward = pelvis[..., 1].median(0).values
    y = torch.zeros(3, dtype=torch.float64)
    k = 1 if upward[1].abs() >= upward[2].abs() else 2  # files are y up or z up
    y[k] = 1.0
    ahead = pelvis[..., 2] * (1 - y)
    mean = ahead.mean(0)
    if mean.norm() < 0.3:  # no clear direction, e.g. walking in circles
        mean = ahead[0]
    if mean.norm() < 1e-3:
        mean = torch.eye(3, dtype=torch.float64)[3 - k]
    z = torch.nn.functional.normalize(mean, dim=0)
    return torch.stack([torch.linalg.cross(y, z), y, z])


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


def _usual_hinge(u0: torch.Tensor, R_u: torch.Tensor, f: torch.Tensor, guess: torch.Tensor) -> torch.Tensor:
    """Return the axis (3,) of a hinge in the upper bone's axes, from the motion or ``guess``."""
    inside = (R_u.mT @ f[..., None])[..., 0]
    turned = torch.linalg.cross(u0.expand_as(inside), inside) / (u0.norm() * inside.norm(dim=-1, keepdim=True))
    together, apart = turned.sum(0), turned.norm(dim=-1).sum()
    if apart / len(turned) > 0.2 and together.norm() / apart > 0.7:
        return together / together.norm()
    return guess


def _arm(
    side: str, performer: SourceSkeleton, turns: Mapping[str, torch.Tensor], axes: Mapping[str, torch.Tensor], poser: PoseSolver
) -> dict[str, torch.Tensor]:
    s, rest = side + "_", performer.rest
    chest = next(n for n in ("spine3", "spine2", "spine1", "pelvis") if n in turns)
    body = axes[chest]
    out = {}
    if s + "collar" in turns and s + "collar" in poser.frames:
        out[s + "collar"] = _collar(s, performer, turns, chest, body) @ poser.frames[s + "collar"]
    u0 = rest[s + "elbow"] - rest[s + "shoulder"]
    wrist = rest.get(s + "wrist", rest.get(s + "elbow_tip"))
    f0 = u0 if wrist is None else wrist - rest[s + "elbow"]
    u = turns[s + "shoulder"] @ u0
    f = turns[s + "elbow"] @ f0
    guess = torch.linalg.cross(u0, body[:, 2])
    usual = _usual_hinge(u0, turns[s + "shoulder"], f, guess)
    hinge = _hinge(u, f, turns[s + "shoulder"] @ usual)
    out |= {s + "shoulder": frame(u, hinge), s + "elbow": frame(f, hinge)}
    if s + "wrist" not in turns:
        return out
    hand, radial = _hand(s, rest, f0, body[:, 2])
    R = turns[s + "wrist"]
    out[s + "wrist"] = frame(R @ hand, R @ radial)
    palm = torch.linalg.cross(hand, radial) * (1 if side == "left" else -1)
    for finger in FINGERS:
        out |= _finger(s + finger, rest, turns, palm if finger == "thumb" else radial)
    return out


def _collar(s: str, performer: SourceSkeleton, turns: Mapping[str, torch.Tensor], chest: str, body: torch.Tensor) -> torch.Tensor:
    """Return the rotation (T, 3, 3) of a collar from rest, in the body's axes."""
    bone = performer.rest[s + "shoulder"] - performer.rest[s + "collar"]
    outward = body[:, 0] if s == "left_" else -body[:, 0]
    trunk = turns[chest] @ body
    if float(_cosine(bone, outward)) > 0.6:
        return turns[s + "collar"] @ body
    seen = (trunk.mT @ (turns[s + "collar"] @ bone)[..., None])[..., 0]
    usual = seen.median(0).values
    return trunk @ rotation_between(usual.expand_as(seen), seen)


def _hand(s: str, rest: Mapping[str, torch.Tensor], f0: torch.Tensor, forward: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the directions (3,) along a hand and toward its thumb, in its axes at zero."""
    at = rest[s + "wrist"]
    knuckles = [rest[s + f + "1"] for f in ("middle", "index", "ring") if s + f + "1" in rest]
    tip = knuckles[0] if knuckles else rest.get(s + "wrist_tip")
    hand = f0 if tip is None or float((tip - at).norm()) < 1e-6 else tip - at
    if s + "index1" in rest and s + "pinky1" in rest:
        return hand, rest[s + "index1"] - rest[s + "pinky1"]
    thumb = rest.get(s + "thumb1")
    if thumb is not None:
        aside = thumb - at
        aside = aside - (aside @ hand) / (hand @ hand) * hand
        if float(aside.norm()) > 0.15 * float(hand.norm()):
            return hand, aside
    return hand, forward


def _finger(
    name: str, rest: Mapping[str, torch.Tensor], turns: Mapping[str, torch.Tensor], across: torch.Tensor
) -> dict[str, torch.Tensor]:
    chain = [f"{name}{k}" for k in (1, 2, 3) if f"{name}{k}" in turns]
    if len(chain) < 2:
        return {}
    out: dict[str, torch.Tensor] = {}
    bone = rest[chain[1]] - rest[chain[0]]
    for k, joint in enumerate(chain):
        end = rest.get(chain[k + 1] if k + 1 < len(chain) else joint + "_tip")
        if end is not None and float((end - rest[joint]).norm()) > 1e-6:
            bone = end - rest[joint]
        wanted = frame(turns[joint] @ bone, turns[joint] @ across)
        if k:  # limit of a finger's bend; some files have reversed tips
            broken = (wanted[..., 1] * out[chain[k - 1]][..., 1]).sum(-1) < -0.4
            wanted = torch.where(broken[:, None, None], out[chain[k - 1]], wanted)
        out[joint] = wanted
    return out


def _leg(
    side: str, performer: SourceSkeleton, turns: Mapping[str, torch.Tensor], axes: Mapping[str, torch.Tensor], poser: PoseSolver
) -> dict[str, torch.Tensor]:
    s, rest, body = side + "_", performer.rest, axes["pelvis"]
    if s + "hip" not in turns or s + "knee" not in turns:
        return {}
    u0 = rest[s + "knee"] - rest[s + "hip"]
    ankle = rest.get(s + "ankle", rest.get(s + "knee_tip"))
    f0 = u0 if ankle is None else ankle - rest[s + "knee"]
    u, f = turns[s + "hip"] @ u0, turns[s + "knee"] @ f0
    usual = _usual_hinge(u0, turns[s + "hip"], f, torch.linalg.cross(u0, -body[:, 2]))
    hinge = _hinge(u, f, turns[s + "hip"] @ usual)
    out = {s + "hip": frame(u, hinge), s + "knee": frame(f, hinge)}
    stands = float(_cosine(u0, -body[:, 1])) > 0.6
    for part in ("ankle", "foot"):
        if stands and s + part in turns and s + part in poser.frames:
            out[s + part] = turns[s + part] @ body @ poser.frames[s + part]
    if not stands and s + "ankle" in turns and s + "foot" in rest:
        out[s + "ankle"] = frame(turns[s + "ankle"] @ (rest[s + "foot"] - rest[s + "ankle"]), hinge)
    return out


def _jaw(frames: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return how far the mouth is open, from the jaw's pitch.

    About 0.43 radians open a jaw fully.
    """
    if "jaw" not in frames:
        return {}
    turn = frames["head"].mT @ frames["jaw"]
    return {"jawOpen": torch.atan2(turn[:, 2, 1], turn[:, 2, 2]) / 0.43}


def _translation(performer: SourceSkeleton, poser: PoseSolver, world: torch.Tensor) -> torch.Tensor:
    """Return displacements (T, 3) in meters from where the person stands.

    They are scaled to the body's leg length; heights are relative to the usual height.
    """
    count = len(performer.rotations["pelvis"])
    if performer.positions is None:
        return torch.zeros(count, 3, dtype=torch.float64)
    ours, theirs = _size(poser.positions), _size(performer.rest)
    moved = (world @ performer.positions[..., None])[..., 0] * (ours / theirs)
    start = moved[0].clone()
    start[1] = moved[:, 1].median()
    return moved - start


def _size(rest: Mapping[str, torch.Tensor]) -> float:
    for chain in (("left_hip", "left_knee", "left_ankle"), ("left_shoulder", "left_elbow", "left_wrist")):
        if all(n in rest for n in chain):
            length = sum(math.dist(rest[a].tolist(), rest[b].tolist()) for a, b in itertools.pairwise(chain))
            if length > 1e-9:
                return length
    return 1.0


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"Performer": "SourceSkeleton"})
