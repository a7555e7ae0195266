"""Animated skeletons of motion files: how they stand at rest, and how the file's world lies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from avatarkit.errors import InputError
from avatarkit.motion.pose_solver import FINGERS, PARENTS, SIDES, PoseSolver
from avatarkit.motion.skeleton import REQUIRED
from avatarkit.motion.up_axis import UP_AXES, Up, find_up

__all__ = ["TRUNK", "Orientation", "SourceSkeleton", "bone_at_rest", "cosine", "orient", "rest_axes", "scale_to_meters"]

TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
_MOST_LOOKS = 300  # frames from which the up axis is found
_SHORT = 1e-4  # of the longest bone of a limb; shorter bones have no direction


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
        data_set: axis that is up in the data set from which the file seems to be, or None.
        origins: (3,) that the format may leave out of ``positions``; the floor is looked for with each of them.
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
    data_set: str | None = None
    origins: Sequence[tuple[float, float, float]] = ((0.0, 0.0, 0.0),)
    relative: bool = False


@dataclass(frozen=True)
class Orientation:
    """How a file's world lies.

    Attributes:
        up: which axis is up, and why.
        upright: (3, 3) rotation from the file's world to y up.
        world: (3, 3) rotation from the file's world to y up, facing +z on average.
    """

    up: Up
    upright: torch.Tensor
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
        still = torch.eye(3, dtype=torch.float64)
        return Orientation(Up("y", "as in avatarkit's own files"), still, still)
    axes, standing = rest_axes(source)
    pelvis = source.rotations["pelvis"] @ axes["pelvis"]
    if up is not None:
        found = Up(up, "as given")
    else:
        rest = None
        if standing and source.rest_is_upright:
            rest = next(n for n, v in UP_AXES.items() if torch.equal(torch.tensor(v).double(), axes["pelvis"][:, 1]))
        step = -(-len(pelvis) // _MOST_LOOKS)
        scale = scale_to_meters(source, solver)
        joints = _joints(source)[::step] * scale
        origins = [(x * scale, y * scale, z * scale) for x, y, z in source.origins]
        found = find_up(pelvis[::step, :, 1], joints, rest, source.positions is not None, origins, source.data_set)
    z = found.direction.roll(1)
    upright = torch.stack([torch.linalg.cross(found.direction, z), found.direction, z])
    return Orientation(found, upright, _to_front(upright @ pelvis) @ upright)


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


def rest_axes(source: SourceSkeleton) -> tuple[dict[str, torch.Tensor], bool]:
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
        standing = float(cosine(thigh, -whole[:, 1])) > 0.6
    else:
        standing = arm is not None and float(cosine(arm, whole[:, 0] * torch.sign(arm @ whole[:, 0]) - whole[:, 1])) > 0.6
    if standing:
        return dict.fromkeys(TRUNK, whole), True
    following = next(n for n in ("spine1", "spine2", "spine3", "neck", "head") if n in rest)
    axes = {"pelvis": _basis(across, rest[following] - rest["pelvis"])}
    before = "pelvis"
    for name in (n for n in TRUNK[1:] if n in source.rotations):  # a trunk is straight on average
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


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the cosines (...) of the angles between vectors (..., n)."""
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


def _to_front(pelvis: torch.Tensor) -> torch.Tensor:
    """Return the rotation (3, 3) about y after which a person faces +z on average.

    Where a person faces is told without the tilt: those who lie face where they would if they stood up.

    Args:
        pelvis: (T, 3, 3) left, up, forward of the pelvis in a world that is y up.
    """
    sine, cosine = pelvis[:, 0, 2] - pelvis[:, 2, 0], pelvis[:, 0, 0] + pelvis[:, 2, 2]
    if math.hypot(float(sine.mean()), float(cosine.mean())) < 0.6:  # no clear direction, e.g. walking in circles
        sine, cosine = sine[:1], cosine[:1]
    facing = math.atan2(float(sine.mean()), float(cosine.mean()))
    c, s = math.cos(facing), math.sin(facing)
    return torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]], dtype=torch.float64)


def bone_at_rest(source: SourceSkeleton, start: str, end: str, left: torch.Tensor) -> torch.Tensor | None:
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


def scale_to_meters(source: SourceSkeleton, solver: PoseSolver) -> float:
    """Return the factor from a skeleton's units to meters of a body of the same proportions.

    Measured on the bones of the legs that the skeleton has, or of the arms where it has no hips; then a "leg" may be a thigh.
    """
    least = _SHORT * _size(source.rest)
    for limb in _LIMBS:
        bones = [bone for bone in limb if _length(source.rest, bone) > least]
        if bones and any(f"{side}_{limb[0][0]}" in source.rest for side in SIDES):
            return sum(_length(solver.positions, b) for b in bones) / sum(_length(source.rest, b) for b in bones)
    return 1.0


_LIMBS = ((("hip", "knee"), ("knee", "ankle")), (("shoulder", "elbow"), ("elbow", "wrist")))


def _size(rest: Mapping[str, torch.Tensor]) -> float:
    """Return the length of the longest bone of the limbs; 1 if none has a length."""
    return max(_length(rest, bone) for limb in _LIMBS for bone in limb) or 1.0


def _length(rest: Mapping[str, torch.Tensor], bone: tuple[str, str]) -> float:
    """Return the length of a bone, on the side where it is longer; 0 if it is missing."""
    ends = [(f"{side}_{bone[0]}", f"{side}_{bone[1]}") for side in SIDES]
    return max((math.dist(rest[a].tolist(), rest[b].tolist()) for a, b in ends if a in rest and b in rest), default=0.0)
