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
from avatarkit.motion.pose_solver import FINGERS, PARENTS, SIDES, PoseSolver, frame, rotation_between
from avatarkit.motion.skeleton import REQUIRED
from avatarkit.motion.up_axis import UP_AXES, Up, find_up
from avatarkit.types.body import BodyParams, Motion
from avatarkit.utils.moved import former_names

__all__ = ["Orientation", "SourceSkeleton", "orient", "retarget", "scale_to_meters"]

_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
_MOST_LOOKS = 300  # frames from which the up axis is found
_SHORT = 1e-4  # of a limb; shorter bones have no direction


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
        anatomical: whether elbows and knees bend as in a body that stands at zero; otherwise their axes are measured where the
            motion bends them clearly.
        rest_is_upright: whether the format's convention is that the rest pose shows what is up.
        relative: whether the motion is already relative, see ``Motion``: y up, the front +z, positions from where the person
            stands.
    """

    name: str
    rest: Mapping[str, torch.Tensor]
    rotations: Mapping[str, torch.Tensor]
    positions: torch.Tensor | None
    fps: float
    expression: Mapping[str, torch.Tensor] = field(default_factory=dict)
    anatomical: bool = False
    rest_is_upright: bool = True
    relative: bool = False


@dataclass(frozen=True)
class Orientation:
    """How a file's world lies.

    Attributes:
        up: which axis is up, and why.
        world: (3, 3) rotation from the file's world to y up, facing +z on average.
    """

    up: Up
    world: torch.Tensor


def orient(source: SourceSkeleton, solver: PoseSolver, up: str | None = None) -> Orientation:
    """Find which way is up in a motion, and where the person faces.

    Args:
        source: the skeleton.
        solver: that of the body model that will play the motion.
        up: name in ``UP_AXES`` that the user gave; None = found.

    Raises:
        InputError: the skeleton lacks a required joint.
    """
    missing = [n.replace("_", " ") for n in REQUIRED if n not in source.rotations]
    if missing:
        raise InputError(
            f"The skeleton of {source.name} has no joint that is recognized as the {' or the '.join(missing)}; "
            "map its joints with --joint-map FILE."
        )
    if source.relative:
        return Orientation(Up("y", "as in avatarkit's own files"), torch.eye(3, dtype=torch.float64))
    axes, standing = _axes(source)
    pelvis = source.rotations["pelvis"] @ axes["pelvis"]
    if up is not None:
        found = Up(up, "as given")
    else:
        rest = None
        if standing and source.rest_is_upright:
            rest = next(n for n, v in UP_AXES.items() if torch.equal(torch.tensor(v).double(), axes["pelvis"][:, 1]))
        step = -(-len(pelvis) // _MOST_LOOKS)
        joints = _joints(source)[::step] * scale_to_meters(source, solver)
        found = find_up(pelvis[::step, :, 1], joints, rest, source.positions is not None)
    return Orientation(found, _to_front(pelvis, found.direction))


def retarget(source: SourceSkeleton, solver: PoseSolver, name: str, orientation: Orientation) -> Motion:
    """Retarget a motion to a body model and turn it to face the front.

    Args:
        source: the other skeleton.
        solver: pose solver of the body model.
        name: name of the motion.
        orientation: see ``orient``.
    """
    axes, _ = _axes(source)
    world = orientation.world
    turns = {n: world @ R for n, R in source.rotations.items()}
    frames = {n: turns[n] @ axes[n] for n in _TRUNK if n in turns}
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
    return Motion(name, source.fps, params)


def _joints(source: SourceSkeleton) -> torch.Tensor:
    """Return the positions (T, J, 3) of the main joints in the file's world, the pelvis first."""
    rotations, rest = source.rotations, source.rest
    count = len(rotations["pelvis"])
    at = {"pelvis": torch.zeros(count, 3, dtype=torch.float64) if source.positions is None else source.positions}
    for name, above in PARENTS.items():
        while above is not None and above not in at:
            above = PARENTS[above]
        if above is not None and name in rotations and name in rest and not name.startswith(_HANDS_AND_FACE):
            at[name] = at[above] + (rotations[above] @ (rest[name] - rest[above])[:, None])[..., 0]
    return torch.stack(list(at.values()), 1)


_HANDS_AND_FACE = ("jaw", *(f"{s}_{n}" for s in SIDES for n in ("eye", *FINGERS)))


