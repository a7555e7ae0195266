"""Which way joints bend and how far, from the names of pose groups and the skeleton at rest.

Names are SMPL-X's (``left_elbow``, ``right_index2``, ...). A group with another name keeps rest-space axes, its own
sigma and wide limits, so that any body model works and well-named ones work better.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from avatarkit.interfaces import BodyModel, Skeleton

__all__ = ["Anatomy", "anatomy_of"]

_WIDE = 2.8
_GATHER = 0.7  # how far the fingers of a relaxed hand close, from the model's spread at rest
_FINGERS = "index|middle|ring|pinky"


@dataclass(frozen=True)
class Anatomy:
    """Per pose group, in the order of ``BodyModel.pose_groups``; angles in radians.

    Attributes:
        frames: (G, 3, 3) columns are the axes of bending, sideways motion and twist, in rest space.
        mean: (G, 3) relaxed angles. sigma: (G, 3) spread around them. low, high: (G, 3) limits.
        number: group name -> row.
    """

    frames: torch.Tensor
    mean: torch.Tensor
    sigma: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    number: dict[str, int]


@dataclass(frozen=True)
class _Rule:
    """Angles (bend, sideways, twist) of groups whose name matches, on the left side; sigma None = the model's own."""

    pattern: str
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    sigma: tuple[float, float, float] | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)


_RULES = (
    # bend forward, sideways (in), twist
    _Rule(r"(left|right)_shoulder", (-1.4, -2.2, -1.1), (2.2, 2.2, 1.1), (0.7, 0.7, 0.35), (0.0, 0.4, 0.0)),
    _Rule(r"(left|right)_upper_arm_twist", (-0.02, -0.02, -0.7), (0.02, 0.02, 0.7), (0.02, 0.02, 0.3)),
    _Rule(r"(left|right)_elbow", (-0.3, -0.1, -0.15), (2.4, 0.1, 0.15), (0.9, 0.06, 0.1), (0.15, 0.0, 0.0)),
    _Rule(r"(left|right)_forearm_twist", (-0.02, -0.02, -1.4), (0.02, 0.02, 1.4), (0.02, 0.02, 0.6)),
    _Rule(r"(left|right)_wrist", (-1.2, -0.5, -0.3), (1.2, 0.5, 0.3), (0.4, 0.2, 0.12)),
    _Rule(r"(left|right)_metacarpal\d", (-0.15, -0.12, -0.1), (0.25, 0.12, 0.1), (0.06, 0.04, 0.04)),
    _Rule(rf"(left|right)_({_FINGERS})1", (-0.5, -0.35, -0.12), (1.6, 0.35, 0.12), (0.5, 0.12, 0.05), (0.2, 0.0, 0.0)),
    _Rule(rf"(left|right)_({_FINGERS})2", (-0.2, -0.06, -0.05), (1.8, 0.06, 0.05), (0.5, 0.03, 0.03), (0.3, 0.0, 0.0)),
    _Rule(rf"(left|right)_({_FINGERS})3", (-0.2, -0.05, -0.05), (1.3, 0.05, 0.05), (0.35, 0.02, 0.02), (0.2, 0.0, 0.0)),
    _Rule(r"(left|right)_thumb1", (-0.6, -0.6, -0.5), (0.8, 0.6, 0.5), (0.3, 0.25, 0.2)),
    _Rule(r"(left|right)_thumb2", (-0.5, -0.2, -0.15), (1.0, 0.2, 0.15), (0.3, 0.1, 0.08)),
    _Rule(r"(left|right)_thumb3", (-0.5, -0.08, -0.08), (1.3, 0.08, 0.08), (0.4, 0.05, 0.05)),
    _Rule(r"(left|right)_(collar|clavicle)", (-0.35, -0.35, -0.25), (0.35, 0.35, 0.25), (0.15, 0.15, 0.1)),
    _Rule(r"(left|right)_eye.*", (-0.5, -0.6, -0.05), (0.5, 0.6, 0.05), (0.15, 0.25, 0.01)),
    _Rule(r"(left|right)_hip", (-0.7, -1.0, -0.7), (2.2, 1.0, 0.7), (0.5, 0.3, 0.2)),
    _Rule(r"(left|right)_knee", (-0.1, -0.08, -0.15), (2.4, 0.08, 0.15), (0.5, 0.05, 0.08)),
    _Rule(r"(left|right)_ankle", (-0.7, -0.4, -0.4), (0.7, 0.4, 0.4), (0.3, 0.2, 0.2)),
    _Rule(r"(left|right)_foot", (-0.3, -0.1, -0.1), (0.5, 0.1, 0.1), (0.1, 0.05, 0.05)),
    _Rule(r"spine\d", (-0.4, -0.4, -0.4), (0.6, 0.4, 0.4), (0.08, 0.12, 0.12)),
    _Rule(r"neck", (-0.8, -0.6, -0.9), (0.8, 0.6, 0.9)),
    _Rule(r"head", (-0.6, -0.5, -0.7), (0.6, 0.5, 0.7)),
)


