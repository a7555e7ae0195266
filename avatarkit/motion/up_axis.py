"""Finds which way is up in a motion file, whose format does not say so.

The six directions along the axes compete. Gravity and the file's convention speak, not the pose alone: a person who does
push-ups stays on the floor, and a clip in camera axes, y down, is turned.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["UP_AXES", "Up", "find_up"]

UP_AXES = {
    "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0), "-y": (0.0, -1.0, 0.0),
    "x": (1.0, 0.0, 0.0), "-z": (0.0, 0.0, -1.0), "-x": (-1.0, 0.0, 0.0),
}  # fmt: skip
"""Name -> direction; the usual ones first."""

# Logarithms of how much more likely a file is so than otherwise; rough, as the evidence is clear or absent.
_REST = 4.0  # the rest pose stands along this axis
_UPRIGHT = 3.0  # people stand and walk more than they lie
_FLOOR = 4.0  # the lowest joints stay at height zero
_FLOATING = -1.0
_UNUSUAL = -1.0  # files are y up or z up
_SURE = 2.0
# Meters.
_LOWEST = (-0.25, 0.15)  # height of the lowest joint of a person on the floor
_STEADY = 0.15  # standard deviation of that height
_PELVIS = 0.1  # least height of a pelvis above the floor


@dataclass(frozen=True)
class Up:
    """Which way is up, and why.

    Attributes:
        axis: name in ``UP_AXES``.
        reason: why, for the user.
        sure: False where the evidence is weak.
    """

    axis: str
    reason: str
    sure: bool = True

    @property
    def direction(self) -> torch.Tensor:
        """(3,) in the file's axes."""
        return torch.tensor(UP_AXES[self.axis], dtype=torch.float64)


def find_up(trunk: torch.Tensor, joints: torch.Tensor, rest: str | None, placed: bool) -> Up:
    """Return the direction that is up.

    Args:
        trunk: (T, 3) unit directions from the pelvis to the head.
        joints: (T, J, 3) positions of the main joints in meters, the pelvis first.
        rest: axis along which the person stands in the file's rest pose, if the format's convention is that the rest pose shows
            what is up; otherwise None.
        placed: whether the file has positions.
    """
    placed &= float(joints[0, 0].norm()) > 1e-3  # otherwise the clip was moved to start at the origin
    scores: dict[str, float] = {}
    facts: dict[str, tuple[float, bool]] = {}
    for name, axis in UP_AXES.items():
        direction = torch.tensor(axis, dtype=torch.float64)
        upright = float((trunk @ direction).mean())
        pelvis = (joints[:, 0] @ direction).median()
        low = (joints @ direction).amin(1)
        floor = placed and pelvis > _PELVIS and _LOWEST[0] < low.median() < _LOWEST[1] and bool(low.std(correction=0) < _STEADY)
        floating = placed and not floor and abs(float(pelvis)) > _PELVIS
        facts[name] = upright, floor
        scores[name] = (
            _UPRIGHT * (upright - 1) + _FLOOR * floor + _FLOATING * floating
            + _REST * (name == rest) + _UNUSUAL * (name not in ("y", "z") and name != rest)
        )  # fmt: skip
    best = max(UP_AXES, key=lambda n: scores[n])
    second = max(score for n, score in scores.items() if n != best)
    upright, floor = facts[best]
    if best == rest:
        reason = "as in its rest pose"
    elif upright > 0.5:
        reason = "the person stands along it"
    else:
        reason = "the person lies or crawls on its floor" if floor else "a guess"
    return Up(best, reason, scores[best] - second > _SURE or best == rest or (best == "y" and upright > 0.5))
