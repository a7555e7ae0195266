"""A source of motions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

import torch

from avatarkit import Context, InputError, Motion
from avatarkit.config.options import Range


@dataclass(frozen=True)
class Config:
    """Options of the motion source."""

    fps: Annotated[float, Range(1, 240)] = 30.0
    """Frames per second."""
    degrees: Annotated[float, Range(0, 90)] = 20.0
    """Largest head rotation to each side, in degrees."""


class Example:
    """Nodding and shaking the head, for every body model with descriptive joint names."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config, self.body = config, context.get("body")

    def names(self) -> tuple[str, ...]:
        return ("yes", "no")

    def describe(self, name: str) -> str:
        return {"yes": "nods twice", "no": "shakes the head twice"}[name]

    def motion(self, name: str) -> Motion:
        if name not in self.names():
            raise InputError(f"There is no motion {name!r}; there is: {', '.join(self.names())}.")
        return self._swing(name, axis=0 if name == "yes" else 1, seconds=2.0)

    def motions(self, count: int, seed: int) -> Iterable[Motion]:
        generator = torch.Generator().manual_seed(seed)
        for number in range(count):
            seconds = 1.5 + float(torch.rand((), generator=generator))
            yield self._swing(f"swing-{number}", axis=number % 2, seconds=seconds)

    def _swing(self, name: str, axis: int, seconds: float) -> Motion:
        rest, T = self.body.neutral(), max(2, round(seconds * self.config.fps))
        time = torch.arange(T) / T
        joints = rest.joints.repeat(T, 1, 1)
        head = next((j for j, joint in enumerate(self.body.joint_names) if "head" in joint.lower()), 0)
        joints[:, head, axis] = math.radians(self.config.degrees) * torch.sin(4 * math.pi * time)
        still = torch.zeros(T, 3)
        params = replace(rest, expression=rest.expression.repeat(T, 1), root=still, translation=still.clone(), joints=joints)
        return Motion(name, self.config.fps, params, loop=True)
