"""Solves joint rotations of a body model from anatomical frames.

A motion describes where bones point and which way hinges and palms face; a body model needs rotations about its own rest
pose. ``PoseSolver`` converts one into the other for any body model, whether it rests in an A-pose or a T-pose. Hand-made gestures
and other skeletons (``avatarkit.motion.retargeting``) use the same frames.

Anatomical frames are (3, 3) rotations. Those of the trunk, head, jaw and eyes have the columns left, up, forward.
Those of limbs are ``frame(primary, secondary)``:

===================  ==============================  ====================================================
group                primary (column y)              secondary (toward column x)
===================  ==============================  ====================================================
collar               collar to shoulder              forward
shoulder, elbow      to the elbow, to the wrist      axis about which the elbow bends (upper arm x forearm)
hip, knee            to the knee, to the ankle       axis about which the knee bends (thigh x shin)
wrist                wrist to middle knuckle         little finger's knuckle to the index finger's
index .. pinky       along the phalanx               same as the wrist
thumb                along the phalanx               out of the palm
ankle                heel to toes                    left
===================  ==============================  ====================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.interfaces import BodyModel
from avatarkit.utils.moved import former_names

__all__ = ["FINGERS", "PARENTS", "SIDES", "PoseSolver", "frame", "rotation_between", "swing_twist"]

SIDES = ("left", "right")
FINGERS = ("index", "middle", "ring", "pinky", "thumb")


def _parents() -> dict[str, str | None]:
    tree: dict[str, str | None] = {"pelvis": None, "spine1": "pelvis", "spine2": "spine1", "spine3": "spine2"}
    tree |= {"neck": "spine3", "head": "neck", "jaw": "head"}
    for side in SIDES:
        chains: list[tuple[str, ...]] = [
            ("head", "eye_smplhf"),
            ("spine3", "collar", "shoulder", "elbow", "wrist"),
            ("pelvis", "hip", "knee", "ankle", "foot"),
        ]
        chains += [("wrist", f"{finger}1", f"{finger}2", f"{finger}3") for finger in FINGERS]
        for chain in chains:
            names = [n if n in ("head", "spine3", "pelvis") else f"{side}_{n}" for n in chain]
            tree |= dict(zip(names[1:], names, strict=False))
    return tree


PARENTS = _parents()
"""SMPL-X joint -> its parent; parents precede children."""


def frame(primary: torch.Tensor, secondary: torch.Tensor) -> torch.Tensor:
    """Return rotations (..., 3, 3) with y along ``primary`` and x near ``secondary``.

    Args:
        primary: (..., 3) directions, any length.
        secondary: (..., 3) directions, any length, not parallel to ``primary``.
    """
    y = torch.nn.functional.normalize(primary, dim=-1)
    x = secondary - (secondary * y).sum(-1, keepdim=True) * y
    x = torch.nn.functional.normalize(x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def rotation_between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the smallest rotations (..., 3, 3) from directions ``a`` (..., 3) to ``b``.

    For opposite directions the axis is arbitrary.
    """
    a, b = torch.nn.functional.normalize(a, dim=-1), torch.nn.functional.normalize(b, dim=-1)
    axis = torch.linalg.cross(a, b)
    sine = axis.norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, (a * b).sum(-1, keepdim=True))
    spare = torch.linalg.cross(a, torch.eye(3, dtype=a.dtype)[a.abs().argmin(-1)].expand_as(a))
    axis = torch.where(sine > 1e-9, axis / sine.clamp(min=1e-12), torch.nn.functional.normalize(spare, dim=-1))
    return axis_angle_to_matrix(axis * angle)


