"""Makes a person talk along with sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch

from avatarkit import Context, Motion
from avatarkit.config.options import Range
from avatarkit.types.speech import Cue, Sound, Viseme


@dataclass(frozen=True)
class Config:
    """Options of the speech driver."""

    jaw: Annotated[float, Range(0, 1)] = 0.5
    """How far the loudest moment opens the jaw, 0 to 1."""


class Example:
    """The jaw follows loudness; nothing else moves."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config, self.body = config, context.get("body")

    def drive(
        self, sound: Sound, text: str | Sequence[Cue] | None = None, fps: float = 30.0, seed: int = 0, style: str = "lively"
    ) -> tuple[Sequence[Viseme], Motion]:
        T = max(2, round(sound.seconds * fps))
        parts = np.array_split(sound.samples.astype(np.float64), T)  # one for each frame
        loud = np.array([np.sqrt(np.mean(part**2)) if part.size else 0.0 for part in parts])
        opened = self.config.jaw * loud / max(float(loud.max()), 0.01)
        rest, still = self.body.neutral(), torch.zeros(T, 3)
        expression = rest.expression.repeat(T, 1)
        if "jawOpen" in self.body.expression_names:
            expression[:, self.body.expression_names.index("jawOpen")] = torch.from_numpy(opened).to(expression)
        joints = rest.joints.repeat(T, 1, 1)
        params = replace(rest, expression=expression, root=still, translation=still.clone(), joints=joints)
        times = [(k / fps, min((k + 1) / fps, sound.seconds), float(size)) for k, size in enumerate(opened)]
        visemes = [Viseme(start, end, "aa", size) for start, end, size in times if size > 0.1 and start < end]
        return visemes, Motion(sound.name, fps, params)