def _axes(source: SourceSkeleton) -> tuple[dict[str, torch.Tensor], bool]:
    """Return trunk joint -> (3, 3) the body's left, up, forward in its axes at zero, and whether it stands there.

    Most files have a standing person at zero. Some have every bone along one axis instead; then the axes follow from the
    motion. Directions are snapped to the coordinate axes, because all rigs are built along them.
    """
    rest = source.rest

    def way(a: str, b: str) -> torch.Tensor | None:
        return rest[b] - rest[a] if a in rest and b in rest else None

    across = way("right_shoulder", "left_shoulder")
    assert across is not None  # the shoulders were checked before
    hips = way("right_hip", "left_hip")
    across = across if hips is None or not hips.any() else hips
    top = next((n for n in ("neck", "head", "head_tip") if n in rest), None)
    shoulders = (rest["left_shoulder"] + rest["right_shoulder"]) / 2
    above = shoulders - rest["pelvis"] if top is None else rest[top] - rest["pelvis"]
    whole = _basis(across, above)
    thigh, arm = (_longer(way(f"left_{a}", f"left_{b}"), way(f"right_{a}", f"right_{b}")) for a, b in _UPPER_BONES)
    if thigh is not None:
        standing = float(_cosine(thigh, -whole[:, 1])) > 0.6
    else:
        standing = arm is not None and float((arm / arm.norm()) @ (whole[:, 0].abs() * arm.sign() - whole[:, 1])) > 0.85
    if standing:
        return dict.fromkeys(_TRUNK, whole), True
    following = next(n for n in ("spine1", "spine2", "spine3", "neck", "head") if n in rest)
    axes = {"pelvis": _basis(across, rest[following] - rest["pelvis"])}
    before = "pelvis"
    for name in (n for n in _TRUNK[1:] if n in source.rotations):  # a trunk is straight on average
        between = source.rotations[name].mT @ source.rotations[before] @ axes[before]
        axes[name] = _nearest_axes(between.mean(0))
        before = name
    return axes, False


_UPPER_BONES = (("hip", "knee"), ("shoulder", "elbow"))