def swing_twist(rotation: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    """Return the angles (T,) that rotations (T, 3, 3) turn about ``axis`` (3,), unwrapped."""
    skew = torch.stack([rotation[..., i, j] - rotation[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], -1)
    trace = rotation.diagonal(dim1=-2, dim2=-1).sum(-1)
    along = (skew * axis).sum(-1)  # 4 w (v . axis) of the quaternion, against 4 w^2 = 1 + trace
    angle = 2 * torch.atan2(along, 1 + trace)
    step = torch.diff(angle, prepend=angle[:1])
    return angle - 2 * torch.pi * torch.cumsum(torch.round(step / (2 * torch.pi)), 0)


class PoseSolver:
    """Poses one body model; works in float64 on the CPU.

    Attributes:
        names: SMPL-X names that the model has, parents first; ``pelvis`` is its root.
        frames: name -> (3, 3) anatomical frame at rest, in rest space.
        positions: name -> (3,) joint at rest, in rest space.
    """

    def __init__(self, body: BodyModel, shape: torch.Tensor | None = None) -> None:
        """Measure a body.

        Args:
            body: the model.
            shape: (S,) identity; None = the neutral shape.
        """
        self.body = body
        with torch.no_grad():
            skeleton = body.skeleton(body.neutral().shape if shape is None else shape)
        joints = skeleton.positions.detach().cpu().double()
        groups = {g.name: g for g in body.pose_groups if g.name in PARENTS}
        self._joints = {"pelvis": (0,)} | {n: groups[n].joints for n in PARENTS if n in groups and n != "pelvis"}
        self._shares = {n: groups[n].share for n in self._joints if n != "pelvis"}
        self.names = tuple(self._joints)
        self.positions = {n: joints[self._joints[n][0]] for n in self.names}
        self.frames = _rest_frames(self)
        self._between = {n: self._chain(n) for n in self.names}

    def parent(self, name: str) -> str | None:
        """Return the nearest ancestor that the model has."""
        above = PARENTS[name]
        while above is not None and above not in self._joints:
            above = PARENTS[above]
        return above

    def direction(self, start: str, end: str) -> torch.Tensor | None:
        """Return the direction (3,) from one joint to another at rest, or None.

        None means that the model lacks one of the joints.
        """
        if start not in self.positions or end not in self.positions:
            return None
        return self.positions[end] - self.positions[start]

    def solve(self, frames: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Solve the rotations that bring the model's anatomical frames to given ones.

        Args:
            frames: name -> (T, 3, 3) in the world. Groups without a frame keep their rest pose relative to their parent; names
                that the model lacks are ignored.

        Returns:
            (T, 3) root and (T, J, 3) joints, axis-angle float32, as in ``BodyParams``.
        """
        count = next(iter(frames.values())).shape[0]
        world: dict[str, torch.Tensor] = {}
        local = torch.eye(3, dtype=torch.float64).repeat(count, len(self.body.joint_names), 1, 1)
        for name in self.names:
            above = self.parent(name)
            before = world[above] if above is not None else local[:, 0]
            world[name] = frames[name].double() @ self.frames[name].T if name in frames else before
            turn = before.mT @ world[name]
            if above is None:
                local[:, 0] = turn
                continue
            self._assign(local, name, turn)
        vectors = matrix_to_axis_angle(local)
        root = vectors[:, 0].clone()
        vectors[:, 0] = 0
        return root.float(), vectors.float()

    def _chain(self, name: str) -> tuple[int, ...]:
        """Return the joints between a limb and the next that no SMPL-X joint owns.

        They can share the limb's twist.
        """
        ends = {"shoulder": "elbow", "elbow": "wrist", "hip": "knee"}
        side, _, part = name.partition("_")
        child = f"{side}_{ends.get(part)}"
        if child not in self._joints:
            return ()
        owned = {j for joints in self._joints.values() for j in joints}
        found, j = [], self.body.parents[self._joints[child][0]]
        while j not in owned:
            found.append(j)
            j = self.body.parents[j]
        return tuple(found[::-1])

    def _assign(self, local: torch.Tensor, name: str, turn: torch.Tensor) -> None:
        """Distribute one group's rotation over its joints, and the twist of limbs along the limb."""
        part = name.partition("_")[2]
        if part in ("shoulder", "hip") and self._between[name]:
            axis = self.frames[name][:, 1]
            angle = 0.5 * swing_twist(turn, axis)[:, None] * axis
            turn = turn @ axis_angle_to_matrix(-angle)
            for joint in self._between[name]:
                local[:, joint] = axis_angle_to_matrix(angle / len(self._between[name]))
        elif part == "wrist" and self.parent(name) == name.replace("wrist", "elbow"):
            elbow = name.replace("wrist", "elbow")
            axis, between = self.frames[elbow][:, 1], self._between[elbow]
            first = self._joints[elbow][-1]
            angle = swing_twist(turn, axis)
            turn = axis_angle_to_matrix(-(0.8 if between else 0.6) * angle[:, None] * axis) @ turn
            share = (0.35, *(0.45 / len(between) for _ in between)) if between else (0.6,)
            for joint, part_of in zip((first, *between), share, strict=True):
                local[:, joint] = local[:, joint] @ axis_angle_to_matrix(part_of * angle[:, None] * axis)
        vector = matrix_to_axis_angle(turn)
        for joint, part_of in zip(self._joints[name], self._shares[name], strict=True):
            local[:, joint] = axis_angle_to_matrix(part_of * vector)


def _rest_frames(solver: PoseSolver) -> dict[str, torch.Tensor]:
    """Return the anatomical frames of a body at rest; see the table of the module."""
    upright = torch.eye(3, dtype=torch.float64)
    left, up, forward = upright
    frames = dict.fromkeys(solver.names, upright)

    def bone(start: str, end: str, otherwise: torch.Tensor) -> torch.Tensor:
        found = solver.direction(start, end)
        return otherwise if found is None else found

    for side in SIDES:
        s = f"{side}_"
        outward = left if side == "left" else -left
        collar = bone(s + "collar", s + "shoulder", outward)
        upper = bone(s + "shoulder", s + "elbow", outward)
        fore = bone(s + "elbow", s + "wrist", upper)
        hinge = _hinge(upper, fore, forward)
        hand = bone(s + "wrist", s + "middle1", fore)
        radial = bone(s + "pinky1", s + "index1", torch.linalg.cross(hinge, fore))
        thigh = bone(s + "hip", s + "knee", -up)
        shin = bone(s + "knee", s + "ankle", thigh)
        knee = _hinge(thigh, shin, -forward)
        foot = bone(s + "ankle", s + "foot", forward)
        wanted = {
            "collar": (collar, forward),
            "shoulder": (upper, hinge),
            "elbow": (fore, hinge),
            "wrist": (hand, radial),
            "hip": (thigh, knee),
            "knee": (shin, knee),
            "ankle": (foot, left),
            "foot": (foot, left),
        }
        palm = torch.linalg.cross(hand, radial) * (1 if side == "left" else -1)
        for finger in FINGERS:
            across = palm if finger == "thumb" else radial
            first = bone(f"{s}{finger}1", f"{s}{finger}2", hand)
            second = bone(f"{s}{finger}2", f"{s}{finger}3", first)
            # Fingertips are not joints: the last phalanx takes the direction of the one before.
            last = (rotation_between(first, second) @ second[:, None])[:, 0]
            wanted |= {f"{finger}{k}": (d, across) for k, d in enumerate((first, second, last), start=1)}
        frames |= {s + n: frame(*v) for n, v in wanted.items() if s + n in solver.positions}
    return frames


def _hinge(upper: torch.Tensor, lower: torch.Tensor, bends_to: torch.Tensor) -> torch.Tensor:
    """Return the axis of an elbow or knee.

    It is measured if the limb is bent at rest, and anatomical if the limb is straight.
    """
    usual = torch.linalg.cross(upper, bends_to)
    measured = torch.linalg.cross(upper, lower)
    bend = measured.norm() / (upper.norm() * lower.norm())
    if bend > 0.15 and (measured * usual).sum() > 0:
        return measured
    return usual


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"Poser": "PoseSolver"})