def _unit(v: torch.Tensor) -> torch.Tensor:
    return v / v.norm().clamp_min(1e-9)


class _Places:
    """Rest positions by group name."""

    def __init__(self, body: BodyModel, skeleton: Skeleton) -> None:
        self._at = {g.name: skeleton.positions[g.joints[0]] for g in body.pose_groups}

    def bone(self, start: str, end: str) -> torch.Tensor | None:
        """(3,) unit vector between two groups' joints."""
        if start not in self._at or end not in self._at:
            return None
        return _unit(self._at[end] - self._at[start])


def _frame(along: torch.Tensor, toward: torch.Tensor) -> torch.Tensor:
    """(3, 3) axes such that a positive first angle swings the bone ``along`` toward ``toward``."""
    bend = _unit(torch.linalg.cross(along, toward))
    return torch.stack([bend, torch.linalg.cross(along, bend), along], 1)


def _palm(places: _Places, side: str) -> torch.Tensor | None:
    """(3,) where the palm looks."""
    forward = places.bone(f"{side}_wrist", f"{side}_middle1")
    across = places.bone(f"{side}_index1", f"{side}_pinky1")
    if forward is None or across is None:
        return None
    normal = _unit(torch.linalg.cross(forward, across))
    return -normal if side == "left" else normal


def _group_frame(name: str, places: _Places) -> torch.Tensor | None:
    """Anatomical axes of a group; None = rest-space axes."""
    side, _, part = name.partition("_")
    front = torch.tensor([0.0, 0.0, 1.0])
    if side not in ("left", "right"):
        return None
    limbs = {
        "shoulder": ("shoulder", "elbow", front),
        "upper_arm_twist": ("shoulder", "elbow", front),
        "elbow": ("elbow", "wrist", front),
        "forearm_twist": ("elbow", "wrist", front),
        "hip": ("hip", "knee", front),
        "knee": ("knee", "ankle", -front),
    }
    if part in limbs:
        start, end, toward = limbs[part]
        bone = places.bone(f"{side}_{start}", f"{side}_{end}")
        return None if bone is None else _frame(bone, toward)
    palm = _palm(places, side)
    if palm is None:
        return None
    if part == "wrist" and (bone := places.bone(name, f"{side}_middle1")) is not None:
        return _frame(bone, palm)
    if re.fullmatch(r"metacarpal\d", part) and (bone := places.bone(f"{side}_wrist", f"{side}_middle1")) is not None:
        return _frame(bone, palm)
    if match := re.fullmatch(rf"({_FINGERS}|thumb)([123])", part):
        finger, phalanx = match[1], int(match[2])
        first = min(phalanx, 2)  # the last phalanx has no joint at its tip: it continues the one before
        bone = places.bone(f"{side}_{finger}{first}", f"{side}_{finger}{first + 1}")
        across = places.bone(f"{side}_index1", f"{side}_pinky1")
        if bone is not None and across is not None:
            # The thumb folds over the palm, towards the little finger.
            return _frame(bone, _unit(palm + across) if finger == "thumb" else palm)
    return None


def _spread(name: str, places: _Places, frame: torch.Tensor) -> float:
    """Sideways angle from a finger at rest to the middle finger; zero for other groups."""
    match = re.fullmatch(rf"(left|right)_({_FINGERS})1", name)
    if match is None:
        return 0.0
    own = places.bone(name, f"{name[:-1]}2")
    middle = places.bone(f"{match[1]}_middle1", f"{match[1]}_middle2")
    if own is None or middle is None:
        return 0.0
    return float(torch.linalg.cross(own, middle) @ frame[:, 1])


def anatomy_of(body: BodyModel) -> Anatomy:
    """Axes, limits and relaxed angles of a body model's pose groups."""
    skeleton = body.skeleton(body.neutral().shape)
    places = _Places(body, skeleton)
    rows = []
    for group in body.pose_groups:
        frame = _group_frame(group.name, places)
        rule = next((r for r in _RULES if re.fullmatch(r.pattern, group.name)), None)
        if rule is None:
            rule = _Rule("", (-_WIDE,) * 3, (_WIDE,) * 3)
        sigma = rule.sigma or (group.sigma,) * 3
        frame = torch.eye(3) if frame is None else frame
        mean = torch.tensor(rule.mean)
        if group.name.startswith("right"):
            mean[1] = -mean[1]  # sideways turns about axes that are alike on both sides
        mean[1] += _GATHER * _spread(group.name, places, frame)
        rows.append((frame, mean.tolist(), sigma, rule.low, rule.high))
    return Anatomy(
        frames=torch.stack([r[0] for r in rows]),
        mean=torch.tensor([r[1] for r in rows]),
        sigma=torch.tensor([r[2] for r in rows]),
        low=torch.tensor([r[3] for r in rows]),
        high=torch.tensor([r[4] for r in rows]),
        number={g.name: k for k, g in enumerate(body.pose_groups)},
    )
