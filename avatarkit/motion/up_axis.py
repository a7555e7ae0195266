"""Finds which way is up in a motion file whose format does not say so.

The six directions along the axes are compared by gravity and by the file's conventions, not by the pose alone: a person who does
push-ups stays on the floor, and a clip in camera axes (y down) is turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

__all__ = ["UP_AXES", "Up", "find_up"]

UP_AXES = {
    "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0), "-y": (0.0, -1.0, 0.0),
    "x": (1.0, 0.0, 0.0), "-z": (0.0, 0.0, -1.0), "-x": (-1.0, 0.0, 0.0),
}  # fmt: skip
"""Name -> direction; the usual ones first."""

# Logarithms of how much more likely a file is so than otherwise; rough, as the evidence is clear or absent.
_UPRIGHT = 3.0  # people stand and walk more than they lie
_REST = 4.0  # the rest pose stands along this axis
_DATA_SET = 2.5  # files of this kind are so, but people rewrite them
_FLOOR = 4.0  # the lowest joints stay at height zero
_UNUSUAL = -1.0  # files are y up or z up, and sometimes in the axes of a camera
# Meters.
_LOWEST = (-0.25, 0.15)  # height of the lowest joint of a person on the floor
_STEADY = 0.15  # standard deviation of that height
_PELVIS = 0.1  # least height of a pelvis above the floor
_STANDS = 0.5  # mean cosine of someone who stands
_START = 0.05  # from the origin, of captures that start there


@dataclass(frozen=True)
class Up:
    """Which way is up, and why.

    Attributes:
        axis: name in ``UP_AXES``.
        reason: why, for the user.
        usual: whether there is nothing to tell the user: a person who stands, y up or z up.
    """

    axis: str
    reason: str
    usual: bool = True

    @property
    def direction(self) -> torch.Tensor:
        """(3,) in the file's axes."""
        return torch.tensor(UP_AXES[self.axis], dtype=torch.float64)


def find_up(
    trunk: torch.Tensor,
    joints: torch.Tensor,
    rest: str | None,
    placed: bool,
    origins: Sequence[tuple[float, float, float]] = ((0.0, 0.0, 0.0),),
    data_set: str | None = None,
) -> Up:
    """Return the direction that is up.

    Args:
        trunk: (T, 3) unit directions from the pelvis to the head.
        joints: (T, J, 3) positions of the main joints in meters, the pelvis first.
        rest: axis along which the person stands in the file's rest pose, if the format's convention is that the rest pose shows
            what is up; otherwise None.
        placed: whether the file has positions.
        origins: (3,) meters, which may have to be added to the positions.
        data_set: axis that is up in the data set from which the file seems to be, or None.
    """
    placed &= float(joints[0, 0].norm()) > 1e-3  # otherwise the clip was moved to start at the origin
    scores: dict[str, float] = {}
    facts: dict[str, tuple[float, bool]] = {}
    for name, axis in UP_AXES.items():
        direction = torch.tensor(axis, dtype=torch.float64)
        upright = float((trunk @ direction).mean())
        floor = placed and _on_floor(joints @ direction, [float(torch.tensor(o).double() @ direction) for o in origins])
        facts[name] = upright, floor
        # Anyone near the origin is at a possible height of someone who lies, if seen along another axis.
        aside = joints[0, 0] - (joints[0, 0] @ direction) * direction
        telling = upright > _STANDS or name in (rest, data_set) or float(aside.norm()) < _START
        scores[name] = (
            _UPRIGHT * (upright - 1) + _FLOOR * (floor and telling) + _REST * (name == rest) + _DATA_SET * (name == data_set)
            + (_UNUSUAL if name not in ("y", "z", rest) else 0.0)
        )  # fmt: skip
    best = max(UP_AXES, key=lambda n: scores[n])
    upright, floor = facts[best]
    if best == rest:
        return Up(best, "as its rest pose stands")
    if upright <= _STANDS:
        return Up(best, "the person lies or crawls on the floor" if floor else "a guess from the pose", usual=False)
    others = [n for n in ("y", "z") if n != best and facts[n][1] and not floor and rest is None]
    if others:
        return Up(best, f"the person stands along it; someone who lies on the floor has --up {others[0]}", usual=False)
    return Up(best, "the person stands along it", usual=best in ("y", "z") and rest is None)


def _on_floor(heights: torch.Tensor, lifts: Sequence[float]) -> bool:
    """Return whether the lowest of the joints, heights (T, J) in meters, stays at zero and the pelvis above it."""
    low, pelvis = heights.amin(1), float(heights[:, 0].median())
    if float(low.std(correction=0)) > _STEADY:
        return False
    return any(pelvis + lift > _PELVIS and _LOWEST[0] < float(low.median()) + lift < _LOWEST[1] for lift in lifts)
