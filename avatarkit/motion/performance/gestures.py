"""Arm gestures: poses in arm lengths from the shoulder, for a left arm, and their timing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from avatarkit.motion.performance.curves import bump, keys, noise, smooth
from avatarkit.motion.performance.hands import SHAPES
from avatarkit.motion.performance.performance import HANG, Performance

__all__ = ["POSES", "ArmKey", "beat", "keep_hands_apart", "move_arm", "tremble"]

ArmKey = tuple[float, str] | tuple[float, str, Mapping[str, float]]
"""Seconds, name of a pose, and channels that differ from it."""


def _pose(shape: str, x: float, y: float, z: float, **more: float) -> dict[str, float]:
    return {**HANG, **SHAPES[shape], "x": x, "y": y, "z": z, **more}


POSES: dict[str, dict[str, float]] = {
    "hang": {**HANG, **SHAPES["relaxed"]},
    "ready": _pose("relaxed", -0.06, -0.53, 0.50, swivel=18, palm=2, flex=4),
    "frame": _pose("cup", 0.00, -0.38, 0.60, swivel=20, palm=5, flex=2),
    "offer": _pose("open", 0.06, -0.42, 0.62, swivel=12, palm=62, flex=-4),
    "wide": _pose("open", 0.28, -0.38, 0.56, swivel=10, palm=42, flex=-8),
    "flat": _pose("flat", 0.04, -0.42, 0.62, swivel=28, palm=-58, flex=2),
    "chop": _pose("flat", 0.00, -0.33, 0.64, swivel=14, palm=-2, flex=0),
    "pinch": _pose("pinch", 0.00, -0.26, 0.60, swivel=18, palm=-20, flex=2),
    "self": _pose("cup", -0.22, -0.32, 0.50, swivel=24, palm=-8, flex=20),
    "point-up": _pose("one", 0.10, -0.08, 0.56, swivel=12, palm=-50, flex=-14),
    "aside": _pose("open", 0.26, -0.36, 0.58, swivel=10, palm=52, flex=-6),
    "greet": _pose("five", 0.34, 0.08, 0.42, swivel=6, palm=-56, flex=-16),
    "show": _pose("fist", 0.10, -0.06, 0.58, swivel=12, palm=-58, flex=-24),
    "shrug": _pose("open", 0.42, -0.46, 0.42, swivel=0, palm=66, flex=-14, shrug=0.9),
}  # fmt: skip
"""Name -> channels of one arm."""


def move_arm(p: Performance, side: str, points: Sequence[ArmKey], delay: float = 0.0) -> None:
    """Move one arm through poses, resting in each only as long as two keys hold it.

    Args:
        p: the performance.
        side: ``left`` or ``right``.
        points: ascending in time.
        delay: seconds, lags the whole arm.
    """
    poses = [(key[0] + delay, {**POSES[key[1]], **(key[2] if len(key) > 2 else {})}) for key in points]
    for channel in POSES["hang"]:
        lag = 0.06 if channel in SHAPES["relaxed"] else 0.03 if channel in ("flex", "deviate", "palm") else 0.0
        curve = keys(p.t, p.period, [(t + lag, pose[channel]) for t, pose in poses], softness=0.06)
        p.channels[f"{side}.{channel}"] = curve


def beat(p: Performance, side: str, stresses: Sequence[tuple[float, float]], size: float) -> None:
    """Small strokes of a raised hand on stressed syllables: up before, down on the stress, wrist and fingers follow."""
    raised = np.clip((p.get(f"{side}.y") + 0.9) / 0.3, 0, 1)
    for moment, stress in stresses:
        lift = bump(p.t, p.period, moment - 0.12, 0.2, 0.14)
        drop = bump(p.t, p.period, moment + 0.02, 0.13, 0.34)
        follow = bump(p.t, p.period, moment + 0.08, 0.14, 0.32)
        k = size * stress * raised
        p.add(f"{side}.y", k * (0.035 * lift - 0.075 * drop))
        p.add(f"{side}.z", k * (0.03 * drop - 0.015 * lift))
        p.add(f"{side}.flex", k * (10 * lift - 11 * follow))
        for finger, amount in (("index", 0.06), ("middle", 0.08), ("ring", 0.1), ("pinky", 0.1)):
            p.add(f"{side}.{finger}", k * amount * (lift - 0.7 * follow))


def tremble(p: Performance, side: str, rng: np.random.Generator, size: float) -> None:
    """Add the small involuntary movement of an arm."""
    for channel, amount in (("x", 0.007), ("y", 0.008), ("z", 0.01), ("swivel", 1.2), ("palm", 2.5), ("flex", 2.0)):
        p.add(f"{side}.{channel}", size * amount * noise(p.t, p.period, rng, 0.1, 0.9))
    shared = noise(p.t, p.period, rng, 0.1, 0.7)
    for k, finger in enumerate(("index", "middle", "ring", "pinky", "thumb")):
        wander = 0.7 * shared + 0.7 * noise(p.t, p.period, rng, 0.1, 0.8)
        p.add(f"{side}.{finger}", size * (0.018 + 0.003 * k) * wander)


def keep_hands_apart(p: Performance) -> None:
    """Push both wrists outward where hands at the same height would meet in the middle."""
    to_middle = 0.34  # from a shoulder, arm lengths; adults differ by a few hundredths
    gap = p.get("left.x") + p.get("right.x") + 2 * to_middle
    level = np.ones_like(p.t)
    for channel, size in (("y", 0.28), ("z", 0.4)):
        level *= np.clip(1.8 * (1 - np.abs(p.get(f"left.{channel}") - p.get(f"right.{channel}")) / size), 0, 1)
    push = np.clip(0.6 * level - gap, 0, None) / 2
    for side in ("left", "right"):
        p.add(f"{side}.x", smooth(push, p.t, 0.1))
