"""A term of the objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from avatarkit import Context
from avatarkit.config.options import Range
from avatarkit.interfaces import TrainStep


@dataclass(frozen=True)
class Config:
    """Options of the loss."""

    limit: Annotated[float, Range(0, 1)] = 0.95
    """Brightness, 0 to 1, above which colors are penalized."""


class Example:
    """Mean excess of the Gaussians' colors over a limit: mean(max(0, c - limit)).

    It prevents overexposed faces.
    """

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config

    def __call__(self, step: TrainStep) -> torch.Tensor:
        return (step.posed.gaussians.colors - self.config.limit).clamp(min=0).mean()