def _longer(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    """Return the longer of two bones; None if both are missing or have no length."""
    best = max((v for v in (a, b) if v is not None), key=lambda v: float(v.norm()), default=None)
    return None if best is None or not best.any() else best


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


def _to_front(pelvis: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return the rotation (3, 3) from the file's world to y up, facing +z on average.

    Where a person faces is told without the tilt: those who lie face where they would if they stood up.

    Args:
        pelvis: (T, 3, 3) left, up, forward of the pelvis in the file's world.
        up: (3,) axis of the file.
    """
    z = up.roll(1)
    upright = torch.stack([torch.linalg.cross(up, z), up, z])
    R = upright @ pelvis
    sine, cosine = R[:, 0, 2] - R[:, 2, 0], R[:, 0, 0] + R[:, 2, 2]
    if math.hypot(float(sine.mean()), float(cosine.mean())) < 0.6:  # no clear direction, e.g. walking in circles
        sine, cosine = sine[:1], cosine[:1]
    facing = math.atan2(float(sine.mean()), float(cosine.mean()))
    c, s = math.cos(facing), math.sin(facing)
    return torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]], dtype=torch.float64) @ upright


def _bone(source: SourceSkeleton, start: str, end: str, left: torch.Tensor) -> torch.Tensor | None:
    """Return a bone (3,) at rest; one without length, or of a missing joint, is taken from the other side.

    None if that fails, too.
    """
    rest = source.rest
    least = _SHORT * _size(rest)
    for mirrored in (False, True):
        a, b = (_mirrored(n) if mirrored else n for n in (start, end))
        if a in rest and b in rest and float((rest[b] - rest[a]).norm()) > least:
            bone = rest[b] - rest[a]
            return bone - 2 * (bone @ left) * left if mirrored else bone
    return None


def _mirrored(name: str) -> str:
    return name.replace("left", "#").replace("right", "left").replace("#", "right")


def _limb(
    source: SourceSkeleton,
    turns: Mapping[str, torch.Tensor],
    joints: tuple[str, str, str],
    axis: torch.Tensor,
    left: torch.Tensor,
    outward: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return upper and lower bone and hinge of an arm or leg in the world, (T, 3) each.

    The hinge is measured from the bend; where the limb is nearly straight, it is the usual one.

    Args:
        source: the skeleton.
        turns: joint -> (T, 3, 3) from zero to the world.
        joints: shoulder, elbow and wrist, or hip, knee and ankle.
        axis: (3,) about which the limb bends at zero, if the skeleton is anatomical.
        left: (3,) direction to the body's left at zero.
        outward: (3,) direction of the limb at zero, if the file does not tell.
    """
    top, middle, end = joints
    u0 = _bone(source, top, middle, left)
    u0 = outward if u0 is None else u0
    f0 = _bone(source, middle, end, left)
    f0 = _bone(source, middle, middle + "_tip", left) if f0 is None else f0
    f0 = u0 if f0 is None else f0
    axis = torch.nn.functional.normalize(axis, dim=0)
    axis = torch.nn.functional.normalize(axis - (axis @ u0) * u0 / (u0 @ u0), dim=0)
    R_u, R_f = turns[top], turns[middle]
    # Bones of a rest pose may form an angle to the side, which is no bend: SMPL's legs are knock-kneed.
    in_plane = f0 - (f0 @ axis) * axis
    u, f = R_u @ u0, R_f @ (in_plane if float(in_plane.norm()) > 0.5 * float(f0.norm()) else f0)
    if not source.anatomical:
        axis = _measured_axis(u0, R_u, f, axis)
    return u, R_f @ f0, _hinge(u, f, R_u @ axis)


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


_CLEAR_BEND = 0.4  # sine of the angle of a limb that is bent for sure


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
    bone = _bone(source, s + "shoulder", s + "elbow", left)
    bone = outward if bone is None else bone
    ahead = abs(float(_cosine(bone, forward))) > 0.8
    axis = (-up if side == "left" else up) if ahead else torch.linalg.cross(bone, forward)
    end = s + "wrist" if s + "wrist" in rest else s + "elbow_tip"
    u, f, hinge = _limb(source, turns, (s + "shoulder", s + "elbow", end), axis, left, outward)
    out |= {s + "shoulder": frame(u, hinge), s + "elbow": frame(f, hinge)}
    if s + "wrist" not in turns:
        return out
    fore = _bone(source, s + "elbow", s + "wrist", left)
    hand, radial = _hand(s, source, bone if fore is None else fore, body)
    R = turns[s + "wrist"]
    out[s + "wrist"] = frame(R @ hand, R @ radial)
    palm = torch.linalg.cross(hand, radial) * (1 if side == "left" else -1)
    for finger in FINGERS:
        out |= _finger(s + finger, rest, turns, palm if finger == "thumb" else radial)
    return out


def _collar(s: str, source: SourceSkeleton, turns: Mapping[str, torch.Tensor], chest: str, body: torch.Tensor) -> torch.Tensor:
    """Return the rotation (T, 3, 3) of a collar from rest, in the body's axes."""
    bone = _bone(source, s + "collar", s + "shoulder", body[:, 0])
    outward = body[:, 0] if s == "left_" else -body[:, 0]
    trunk = turns[chest] @ body
    if bone is None or float(_cosine(bone, outward)) > 0.6:
        return turns[s + "collar"] @ body
    seen = (trunk.mT @ (turns[s + "collar"] @ bone)[..., None])[..., 0]
    usual = seen.median(0).values
    return trunk @ rotation_between(usual.expand_as(seen), seen)


def _hand(s: str, source: SourceSkeleton, fore: torch.Tensor, body: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the directions (3,) along a hand and toward its thumb, in its axes at zero."""
    rest, left = source.rest, body[:, 0]
    ends = [s + f + "1" for f in ("middle", "index", "ring")] + [s + "wrist_tip"]
    found = (_bone(source, s + "wrist", end, left) for end in ends)
    hand = next((bone for bone in found if bone is not None), fore)
    across = _bone(source, s + "pinky1", s + "index1", left)
    if across is not None:
        return hand, across
    thumb = _bone(source, s + "wrist", s + "thumb1", left)
    if thumb is not None:
        aside = thumb - (thumb @ hand) / (hand @ hand) * hand
        if float(aside.norm()) > 0.15 * float(hand.norm()):
            return hand, aside
    forward = body[:, 2]
    return hand, forward if abs(float(_cosine(hand, forward))) < 0.9 else -body[:, 1]


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
    side: str, source: SourceSkeleton, turns: Mapping[str, torch.Tensor], axes: Mapping[str, torch.Tensor], solver: PoseSolver
) -> dict[str, torch.Tensor]:
    s, rest, body = side + "_", source.rest, axes["pelvis"]
    if s + "hip" not in turns or s + "knee" not in turns:
        return {}
    left, up, forward = body.T
    bone = _bone(source, s + "hip", s + "knee", left)
    bone = -up if bone is None else bone
    end = s + "ankle" if s + "ankle" in rest else s + "knee_tip"
    ahead = abs(float(_cosine(bone, forward))) > 0.8
    axis = left if ahead else torch.linalg.cross(bone, -forward)
    u, f, hinge = _limb(source, turns, (s + "hip", s + "knee", end), axis, left, -up)
    out = {s + "hip": frame(u, hinge), s + "knee": frame(f, hinge)}
    stands = float(_cosine(bone, -up)) > 0.6
    for part in ("ankle", "foot"):
        if stands and s + part in turns and s + part in solver.frames:
            out[s + part] = turns[s + part] @ body @ solver.frames[s + part]
    if not stands and s + "ankle" in turns:
        foot = _bone(source, s + "ankle", s + "foot", left)
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


def scale_to_meters(source: SourceSkeleton, solver: PoseSolver) -> float:
    """Return the factor from a skeleton's units to meters of a body of the same proportions."""
    return _size(solver.positions) / _size(source.rest)


def _size(rest: Mapping[str, torch.Tensor]) -> float:
    """Return the length of a leg, or of an arm where there are none."""
    for chain in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
        lengths = [
            sum(math.dist(rest[f"{side}_{a}"].tolist(), rest[f"{side}_{b}"].tolist()) for a, b in itertools.pairwise(chain))
            for side in SIDES
            if all(f"{side}_{n}" in rest for n in chain)
        ]
        if lengths and max(lengths) > 1e-9:
            return max(lengths)
    return 1.0


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"Performer": "SourceSkeleton"})
