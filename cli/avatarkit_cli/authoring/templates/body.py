"""A body model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from avatarkit import Context
from avatarkit.config.options import Range
from avatarkit.testing import TinyBody


@dataclass(frozen=True)
class Config:
    """Options of the body model."""

    stature: Annotated[float, Range(0.1, 10)] = 1.0
    """Body height as a factor; 1 is about 1.7 meters."""


class Example(TinyBody):
    """Starts as the tube figure of ``avatarkit.testing``.

    Replace its tables and methods one by one; the tests report when one no longer matches the others.
    """

    name = "example"

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self._template: torch.Tensor = self._template * config.stature
        self._heads: torch.Tensor = self._heads * config.stature
