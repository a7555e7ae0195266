"""A motion of known rotations, in no convention: the truth behind the files."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from avatarkit.motion.pose_solver import PARENTS

__all__ = ["FINGERS", "JOINTS", "OFFSETS", "SIDES", "Clip", "make_clip"]

SIDES = ("left", "right")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")

# Joints in a T-pose, centimeters, y up, facing +z, from the parent.
_MIDDLE = {"pelvis": (0, 95, 0), "spine1": (0, 12, 0), "spine2": (0, 14, 0), "spine3": (0, 12, 0), "neck": (0, 16, 0),
           "head": (0, 10, 2)}  # fmt: skip
_LEFT = {"collar": (4, 12, 0), "shoulder": (13, 1, 0), "elbow": (28, 0, 0), "wrist": (25, 0, 0), "hip": (9, -4, 0),
         "knee": (0, -42, 1), "ankle": (0, -40, -2), "foot": (0, -7, 13), "thumb1": (3, -1, 3), "index1": (10, 0, 3),
         "middle1": (10.5, 0, 1), "ring1": (10, 0, -1), "pinky1": (9, 0, -3)}  # fmt: skip
_PHALANX = {"thumb": (2.4, -0.6, 2), "index": (3.2, 0, 0), "middle": (3.4, 0, 0), "ring": (3.2, 0, 0), "pinky": (2.4, 0, 0)}
JOINTS = tuple(n for n in PARENTS if n != "jaw" and "eye" not in n)


def _offsets() -> dict[str, np.ndarray]:
    out = {n: np.array(v, float) for n, v in _MIDDLE.items()}
    for sign, side in ((1, "left"), (-1, "right")):
        table = dict(_LEFT) | {f"{f}{k}": _PHALANX[f] for f in FINGERS for k in (2, 3)}
        out |= {f"{side}_{n}": np.array(v, float) * (sign, 1, 1) for n, v in table.items()}
    return out


OFFSETS = _offsets()


@dataclass(frozen=True)
class Clip:
    """World rotations from the T-pose and the path of the pelvis, y up.

    Attributes:
        turns: joint -> (T, 3, 3).
        path: (T, 3) centimeters.
        fps: frames per second.
    """

    turns: dict[str, np.ndarray]
    path: np.ndarray
    fps: float = 30.0


def make_clip(seed: int, frames: int = 6, posture: str = "stand") -> Clip:
    """Return a smooth random motion within what bodies can do; ``posture``: stand, crouch, prone or supine."""
    rng = np.random.default_rng(seed)

    def wave(low: float, high: float) -> np.ndarray:
        a, b = rng.uniform(low, high, 2)
        return np.radians(a + (b - a) * np.linspace(0, 1, frames))

    local: dict[str, Rotation] = {}
    tilt = {"prone": 90, "supine": -90}.get(posture, 0)
    yaw = rng.uniform(-180, 180)
    euler = np.stack([wave(yaw - 25, yaw + 25), wave(tilt - 8, tilt + 8), wave(-8, 8)], -1)
    local["pelvis"] = Rotation.from_euler("YXZ", euler)
    for name in JOINTS[1:]:
        side, _, part = name.rpartition("_")
        s = 1 if side == "left" else -1
        if part in ("spine1", "spine2", "spine3", "neck", "head"):
            angles = [wave(-12, 12), wave(-12, 12), wave(-8, 8)]
        elif tilt and part in ("shoulder", "elbow", "hip", "knee"):  # limbs stay near the floor
            angles = [wave(-5, 5), wave(-5, 5), s * wave(-60, 60) if part == "shoulder" else wave(-3, 3)]
        elif part == "shoulder":
            angles = [s * wave(-60, 10), wave(-40, 40), s * wave(-80, 10)]
        elif part == "elbow":
            angles = [s * wave(-110, 0), 0 * wave(0, 1), 0 * wave(0, 1)]
        elif part == "hip":
            angles = [s * wave(-15, 15), wave(-60, 10), s * wave(-5, 20)]
        elif part == "knee":
            angles = [0 * wave(0, 1), wave(0, 100), 0 * wave(0, 1)]
        elif part[-1] in "123" and not part.startswith("thumb"):
            angles = [0 * wave(0, 1), 0 * wave(0, 1), s * wave(-60, 0)]
        else:
            angles = [wave(-10, 10), wave(-10, 10), wave(-10, 10)]
        local[name] = Rotation.from_euler("YXZ", np.stack(angles, -1))
    world: dict[str, Rotation] = {}
    for name in JOINTS:
        parent = PARENTS[name]
        world[name] = local[name] if parent is None else world[parent] * local[name]
    turns = {n: R.as_matrix() for n, R in world.items()}
    start = np.array([rng.uniform(300, 400), 95, rng.uniform(300, 400)])  # far from planes that may look like the floor
    walk = np.linspace(0, 1, frames)[:, None] * np.array([rng.uniform(-60, 60), 0, rng.uniform(-60, 60)])
    drop = np.zeros((frames, 3))
    if posture == "crouch":
        drop[:, 1] = -40 * np.sin(np.linspace(0, math.pi, frames))
    if tilt:
        drop[:, 1] = 3 - 95 - _heights(turns).min(1)
    return Clip(turns, start + walk + drop)


def _heights(turns: dict[str, np.ndarray]) -> np.ndarray:
    """Return the heights of the joints over the pelvis, (T, J)."""
    at: dict[str, np.ndarray] = {}
    for name in JOINTS:
        parent = PARENTS[name]
        at[name] = 0 * turns[name][:, 0] if parent is None else at[parent] + turns[parent] @ OFFSETS[name]
    return np.stack(list(at.values()), 1)[..., 1]
